import pickle

import numpy as np
import pytest
from scipy.ndimage import label

from apiece.data.generated import crossing_sticks, discs
from apiece.errors import CallError

SETS = {
    "sticks": lambda **options: crossing_sticks(40, **options),
    "hard": lambda **options: crossing_sticks(40, hard=True, **options),
    "discs": lambda **options: discs(40, **options),
}


def centroids(truth):
    return np.array([[axis.mean() for axis in np.nonzero(mask)] for mask in truth.dense()])


@pytest.mark.parametrize("make", SETS.values(), ids=SETS)
def test_an_image_is_a_function_of_seed_and_index(make):
    one, again, other = make(seed=3), pickle.loads(pickle.dumps(make(seed=3))), make(seed=4)
    for index in [7, 0]:
        assert (one.image(index) == again.image(index)).all()
        assert one.truth(index).equals(again.truth(index))
        assert not np.array_equal(one.image(index), other.image(index))
    assert not np.array_equal(one.image(0), one.image(1))
    assert not set(one.names) & set(other.names)


@pytest.mark.parametrize("make", SETS.values(), ids=SETS)
@pytest.mark.parametrize("size", [(128, 128), (64, 96), (150, 70)])
def test_images_have_the_size_asked_for_and_objects_inside(make, size):
    data = make(size=size)
    for sample in data.subset(range(5)):
        assert sample.image.shape[:2] == size == sample.truth.size == data.size(0)
        assert sample.image.dtype == np.uint8
        assert (sample.truth.areas > 0).all() and sample.truth.layers().shape[0] == 1


def test_sticks_cross_in_boxes_that_overlap_with_visible_centroids_apart():
    data = crossing_sticks(40)
    counts, parts = [], []
    for sample in data:
        truth = sample.truth
        counts.append(len(truth))
        parts += [label(crop)[1] for crop in truth.crops()]
        middles, boxes = centroids(truth), truth.boxes
        for i in range(len(truth)):
            for j in range(i):
                assert np.linalg.norm(middles[i] - middles[j]) > 8
                low, high = np.maximum(boxes[i, :2], boxes[j, :2]), np.minimum(boxes[i, 2:], boxes[j, 2:])
                smaller = min((boxes[k, 2:] - boxes[k, :2]).prod() for k in (i, j))
                assert (high - low).clip(0).prod() > 0.5 * smaller
    assert set(counts) == {2, 3, 4}
    assert np.mean(np.array(parts) > 1) > 0.3  # a stick crossed by another is one object in several parts


def test_hard_sticks_cross_at_their_midpoints():
    for sample in crossing_sticks(20, hard=True):
        first, second = centroids(sample.truth)
        assert len(sample.truth) == 2 and np.linalg.norm(first - second) < 3


def test_the_last_stick_lies_on_top_and_is_whole():
    for sample in crossing_sticks(20):
        assert label(sample.truth.crop(len(sample.truth) - 1))[1] == 1


def test_sticks_and_discs_can_be_told_from_the_ground():
    for data in [crossing_sticks(10), discs(10)]:
        for sample in data:
            grey = sample.image.mean(2)
            inside = sample.truth.label_map() > 0
            contrast = abs(np.median(grey[inside]) - np.median(grey[~inside]))
            assert (
                contrast > 3
                or abs(np.subtract(*[np.median(sample.image[part], 0) for part in (inside, ~inside)])).max() > 8
            )


def test_discs_are_as_many_as_asked_and_mostly_seen():
    counts = []
    for sample in discs(60, objects=(0, 9)):
        counts.append(len(sample.truth))
        for box, area in zip(sample.truth.boxes, sample.truth.areas, strict=True):
            assert area > 0.3 * np.pi / 4 * (box[2:] - box[:2]).prod()
    assert min(counts) == 0 and max(counts) == 9


@pytest.mark.parametrize("options", [{"size": (20, 128)}, {"sticks": (1, 2)}, {"sticks": (3, 2)}, {"sticks": (2, 9)}])
def test_sticks_that_cannot_lie_so_are_a_wrong_call(options):
    with pytest.raises(CallError, match="give 2 to 4 sticks and sides of at least 48"):
        crossing_sticks(1, **options)
