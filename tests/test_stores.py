import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from apiece import masks
from apiece.run_lengths import compress_counts, crop_to_counts, read_texts
from apiece.stores import CropStore, LayerStore, RunStore

few = settings(max_examples=40, deadline=None)
stacks = st.integers(0, 5).flatmap(lambda count: arrays(bool, (count, 6, 9)))


def packed(stack):
    tight = [masks.tighten(mask, (0, 0)) for mask in stack]
    boxes = np.array([box for _, box in tight], np.int64).reshape(-1, 4)
    return CropStore.pack([crop for crop, _ in tight], boxes, stack.shape[1:])


def layered(stack):
    """Each mask on a layer of its own, under a value that has nothing to do with its place."""
    count = len(stack)
    values = 3 * np.arange(count, dtype=np.int64)[::-1] + 2
    planes = np.zeros((max(count, 1), *stack.shape[1:]), np.int32)
    planes[:count] = stack * values[:, None, None]
    return LayerStore(planes, np.arange(count), values)


def run(stack):
    """As COCO's runs, read together with masks before and after that do not belong to the image."""
    size, counts = stack.shape[1:], [crop_to_counts(*masks.tighten(mask, (0, 0)), mask.shape) for mask in stack]
    texts = [compress_counts(runs, size) for runs in counts]
    other = compress_counts([1, 2, 3], (2, 3))
    pixels = np.array([6, *[size[0] * size[1]] * len(stack), 6])
    return RunStore.of(read_texts([other, *texts, other], pixels), size, 1, len(stack) + 1)


def whole(store):
    stack = np.zeros((len(store), *store.size), bool)
    for plane, (x1, y1, x2, y2), index in zip(stack, store.boxes.tolist(), range(len(store)), strict=True):
        plane[y1:y2, x1:x2] = store.crop(index)
    return stack


@pytest.mark.parametrize("make", [packed, layered, run])
@few
@given(stack=stacks)
def test_masks_come_back_with_their_boxes_and_areas(make, stack):
    store = make(stack)
    assert (whole(store) == stack).all()
    assert store.areas.tolist() == stack.sum((1, 2)).tolist()
    assert [tuple(box) for box in store.boxes.tolist()] == [masks.bounding_box(mask) for mask in stack]


@pytest.mark.parametrize("make", [packed, layered, run])
@few
@given(stack=stacks, data=st.data())
def test_a_selection_is_the_chosen_masks_in_the_chosen_order(make, stack, data):
    some = st.lists(st.integers(0, max(len(stack) - 1, 0)), max_size=6 if len(stack) else 0)
    indices = np.array(data.draw(some), np.int64)
    store = make(stack)
    if data.draw(st.booleans()):
        assert len(store.boxes) == len(store.areas)  # once known they are handed on
    chosen = store.select(indices)
    assert (whole(chosen) == stack[indices]).all()
    assert chosen.areas.tolist() == stack[indices].sum((1, 2)).tolist()


@pytest.mark.parametrize("make", [packed, layered, run])
@few
@given(stack=stacks)
def test_layers_hold_every_object_whole_numbered_from_1(make, stack):
    layers = make(stack).layers()
    for number, mask in enumerate(stack, start=1):
        assert ((layers == number).any(0) == mask).all()
    assert layers.max(initial=0) <= len(stack)


@pytest.mark.parametrize("make", [layered, run])
@few
@given(stack=stacks)
def test_packing_keeps_every_mask(make, stack):
    assert (whole(make(stack).packed()) == stack).all()


def test_a_crop_costs_one_bit_a_pixel():
    store = packed(np.ones((3, 16, 8), bool))
    assert len(store.bits) == 3 * 16
    assert store.offsets.tolist() == [0, 16, 32, 48]


@few
@given(sizes=st.lists(st.integers(0, 40), max_size=12), block=st.integers(1, 9), seed=st.integers(0, 9))
def test_areas_are_the_same_whatever_is_counted_at_once(sizes, block, seed):
    generator = np.random.default_rng(seed)
    crops = [generator.random((1, size)) < 0.5 for size in sizes]
    boxes = np.array([(0, 0, size, min(size, 1)) for size in sizes], np.int64).reshape(-1, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "BYTES", block)
        assert CropStore.pack(crops, boxes, (1, 40)).areas.tolist() == [crop.sum() for crop in crops]


def test_counting_areas_takes_little_memory_beside_the_masks():
    bits = np.random.default_rng(0).integers(0, 256, 16_000_000).astype(np.uint8)
    # One object of half of all, and many of 80 bytes.
    offsets = np.concatenate([[0], np.arange(8_000_000, 16_000_001, 80)])
    store = CropStore((16_000, 8_000), np.zeros((len(offsets) - 1, 4), np.int32), bits, offsets)
    tracemalloc.start()
    areas = store.areas
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_500_000 + areas.nbytes
    assert areas[0] == np.bitwise_count(bits[:8_000_000]).sum(dtype=np.int64)
    assert areas[1:].tolist() == np.bitwise_count(bits[8_000_000:]).reshape(-1, 80).sum(1).tolist()


def test_layers_that_are_numbered_already_are_not_copied():
    planes = np.array([[[0, 1, 2], [2, 2, 0]]], np.uint16)
    store = LayerStore(planes, np.zeros(2, np.int64), np.array([1, 2]))
    assert store.layers() is planes
    assert np.shares_memory(store.renumbered(0), planes)


def test_values_that_are_no_objects_are_background():
    planes = np.array([[[-7, 4, 9], [4, 2, 0]]], np.int32)
    store = LayerStore(planes, np.zeros(2, np.int64), np.array([9, 4]))
    assert store.renumbered(0).tolist() == [[0, 2, 1], [2, 0, 0]]
    assert store.areas.tolist() == [1, 2]


def test_huge_values_are_renumbered_without_a_table():
    planes = np.zeros((1, 5, 4), np.uint32)
    planes[0, 2], planes[0, 4, 1:] = 4_294_967_295, 3_000_000_000
    store = LayerStore(planes, np.zeros(2, np.int64), np.array([4_294_967_295, 3_000_000_000]))
    assert store.renumbered(0)[[2, 4, 4], [0, 0, 1]].tolist() == [1, 0, 2]
    assert store.renumbered(0, slice(4, 5)).tolist() == [[0, 2, 2, 2]]
    assert store.areas.tolist() == [4, 3]


@pytest.mark.parametrize("make", [packed, layered, run])
@few
@given(stack=stacks, first=st.integers(0, 7), rows=st.integers(0, 7))
def test_some_rows_of_a_crop_are_those_rows(make, stack, first, rows):
    store = make(stack)
    for index in range(len(stack)):
        wanted = store.crop(index)[first : first + rows]
        assert np.array_equal(store.crop(index, slice(first, first + rows)), wanted)
