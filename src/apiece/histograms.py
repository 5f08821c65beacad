"""Histograms as inline SVG, drawn with the page's own colors; several stand side by side."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from apiece.charts import svg

WIDTH, HEIGHT = 350, 228
LEFT, RIGHT, TOP, BOTTOM = 50, 16, 40, 40
BESIDE = f"display:inline-block;vertical-align:top;margin:0 .4rem .6rem 0;width:{WIDTH}px;height:auto;max-width:100%"


class Histogram(NamedTuple):
    """Counts between edges.

    Attributes:
        title: above the columns.
        edges: ascending; positive, and on a logarithmic axis, unless they are shares.
        counts: how many lie between each edge and the next.
        x_label: what the edges are, with their unit.
        what: what is counted.
        shares: are the edges shares from 0 to 1? They are written as percentages on an even axis.
        marks: values that are marked by a line, each with a word.
    """

    title: str
    edges: Float[ndarray, " E"]
    counts: Integer[ndarray, " B"]
    x_label: str
    what: str
    shares: bool = False
    marks: Mapping[str, float] = {}  # noqa: RUF012


def svg_histograms(histograms: Sequence[Histogram]) -> str:
    """Histograms side by side, as many as the page is wide; those without counts are left out."""
    return "".join(svg(WIDTH, HEIGHT, one.title, _drawn(one), BESIDE) for one in histograms if one.counts.sum())


def _drawn(of: Histogram) -> list[str]:
    """The parts of a histogram."""
    place, foot = _axis(of), HEIGHT - BOTTOM
    height = (foot - TOP) / float(of.counts.max())
    drawn = [f'<text x="{LEFT}" y="14" style="font-weight:600">{escape(of.title)}</text>']
    for tick in _steps(int(of.counts.max())):
        y = foot - tick * height
        drawn.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
    for tick in _ticks(of):
        drawn.append(
            f'<text x="{place(tick):.1f}" y="{foot + 15}" text-anchor="middle">{_edge(tick, of.shares)}</text>'
        )
    for low, high, count in zip(of.edges, of.edges[1:], of.counts.tolist(), strict=False):
        x, width = place(low), place(high) - place(low)
        # One object among thousands is still to be seen.
        tall = max(count * height, 1.5 * (count > 0))
        words = f"{_edge(low, of.shares)} to {_edge(high, of.shares)}: {count:,} {of.what}"
        size = f'width="{max(width - 1, 0.5):.1f}" height="{tall:.1f}"'
        drawn.append(
            f'<rect class="bar" x="{x:.1f}" y="{foot - tall:.1f}" {size}><title>{escape(words)}</title></rect>'
        )
    for number, (word, value) in enumerate(of.marks.items()):
        x = place(value)
        drawn.append(f'<path class="line s1" stroke-dasharray="4 3" d="M{x:.1f} {TOP - 8}V{foot}"/>')
        side, anchor = (-4, "end") if number % 2 == 0 else (4, "start")
        drawn.append(f'<text x="{x + side:.1f}" y="{TOP - 5}" text-anchor="{anchor}">{escape(word)}</text>')
    drawn.append(f'<path class="axis" d="M{LEFT} {TOP}V{foot}H{WIDTH - RIGHT}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(f'<text x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(of.x_label)}</text>')
    return drawn


def _axis(of: Histogram) -> Callable[[float], float]:
    """Where a value lies along the picture."""
    scale = (lambda value: value) if of.shares else np.log2
    low, high = float(scale(of.edges[0])), float(scale(of.edges[-1]))
    return lambda value: LEFT + (float(scale(value)) - low) / (high - low) * (WIDTH - RIGHT - LEFT)


def _ticks(of: Histogram) -> list[float]:
    """Values to be written below: every fifth of a whole, or 1, 2, 5, 10, ... as far as there is room."""
    low, high = float(of.edges[0]), float(of.edges[-1])
    if of.shares:
        return [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    ticks = [low, high]
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(tick) for tick in np.outer(decades, steps).ravel() if low <= tick <= high]
        if len(ticks) <= 8:
            break
    return ticks if len(ticks) > 1 else [low, high]


def _steps(most: int) -> list[int]:
    """Up to five even numbers from 0 to the most."""
    power = 10 ** max(len(str(most)) - 1, 0)
    sizes = [power * part // 10 for part in (1, 2, 5, 10, 20, 50) if power * part >= 10]
    step = next((size for size in sizes if size and most // size <= 4), most)
    return list(range(0, most + 1, max(step, 1)))


def _edge(value: float, share: bool) -> str:
    return f"{100 * value:.3g} %" if share else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _short(count: int) -> str:
    return f"{count / 1000:g}k" if count >= 10_000 else f"{count}"
