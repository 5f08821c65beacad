import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apiece import draw
from apiece.colors import GREY, object_colors
from apiece.errors import InputError
from apiece.instances import Instances

RED = (255, 0, 0)


def border_by_hand(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of which one within `width` steps (up, down, left, right) is outside; the picture's edge is outside."""
    border = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        for dy in range(-width, width + 1):
            for dx in range(-(width - abs(dy)), width - abs(dy) + 1):
                inside = 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1]
                border[y, x] |= not (inside and mask[y + dy, x + dx])
    return border


def scattered(count: int = 40, size: tuple[int, int] = (120, 150)) -> Instances:
    """Overlapping ellipses of many sizes, some ignored."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[: size[0], : size[1]]
    stack = np.zeros((count, *size), bool)
    for mask in stack:
        row, column, (high, wide) = random.uniform(0, size[0]), random.uniform(0, size[1]), random.uniform(1, 40, 2)
        mask[:] = ((y - row) / high) ** 2 + ((x - column) / wide) ** 2 <= 1
    labels = np.arange(count) % 3
    return Instances.from_dense(stack, labels, scores=random.random(count), ignore=np.arange(count) % 9 == 4)


@pytest.mark.parametrize(("side", "width"), [(3, 1), (20, 1), (60, 2)])
def test_an_outline_lies_on_the_objects_own_border_pixels(side: int, width: int):
    mask = np.zeros((80, 90), bool)
    mask[7 : 7 + side, 11 : 11 + side] = True
    mask[8, 11 + side] = True
    instances = Instances.from_dense(mask[None])
    drawn = draw.overlay(np.zeros(mask.shape, np.uint8), instances, colors=np.array([RED], np.uint8))
    assert np.array_equal((drawn == RED).all(2), border_by_hand(mask, width))
    assert not drawn[~mask].any()
    assert (drawn[mask & ~border_by_hand(mask, width)] == np.array([255 * draw.FILL // 1, 0, 0])).all()


def test_an_object_cut_by_the_image_has_its_outline_along_the_edge():
    drawn = draw.overlay(
        np.zeros((30, 30), np.uint8),
        Instances.from_label_map(np.ones((30, 30), np.uint8)),
        colors=np.array([RED], np.uint8),
    )
    assert (drawn[[0, -1]] == RED).all() and (drawn[:, [0, -1]] == RED).all()
    assert not (drawn[1:-1, 1:-1] == RED).all(2).any()


def test_lines_of_one_pixel_are_drawn_in_full_color():
    label_map = np.zeros((20, 20), np.uint8)
    label_map[3, 2:18] = 1
    label_map[np.arange(5, 19), np.arange(5, 19)] = 2
    drawn = draw.overlay(np.full((20, 20), 90, np.uint8), Instances.from_label_map(label_map))
    for value in (1, 2):
        assert len(np.unique(drawn[label_map == value], axis=0)) == 1


def test_every_one_of_overlapping_objects_is_seen():
    stack = np.zeros((4, 60, 60), bool)
    for place, mask in enumerate(stack):
        mask[4 * place : 60 - 4 * place, 4 * place : 60 - 4 * place] = True
    colors = object_colors(np.arange(4))
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        drawn = draw.overlay(np.zeros((60, 60), np.uint8), Instances.from_dense(stack[order]), colors=colors[order])
        for mask, color in zip(stack, colors, strict=True):
            assert (drawn[border_by_hand(mask, 1)] == color).all()


@pytest.mark.parametrize("form", ["crops", "layers"])
def test_the_file_and_every_cut_of_rows_equal_the_whole_overlay(tmp_path: Path, form: str):
    instances = scattered()
    if form == "layers":
        instances = instances.with_layers(instances.layers())
    image = np.random.default_rng(0).integers(0, 4000, (*instances.size, 2), dtype=np.uint16)
    classes = ("a", "bee", "sea")
    whole = draw.overlay(image, instances, classes=classes)
    for top in range(0, 120, 7):
        part = draw.overlay(image, instances, rows=slice(top, top + 7), classes=classes)
        assert np.array_equal(part, whole[top : top + 7])
    draw.write_overlay(image, instances, tmp_path / "a.png", classes=classes)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), whole)


def test_crops_and_a_label_map_are_drawn_alike():
    label_map = np.zeros((40, 50), np.uint16)
    label_map[5:20, 5:20], label_map[20:30, 5:20], label_map[35:, 40:] = 9, 4, 7
    image = np.arange(2000, dtype=np.float32).reshape(40, 50)
    mapped = Instances.from_label_map(label_map)
    assert np.array_equal(draw.overlay(image, mapped), draw.overlay(image, Instances.from_dense(mapped.dense())))


def test_an_ignored_object_is_hatched_in_grey():
    label_map = np.zeros((40, 40), np.uint8)
    label_map[5:35, 5:35] = 1
    instances = Instances.from_label_map(label_map, ignore=[True])
    drawn = draw.overlay(np.zeros((40, 40), np.uint8), instances)
    inside = drawn[6:34, 6:34]
    assert (drawn[5, 5:35] == GREY).all()
    assert 0.25 < inside.any(2).mean() < 0.5 and np.ptp(inside, axis=2).max() == 0


def test_class_colors_are_the_same_for_one_class_and_differ_between_classes():
    label_map = np.zeros((10, 40), np.uint8)
    label_map[2:4, 2:4], label_map[2:4, 12:14], label_map[2:4, 22:24] = 1, 2, 3
    drawn = draw.overlay(np.zeros((10, 40), np.uint8), Instances.from_label_map(label_map, [5, 2, 5]), colors="class")
    assert (drawn[2, 2] == drawn[2, 22]).all() and (drawn[2, 2] != drawn[2, 12]).any()


def test_names_are_written_on_objects_that_are_wide_enough_only():
    label_map = np.zeros((60, 120), np.uint8)
    label_map[10:50, 5:100], label_map[10:50, 105:109] = 1, 2
    instances = Instances.from_label_map(label_map, scores=[0.5, 0.5])
    image = np.zeros((60, 120), np.uint8)
    changed = (draw.overlay(image, instances, classes=("nucleus",)) != draw.overlay(image, instances)).any(2)
    assert changed[10:25, 5:100].any() and not changed[25:].any() and not changed[:, 100:].any()


def test_objects_without_masks_are_drawn_as_boxes():
    instances = Instances.from_boxes([[2.2, 3, 10.4, 12], [-5, -5, 4, 200], [30, 30, 90, 90], [7, 9, 7, 9]], (20, 25))
    drawn = draw.overlay(np.zeros((20, 25), np.uint8), instances)
    assert drawn[3, 2:10].any(1).all() and drawn[11, 2:10].any(1).all() and drawn[3:12, 9].any(1).all()
    assert not drawn[5:10, 5:9].any()


def test_objects_without_pixels_and_images_without_objects(tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.array_equal(draw.overlay(image, Instances.empty((9, 9))), image)
    nothing = Instances.from_dense(np.zeros((2, 9, 9), bool))
    assert np.array_equal(draw.overlay(image, nothing, classes=("a",)), image)
    assert draw.overlay(image[:0], Instances.empty((0, 9))).shape == (0, 9, 3)
    with pytest.raises(InputError, match="0 x 9"):
        draw.write_overlay(image[:0], Instances.empty((0, 9)), tmp_path / "a.png")


def test_writing_a_large_overlay_takes_little_memory(tmp_path: Path):
    size = (4000, 2000)
    label_map = np.zeros(size, np.uint16)
    blocks = label_map.reshape(200, 20, 100, 20)
    blocks[:, 4:16, :, 4:16] = np.arange(1, 20001, dtype=np.uint16).reshape(200, 1, 100, 1)
    instances = Instances.from_label_map(label_map)[::20]
    image = np.zeros(size, np.uint8)
    instances.mask_boxes.sum()
    tracemalloc.start()
    draw.write_overlay(image, instances, tmp_path / "a.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # the whole overlay alone is 24 MB, the masks dense are 8 GB


def test_the_hue_of_a_vector_is_its_angle_and_its_brightness_the_length():
    vectors = np.zeros((2, 2, 4))
    vectors[0] = [[1, -1, 0, 0], [2, 0.5, np.nan, 0]]
    vectors[1] = [[0, 0, 1, -1], [0, 0, 1, 0]]
    drawn = draw.color_of_angle(vectors, longest=2.0).astype(float)
    assert len(np.unique(drawn[0], axis=0)) == 4
    longer, shorter = drawn[1, 0], drawn[1, 1]
    assert np.allclose(longer / longer.max(), shorter / shorter.max(), atol=0.02) and longer.sum() > shorter.sum()
    assert not drawn[1, 3].any()
    assert not draw.color_of_angle(np.zeros((2, 3, 3))).any()


def test_heat_goes_from_its_least_to_its_greatest_value():
    drawn = draw.heat(np.array([[1.0, 2.0, 3.0, np.nan]]))
    assert np.array_equal(drawn, draw.heat(np.array([[1.0, 2.0, 3.0, np.nan]]), 1, 3))
    assert drawn[0, 0].sum() < drawn[0, 1].sum() < drawn[0, 2].sum() and (drawn[0, 3] == GREY).all()
    assert np.array_equal(draw.heat(np.array([[-9.0, 9.0]]), 0, 1), draw.heat(np.array([[0.0, 1.0]]), 0, 1))
    assert draw.heat(np.full((2, 2), 4)).shape == (2, 2, 3)


def test_a_pile_is_brighter_where_more_points_lie():
    points = np.array([[2.5, 1.2]] * 50 + [[0.0, 0.0], [4.99, 2.99], [5.0, 1.0], [-0.1, 1.0], [np.nan, 1.0]])
    drawn = draw.pile(points, (3, 5))
    assert drawn.any(2).nonzero()[0].tolist() == [0, 1, 2] and drawn.any(2).nonzero()[1].tolist() == [0, 2, 4]
    assert drawn[1, 2].sum() > drawn[0, 0].sum() == drawn[2, 4].sum()
    colored = draw.pile(points, (3, 5), np.tile(np.array(RED, np.uint8), (len(points), 1)))
    assert colored[1, 2].tolist() == [255, 0, 0] and 0 < colored[0, 0, 0] < 255 and not colored[:, :, 1:].any()
    assert not draw.pile(np.zeros((0, 2)), (3, 5)).any()


def test_a_contact_sheet_shows_every_picture_whole():
    pictures = [np.full((10 + 5 * n, 30 - 5 * n, 3), 40 * n, np.uint8) for n in range(5)]
    for captions in (None, ["one", "", "three", "a long caption that is cut", "five"]):
        sheet = draw.contact_sheet(pictures, columns=2, gap=4, captions=captions)
        for picture in pictures:
            windows = np.lib.stride_tricks.sliding_window_view(sheet, picture.shape)
            assert (windows == picture).all((3, 4, 5)).any()
    assert draw.contact_sheet([]).shape[2] == 3
