import numpy as np
import pytest

from apiece.checks.crossings import crossings
from apiece.polygons import crop_to_polygons

BOW = np.array([[0, 0], [10, 10], [10, 0], [0, 10]], float)
SQUARE = np.array([[0, 0], [9, 0], [9, 9], [0, 9]], float)


def test_a_bow_tie_crosses_itself_in_the_middle():
    found = crossings([[SQUARE], [BOW]])
    assert found.owner.tolist() == [1] and found.points.tolist() == [[5, 5]] and found.loops.tolist() == [25]


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("far", [0, 5000.5])
def test_the_smaller_loop_is_measured_wherever_the_ring_begins(turn, far):
    # A square of 20 whose last corner is drawn past its first side: a triangle hangs below.
    ring = np.array([[0, 0], [20, 0], [20, 20], [4, -4]], float) + far
    found = crossings([[np.roll(ring, turn, 0)]])
    x = 20 - 16 * 20 / 24
    assert found.points - far == pytest.approx(np.array([[x, 0]])) and found.loops == pytest.approx([x * 4 / 2])


def test_closing_points_and_touching_corners_are_no_crossings():
    closed = np.concatenate([SQUARE, SQUARE[:1]])
    repeated = np.repeat(SQUARE, 2, 0)
    touching = np.array([[0, 0], [4, 0], [4, 4], [8, 4], [8, 8], [4, 8], [4, 4], [0, 4]], float)
    there_and_back = np.array([[0, 0], [9, 0], [9, 9], [15, 9], [9, 9], [0, 9]], float)
    assert not len(crossings([[closed], [repeated], [touching], [there_and_back], [SQUARE[:2]], []]).owner)


def test_rings_of_one_object_may_cross_each_other():
    assert not len(crossings([[SQUARE, SQUARE + 3]]).owner)


def test_outlines_traced_from_masks_never_cross_themselves():
    generator = np.random.default_rng(0)
    masks = [generator.random((20, 20)) < share for share in (0.3, 0.5, 0.7)]
    outlines = [[ring for part in crop_to_polygons(mask, (3, 4)) for ring in part] for mask in masks]
    assert not len(crossings(outlines).owner)


def test_every_crossing_of_random_rings_is_found():
    generator = np.random.default_rng(1)
    rings = [generator.random((count, 2)) * 50 for count in (4, 7, 12, 30)]
    found = crossings([[ring] for ring in rings])
    for number, ring in enumerate(rings):
        assert (found.owner == number).sum() == count_by_pairs(ring)


def count_by_pairs(ring):
    """Crossings of a ring's edges, each pair by itself."""

    def side(a, b, c):
        return np.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    edges = list(zip(ring, np.roll(ring, -1, 0), strict=True))
    pairs = [(i, j) for i in range(len(edges)) for j in range(i + 2, len(edges)) if (i, j) != (0, len(edges) - 1)]
    return sum(
        side(*edges[i], edges[j][0]) != side(*edges[i], edges[j][1])
        and side(*edges[j], edges[i][0]) != side(*edges[j], edges[i][1])
        for i, j in pairs
    )


def keyhole(*parts: np.ndarray) -> np.ndarray:
    """Parts as one ring: from the first one's first point to each other one, around it, and back."""
    walks = [np.concatenate([part, part[:1], parts[0][:1]]) for part in parts]
    return np.concatenate(walks)


def test_bridges_that_join_parts_to_one_ring_are_no_crossings():
    between, far = SQUARE + (20, -4), SQUARE + (40, 0)
    assert len(crossings([[keyhole(SQUARE, between, far)]]).points) == 0
    assert crossings([[keyhole(SQUARE, between, far, BOW + (0, 30))]]).points.tolist() == [[5, 35]]
