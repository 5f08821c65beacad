import numpy as np

from apiece.colors import CLEAR, GREY, heat_table, hue_table, lightness, neighbor_colors, object_colors

WEIGHTS = np.array([0.299, 0.587, 0.2]) ** 0.5


def grid_of_touching_boxes(side: int, pitch: int = 20) -> np.ndarray:
    y, x = np.divmod(np.arange(side * side), side)
    return np.stack([x * pitch, y * pitch, (x + 1) * pitch, (y + 1) * pitch], 1)


def test_a_number_has_one_color_always():
    assert np.array_equal(object_colors(np.arange(50))[[7, 3]], object_colors(np.array([7, 3])))
    assert len(np.unique(object_colors(np.arange(300)), axis=0)) > 290


def test_colors_of_objects_are_seen_on_black_and_on_white():
    light = lightness(object_colors(np.arange(500)))
    assert light.min() > 0.25 and light.max() < 0.9


def test_touching_objects_get_colors_that_differ_at_a_glance():
    side = 55  # numbered row by row, plain golden-angle hues would nearly repeat from row to row
    colors = (neighbor_colors(grid_of_touching_boxes(side)) * WEIGHTS).reshape(side, side, 3)
    across = np.linalg.norm(np.diff(colors, axis=1), axis=2)
    down = np.linalg.norm(np.diff(colors, axis=0), axis=2)
    slant = np.linalg.norm(colors[1:, 1:] - colors[:-1, :-1], axis=2)
    assert min(across.min(), down.min(), slant.min()) > 0.7 * CLEAR
    plain = (object_colors(np.arange(side * side)) * WEIGHTS).reshape(side, side, 3)
    assert np.linalg.norm(np.diff(plain, axis=0), axis=2).min() < 0.35 * CLEAR


def test_objects_far_apart_keep_the_color_of_their_number():
    boxes = grid_of_touching_boxes(6) * 3 + np.array([0, 0, -40, -40])
    assert np.array_equal(neighbor_colors(boxes), object_colors(np.arange(36)))


def test_colors_of_no_object_and_of_one():
    assert neighbor_colors(np.zeros((0, 4), int)).shape == (0, 3)
    assert neighbor_colors(np.array([[0, 0, 5, 5]])).shape == (1, 3)


def test_an_object_around_all_others_is_a_neighbor_of_all():
    boxes = np.concatenate([grid_of_touching_boxes(5) * 4, [[0, 0, 400, 400]]])
    colors = neighbor_colors(boxes) * WEIGHTS
    assert np.linalg.norm(colors[:-1] - colors[-1], axis=1).min() > 25


def test_heat_gets_lighter_from_step_to_step():
    assert (np.diff(lightness(heat_table())) > -1e-3).all()
    assert lightness(heat_table())[-1] - lightness(heat_table())[0] > 0.7


def test_the_circle_of_hues_is_closed_and_even():
    steps = np.abs(np.diff(hue_table().astype(int), axis=0, append=hue_table()[:1].astype(int)))
    assert steps.max() < 25
    assert np.ptp(lightness(hue_table())) < 0.3


def test_grey_means_ignored_and_nothing_else():
    assert not (object_colors(np.arange(1000)) == GREY).all(1).any()
