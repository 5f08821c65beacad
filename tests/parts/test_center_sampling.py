import numpy as np
import pytest

from apiece.parts.center_sampling import cells_within, map_points, owners

MAPS, STRIDES, LIMITS = [(16, 24), (8, 12), (4, 6)], [4, 8, 16], (10.0, 20.0)


def boxes(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    low = generator.integers(0, (90, 58), (count, 2))
    return np.concatenate([low, low + generator.integers(0, 40, (count, 2))], 1).astype(np.float64)


def dense(boxes: np.ndarray, centers: np.ndarray, radius: float) -> np.ndarray:
    """Every point against every object."""
    owner = []
    for number, (size, stride) in enumerate(zip(MAPS, STRIDES, strict=True)):
        for x, y in map_points([size], [stride]):
            best, smallest = -1, np.inf
            for index, ((x1, y1, x2, y2), (center_x, center_y)) in enumerate(zip(boxes, centers, strict=True)):
                low_x, low_y = max(center_x - radius * stride, x1), max(center_y - radius * stride, y1)
                high_x, high_y = min(center_x + radius * stride, x2), min(center_y + radius * stride, y2)
                farthest = max(x - x1, y - y1, x2 - x, y2 - y)
                fits = (-1, *LIMITS)[number] <= farthest <= (*LIMITS, np.inf)[number]
                area = (x2 - x1 + 1) * (y2 - y1 + 1)
                if low_x < x < high_x and low_y < y < high_y and fits and area < smallest:
                    best, smallest = index, area
            owner.append(best)
    return np.array(owner)


@pytest.mark.parametrize("radius", [0.7, 1.5, np.inf])
def test_points_stand_for_the_smallest_of_those_they_fit(radius):
    given = boxes(25, 1)
    centers = (given[:, :2] + given[:, 2:]) / 2 + np.random.default_rng(2).uniform(-3, 3, (25, 2))
    found = owners(given, centers, MAPS, STRIDES, LIMITS, radius, at_least_one=False)
    expected = dense(given, centers, radius)
    assert np.array_equal(found, expected) and (expected >= 0).sum() > 20


def test_of_equal_boxes_the_first_has_the_points():
    given = np.array([[4.0, 4, 20, 20], [4, 4, 20, 20]])
    found = owners(given, np.full((2, 2), 12.0), MAPS, STRIDES, LIMITS, 1.5, at_least_one=False)
    assert set(found.tolist()) == {-1, 0}


def test_the_tiniest_object_has_the_point_nearest_to_it():
    given = np.array([[40.5, 8.5, 41.5, 9.5], [0, 0, 90, 60]])
    centers = np.array([[41.0, 9.0], [45, 30]])
    assert 0 not in owners(given, centers, MAPS, STRIDES, LIMITS, 1.5, at_least_one=False)
    found = owners(given, centers, MAPS, STRIDES, LIMITS, 1.5, at_least_one=True)
    (location,) = np.flatnonzero(found == 0)
    # 42, 10 is the nearest of 2, 6, 10, ... each way.
    assert map_points(MAPS, STRIDES)[location].tolist() == [42, 10] and (found == 1).any()


def test_an_object_at_the_border_has_a_point_of_the_map():
    given = np.array([[95.5, 63.5, 96.5, 64.5]])
    found = owners(given, np.array([[96.0, 64.0]]), MAPS, STRIDES, LIMITS, 1.5, at_least_one=True)
    assert np.flatnonzero(found == 0).tolist() == [16 * 24 - 1]


def test_no_objects_have_no_points():
    nothing = owners(np.zeros((0, 4)), np.zeros((0, 2)), MAPS, STRIDES, LIMITS, 1.5, at_least_one=True)
    assert (nothing == -1).all() and len(nothing) == 16 * 24 + 8 * 12 + 4 * 6


def test_cells_that_begin_in_the_padding_are_told_apart():
    within = cells_within([(4, 4), (2, 2)], [4, 8], (8, 9))
    assert within[:16].reshape(4, 4).tolist() == [[True] * 3 + [False]] * 2 + [[False] * 4] * 2
    assert within[16:].reshape(2, 2).tolist() == [[True, True], [False, False]]
