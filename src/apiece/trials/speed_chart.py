"""Accuracy over time as inline SVG: a named dot with its interval for each method, drawn with the page's own colors."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from apiece.charts import shown_name
from apiece.plots import BOTTOM, COLORS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, scales, titles

LINE = 15
"""Between two names that stand above each other."""
NAMES = 160
"""Width of the column of names on the right."""


class Mark(NamedTuple):
    """A method's accuracy with its interval, and its time; a tool without a time is a dashed line."""

    name: str
    value: float
    low: float
    high: float
    time: float | None
    color: int


def svg_speed(marks: Sequence[Mark], x_label: str, y_label: str) -> str:
    """Dots over a logarithmic x axis, the quickest on the left, with a bar for each interval."""
    times = [mark.time for mark in marks if mark.time] or [1.0]
    low, high = math.log10(min(times)) - 0.15, math.log10(max(times)) + 0.15
    middle, half = (low + high) / 2, max((high - low) / 2, 0.35)
    low, high = middle - half, middle + half
    rounds = (step * 10.0**decade for decade in range(math.floor(low), math.ceil(high) + 1) for step in (1, 2, 5))
    x_axis = Axis(low, high, True, LEFT, WIDTH - RIGHT, [one for one in rounds if low <= math.log10(one) <= high])
    y_axis = _heights(marks)
    drawn = [scales(x_axis, y_axis), titles(x_label, y_label)]
    marks = sorted(marks, key=lambda one: -one.value)
    middles = y_axis.place(np.array([mark.value for mark in marks])).tolist()
    for mark, y, place in zip(marks, middles, _apart(middles), strict=True):
        low_y, high_y = y_axis.place(np.array([mark.low, mark.high])).tolist()
        x = WIDTH - RIGHT if mark.time is None else float(x_axis.place(np.array([mark.time]))[0])
        drawn.append(_drawn(mark, x, (low_y, y, high_y)))
        drawn.append(_name(mark, x, y, place))
    label = escape(f"{y_label} over {x_label}", quote=True)
    return f'<svg viewBox="0 0 {WIDTH + NAMES} {HEIGHT}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def _heights(marks: Sequence[Mark]) -> Axis:
    """From zero, unless all bars are in the upper half of the picture then."""
    top = min(1.0, max((mark.high for mark in marks), default=1.0) * 1.05 + 0.02)
    base = min((mark.low for mark in marks), default=0.0) - 0.02
    base = base if base > top / 2 else 0.0
    step = next(one for one in (0.01, 0.02, 0.05, 0.1, 0.2) if (top - base) / one <= 7)
    numbers = range(math.ceil(base / step), int(top / step) + 1)
    return Axis(base, top, False, HEIGHT - BOTTOM, TOP, [number * step for number in numbers])


def _apart(heights: Sequence[float]) -> list[float]:
    """Heights, from the top, moved as little as it takes to give each name room within the picture."""
    from scipy.optimize import isotonic_regression

    if not heights:
        return []
    steps = np.arange(len(heights)) * LINE
    moved = isotonic_regression(np.array(heights) - steps).x
    last = max(TOP, HEIGHT - BOTTOM - steps[-1])
    return (moved.clip(TOP, last) + steps).tolist()


def _drawn(mark: Mark, x: float, heights: tuple[float, float, float]) -> str:
    (low, y, high), color = heights, f"s{mark.color % COLORS}"
    if mark.time is None:
        return f'<path class="line {color}" stroke-dasharray="4 4" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    bar = f'<path class="line {color}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
    return bar + f'<path class="line {color}" style="stroke-width:9" d="M{x:.1f} {y:.1f}h0"/>'


def _name(mark: Mark, x: float, y: float, place: float) -> str:
    """A name on the right, and a thin line to it."""
    right = WIDTH - RIGHT + 14
    line = f'<path class="s{mark.color % COLORS}" style="stroke-width:.7" d="M{x:.1f} {y:.1f}L{right} {place:.1f}"/>'
    return line + f'<text x="{right + 4}" y="{place + 4:.1f}">{shown_name(mark.name)}</text>'
