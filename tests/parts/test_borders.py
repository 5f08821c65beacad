import numpy as np

from apiece.instances import Instances, concatenate
from apiece.parts.borders import border_pixels, edges, largest_parts


def instances(*rows: str) -> Instances:
    """Objects drawn in digits."""
    return Instances.from_label_map(np.array([[int(sign) for sign in row.replace(".", "0")] for row in rows], np.uint8))


def pieces(borders, index: int) -> set:
    window = slice(*borders.offsets[index : index + 2])
    ends = np.stack([borders.starts[window], borders.stops[window]], 1)
    return {tuple(sorted(map(tuple, both))) for both in ends.tolist()}


def test_a_single_pixel_has_four_edges_half_a_pixel_away():
    borders = edges(instances("....", "..1."))
    sides = [(1.5, 0.5, 2.5, 0.5), (1.5, 1.5, 2.5, 1.5), (1.5, 0.5, 1.5, 1.5), (2.5, 0.5, 2.5, 1.5)]
    assert pieces(borders, 0) == {((a, b), (c, d)) for a, b, c, d in sides}
    assert borders.centers.tolist() == [[2, 1]]


def test_edges_are_as_long_as_they_are_straight():
    borders = edges(instances("111", "111", "1.."))
    straight = pieces(borders, 0)
    assert ((-0.5, -0.5), (2.5, -0.5)) in straight and ((-0.5, -0.5), (-0.5, 2.5)) in straight
    assert len(straight) == 6
    np.testing.assert_allclose(borders.centers, [[6 / 7, 5 / 7]])


def test_the_edges_together_are_as_long_as_the_outline():
    label_map = np.random.default_rng(0).integers(0, 4, (12, 17))
    parts = largest_parts(label_map)
    truth = Instances.from_label_map(parts, labels=np.zeros(3), values=[1, 2, 3])
    borders, padded = edges(truth), np.pad(parts, 1)
    length = np.abs(borders.stops - borders.starts).sum(1)
    for number in (1, 2, 3):
        inside = padded == number
        around = sum((inside & ~np.roll(inside, step, axis)).sum() for step in (1, -1) for axis in (0, 1))
        assert length[slice(*borders.offsets[number - 1 : number + 1])].sum() == around


def test_only_the_largest_part_counts_and_of_equal_ones_the_first():
    plane = np.array([[1, 0, 1, 1], [2, 2, 0, 0], [1, 0, 2, 2], [0, 3, 0, 3]])
    assert largest_parts(plane).tolist() == [[0, 0, 1, 1], [2, 2, 0, 0], [0, 0, 0, 0], [0, 3, 0, 0]]


def test_objects_that_overlap_have_borders_each():
    both = concatenate([instances("111.", "111."), instances("..11", "....")])
    borders = edges(both)
    np.testing.assert_allclose(borders.centers, [[1, 0.5], [2.5, 0]])
    assert len(pieces(borders, 0)) == len(pieces(borders, 1)) == 4


def test_no_objects_have_no_borders():
    for borders in (edges(Instances.empty((4, 5))), border_pixels(Instances.empty((4, 5)))):
        assert borders.offsets.tolist() == [0] and borders.centers.shape == (0, 2) and borders.starts.shape == (0, 2)


def test_border_pixels_are_those_of_the_outer_outline():
    borders = border_pixels(instances(".....", ".1111", ".1.11", ".1111"))
    found = {tuple(point) for point in borders.starts.tolist()}
    # All but the pixels that see the hole only: there are none here but the hole itself.
    assert found == {(x, y) for y in (1, 2, 3) for x in (1, 2, 3, 4)} - {(2, 2), (3, 2)}
    # The polygon is 3 x 2 about (2.5, 2), the hole in it, and whole numbers are what is left.
    assert borders.centers.tolist() == [[2, 2]]


def test_the_polygon_of_border_pixels_cuts_corners():
    # Three squares about 0.5 or 1.5, and a triangle of 1, 2 and 1 in place of a fourth; with that one it were 4 and 2.
    borders = border_pixels(instances("......", "...111", "...111", "...11."))
    place = (0.5 + 1.5 + 0.5 + 0.5 * (1 + 2 + 1) / 3) / 3.5
    assert borders.centers.tolist() == [[np.floor(3 + place), np.floor(1 + place)]] == [[3, 1]]


def test_a_line_has_the_mean_of_its_pixels_as_its_center():
    assert border_pixels(instances(".11111")).centers.tolist() == [[3, 0]]


def test_parts_that_touch_at_a_corner_are_one_outline_of_border_pixels():
    borders = border_pixels(instances("11...", "11...", "..1..", "...1."))
    assert len(borders.starts) == 6
