"""The values of COCO's entries, checked: masks, boxes and numbers, those of many entries at once."""

from itertools import accumulate, chain, groupby, islice, pairwise
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from apiece.masks import Size
from apiece.polygons import polygons_to_texts
from apiece.run_lengths import ColumnRuns, compress_counts, read_texts

FAR = 4
"""A polygon's point further out than this many image sides is a mistake (and would take ages to draw)."""


def read_numbers(values: list[Any], key: str) -> Float[ndarray, " N"]:
    """Numbers that stand under a key, float64.

    Raises:
        ValueError: one is no number, or an area below 0.
    """
    read = _floats(values)
    if read is None or not np.isfinite(read).all():
        raise ValueError(f"its {key} is no number: {str(values[0])[:60]}")
    if key == "area" and read.min(initial=0) < 0:
        raise ValueError(f"its area is less than 0: {values[0]}")
    return read


def _floats(values: list[Any]) -> Float[ndarray, " N"] | None:
    """Numbers, and nothing else, as an array; None where there is something else among them."""
    try:
        return np.array(values, np.float64) if {int, float}.issuperset(map(type, values)) else None
    except OverflowError:
        return None


def read_masks(segmentations: list[tuple[Any, Size]]) -> ColumnRuns:
    """Masks given by polygons or run lengths, each with its image's size, as COCO draws them.

    Raises:
        ValueError: they are broken; the message says how.
    """
    texts: list[Any] = [None if isinstance(one, list) else _text(one, size) for one, size in segmentations]
    drawn = [place for place, text in enumerate(texts) if text is None]
    for size, places in groupby(drawn, lambda place: segmentations[place][1]):
        places = list(places)
        rings = _outlines([segmentations[place][0] for place in places], size)
        for place, text in zip(places, polygons_to_texts(rings, size), strict=True):
            texts[place] = text
    return read_texts(texts, np.array([height * width for _, (height, width) in segmentations], np.int64))


def _text(segmentation: Any, size: Size) -> str | bytes:
    """Run lengths, compressed."""
    if not isinstance(segmentation, dict):
        raise ValueError("it has no segmentation")
    counts, wanted = segmentation.get("counts"), segmentation.get("size")
    if wanted != list(size):
        raise ValueError(f"run lengths for an image of {wanted}, but the image is {list(size)}")
    if isinstance(counts, str):
        return counts
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count < 1 << 48 for count in counts):
        raise ValueError("its run lengths are not whole numbers from 0")
    return compress_counts(counts, size)


def _outlines(drawn: list[list[Any]], size: Size) -> list[list[Float[ndarray, "_ 2"]]]:
    """The rings of some objects' polygons, checked."""
    rings = list(chain.from_iterable(drawn))
    if not all(drawn):
        raise ValueError("it has no segmentation")
    points = _floats(list(chain.from_iterable(rings))) if all(isinstance(ring, list) for ring in rings) else None
    if points is None or not np.isfinite(points).all():
        raise ValueError("a polygon is not a list of numbers")
    counts = list(map(len, rings))
    for count in counts:
        if count % 2 or count < 6:
            raise ValueError(f"a polygon has {count} numbers, but needs an even count of at least 6 (three points)")
    if np.abs(points).max() > FAR * max(size) + 100:
        raise ValueError(f"a polygon's point lies far outside the image, at {points[np.abs(points).argmax()]:g}")
    pairs, edges = points.reshape(-1, 2), accumulate((count // 2 for count in counts), initial=0)
    cut = iter([pairs[first:last] for first, last in pairwise(edges)])
    return [list(islice(cut, len(rings_of_object))) for rings_of_object in drawn]


def corner_boxes(boxes: list[Any]) -> Float[ndarray, "N 4"]:
    """The boxes `x1 y1 x2 y2` of annotations' `x y width height`.

    Raises:
        ValueError: one is not four numbers, or less than nothing wide or high.
    """
    well = all(isinstance(box, list) and len(box) == 4 for box in boxes)
    sides = _floats(list(chain.from_iterable(boxes))) if well else None
    if sides is None or not np.isfinite(sides).all():
        raise ValueError(f"its bbox is not four numbers: {str(boxes[0])[:60]}")
    corners = sides.reshape(-1, 4)
    if corners[:, 2:].min(initial=0) < 0:
        raise ValueError(f"its bbox [x, y, width, height] has a side of less than 0: {str(boxes[0])[:60]}")
    corners[:, 2:] += corners[:, :2]
    return corners
