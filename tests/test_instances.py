import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from scipy import ndimage

from apiece.instances import Instances, concatenate

few = settings(max_examples=40, deadline=None)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
stacks = st.tuples(st.integers(0, 5), sizes).flatmap(lambda shape: arrays(bool, (shape[0], *shape[1])))


def some(count=4, size=(8, 9), **fields):
    """Objects that overlap, with every field."""
    stack = np.random.default_rng(1).random((count, *size)) < 0.4
    fields = {
        "labels": np.arange(count) % 3,
        "scores": np.linspace(0.9, 0.1, count),
        "ignore": np.arange(count) % 2 == 1,
        "columns": {"id": np.arange(count) + 100},
        **fields,
    }
    return Instances.from_dense(stack, **fields)


@few
@given(stacks)
def test_masks_survive_every_form_that_can_hold_them(stack):
    size = stack.shape[1:]
    truth = Instances.from_dense(stack)
    assert (truth.dense() == stack).all()
    assert (Instances.from_rle(truth.rle(), size).dense() == stack).all()
    plain = [{"size": list(size), "counts": mask} for mask in uncompressed(stack)]
    assert (Instances.from_rle(plain, size).dense() == stack).all()
    inked = truth[truth.areas > 0]
    assert (Instances.from_layers(inked.layers()).dense() == inked.dense()).all()
    assert truth.equals(Instances.from_crops(list(truth.crops()), truth.mask_boxes, size))


def uncompressed(stack):
    for mask in stack:
        flat = mask.T.ravel().tolist()
        counts, last = [0], False
        for pixel in flat:
            if pixel != last:
                counts.append(0)
                last = pixel
            counts[-1] += 1
        yield counts


@few
@given(stacks)
def test_run_lengths_areas_and_boxes_equal_pycocotools(stack):
    found = Instances.from_dense(stack)
    runs = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in stack]
    assert [run["counts"] for run in found.rle()] == [run["counts"].decode() for run in runs]
    assert [run["size"] for run in found.rle()] == [run["size"] for run in runs]
    assert found.areas.tolist() == [coco_mask.area(run) for run in runs]
    for (x1, y1, x2, y2), run in zip(found.boxes.tolist(), runs, strict=True):
        assert [x1, y1, x2 - x1, y2 - y1] == list(map(float, coco_mask.toBbox(run)))


@few
@given(sizes.flatmap(lambda size: arrays(np.int16, size, elements=st.integers(-2, 6))))
def test_a_label_maps_positive_values_are_the_objects(label_map):
    found = Instances.from_label_map(label_map)
    values = sorted({value for value in label_map.ravel().tolist() if value > 0})
    assert (found.dense() == (label_map == np.reshape(values, (-1, 1, 1)))).all()
    painted = found.label_map()
    assert painted.dtype == np.uint16
    for number, value in enumerate(values, start=1):
        assert ((painted == number) == (label_map == value)).all()
    assert ((painted == 0) == (label_map <= 0)).all()


@few
@given(stacks, st.integers(0, 9), st.integers(0, 9))
def test_a_label_map_shows_the_smallest_object_and_of_equal_ones_the_first(stack, top, height):
    found = Instances.from_dense(stack)
    wanted = np.zeros(stack.shape[1:], int)
    areas = stack.sum((1, 2))
    for index in sorted(range(len(stack)), key=lambda index: (-areas[index], -index)):
        wanted[stack[index]] = index + 1
    assert (found.label_map() == wanted).all()
    rows = slice(top, top + height)
    assert (found.label_map(rows) == wanted[rows]).all()


def test_a_label_map_of_layers_is_that_of_their_masks():
    truth = some()
    layered = truth.with_layers(truth.layers())
    assert len(truth.layers()) > 1
    assert (layered.label_map() == truth.label_map()).all()


