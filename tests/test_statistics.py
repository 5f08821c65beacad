"""What is told of a data set is what a slow and obvious count gives."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiece import statistics
from apiece.instances import Instances
from apiece.statistics import Statistics, Survey, nearest_iou
from apiece.tallies import FINENESS, Counts, Tally


def random_truth(seed, count=12, size=(40, 60)):
    """Overlapping rectangles and discs of three classes, some ignored."""
    generator = np.random.default_rng(seed)
    rows, columns = np.ogrid[: size[0], : size[1]]
    masks = np.zeros((count, *size), bool)
    for number, mask in enumerate(masks):
        y, x = generator.integers(size[0]), generator.integers(size[1])
        high, wide = generator.integers(1, 9, 2)
        if number % 2:
            mask[y : y + high, x : x + wide] = True
        else:
            mask[:] = (rows - y) ** 2 + (columns - x) ** 2 <= high**2
    return Instances.from_dense(masks, generator.integers(3, size=count), ignore=generator.random(count) < 0.2)


def test_statistics_are_those_of_the_objects_that_count():
    label_map = np.zeros((20, 30), np.uint16)
    label_map[2:5, 3:9], label_map[10:12, 10:11], label_map[15:, 20:] = 1, 2, 3
    truth = Instances.from_label_map(label_map, ignore=[False, False, True])
    found = Statistics.of([truth, Instances.empty((5, 5))])
    assert (
        found.areas.tolist() == [18, 2] and found.sides.tolist() == [[3, 6], [2, 1]] and found.counts.tolist() == [2, 0]
    )


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(1e-4, 1e9), min_size=1, max_size=80), share=st.floats(0, 1))
def test_a_tally_knows_quantiles_to_about_one_percent(values, share):
    tally = Tally()
    for some in np.array_split(np.array(values), 3):
        tally.add(some)
    assert tally.total == len(values)
    exact = np.sort(values)[max(int(np.ceil(share * len(values) - 1e-9)), 1) - 1]
    assert abs(np.log2(tally.quantile(share) / exact)) <= 0.5 / FINENESS + 1e-6
    edges, counts = tally.bins(8)
    assert counts.sum() == len(values) and len(edges) == len(counts) + 1
    assert edges[0] <= min(values) * (1 + 1e-9) and max(values) <= edges[-1] * (1 + 1e-9)


def test_a_tally_of_nothing_has_no_quantile_and_no_bins():
    assert np.isnan(Tally().quantile(0.5)) and not len(Tally().bins(8)[1])


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(1, 300), min_size=1, max_size=80), share=st.floats(0, 1))
def test_counts_know_quantiles_exactly(values, share):
    counts = Counts(values)
    assert counts.quantile(share) == np.sort(values)[max(int(np.ceil(share * len(values) - 1e-9)), 1) - 1]
    assert counts.tally().total == len(values) and np.isnan(Counts().quantile(share))


def test_the_median_count_of_objects_is_one_that_an_image_has():
    survey = Survey(("a",))
    label_map = np.zeros((64, 64), np.uint16)
    label_map[::8, ::8] = np.arange(1, 65).reshape(8, 8)
    survey.add("x", Instances.from_label_map(label_map))
    assert survey.figures()["per_image"]["0.5"] == survey.figures()["most"] == 64


def test_a_survey_counts_as_one_would_by_hand():
    truths = [random_truth(seed) for seed in range(8)] + [Instances.empty((10, 20))]
    survey = Survey(("a", "b", "c"))
    for number, truth in enumerate(truths):
        survey.add(f"image {number}", truth)
    known = [truth[~truth.ignore] for truth in truths]
    stacks = [truth.dense() for truth in known]
    labels = np.concatenate([truth.labels for truth in known])
    assert (survey.images, survey.empty) == (9, 1)
    assert survey.objects == len(labels) and survey.ignored == sum(int(truth.ignore.sum()) for truth in truths)
    assert survey.class_objects.tolist() == np.bincount(labels, minlength=3).tolist()
    assert survey.class_images.tolist() == [sum(kind in truth.labels for truth in known) for kind in range(3)]
    assert survey.sizes == {(40, 60): 8, (10, 20): 1}
    assert survey.area == sum(int(stack.any(0).sum()) for stack in stacks) and survey.pixels == 8 * 2400 + 200
    depths = [int(stack.sum(0).max()) for stack in stacks[:-1]]
    assert survey.depths == {depth: depths.count(depth) for depth in depths}
    assert survey.deepest == (f"image {depths.index(max(depths))}", max(depths))
    assert survey.most[1] == max(map(len, known)) and survey.smallest[1] == min(
        truth.mask_areas.min(initial=999) for truth in known
    )
    shared = [stack[i][stack.sum(0) > 1].sum() / stack[i].sum() for stack in stacks for i in range(len(stack))]
    assert survey.overlapping[0] == sum(share == 0 for share in shared)
    assert survey.overlapping[10] == sum(share > 0.9 for share in shared)
    edge = [stack[i][[0, -1]].any() or stack[i][:, [0, -1]].any() for stack in stacks for i in range(len(stack))]
    assert survey.cut == sum(edge)
    assert survey.places.sum() == survey.diameters.total == survey.nested.sum() == survey.objects


def test_touching_objects_share_a_side_of_a_pixel():
    label_map = np.zeros((12, 12), np.uint16)
    label_map[1:4, 1:4], label_map[4:6, 2:5], label_map[6, 5], label_map[10, 10] = 1, 2, 3, 4
    survey = Survey(("a",))
    survey.add("x", Instances.from_label_map(label_map))
    # 1 and 2 touch; 3 meets 2 at a corner only.
    assert survey.touching == 2 and survey.deepest == ("x", 1)


def test_the_nearest_box_is_the_one_of_greatest_overlap(monkeypatch):
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [9, 9, 12, 12], [50, 50, 60, 60]])
    assert np.allclose(nearest_iou(boxes), [0.5, 0.5, 1 / 108, 0])
    assert nearest_iou(boxes[:1]).tolist() == [0]
    monkeypatch.setattr(statistics, "MOST_PAIRS", 8)
    assert np.allclose(nearest_iou(boxes), [0.5, 0])


def test_a_survey_does_not_grow_with_the_images_it_has_seen():
    def size(count):
        survey = Survey(("a", "b", "c"))
        for number in range(count):
            survey.add(f"image {number % 10}", random_truth(number % 10))
        arrays = [one.counts for one in (survey.diameters, survey.aspects, *survey.class_diameters)]
        arrays += [one for one in vars(survey).values() if isinstance(one, np.ndarray)]
        return sum(map(sys.getsizeof, (*arrays, survey.sizes, survey.depths, survey.per_image)))

    assert size(40) == size(10)


@pytest.mark.parametrize("count", [0, 3])
def test_figures_are_plain_numbers_for_json(count):
    import json

    survey = Survey(("a", "b", "c"))
    survey.add("x", random_truth(1, count))
    assert json.loads(json.dumps(survey.figures(), allow_nan=False))["images"] == 1


def test_small_and_large_are_what_a_tenth_is_beyond():
    sides = np.stack([np.arange(1, 102), np.full(101, 5)], 1)
    statistics = Statistics(np.arange(101) ** 2, sides, np.array([101]))
    assert statistics.large == 91
    assert statistics.small == pytest.approx(np.sqrt(4 * 100 / np.pi))
    nothing = Statistics(np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros(1, np.int64))
    assert nothing.small == nothing.large == nothing.narrow == 0 and nothing.sharing == 0.5


def test_boxes_are_shared_as_far_as_a_twentieth_of_the_objects_shares_more():
    layers = np.zeros((2, 40, 60), np.uint16)
    layers[0, 4:24, 4:24], layers[1, 4:24, 6:26] = 1, 2  # IoU 18 / 22
    layers[0, 30:36, 40:50] = 3
    alike = Statistics.of([Instances.from_layers(layers, labels=np.array([0, 0, 0]))])
    assert np.sort(alike.nested) == pytest.approx([0, 18 / 22, 18 / 22]) and alike.sharing == 0.8
    unlike = Statistics.of([Instances.from_layers(layers, labels=np.array([0, 1, 0]))])
    assert not unlike.nested.any() and unlike.sharing == 0.5
    layers[1] = 0
    layers[1, 4:24, 10:30] = 2  # IoU 14 / 26
    assert Statistics.of([Instances.from_layers(layers)]).sharing == pytest.approx(14 / 26 + 0.02, abs=0.01)
    both = Statistics.together([alike, unlike])
    assert len(both.nested) == len(both.areas) == 6 and len(both.counts) == 2


def test_narrow_is_half_the_breadth_of_discs_ellipses_and_sticks():
    row, column = np.mgrid[:100, :200] + 0.5
    disc, ellipse = (((row - 50) / 40) ** 2 + ((column - 100) / half) ** 2 < 1 for half in (40, 90))
    stick = (row > 40) & (row < 50)
    for mask, expected in ((disc, 40), (ellipse, 40), (stick, 10 * 2 / np.pi)):
        statistics = Statistics.of([Instances.from_dense(mask[None])])
        assert statistics.narrow == pytest.approx(expected, rel=0.02)
