import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apiece.instances import Instances
from apiece.page import SMALL
from apiece.pairs import GAP, RIGHT, SIDE, WRONG, Shown, compact, pair_picture, reduced, reduced_size


def squares(*corners: int, width: int = 100, **fields: Any) -> Instances:
    stack = np.zeros((len(corners), 20, width), bool)
    for mask, column in zip(stack, corners, strict=True):
        mask[:, column : column + 20] = True
    return Instances.from_dense(stack, **fields)


def picture(shown: Shown, **options: Any) -> np.ndarray:
    data, _ = pair_picture(shown, ("cell",), **options)
    assert isinstance(data, bytes)
    return np.asarray(Image.open(io.BytesIO(data)))


FOUND = squares(0, 60, scores=[0.9, 0.8])
TRUE = squares(0, 30, 80, ignore=[False, False, True])


@pytest.mark.parametrize("image", [np.zeros((20, 100, 1), np.uint16), None], ids=["image", "no image"])
def test_what_is_right_is_blue_and_what_is_missed_or_wrong_orange(image):
    drawn = picture(Shown("a", image, TRUE, FOUND))
    truth, found = drawn[:, :100], drawn[:, 100 + GAP :]
    assert found.shape == truth.shape == (20, 100, 3)
    # Outlines are in the full color.
    assert np.array_equal(truth[0, 5], RIGHT) and np.array_equal(truth[0, 35], WRONG)
    assert np.array_equal(found[0, 5], RIGHT) and np.array_equal(found[0, 65], WRONG)
    assert truth[0, 85, 0] == truth[0, 85, 1] == truth[0, 85, 2], "ignored objects are grey"
    assert (truth[10, 55] == (0 if image is not None else 128)).all(), "between the objects the image is seen"


def test_each_object_can_have_its_own_color():
    drawn = picture(Shown("a", None, TRUE, FOUND), by_fate=False)
    assert not np.array_equal(drawn[0, 5], drawn[0, 35]) and not np.array_equal(drawn[0, 5], RIGHT)


def test_the_caption_counts():
    _, caption = pair_picture(Shown("a", None, TRUE, FOUND), ("cell",))
    assert caption == "a: 2 true, 2 found; 1 missed, 1 wrong (no image here)"


def test_large_images_are_reduced_and_their_objects_with_them():
    true = squares(0, 1000, width=2000)
    drawn = picture(Shown("a", np.full((20, 2000), 900, np.uint16), true, true.replace(scores=[0.9, 0.8])))
    assert drawn.shape == (6, 2 * SIDE + GAP, 3)
    column = int(1003 * SIDE / 2000)
    assert np.abs(drawn[0, [2, column]].astype(int) - RIGHT).max() < 40, "JPEG keeps colors nearly"


def test_boxes_are_reduced_too():
    boxes = Instances.from_boxes([[1000, 0, 2000, 1000]], (1000, 2000), scores=[0.5])
    drawn = picture(Shown("a", None, boxes, boxes))
    assert drawn.shape == (320, 2 * SIDE + GAP, 3)
    assert np.abs(drawn[160, 321].astype(int) - RIGHT).max() < 60
    assert np.abs(drawn[160, 200].astype(int) - 128).max() < 20


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, bool])
def test_a_reduced_image_has_the_means_of_blocks(kind):
    image = np.zeros((4, 6, 1), kind)
    image[:2, :3] = 1 if kind is bool else 100
    smaller = reduced(image, (2, 2))
    assert smaller[:, :, 0].tolist() == [[255 if kind is bool else 100, 0], [0, 0]]
    assert smaller.dtype == (np.uint8 if kind is bool else kind)
    assert reduced(np.arange(7, dtype=np.float32)[None, :, None], (1, 2))[0, :, 0].tolist() == [1, 4.5]


def test_sizes_keep_their_shape():
    assert reduced_size((100, SIDE)) == (100, SIDE)
    assert reduced_size((3 * SIDE, 300)) == (SIDE, 100)
    assert reduced_size((1, 100 * SIDE)) == (1, SIDE)


def test_small_pictures_are_exact_and_large_ones_compact():
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (10, SMALL - 1, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(compact(small)))), small)
    noise = generator.integers(0, 256, (200, 2 * SMALL, 3), dtype=np.uint8)
    assert compact(noise).startswith(b"\xff\xd8") and len(compact(noise)) < noise.size
    assert compact(np.zeros((200, 2 * SMALL, 3), np.uint8)).startswith(b"\x89PNG"), "flat ones are smaller as PNG"
