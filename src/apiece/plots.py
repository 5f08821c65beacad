"""Line and scatter plots as inline SVG, drawn with the page's own colors: light, dark and on paper."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 10, 44
POINTS = 1000
"""Pairs of least and greatest values that a long line is reduced to: more than a picture has columns."""
DASHES = ("", "7 3", "2 3", "9 3 2 3")
COLORS = 8

Curve = tuple[Sequence[float] | ndarray, Sequence[float] | ndarray]


class Axis(NamedTuple):
    """From values (logarithms, if `log`) to a place along the picture: `first` for `low`, `last` for `high`."""

    low: float
    high: float
    log: bool
    first: float
    last: float
    ticks: list[float]

    def place(self, values: Float[ndarray, " P"]) -> Float[ndarray, " P"]:
        """Where values lie in the picture; NaN for what cannot be shown."""
        share = (_scaled(values, self.log) - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)


def svg_plot(
    series: Mapping[str, Curve],
    x_label: str,
    y_label: str,
    *,
    log: bool = False,
    marks: Literal["line", "points"] = "line",
    shares: bool = False,
) -> str:
    """Curves or clouds of points as one SVG element and a legend; classes and colors are those of `Page`.

    Args:
        series: for each name its x and y, equally many. What is not finite is left out, and breaks a line.
        log: a logarithmic y axis; values that are not positive are left out.
        shares: y goes from 0 to 1, whatever the values.
    """
    curves = [(np.asarray(x, float).reshape(-1), np.asarray(y, float).reshape(-1)) for x, y in series.values()]
    empty = np.zeros(0)
    x_axis = _axis(np.concatenate([x for x, _ in curves] or [empty]), False, LEFT, WIDTH - RIGHT)
    whole = np.array([0.0, 1.0]) if shares else empty
    y_axis = _axis(np.concatenate([whole, *(y for _, y in curves)]), log, HEIGHT - BOTTOM, TOP)
    drawn = [scales(x_axis, y_axis), titles(x_label, y_label)]
    for number, (x, y) in enumerate(curves):
        across, down = x_axis.place(x), y_axis.place(y)
        color, dash = number % COLORS, DASHES[number // COLORS % len(DASHES)]
        if marks == "points":
            drawn.append(f'<path class="points s{color}" d="{_dots(across, down)}"/>')
        else:
            dashes = f' stroke-dasharray="{dash}"' if dash else ""
            drawn.append(f'<path class="line s{color}"{dashes} d="{_path(*_reduced(across, down))}"/>')
    name = escape(f"{y_label} over {x_label}", quote=True)
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(drawn)}</svg>'
    return picture + _legend(list(series), marks)


def _scaled(values: Float[ndarray, " P"], log: bool) -> Float[ndarray, " P"]:
    """Values as the axis counts them; NaN for what it cannot show."""
    shown = np.isfinite(values) & (values > 0 if log else True)
    known = np.where(shown, values, 1.0)
    return np.where(shown, np.log10(known) if log else known, np.nan)


def _axis(values: Float[ndarray, " P"], log: bool, first: float, last: float) -> Axis:
    """An axis that holds all values, with a little room, and some round ones to be written on it."""
    known = _scaled(values, log)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    room = (high - low) * 0.03 or (0.5 if log else max(abs(low) * 0.1, 0.5))
    low, high = low - room, high + room
    if not log:
        return Axis(low, high, log, first, last, _round_numbers(low, high))
    decades = 10.0 ** np.arange(max(np.floor(low), -300), min(np.ceil(high), 300) + 1)
    # Over many decades only some are written, over few also what lies between.
    steps: ndarray = (
        decades[:: max(1, len(decades) // 6)] if high - low > 2 else np.outer(decades, [1, 2, 5]).reshape(-1)
    )
    ticks: list[float] = [tick for tick in steps.tolist() if low <= np.log10(tick) <= high]
    if len(ticks) < 2:
        ticks = [float(10.0**tick) for tick in _round_numbers(low, high)]
    return Axis(low, high, log, first, last, ticks)


def _round_numbers(low: float, high: float) -> list[float]:
    """Up to seven multiples of 1, 2 or 5 times a power of ten between low and high."""
    power = 10.0 ** np.floor(np.log10((high - low) / 6))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= 6)
    return [
        float(f"{number * step:.12g}") for number in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)
    ]


def scales(x_axis: Axis, y_axis: Axis) -> str:
    """Lines and figures at the ticks, and the axes."""
    foot, top, left, right = (f"{place:g}" for place in (y_axis.first, y_axis.last, x_axis.first, x_axis.last))
    parts = []
    for text, x in zip(_written(x_axis.ticks), x_axis.place(np.array(x_axis.ticks, float)), strict=True):
        parts.append(f'<path class="grid" d="M{x:.1f} {top}V{foot}"/>')
        parts.append(f'<text x="{x:.1f}" y="{y_axis.first + 16:g}" text-anchor="middle">{text}</text>')
    for text, y in zip(_written(y_axis.ticks), y_axis.place(np.array(y_axis.ticks, float)), strict=True):
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{x_axis.first - 6:g}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    return "".join([*parts, f'<path class="axis" d="M{left} {top}V{foot}H{right}"/>'])


def _written(ticks: list[float]) -> list[str]:
    """Ticks with as few digits as tell them apart."""
    ways = ([f"{tick:.{digits}g}" for tick in ticks] for digits in range(4, 13))
    return next((way for way in ways if len(set(way)) == len(ticks)), [f"{tick:g}" for tick in ticks])


def titles(x_label: str, y_label: str) -> str:
    """What the axes show."""
    across, down = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text x="{across:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(14 {down:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )


def _legend(names: list[str], marks: str) -> str:
    keys = []
    for number, name in enumerate(names):
        dash = f' stroke-dasharray="{DASHES[number // COLORS % len(DASHES)]}"' if number >= COLORS else ""
        line = f'class="line s{number % COLORS}"{dash} d="M1 5H27"'
        drawn = line if marks == "line" else f'class="points s{number % COLORS}" d="M14 5h0"'
        keys.append(f'<span><svg class="key" viewBox="0 0 28 10"><path {drawn}/></svg>{escape(name)}</span>')
    return f'<div class="legend">{"".join(keys)}</div>' if any(names) else ""


def _reduced(x: Float[ndarray, " P"], y: Float[ndarray, " P"]) -> tuple[Float[ndarray, " K"], Float[ndarray, " K"]]:
    """A long line by the least and the greatest value of each short part of it, which looks the same."""
    if len(x) <= 2 * POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), POINTS)
    kept = []
    for part in parts:
        known = part[np.isfinite(y[part])]
        kept += sorted({int(known[y[known].argmin()]), int(known[y[known].argmax()])}) if len(known) else [int(part[0])]
    return x[kept], y[kept]


def _path(x: Float[ndarray, " P"], y: Float[ndarray, " P"]) -> str:
    """A line through points, broken where one is not finite; a point alone is a dot."""
    drawn, pen = [], "M"
    known = (np.isfinite(x) & np.isfinite(y)).tolist()
    for number, (across, down) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        if not known[number]:
            pen = "M"
            continue
        drawn.append(f"{pen}{across:.1f} {down:.1f}")
        if pen == "M" and not (number + 1 < len(known) and known[number + 1]):
            drawn.append("h0")
        pen = "L"
    return "".join(drawn)


def _dots(x: Float[ndarray, " P"], y: Float[ndarray, " P"]) -> str:
    """Dots as lines of no length with round ends; those that cover each other are drawn once."""
    known = np.isfinite(x) & np.isfinite(y)
    places = np.unique(np.round(np.stack([x[known], y[known]], 1) * 2).astype(np.int64), axis=0)
    return "".join(f"M{across / 2:g} {down / 2:g}h0" for across, down in places.tolist())
