"""Accuracy over time as inline SVG: a named dot with its interval for each method, drawn with the page's own colors."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 14, 44
LINE = 14
"""Least distance between two names that stand above each other."""
LETTER = 6.6
COLORS = 8


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

    def across(time: float) -> float:
        return LEFT + (math.log10(time) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)

    drawn = [_scales(low, high, top, across, down), _titles(x_label, y_label)]
    taken: list[tuple[float, float, float]] = []
    for mark in sorted(marks, key=lambda one: -one.value):
        x, y = WIDTH - RIGHT - 4 if mark.time is None else across(mark.time), down(mark.value)
        drawn.append(_drawn(mark, x, y, down))
        drawn.append(_name(mark, x, y, taken))
    label = escape(f"{y_label} over {x_label}", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def _drawn(mark: Mark, x: float, y: float, down) -> str:
    color = f"s{mark.color % COLORS}"
    if mark.time is None:
        return f'<path class="line {color}" stroke-dasharray="4 4" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    bar = f'<path class="line {color}" d="M{x:.1f} {down(mark.low):.1f}V{down(mark.high):.1f}"/>'
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


def _scales(low: float, high: float, top: float, across, down) -> str:
    """Lines and figures at round values, and the axes."""
    foot, parts = HEIGHT - BOTTOM, []
    decades = range(math.floor(low), math.ceil(high) + 1)
    for time in (step * 10.0**decade for decade in decades for step in (1, 2, 5)):
        if low <= math.log10(time) <= high:
            parts.append(f'<path class="grid" d="M{across(time):.1f} {TOP}V{foot}"/>')
            parts.append(f'<text x="{across(time):.1f}" y="{foot + 16}" text-anchor="middle">{time:g}</text>')
    step = next(one for one in (0.01, 0.02, 0.05, 0.1, 0.2) if top / one <= 7)
    for value in (number * step for number in range(int(top / step) + 1)):
        parts.append(f'<path class="grid" d="M{LEFT} {down(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    return "".join([*parts, f'<path class="axis" d="M{LEFT} {TOP}V{foot}H{WIDTH - RIGHT}"/>'])


def _titles(x_label: str, y_label: str) -> str:
    across, down = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text x="{across:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(14 {down:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
