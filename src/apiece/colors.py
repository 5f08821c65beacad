"""Colors that the eye tells apart: of objects, angles and values. Made in OKLCh, where distances are what one sees.

OKLab: https://bottosson.github.io/posts/oklab
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray

GOLDEN_ANGLE = 360 * (2 - (1 + 5**0.5) / 2)
LIGHTNESS_STEP = 0.408
"""Searched: numbers less than 150 apart differ in hue or in lightness."""
CLEAR = 75
"""From this distance on (of 255, weighted) two colors are taken apart at a glance."""
GREY = np.array([150, 150, 150], np.uint8)
"""What is ignored is drawn in grey; no object has it."""

_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_LIGHT = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def from_oklch(lightness, chroma, hue) -> UInt8[ndarray, "N 3"]:
    """sRGB of lightness 0..1, chroma (0 is grey, 0.3 is glaring) and hue in degrees; cut to what a screen can show."""
    lightness, chroma, hue = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(part, float)) for part in (lightness, chroma, hue))
    )
    angle = np.deg2rad(hue)
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], 1)
    light = ((lab @ _TO_CONES.T) ** 3 @ _TO_LIGHT.T).clip(0, 1)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(values * 255).astype(np.uint8)


def object_colors(numbers: Integer[ndarray, " N"]) -> UInt8[ndarray, "N 3"]:
    """The color that belongs to each number, always the same: hues a golden angle apart, of changing lightness.

    All are seen on black and on white.
    """
    # Numbers that are 55 or 89 apart have nearly one hue, and may be neighbors in a map numbered row by row: they
    # differ in lightness.
    return from_oklch(0.6 + 0.22 * (numbers * LIGHTNESS_STEP % 1), 0.19, 25 + numbers * GOLDEN_ANGLE)


def neighbor_colors(boxes: Integer[ndarray, "N 4"], gap: int = 4, trials: int = 20) -> UInt8[ndarray, "N 3"]:
    """`object_colors` of 0..N-1, of which those that look like an earlier neighbor's are exchanged for later numbers'.

    Neighbors are objects whose boxes `x1 y1 x2 y2` overlap or are less than `gap` pixels apart.
    """
    palette = object_colors(np.arange(len(boxes) + trials))
    seen = palette * np.array([0.299, 0.587, 0.2]) ** 0.5  # distances in it are roughly what one sees
    chosen = np.arange(len(boxes))
    for index, earlier in _neighbors(boxes, gap):
        away = np.linalg.norm(seen[index : index + trials, None] - seen[chosen[earlier]], axis=2).min(1)
        clear = np.flatnonzero(away > CLEAR)
        chosen[index] = index + int(clear[0] if len(clear) else away.argmax())
    return palette[chosen]


def _neighbors(boxes: Integer[ndarray, "N 4"], gap: int) -> Iterator[tuple[int, Integer[ndarray, " _"]]]:
    """Each object that has earlier neighbors, ascending, with these."""
    if len(boxes) < 2:
        return
    # A sweep along the image's longer side: an object is compared with those that begin before it ends.
    along = 0 if boxes[:, 2].max() > boxes[:, 3].max() else 1
    first, last = boxes[:, [along, 1 - along]], boxes[:, [along + 2, 3 - along]] + gap
    order = np.argsort(first[:, 0], kind="stable")
    stops = np.searchsorted(first[order, 0], last[order, 0]).tolist()
    pairs = []
    for rank, (index, stop) in enumerate(zip(order.tolist(), stops, strict=True)):
        near = order[rank + 1 : stop]
        near = near[(first[near, 1] < last[index, 1]) & (last[near, 1] > first[index, 1])]
        pairs.append(np.stack([np.maximum(near, index), np.minimum(near, index)], 1))
    later, earlier = np.concatenate(pairs).T
    by_later = np.argsort(later, kind="stable")
    indices, starts, counts = np.unique(later[by_later], return_index=True, return_counts=True)
    for index, start, count in zip(indices.tolist(), starts.tolist(), counts.tolist(), strict=True):
        yield index, earlier[by_later[start : start + count]]


@cache
def hue_table() -> UInt8[ndarray, "360 3"]:
    """A closed circle of hues of equal lightness, one a degree."""
    return from_oklch(0.74, 0.18, np.arange(360))


@cache
def heat_table() -> UInt8[ndarray, "256 3"]:
    """From dark violet over blue and green to light yellow, lightness rising evenly."""
    place = np.linspace(0, 1, 256)
    chroma = np.interp(place, [0, 0.25, 0.5, 0.8, 1], [0.09, 0.115, 0.088, 0.15, 0.16])
    hue = np.interp(place, [0, 0.25, 0.5, 0.75, 1], [308, 272, 205, 145, 105])
    return from_oklch(0.26 + 0.68 * place, chroma, hue)


def lightness(colors: UInt8[ndarray, "N 3"]) -> Float[ndarray, " N"]:
    """Rough lightness 0..1 of sRGB colors, for choosing black or white text."""
    return colors @ np.array([0.299, 0.587, 0.114]) / 255
