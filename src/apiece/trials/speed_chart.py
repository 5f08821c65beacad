"""Accuracy over time as inline SVG: a named dot with its interval for each method, drawn with the page's own colors."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from apiece.plots import BOTTOM, COLORS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, scales, titles

LINE = 14
"""Least distance between two names that stand above each other."""
LETTER = 6.6


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
    top = min(1.0, max((mark.high for mark in marks), default=1.0) * 1.05 + 0.02)

    rounds = (step * 10.0**decade for decade in range(math.floor(low), math.ceil(high) + 1) for step in (1, 2, 5))
    x_axis = Axis(low, high, True, LEFT, WIDTH - RIGHT, [one for one in rounds if low <= math.log10(one) <= high])
    step = next(one for one in (0.01, 0.02, 0.05, 0.1, 0.2) if top / one <= 7)
    y_axis = Axis(0.0, top, False, HEIGHT - BOTTOM, TOP, [number * step for number in range(int(top / step) + 1)])
    drawn = [scales(x_axis, y_axis), titles(x_label, y_label)]
    taken: list[tuple[float, float, float]] = []
    for mark in sorted(marks, key=lambda one: -one.value):
        low_y, y, high_y = y_axis.place(np.array([mark.low, mark.value, mark.high])).tolist()
        x = WIDTH - RIGHT - 4 if mark.time is None else float(x_axis.place(np.array([mark.time]))[0])
        drawn.append(_drawn(mark, x, (low_y, y, high_y)))
        drawn.append(_name(mark, x, y, taken))
    label = escape(f"{y_label} over {x_label}", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def _drawn(mark: Mark, x: float, heights: tuple[float, float, float]) -> str:
    (low, y, high), color = heights, f"s{mark.color % COLORS}"
    if mark.time is None:
        return f'<path class="line {color}" stroke-dasharray="4 4" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    bar = f'<path class="line {color}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
    return bar + f'<path class="line {color}" style="stroke-width:9" d="M{x:.1f} {y:.1f}h0"/>'


def _name(mark: Mark, x: float, y: float, taken: list[tuple[float, float, float]]) -> str:
    """A name beside its dot, on the side with more room, lowered where another name stands."""
    width, leftward = len(mark.name) * LETTER + 10, x > WIDTH * 0.62
    start = x - width if leftward else x
    place = y - 6 if mark.time is None else y + 4
    while any(start < end and begin < start + width and abs(place - row) < LINE for begin, end, row in taken):
        place += 2
    taken.append((start, start + width, place))
    shift, anchor = (-9, "end") if leftward else (9, "start")
    return f'<text x="{x + shift:.1f}" y="{place:.1f}" text-anchor="{anchor}">{escape(mark.name)}</text>'
