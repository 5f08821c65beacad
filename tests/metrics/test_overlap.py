import numpy as np
import pytest

from apiece.instances import Instances
from apiece.metrics.overlap import box_areas, box_overlap, mask_overlaps, overlap
from apiece.metrics.runs import meetings, row_runs


def objects(generator: np.random.Generator, size: tuple[int, int], kind: str) -> Instances:
    if kind == "dense":
        stack = generator.random((generator.integers(0, 8), *size)) < generator.random()
        return Instances.from_dense(stack)
    if kind == "run lengths":
        dense = objects(generator, size, "dense")
        stack = np.kron(dense.dense(), np.ones((1, 9, 1), bool))[:, : size[0]]
        return Instances.from_rle(Instances.from_dense(stack).rle(), size)
    if kind == "label map":
        return Instances.from_label_map(generator.integers(0, 6, size))
    if kind == "layers":
        lower, upper = generator.integers(0, 4, size), generator.integers(0, 4, size)
        return Instances.from_layers(np.stack([lower, np.where(upper > 0, upper + 10, 0)]))
    shuffled = Instances.from_label_map(generator.integers(0, 9, size) * 7)
    return shuffled[generator.permutation(len(shuffled))[1:]]


def table(found: Instances, truth: Instances) -> np.ndarray:
    mine, theirs = (one.dense().reshape(len(one), one.size[0] * one.size[1]).astype(int) for one in (found, truth))
    return mine @ theirs.T


@pytest.mark.parametrize("theirs", ["dense", "run lengths", "label map", "layers", "some of a label map"])
@pytest.mark.parametrize("ours", ["dense", "run lengths", "label map", "layers", "some of a label map"])
def test_intersections_are_those_of_the_dense_masks(ours, theirs):
    generator = np.random.default_rng(1)
    for _ in range(12):
        size = tuple(generator.integers(1, 20, 2).tolist())
        found, truth = objects(generator, size, ours), objects(generator, size, theirs)
        pairs = overlap(found, truth)
        full = np.zeros((len(found), len(truth)), int)
        full[pairs.found, pairs.truth] = pairs.intersection
        assert (full == table(found, truth)).all()
        assert (pairs.intersection > 0).all()
        assert (np.diff(pairs.found * max(len(truth), 1) + pairs.truth) > 0).all()
        assert (pairs.found_areas == found.mask_areas).all()
        assert (pairs.truth_areas == truth.mask_areas).all()


@pytest.mark.parametrize("kinds", [("run lengths", "run lengths"), ("run lengths", "label map")])
def test_images_compared_together_have_the_overlaps_they_have_alone(kinds):
    generator = np.random.default_rng(7)
    images = []
    for _ in range(9):
        size = tuple(generator.integers(1, 30, 2).tolist())
        images.append(tuple(objects(generator, size, kind) for kind in kinds))
    images.insert(4, (images[4][0][:0], images[4][1][:0]))
    for together, (found, truth) in zip(mask_overlaps(images), images, strict=True):
        alone = overlap(found, truth)
        for name in ("found", "truth", "intersection", "found_areas", "truth_areas"):
            assert np.array_equal(getattr(together, name), getattr(alone, name))
    assert mask_overlaps([]) == []


def test_intersections_are_the_same_when_the_full_table_would_be_too_large(monkeypatch):
    generator = np.random.default_rng(2)
    found, truth = (objects(generator, (30, 30), "dense") for _ in range(2))
    full = overlap(found, truth)
    monkeypatch.setattr("apiece.metrics.overlap.DENSE_TABLE", 0)
    monkeypatch.setattr("apiece.metrics.runs.PAIRS", 16)
    monkeypatch.setattr("apiece.metrics.runs.STRIP", 256)
    sparse = overlap(found, truth)
    for name in ("found", "truth", "intersection", "found_areas"):
        assert np.array_equal(getattr(full, name), getattr(sparse, name))


def test_iou_share_and_dice_of_two_squares():
    found, truth = np.zeros((1, 10, 10), bool), np.zeros((1, 10, 10), bool)
    found[0, :4, :4], truth[0, 2:8, 2:8] = True, True
    pairs = overlap(Instances.from_dense(found), Instances.from_dense(truth))
    assert pairs.intersection.tolist() == [4]
    assert pairs.iou.tolist() == [4 / (16 + 36 - 4)]
    assert pairs.share.tolist() == [4 / 16]
    assert pairs.dice.tolist() == [8 / 52]


def test_runs_end_where_rows_and_objects_end():
    runs = row_runs(Instances.from_label_map(np.array([[0, 3, 3], [3, 3, 5]])))
    assert list(zip(*(part.tolist() for part in runs), strict=True)) == [(1, 3, 0), (3, 5, 0), (5, 6, 1)]
    dense = np.ones((1, 2, 3), bool)
    runs = row_runs(Instances.from_dense(dense))
    assert (runs.start.tolist(), runs.stop.tolist()) == ([0, 3], [3, 6])


def test_meetings_finds_each_pair_of_overlapping_intervals_once(monkeypatch):
    monkeypatch.setattr("apiece.metrics.runs.PAIRS", 7)
    generator = np.random.default_rng(3)
    for _ in range(20):
        sets = []
        for _ in range(2):
            start = np.sort(generator.integers(0, 30, generator.integers(0, 15)))
            sets += [start, start + generator.integers(1, 8, len(start))]
        a, b, c, d = sets
        found = [
            pair for mine, theirs in meetings(a, b, c, d) for pair in zip(mine.tolist(), theirs.tolist(), strict=True)
        ]
        wanted = [(i, j) for i in range(len(a)) for j in range(len(c)) if min(b[i], d[j]) > max(a[i], c[j])]
        assert sorted(found) == wanted


def test_boxes_overlap_as_in_pycocotools():
    from pycocotools import mask

    generator = np.random.default_rng(4)
    found, truth = (
        np.concatenate([generator.integers(0, 80, (n, 2)) / 4, generator.integers(0, 60, (n, 2)) / 10], 1)
        for n in (40, 30)
    )
    wanted = mask.iou(found, truth, [0] * 30)
    corners = [np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) for boxes in (found, truth)]
    pairs = box_overlap(*corners)
    full = np.zeros((40, 30))
    full[pairs.found, pairs.truth] = pairs.iou
    assert np.array_equal(full, wanted)


def test_widths_of_boxes_come_back_exactly_from_their_corners():
    generator = np.random.default_rng(5)
    corner, side = generator.integers(0, 10**6, (1000, 2)) / 1000, generator.integers(0, 10**5, (1000, 2)) / 1000
    assert np.array_equal(box_areas(np.concatenate([corner, corner + side], 1)), side[:, 0] * side[:, 1])


def test_objects_without_masks_are_compared_by_their_boxes():
    found = Instances.from_boxes([[0, 0, 10, 10]], (20, 20), scores=[0.5])
    truth = Instances.from_boxes([[0, 0, 10, 5], [15, 15, 20, 20]], (20, 20))
    pairs = overlap(found, truth)
    assert (pairs.found.tolist(), pairs.truth.tolist(), pairs.iou.tolist()) == ([0], [0], [0.5])