@few
@given(stacks)
def test_the_outlines_of_an_object_are_its_mask(stack):
    found = Instances.from_dense(stack)
    for mask, parts in zip(stack, found.polygons(), strict=True):
        rings = [ring for part in parts for ring in part]
        area = sum((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2 for x, y in (ring.T for ring in rings))
        assert area == mask.sum()


@few
@given(sizes.flatmap(lambda size: arrays(np.int8, size, elements=st.integers(0, 5))))
def test_objects_apart_come_back_from_every_form_alike(label_map):
    stack = label_map == np.unique(label_map[label_map > 0])[:, None, None]
    truth = Instances.from_dense(stack)
    assert Instances.from_label_map(truth.label_map()).equals(truth)
    assert truth.layers().shape == (1, *label_map.shape)
    assert Instances.from_layers(truth.layers()).equals(truth)
    assert Instances.from_rle(Instances.from_label_map(truth.label_map()).rle(), truth.size).equals(truth)


@few
@given(stacks)
def test_objects_without_holes_come_back_from_their_outlines(stack):
    # Holes are 8-connected.
    solid = np.array([ndimage.binary_fill_holes(mask, np.ones((3, 3))) for mask in stack]).reshape(stack.shape)
    truth = Instances.from_dense(solid.astype(bool))
    outlines = [[ring for part in parts for ring in part] for parts in truth.polygons()]
    assert Instances.from_polygons(outlines, truth.size).equals(truth)


@few
@given(stacks, sizes)
def test_a_resized_object_is_where_pixels_centers_lie_on_it(stack, size):
    truth = Instances.from_dense(stack, columns={"id": np.arange(len(stack))})
    places = [
        [int((i + Fraction(1, 2)) * old / new) for i in range(new)] for new, old in zip(size, truth.size, strict=True)
    ]
    wanted = stack[:, places[0]][:, :, places[1]]
    if size == truth.size:
        assert truth.resized(size) is truth
    else:
        seen = wanted.any((1, 2))
        resized = truth.resized(size)
        assert resized.size == size
        assert (resized.dense() == wanted[seen]).all()
        assert resized.columns["id"].tolist() == np.flatnonzero(seen).tolist()


def test_a_resized_image_forgets_the_boxes_its_source_gave():
    truth = Instances.from_dense(np.ones((1, 2, 2), bool), boxes=[[0, 0, 9, 9]], areas=[99], scores=[0.5])
    twice = truth.resized((4, 6))
    assert twice.boxes.tolist() == [[0, 0, 6, 4]] and twice.areas.tolist() == [24] and twice.scores.tolist() == [0.5]


def test_polygons_with_a_hole_and_several_rings_are_one_object():
    outlines = [[[(0, 0), (3, 0), (3, 3), (0, 3)], [(5, 5), (8, 5), (8, 8), (5, 8)]]]
    found = Instances.from_polygons(outlines, (9, 9), [2])
    assert found.areas.tolist() == [18]
    assert found.dense()[0, 1, 1] and found.dense()[0, 6, 6] and not found.dense()[0, 4, 4]


def test_seventy_thousand_objects_have_32_bit_labels():
    label_map = np.arange(1, 70_001, dtype=np.uint32).reshape(250, 280)
    found = Instances.from_label_map(label_map)
    assert len(found) == 70_000
    assert found.label_map().dtype == np.uint32
    assert (found.label_map() == label_map).all()
    half = found[::2]
    assert half.label_map().dtype == np.uint16
    assert half.label_map()[0, :4].tolist() == [1, 0, 2, 0]
    assert half.boxes[1].tolist() == [2, 0, 3, 1]


def test_one_pixel_no_pixels_and_no_objects_work_everywhere():
    for found in [Instances.from_dense(np.ones((1, 1, 1), bool)), Instances.empty((1, 1)), Instances.empty((0, 7))]:
        assert found.dense().shape == (len(found), *found.size)
        assert found.layers().shape[1:] == found.label_map().shape == found.size
        assert len(found.rle()) == len(found.polygons()) == len(found.boxes) == len(found.areas) == len(found)
        assert Instances.from_rle(found.rle(), found.size).equals(found)
        assert concatenate([found, found]).size == found.size
        assert found.with_layers(found.layers()).size == found.size
        assert found.resized((3, 2)).size == (3, 2)
    assert Instances.empty((3, 4), scored=True).scores.shape == (0,)
    assert Instances.empty((3, 4)).scores is None


def test_an_empty_mask_is_an_object_without_pixels():
    found = Instances.from_dense(np.zeros((2, 3, 4), bool))
    assert found.areas.tolist() == [0, 0] and found.boxes.tolist() == [[0] * 4] * 2
    assert found.polygons() == [[], []]
    assert len(found.with_layers(found.layers())) == 0


@pytest.mark.parametrize(
    "index, kept",
    [
        (np.array([True, False, True, False]), [0, 2]),
        (slice(1, None), [1, 2, 3]),
        (np.array([3, 0, 0]), [3, 0, 0]),
        (-1, [3]),
        ([], []),
        (np.zeros(4, bool), []),
    ],
)
def test_indexing_filters_every_field_at_once(index, kept):
    found = some().replace(boxes=np.arange(16).reshape(4, 4), areas=np.arange(4) + 0.5)
    chosen = found[np.asarray(index, int) if isinstance(index, list) else index]
    assert chosen.labels.tolist() == found.labels[kept].tolist()
    assert chosen.scores.tolist() == found.scores[kept].tolist()
    assert chosen.ignore.tolist() == found.ignore[kept].tolist()
    assert chosen.columns["id"].tolist() == found.columns["id"][kept].tolist()
    assert chosen.boxes.tolist() == found.boxes[kept].tolist()
    assert chosen.areas.tolist() == found.areas[kept].tolist()
    assert (chosen.dense() == found.dense()[kept]).all()


def test_an_empty_list_selects_nothing():
    assert len(some()[[]]) == 0


def test_the_sources_own_boxes_and_areas_are_kept_and_can_be_removed():
    found = some().replace(boxes=[[0.5, 1, 2, 3]] * 4, areas=[1.25] * 4)
    assert found.boxes[0].tolist() == [0.5, 1, 2, 3] and found.areas[0] == 1.25
    assert found.mask_areas.tolist() == found.dense().sum((1, 2)).tolist()
    assert found.replace(boxes=None, areas=None).equals(some())
    assert not found.equals(some())


def test_one_other_pixel_or_entry_makes_objects_unequal():
    stack = some().dense()
    stack[2, 3, 3] ^= True
    others = [
        some()[:3],
        some().replace(labels=np.zeros(4)),
        some().replace(scores=None),
        some().replace(columns={"id": np.arange(4)}),
        some().replace(columns={"order": np.arange(4) + 100}),
        Instances.from_boxes(np.zeros((4, 4)), (8, 9), scores=np.ones(4)),
        Instances.from_dense(
            stack, **{name: getattr(some(), name) for name in ("labels", "scores", "ignore", "columns")}
        ),
    ]
    assert some().equals(some())
    assert not any(some().equals(other) or other.equals(some()) for other in others)


def test_a_field_of_another_length_is_refused():
    with pytest.raises(ValueError, match="4 labels, but 3 scores"):
        some().replace(scores=np.zeros(3))
    with pytest.raises(ValueError, match="4 labels, but 2 order"):
        some().replace(columns={"order": [1, 2]})
    with pytest.raises(ValueError, match="3 labels, but 4 masks"):
        Instances((8, 9), [0, 0, 0], store=some().store)


def test_boxes_alone_have_no_masks_and_say_so():
    found = Instances.from_boxes([[1, 2, 4, 6], [0, 0, 1, 1]], (8, 8), [1, 0], scores=[0.5, 0.25])
    assert not found.has_masks
    assert found.areas.tolist() == [12, 1]
    assert found[found.scores > 0.3].boxes.tolist() == [[1, 2, 4, 6]]
    assert len(concatenate([found, found])) == 4
    for ask in [found.dense, found.layers, found.label_map, found.rle, found.polygons, lambda: found.mask_areas]:
        with pytest.raises(ValueError, match="boxes only"):
            ask()


def test_concatenation_keeps_masks_fields_and_order():
    first, label_map = some(3), np.full((8, 9), 7, np.uint16)
    second = Instances.from_label_map(label_map, [2], scores=[0.3], columns={"id": [5]})
    both = concatenate([first, second, first[:0]])
    assert (both.dense() == np.concatenate([first.dense(), second.dense()])).all()
    assert both.labels.tolist() == [0, 1, 2, 2]
    assert both.scores.tolist() == [*first.scores.tolist(), 0.3]
    assert both.columns["id"].tolist() == [100, 101, 102, 5]
    layered = concatenate([second, second])
    assert (layered.dense() == np.ones((2, 8, 9))).all() and layered.boxes.tolist() == [[0, 0, 9, 8]] * 2


def test_only_objects_of_one_image_and_with_the_same_fields_can_be_concatenated():
    with pytest.raises(ValueError, match="nothing"):
        concatenate([])
    for other in [some(size=(8, 8)), some().replace(scores=None), some().replace(columns={})]:
        with pytest.raises(ValueError, match="same fields"):
            concatenate([some(), other])


def test_moved_layers_drop_what_left_the_image_and_keep_the_rest_whole():
    truth = some().replace(boxes=np.zeros((4, 4)), areas=np.zeros(4))
    layers = truth.layers().copy()
    layers[layers == 2] = 0
    moved = truth.with_layers(layers[:, 1:, :5])
    assert moved.columns["id"].tolist() == [100, 102, 103]
    assert moved.size == (7, 5)
    assert (moved.dense() == truth.dense()[[0, 2, 3], 1:, :5]).all()
    assert moved.areas.tolist() == moved.dense().sum((1, 2)).tolist()


def test_a_value_on_two_layers_is_refused():
    with pytest.raises(ValueError, match="two layers"):
        Instances.from_layers(np.ones((2, 3, 3), np.uint16))


def test_masks_from_run_lengths_never_cost_more_than_a_byte_for_each_pixel_of_their_boxes():
    noise = np.random.default_rng(0).random((3, 60, 60)) < 0.5
    bars = np.zeros((3, 60, 60), bool)
    bars[0, 5:50, 7] = bars[1, 10] = bars[2, 20:40, 20:40] = True
    for stack in (noise, bars):
        found = Instances.from_rle(Instances.from_dense(stack).rle(), (60, 60))
        boxes = found.mask_boxes
        arrays = [array for array in vars(found.store).values() if isinstance(array, np.ndarray) and array is not boxes]
        assert sum(array.nbytes for array in arrays) <= (boxes[:, 2:] - boxes[:, :2]).prod(1).sum() + 8 * 4
        assert (found.dense() == stack).all()


def test_run_lengths_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        Instances.from_rle([{"size": [3, 4], "counts": [12]}], (4, 3))


def test_a_label_map_is_not_copied_until_somebody_asks_for_crops():
    label_map = np.arange(12, dtype=np.uint16).reshape(3, 4)
    found = Instances.from_label_map(label_map)
    assert np.shares_memory(found.label_map(), label_map)
    assert np.shares_memory(found.layers(), label_map)


def test_given_values_are_the_objects_in_their_order():
    label_map = np.array([[5, 5, 1], [0, 9, 1]], np.int32)
    found = Instances.from_label_map(label_map, [3, 4], values=[9, 5])
    assert found.areas.tolist() == [1, 2]
    assert found.label_map().tolist() == [[2, 2, 0], [0, 1, 0]]


def test_tensors_hold_the_same_objects():
    truth = some()
    tensors = truth.to("cpu")
    for index, mask in enumerate(truth.dense()):
        assert ((tensors.layers == index + 1).any(0).numpy() == mask).all()
    assert tensors.layers.dtype == torch.int64
    assert tensors.labels.tolist() == truth.labels.tolist()
    assert tensors.boxes.dtype == torch.float32 and tensors.boxes.tolist() == truth.boxes.tolist()


def test_using_instances_imports_no_torch():
    program = """
import sys
import numpy as np
from apiece.instances import Instances, concatenate
found = Instances.from_label_map(np.eye(4, dtype=np.uint16), scores=[0.5])
found = concatenate([found, Instances.from_rle(found.rle(), found.size, scores=[0.25])])
found.polygons(), found.layers(), found.label_map(), found.boxes
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
