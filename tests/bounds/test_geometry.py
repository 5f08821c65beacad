import numpy as np
import pytest

from apiece.bounds.geometry import close_boxes, convexity, nearest_distance, seen_share, shape_of, suppressed

Y, X = np.mgrid[:41, :41]
DISC = (Y - 20) ** 2 + (X - 20) ** 2 <= 400
RING = DISC & ((Y - 20) ** 2 + (X - 20) ** 2 > 100)


def hull_pixels(mask):
    """The pixels whose centers lie in the hull of the mask's, found by trying each against each edge of the hull."""
    from scipy.spatial import ConvexHull

    edges = ConvexHull(np.argwhere(mask)).equations
    every = np.argwhere(np.ones_like(mask))
    return int(((every @ edges[:, :2].T + edges[:, 2]) <= 1e-9).all(1).sum())


@pytest.mark.parametrize("mask", [DISC, np.ones((1, 1), bool), np.ones((1, 9), bool), np.ones((7, 1), bool)])
def test_a_convex_object_is_convex_on_the_grid_and_seen_from_its_middle(mask):
    assert shape_of(mask) == (1.0, 1.0, 1, 0, False)


def test_a_diagonal_line_is_convex_and_one_part():
    assert shape_of(np.eye(7, dtype=bool)) == (1.0, 1.0, 1, 0, False)


@pytest.mark.parametrize("seed", range(8))
def test_convexity_counts_the_pixels_of_the_hull(seed):
    mask = np.random.default_rng(seed).random((9, 12)) > 0.7
    mask = mask[np.ix_(np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0)))]
    assert convexity(mask) == pytest.approx(mask.sum() / hull_pixels(mask))


def test_a_ring_has_a_hole_which_hides_its_far_side():
    shape = shape_of(RING)
    assert (shape.parts, shape.holes, shape.hollow) == (1, 1, True)
    assert 0.2 < shape.seen < 0.6
    assert shape.convexity == pytest.approx(RING.sum() / DISC.sum())


def test_a_tiny_hole_is_a_hole_but_no_hollow():
    mask = DISC.copy()
    mask[5, 20] = False
    assert shape_of(mask).holes == 1 and not shape_of(mask).hollow


def test_a_bay_hides_what_lies_behind_it():
    corner = np.zeros((20, 20), bool)
    corner[:, :4] = corner[16:] = True
    assert seen_share(corner) < 0.7 and shape_of(corner).holes == 0


def test_pieces_that_touch_at_corners_are_one_part():
    mask = np.zeros((6, 9), bool)
    mask[:3, :3] = mask[3:, 3:6] = True
    assert shape_of(mask).parts == 1
    mask[0, 8] = True
    assert shape_of(mask).parts == 2


def overlaps(boxes):
    from torch import from_numpy
    from torchvision.ops import box_iou

    return box_iou(from_numpy(boxes), from_numpy(boxes)).numpy()


@pytest.mark.parametrize("at_once", [1, 50, 1 << 20])
def test_close_boxes_are_those_of_all_pairs(monkeypatch, at_once):
    monkeypatch.setattr("apiece.bounds.geometry.AT_ONCE", at_once)
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 30, (60, 2))
    boxes, labels = np.hstack([corner, corner + generator.uniform(5, 20, (60, 2))]), generator.integers(0, 2, 60)
    expected = np.argwhere(np.triu((overlaps(boxes) > 0.4) & (labels[:, None] == labels), 1))
    found = close_boxes(boxes, labels, 0.4)
    assert len(expected) > 20 and {*map(tuple, found.tolist())} == {*map(tuple, expected.tolist())}


def test_suppressed_boxes_are_those_that_nms_takes_away():
    from torch import from_numpy, ones
    from torchvision.ops import batched_nms

    generator = np.random.default_rng(1)
    corner = generator.uniform(0, 25, (80, 2))
    boxes, labels = np.hstack([corner, corner + generator.uniform(5, 20, (80, 2))]), generator.integers(0, 2, 80)
    # Falling scores that hardly differ: the order of the boxes.
    scores = ones(80).double() - from_numpy(np.arange(80) / 1000)
    kept = batched_nms(from_numpy(boxes), scores, from_numpy(labels), 0.5).numpy()
    assert sorted(kept.tolist()) == np.flatnonzero(~suppressed(boxes, labels, 0.5)).tolist()


def test_without_boxes_nothing_is_close():
    assert close_boxes(np.zeros((0, 4)), np.zeros(0, np.int64), 0.5).shape == (0, 2)
    assert not len(suppressed(np.zeros((0, 4)), np.zeros(0, np.int64), 0.5))


def test_a_point_alone_has_no_neighbor():
    assert np.isinf(nearest_distance(np.zeros((1, 2)))).all()
    assert nearest_distance(np.array([[0.0, 0], [3, 4], [3, 5]])).tolist() == [5, 1, 1]
