import json

import numpy as np
import pytest
from PIL import Image

from apiece.instances import Instances
from apiece.metrics.cityscapes import cityscapes, cityscapes_resampler
from apiece.metrics.table import record

from .squares import squares

IDS = {"person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33}
VOID = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)


def golden_truth(path) -> Instances:
    """Instances, groups (ids below 1000) and void of a gtFine image."""
    ids = np.array(Image.open(path)).astype(np.int32)
    values = [value for value in np.unique(ids).tolist() if (value // 1000 if value >= 1000 else value) in IDS.values()]
    number = {own: place for place, own in enumerate(IDS.values())}
    labels = [number[value // 1000 if value >= 1000 else value] for value in values]
    stack = np.stack([*(ids == value for value in values), np.isin(ids, VOID)])
    return Instances.from_dense(stack, [*labels, -1], ignore=[*(value < 1000 for value in values), True])


def golden_found(path, size) -> Instances:
    """The masks that a result file lists."""
    number = {own: place for place, own in enumerate(IDS.values())}
    stack, labels, scores = [], [], []
    for line in path.read_text().splitlines():
        name, own, score = line.split()
        if int(own) in number:
            stack.append(np.array(Image.open(path.parent / name)) > 0)
            labels.append(number[int(own)])
            scores.append(float(score))
    return Instances.from_dense(np.array(stack, bool).reshape(-1, *size), labels, scores=scores)


def test_figures_equal_cityscapesscripts(shared_data):
    folder = shared_data / "golden" / "cityscapes_eval"
    wanted = json.loads((folder / "expected.json").read_text())
    records = []
    for path in sorted((folder / "gtFine").rglob("*_gtFine_instanceIds.png")):
        stem, truth = path.name.removesuffix("_gtFine_instanceIds.png"), golden_truth(path)
        records.append(record(stem, golden_found(folder / "results" / f"{stem}_pred.txt", truth.size), truth))
    figures = cityscapes(records, list(IDS))
    assert figures["AP"] == pytest.approx(wanted["averages"]["allAp"], abs=1e-9)
    assert figures["AP50"] == pytest.approx(wanted["averages"]["allAp50%"], abs=1e-9)
    for name, of_class in wanted["averages"]["classes"].items():
        for key, theirs in (("AP", "ap"), ("AP50", "ap50%")):
            value = of_class[theirs]
            assert figures["classes"][name][key] == (None if value is None else pytest.approx(value, abs=1e-9))
    assert cityscapes_resampler(records, list(IDS))(np.ones(len(records)))["AP"] == pytest.approx(figures["AP"])


def test_the_area_under_the_curve_by_hand():
    # Right, wrong, right of two: points (0, 1), (1/2, 1), (1/2, 1/2), (1, 2/3), each with half of the steps beside it.
    found = squares(0, 80, 20, scores=[0.9, 0.8, 0.7])
    figures = cityscapes([record("a", found, squares(0, 20))], ["car"])
    assert figures["AP50"] == pytest.approx(0.25 * 1 + 0.25 * 1 + 0.25 * 0.5 + 0.25 * 2 / 3)


def test_found_objects_in_void_in_groups_and_on_small_objects_are_left_out():
    truth = squares(0, 20, 40, 60, labels=[0, -1, 0, 0], ignore=[False, True, True, False])
    small = np.zeros((1, 10, 100), bool)
    small[0, :9, 80:90] = True
    stack = np.concatenate([truth.dense(), small])
    truth = Instances.from_dense(stack, [0, -1, 0, 0, 0], ignore=[False, True, True, False, False])
    found = squares(0, 22, 42, 80, 60, scores=[0.5, 0.9, 0.8, 0.7, 0.6])
    assert cityscapes([record("a", found, truth)], ["car"])["AP50"] == pytest.approx(1)


def test_an_iou_of_just_the_threshold_is_not_enough():
    stack = np.zeros((1, 10, 100), bool)
    stack[0, :, :20] = True
    one = record("a", Instances.from_dense(stack, scores=[0.5]), squares(0))
    assert one.masks.iou.tolist() == [0.5]
    assert cityscapes([one], ["car"])["AP50"] == 0


def test_distances_limit_what_counts():
    def tall(*columns, **fields):
        stack = np.zeros((len(columns), 100, 100), bool)
        for mask, column in zip(stack, columns, strict=True):
            mask[:, column : column + 10] = True
        return Instances.from_dense(stack, **fields)

    truth = tall(0, 20, 40, columns={"distance": np.array([30.0, 70.0, 200.0])})
    figures = cityscapes([record("a", tall(0, scores=[0.5]), truth)], ["car"])
    assert figures["AP50m"] == pytest.approx(1)
    assert figures["AP100m"] == pytest.approx(0.5 * 0.5 + 0.5 * 0.5)
    assert figures["classes"]["car"].keys() == {"AP", "AP50", "AP100m", "AP50m"}


def test_a_class_without_true_objects_has_no_figure():
    figures = cityscapes([record("a", squares(0, scores=[0.5]), squares())], ["car"])
    assert figures["AP"] is None
    assert cityscapes([], ["car"])["AP"] is None
