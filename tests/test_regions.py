import csv
from pathlib import Path

import numpy as np
import pytest

from apiece.instances import Instances
from apiece.regions import properties, write_regions


def ellipse(
    size: tuple[int, int], center: tuple[float, float], axes: tuple[float, float], degrees: float
) -> np.ndarray:
    """Semi-axes, and the angle of the first one from the x axis, counterclockwise as seen."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    angle = np.deg2rad(degrees)
    across, up = x - center[0], -(y - center[1])
    along, aside = across * np.cos(angle) + up * np.sin(angle), -across * np.sin(angle) + up * np.cos(angle)
    return (along / axes[0]) ** 2 + (aside / axes[1]) ** 2 <= 1


def test_a_rectangle_has_the_figures_worked_out_by_hand():
    label_map = np.zeros((30, 40), np.uint16)
    label_map[4:10, 7:19] = 5
    table = properties(Instances.from_label_map(label_map, [2]))
    expected = {
        "index": 1,
        "class": 2,
        "ignored": 0,
        "area": 72,
        "x": 13,
        "y": 7,
        "x1": 7,
        "y1": 4,
        "x2": 19,
        "y2": 10,
        "equivalent_diameter": np.sqrt(4 * 72 / np.pi),
        # second moments of a full rectangle: side^2 / 12
        "major_axis": 4 * 12 / np.sqrt(12),
        "minor_axis": 4 * 6 / np.sqrt(12),
        "orientation": 0,
        "eccentricity": np.sqrt(1 - 36 / 144),
        # crossings: 2 x 6 rows, 2 x 12 columns, 2 x 17 slanting lines of each direction
        "perimeter": np.pi / 8 * (2 * 6 + 2 * 12 + 2 * 2 * 17 / np.sqrt(2)),
    }
    assert {name: table[name][0] for name in expected} == pytest.approx(expected)
    assert np.isnan(table["score"][0])


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 120, 150])
def test_axes_and_orientation_of_a_tilted_ellipse(degrees: float):
    mask = ellipse((140, 150), (70, 65), (50, 20), degrees)
    table = properties(Instances.from_dense(mask[None]))
    assert table["x"][0] == pytest.approx(70, abs=0.05) and table["y"][0] == pytest.approx(65, abs=0.05)
    assert table["major_axis"][0] == pytest.approx(100, rel=0.01)
    assert table["minor_axis"][0] == pytest.approx(40, rel=0.01)
    assert (table["orientation"][0] - degrees + 90) % 180 == pytest.approx(90, abs=0.5)
    assert table["eccentricity"][0] == pytest.approx(np.sqrt(1 - 0.16), rel=0.01)


@pytest.mark.parametrize(("radius", "error"), [(12, 0.03), (40, 0.01), (320, 0.005)])
def test_the_perimeter_of_a_disc_is_its_circumference(radius: int, error: float):
    # The largest one is measured in several pieces.
    side = 2 * radius + 6
    disc = ellipse((side, side), (side / 2, side / 2), (radius, radius), 0)
    table = properties(Instances.from_dense(disc[None]))
    assert table["perimeter"][0] == pytest.approx(2 * np.pi * radius, rel=error)
    assert table["area"][0] == disc.sum()
    assert table["major_axis"][0] == pytest.approx(2 * radius, rel=0.01)
    assert table["equivalent_diameter"][0] == pytest.approx(2 * radius, rel=0.01)


def test_overlapping_objects_and_their_intensities_equal_those_of_dense_masks():
    random = np.random.default_rng(1)
    masks = [ellipse((60, 70), random.uniform(0, 70, 2), random.uniform(1, 25, 2), 40) for _ in range(30)]
    stack = np.stack([mask for mask in masks if mask.any()])
    image = random.integers(0, 60000, (60, 70, 3), dtype=np.uint16)
    table = properties(Instances.from_dense(stack, scores=np.ones(len(stack))), image)
    for place, mask in enumerate(stack):
        rows, columns = np.nonzero(mask)
        assert table["area"][place] == mask.sum()
        assert table["x"][place] == pytest.approx(columns.mean() + 0.5)
        assert table["y"][place] == pytest.approx(rows.mean() + 0.5)
        for channel in range(3):
            values = image[:, :, channel][mask]
            assert table[f"mean_intensity_{channel}"][place] == pytest.approx(values.mean())
            assert table[f"min_intensity_{channel}"][place] == values.min()
            assert table[f"max_intensity_{channel}"][place] == values.max()


def test_a_grey_image_gives_one_set_of_intensities():
    label_map = np.zeros((5, 5), np.uint8)
    label_map[1, 1:3] = 1
    image = np.arange(25, dtype=np.float32).reshape(5, 5) / 2
    table = properties(Instances.from_label_map(label_map), image)
    figures = [table[f"{name}_intensity"][0] for name in ("mean", "min", "max")]
    assert figures == [3.25, 3.0, 3.5]


def test_a_single_pixel_and_an_object_without_pixels():
    stack = np.zeros((2, 6, 6), bool)
    stack[0, 2, 3] = True
    table = properties(Instances.from_dense(stack), np.ones((6, 6), np.uint8))
    assert table["perimeter"][0] == pytest.approx(np.pi / 8 * (4 + 4 / np.sqrt(2)))
    assert table["eccentricity"][0] == 0 and table["major_axis"][0] == pytest.approx(4 / np.sqrt(12))
    assert table["area"].tolist() == [1, 0] and table["perimeter"][1] == 0
    for name in ("x", "y", "major_axis", "orientation", "eccentricity", "mean_intensity", "max_intensity"):
        assert np.isnan(table[name][1])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_a_csv_file_holds_a_row_for_each_object(tmp_path: Path):
    label_map = np.zeros((20, 20), np.uint8)
    label_map[2:5, 2:5], label_map[10:12, 10:20] = 1, 2
    instances = Instances.from_label_map(
        label_map, [1, 0], scores=[0.25, np.nan], ignore=[False, True], columns={"distance": [1.5, 2.5], "area": [0, 0]}
    )
    write_regions(instances, tmp_path / "a.csv", label_map, classes=("bolt", "nut"))
    rows = read(tmp_path / "a.csv")
    assert [row["class"] for row in rows] == ["nut", "bolt"]
    assert [row["score"] for row in rows] == ["0.25", ""]
    assert [row["area"] for row in rows] == ["9", "20"] and [row["ignored"] for row in rows] == ["0", "1"]
    assert [row["distance"] for row in rows] == ["1.5", "2.5"]
    assert [row["mean_intensity"] for row in rows] == ["1", "2"]
    raw = (tmp_path / "a.csv").read_bytes()
    assert raw.startswith(b"index,class,score,") and raw.count(b"\r\n") == 3


def test_no_objects_make_a_csv_file_of_a_header(tmp_path: Path):
    write_regions(Instances.empty((5, 5)), tmp_path / "a.csv", np.zeros((5, 5, 2)))
    assert (tmp_path / "a.csv").read_text().rstrip().endswith("max_intensity_1") and not read(tmp_path / "a.csv")


def test_a_class_name_cannot_be_run_by_a_spreadsheet_and_keeps_its_letters(tmp_path: Path):
    label_map = np.array([[1, 2, 3]], np.uint8)
    names = ("=1+1", "Zelle, groß", 'a "b"')
    write_regions(Instances.from_label_map(label_map, [0, 1, 2]), tmp_path / "a.csv", classes=names)
    assert [row["class"] for row in read(tmp_path / "a.csv")] == ["'=1+1", "Zelle, groß", 'a "b"']
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_a_class_without_a_name_is_left_empty(tmp_path: Path):
    label_map = np.array([[1, 2]], np.uint8)
    write_regions(Instances.from_label_map(label_map, [-1, 3]), tmp_path / "a.csv", classes=("a",))
    assert [row["class"] for row in read(tmp_path / "a.csv")] == ["", ""]
