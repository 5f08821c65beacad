import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from apiece import masks

few = settings(max_examples=40, deadline=None)
images = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda size: arrays(bool, size))
label_maps = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: arrays(np.int32, size, elements=st.integers(-3, 9))
)


def test_strips_cover_every_row_once():
    for size in [(0, 5), (1, 1), (10, 3), (7, 0), (5000, 3000)]:
        rows = [row for part in masks.strips(size, 1000) for row in range(part.start, part.stop)]
        assert rows == list(range(size[0]))


def test_label_maps_have_16_bits_where_they_fit():
    assert masks.label_type(65535) is np.uint16
    assert masks.label_type(65536) is np.uint32


@few
@given(images)
def test_bounding_box_is_the_smallest_that_holds_the_mask(mask):
    x1, y1, x2, y2 = masks.bounding_box(mask)
    rows, columns = np.nonzero(mask)
    wanted = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else (0, 0, 0, 0)
    assert (x1, y1, x2, y2) == wanted


@few
@given(images, st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_a_tightened_crop_covers_the_same_pixels(mask, corner):
    x, y = corner
    whole = np.zeros((20, 20), bool)
    whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    crop, (x1, y1, x2, y2) = masks.tighten(mask, corner)
    again = np.zeros_like(whole)
    again[y1:y2, x1:x2] = crop
    assert (again == whole).all()
    assert crop.size == 0 or (crop.any(0)[[0, -1]].all() and crop.any(1)[[0, -1]].all())


@few
@given(label_maps)
def test_values_areas_and_boxes_of_a_label_map_are_those_of_its_masks(label_map):
    values = masks.label_values(label_map)
    assert values.tolist() == sorted({value for value in label_map.ravel().tolist() if value > 0})
    stack = [label_map == value for value in values]
    assert masks.label_areas(label_map, values).tolist() == [mask.sum() for mask in stack]
    boxes = [tuple(box) for box in masks.label_boxes(label_map, values).tolist()]
    assert boxes == [masks.bounding_box(mask) for mask in stack]


def test_huge_values_cost_no_tables():
    label_map = np.zeros((60, 50), np.uint32)
    label_map[3:5, 4:9], label_map[20:22], label_map[59, 49] = 4_000_000_000, 7, 90_000_000
    values = masks.label_values(label_map)
    assert values.tolist() == [7, 90_000_000, 4_000_000_000]
    assert masks.label_areas(label_map, values).tolist() == [100, 1, 10]
    assert masks.label_boxes(label_map, values).tolist() == [[0, 20, 50, 22], [49, 59, 50, 60], [4, 3, 9, 5]]
    renumbered = masks.renumber(label_map, values[::-1], np.array([5, 6, 9]))
    assert renumbered[[3, 20, 59, 0], [4, 0, 49, 0]].tolist() == [5, 9, 6, 0]


def test_a_value_that_is_not_there_has_no_area_and_an_empty_box():
    label_map = np.array([[1, 300_000_000]], np.int32)
    assert masks.label_areas(label_map, np.array([2, 1])).tolist() == [0, 1]
    assert masks.label_boxes(label_map, np.array([2, 1])).tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]


def packed_first_fit(stack):
    tight = [masks.tighten(mask, (0, 0)) for mask in stack]
    boxes = np.array([box for _, box in tight], np.int64).reshape(-1, 4)
    return masks.first_fit([crop for crop, _ in tight], boxes, (6, 7))


def layers_of_first_fit(stack):
    taken = [np.zeros((6, 7), bool)]
    for mask in stack:
        free = next((layer for layer in taken if not (layer & mask).any()), None)
        taken.append(mask.copy()) if free is None else np.logical_or(free, mask, out=free)
    return np.stack(taken)


@few
@given(st.lists(arrays(bool, (6, 7)), max_size=6))
def test_first_fit_paints_every_mask_whole_on_as_few_layers_as_its_rule_needs(stack):
    layers = packed_first_fit(stack)
    for number, mask in enumerate(stack, start=1):
        assert ((layers == number).any(0) == mask).all()
    assert ((layers > 0) == layers_of_first_fit(stack)).all()


@pytest.mark.parametrize("density", [0.02, 0.1, 0.4])
def test_first_fit_keeps_its_rule_however_deep_objects_lie(density):
    stack = list(np.random.default_rng(3).random((80, 6, 7)) < density)
    wanted = layers_of_first_fit(stack)
    assert len(wanted) > 9 or density == 0.02
    layers = packed_first_fit(stack)
    assert layers.shape == wanted.shape and ((layers > 0) == wanted).all()
    assert all(((layers == number).any(0) == mask).all() for number, mask in enumerate(stack, start=1))
