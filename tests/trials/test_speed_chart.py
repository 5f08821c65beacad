"""Accuracy over time: every name can be read, however close the dots are."""

import re
from itertools import pairwise

import pytest

from apiece.plots import BOTTOM, HEIGHT
from apiece.trials.speed_chart import LINE, Mark, svg_speed

NAMES = tuple("ABCDEFGHI")


def names(svg: str) -> dict[str, float]:
    """The height of each name in its column."""
    return {name: float(y) for y, name in re.findall(r'y="([\d.]+)">([A-Z])</text>', svg)}


@pytest.mark.parametrize("values", [[0.9] * 9, [0.0] * 9, [0.9, 0.5, 0.5, 0.5, 0.49, 0.3, 0.02, 0.01, 0.0]])
def test_names_stand_apart_within_the_picture_in_the_order_of_their_dots(values):
    marks = [
        Mark(name, value, value, value, 10.0, index)
        for index, (name, value) in enumerate(zip(NAMES, values, strict=True))
    ]
    found = names(svg_speed(marks, "ms", "AP"))
    assert tuple(found) == NAMES
    heights = list(found.values())
    assert all(lower - upper >= LINE - 0.11 for upper, lower in pairwise(heights))
    assert heights[0] >= 10 and heights[-1] <= HEIGHT - BOTTOM + 5


def test_a_name_with_room_stands_at_its_dot():
    marks = [Mark("A", 0.8, 0.7, 0.9, 10.0, 0), Mark("B", 0.2, 0.1, 0.3, None, 1)]
    svg = svg_speed(marks, "ms", "AP")
    dots = [float(y) for y in re.findall(r'style="stroke-width:9" d="M[\d.]+ ([\d.]+)h0"', svg)]
    dashed = [float(y) for y in re.findall(r'stroke-dasharray="4 4" d="M\d+ ([\d.]+)H', svg)]
    assert list(names(svg).values()) == pytest.approx([dots[0] + 4, dashed[0] + 4], abs=0.11)


def test_high_figures_are_drawn_large():
    """Bars that would all stand in the upper half begin above zero."""
    far, near = (svg_speed([Mark("A", 0.8, low, 0.9, 10.0, 0)], "ms", "AP") for low in (0.1, 0.7))
    assert ">0<" in far and ">0<" not in near
