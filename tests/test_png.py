from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apiece.errors import InputError
from apiece.png import png_bytes, write_png


def pictures() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "rgb": random.integers(0, 256, (37, 23, 3), dtype=np.uint8),
        "grey": random.integers(0, 256, (37, 23), dtype=np.uint8),
        "deep": random.integers(0, 65536, (37, 23), dtype=np.uint16),
        "one pixel": np.array([[[1, 2, 3]]], np.uint8),
    }


@pytest.mark.parametrize("kind", pictures())
@pytest.mark.parametrize("step", [1, 5, 100])
def test_a_picture_written_in_strips_reads_back_the_same(tmp_path: Path, kind: str, step: int):
    picture = pictures()[kind]
    rows = (picture[top : top + step] for top in range(0, len(picture), step))
    write_png(tmp_path / "a.png", rows, picture.shape[:2])
    with Image.open(tmp_path / "a.png") as read:
        read.load()
        assert np.array_equal(np.asarray(read), picture)


def test_rows_that_are_not_contiguous_are_written_as_they_are_seen(tmp_path: Path):
    picture = pictures()["rgb"][::-1, ::2]
    write_png(tmp_path / "a.png", [picture], picture.shape[:2])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)


def test_the_bytes_of_a_picture_are_a_png_file(tmp_path: Path):
    picture = pictures()["deep"]
    (tmp_path / "a.png").write_bytes(png_bytes(picture))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)


def test_a_flat_picture_becomes_a_small_file():
    assert len(png_bytes(np.full((500, 500, 3), 200, np.uint8))) < 5000


def test_a_writer_that_fails_midway_leaves_the_earlier_file_alone(tmp_path: Path):
    def rows():
        yield np.zeros((2, 4), np.uint8)
        raise RuntimeError("stopped")

    path = tmp_path / "a.png"
    path.write_bytes(b"earlier")
    with pytest.raises(RuntimeError):
        write_png(path, rows(), (4, 4))
    assert path.read_bytes() == b"earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_picture_without_pixels_is_refused_by_name(tmp_path: Path):
    with pytest.raises(InputError, match="empty.png.*0 x 5"):
        write_png(tmp_path / "empty.png", [], (0, 5))
    with pytest.raises(InputError, match="5 x 0"):
        png_bytes(np.zeros((5, 0, 3), np.uint8))
