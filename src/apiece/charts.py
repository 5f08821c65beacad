"""Bars, columns over a range and matrices as inline SVG, drawn with the page's own colors."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from apiece.plots import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Axis, scales, titles

TOP, BAR = 24, 24
LETTER = 6.6
"""About how wide a letter is, in pixels."""
NUMBERED = 20
"""Up to so many rows a matrix has numbers in its cells."""
LONGEST = 22
"""Letters of a name that are shown."""


def svg_bars(values: Mapping[str, float | None], label: str, words: Sequence[str] = (), *, width: int = WIDTH) -> str:
    """A bar to the right for each name, none for None.

    Args:
        words: what stands behind each bar; by default its value.
    """
    words = words or ["–" if value is None else f"{value:.3f}" for value in values.values()]
    left = max((len(_short(name)) for name in values), default=0) * LETTER + 12
    most = max((value for value in values.values() if value is not None), default=0.0)
    scale = (width - left - max(map(len, words), default=0) * LETTER - 12) / most if most > 0 else 0.0
    drawn = []
    for number, ((name, value), word) in enumerate(zip(values.items(), words, strict=True)):
        # One among thousands is still to be seen.
        y, length = number * BAR + 4, max((value or 0.0) * scale, 1.0 * ((value or 0.0) > 0))
        drawn.append(f'<text x="{left - 8:.0f}" y="{y + 14}" text-anchor="end">{shown_name(name)}</text>')
        drawn.append(f'<rect class="bar" x="{left:.0f}" y="{y + 2}" width="{length:.1f}" height="{BAR - 8}"/>')
        drawn.append(f'<text x="{left + length + 6:.1f}" y="{y + 14}">{escape(word)}</text>')
    return svg(width, len(values) * BAR + 4, label, drawn)


def svg_columns(
    edges: Float[ndarray, " E"],
    heights: Float[ndarray, " S"],
    tops: Sequence[str],
    x_label: str,
    y_label: str,
    *,
    marks: Float[ndarray, " S"],
) -> str:
    """Columns of a height from 0 to 1 between edges, with a word above each and a dashed diagonal to compare with.

    Args:
        heights: not a number where there is no column.
        tops: the words.
        marks: where along the x axis a dot stands on each column.
    """
    foot, ticks = HEIGHT - BOTTOM, edges[:: max(1, len(edges) // 5)].tolist()
    x_axis = Axis(float(edges[0]), float(edges[-1]), False, LEFT, WIDTH - RIGHT, ticks)
    y_axis = Axis(0.0, 1.0, False, foot, TOP, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    across, y = x_axis.place(edges), y_axis.place(np.nan_to_num(heights, nan=0.0))
    drawn = [scales(x_axis, y_axis)]
    for start, stop, top, word in zip(across, across[1:], y, tops, strict=False):
        place = f'x="{start + 1:.1f}" y="{top:.1f}" width="{stop - start - 2:.1f}" height="{foot - top:.1f}"'
        drawn.append(f'<rect class="bar" {place}/>')
        place = f'x="{(start + stop) / 2:.1f}" y="{top - 7:.1f}" text-anchor="middle"'
        drawn.append(f'<text class="fine" {place}>{escape(word)}</text>')
    drawn.append(f'<path class="line s7" stroke-dasharray="4 4" d="M{LEFT} {foot}L{WIDTH - RIGHT} {TOP}"/>')
    places = [(x, top) for x, top in zip(x_axis.place(marks), y, strict=True) if np.isfinite(x)]
    drawn.append(f'<path class="dots" d="{"".join(f"M{x:.1f} {top:.1f}h0" for x, top in places)}"/>')
    drawn.append(titles(x_label, y_label))
    return svg(WIDTH, HEIGHT, f"{y_label} over {x_label}", drawn)


def svg_matrix(
    counts: Integer[ndarray, "K L"], rows: Sequence[str], columns: Sequence[str], row_label: str, column_label: str
) -> str:
    """Counts as cells, the darker the larger their share of the row. Small matrices have the numbers in the cells.

    Every cell that is not empty says its row, column and count where the pointer rests.
    """
    few = len(rows) <= NUMBERED
    side = 11 if not few else 44 if len(rows) > 6 else 64
    letter, fine = (LETTER, "") if few else (5.2, "fine ")
    left = max(len(_short(name)) for name in rows) * letter + 34
    top = max(len(_short(name)) for name in columns) * letter * (0.75 if few else 1) + 34
    right, foot = left + len(columns) * side, top + len(rows) * side
    drawn = []
    for number, name in enumerate(rows):
        place = f'x="{left - 6:.0f}" y="{top + (number + 0.5) * side + 4:.1f}" text-anchor="end"'
        drawn.append(f'<text class="{fine}row" {place}>{shown_name(name)}</text>')
    for number, name in enumerate(columns):
        place = f"translate({left + (number + 0.5) * side + 3:.1f} {top - 6:.0f}) rotate({-45 if few else -90})"
        drawn.append(f'<text class="{fine}column" transform="{place}">{shown_name(name)}</text>')
    for step in () if few else range(5, len(rows), 5):
        drawn.append(f'<path class="grid" d="M{left:.0f} {top + step * side:.0f}H{right:.0f}"/>')
        drawn.append(f'<path class="grid" d="M{left + step * side:.0f} {top:.0f}V{foot:.0f}"/>')
    drawn += _cells(counts, rows, columns, (left, top, side))
    drawn.append(f'<path class="axis" d="M{left:.0f} {foot:.0f}V{top:.0f}H{right:.0f}"/>')
    drawn.append(f'<text x="{left:.0f}" y="12">{escape(column_label)} →</text>')
    place = f"translate(12 {(top + foot) / 2:.0f}) rotate(-90)"
    drawn.append(f'<text transform="{place}" text-anchor="middle">← {escape(row_label)}</text>')
    # Slanting names of the last columns reach beyond the cells.
    width = right + (top * 0.9 if few else 10)
    return svg(width, foot + 8, f"{row_label} against {column_label}", drawn)


def _cells(
    counts: Integer[ndarray, "K L"], rows: Sequence[str], columns: Sequence[str], frame: tuple[float, float, int]
) -> list[str]:
    """The cells that are not empty; `frame` is the left and top edge of the first and its side."""
    left, top, side = frame
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawn = []
    for row, column in zip(*(place.tolist() for place in np.nonzero(counts)), strict=True):
        number, part = int(counts[row, column]), float(share[row, column])
        x, y = left + column * side, top + row * side
        words = escape(f"{rows[row]} → {columns[column]}: {number} ({part:.0%})")
        cell = f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{side - 1}" height="{side - 1}"'
        drawn.append(f'{cell} fill-opacity="{0.08 + 0.92 * math.sqrt(part):.2f}"><title>{words}</title></rect>')
        if len(rows) <= NUMBERED:
            place = f'x="{x + side / 2:.1f}" y="{y + side / 2 + 4:.1f}" text-anchor="middle"'
            drawn.append(f'<text class="{"on" if part > 0.3 else "off"}" {place}>{number}</text>')
    return drawn


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def shown_name(name: str) -> str:
    """A name for a picture, shortened if need be; whole where the pointer rests on it."""
    return escape(_short(name)) + ("" if len(name) <= LONGEST else f"<title>{escape(name)}</title>")


def svg(width: float, height: float, label: str, drawn: Sequence[str], style: str = "") -> str:
    """A drawing of its own size; `label` says to those who cannot see it what it is."""
    name, look = escape(label, quote=True), f' style="{style}"' if style else ""
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<svg {size}{look} role="img" aria-label="{name}">{"".join(drawn)}</svg>'
