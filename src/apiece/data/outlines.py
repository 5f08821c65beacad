"""Objects as outlines, for the formats that hold them so: points checked and drawn, shapes joined, holes bridged.

A `Mask` here is a crop and its box in the image, as in `apiece.masks`.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from apiece.data.painting import demand_masks, fields_lost
from apiece.errors import InputError
from apiece.instances import Instances
from apiece.masks import Box, Size

ANY_CLASS = "__ignore__"
"""How LabelMe calls what is of no class: here ignored objects that may be of any."""
FAR = 4
"""A point further out than this many image sides is a mistake (and its lines would take ages to draw)."""
LONGEST = 2e7
"""Pixels along an outline: what is longer is no object's (and would take gigabytes to draw)."""
Mask = tuple[Bool[ndarray, "_ _"], Box]


class Shape(NamedTuple):
    """One shape of an image: rings whose union it is, or a mask. Those of one group and label are one object.

    Attributes:
        group: None for an object by itself.
    """

    label: int
    rings: Sequence[Float[ndarray, "_ 2"]] = ()
    mask: Mask | None = None
    ignore: bool = False
    score: float | None = None
    group: Hashable = None


# --- reading ------------------------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path, entry: str) -> Iterator[None]:
    """Whatever is wrong with an entry is said with its file and name: ValueErrors inside become InputErrors."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {entry}: {error}.") from error


def is_number(value: Any) -> bool:
    """An ordinary finite number, as coordinates are?"""
    return type(value) in (int, float) and -1e12 < value < 1e12


def is_score(text: str | None) -> bool:
    """A number, written out?"""
    try:
        return is_number(float(text or ""))
    except ValueError:
        return False


def ring(points: Any, size: Size) -> Float[ndarray, "_ 2"]:
    """The points of one polygon, checked; what a point has beyond x and y is left out.

    Raises:
        ValueError: they are not pairs of numbers, fewer than three, or far outside the image.
    """
    pairs = isinstance(points, list) and all(isinstance(point, list) and len(point) >= 2 for point in points)
    if not pairs or not all(is_number(number) for point in points for number in point[:2]):
        raise ValueError("its points are not a list of pairs of numbers")
    if len(points) < 3:
        raise ValueError(f"{len(points)} points outline nothing: a polygon needs three or more")
    return near(np.array([point[:2] for point in points], float), size)


def near(points: Float[ndarray, "_ 2"], size: Size) -> Float[ndarray, "_ 2"]:
    """The points themselves, if they lie in or near the image.

    Raises:
        ValueError: one lies far outside, or the way along them is endless.
    """
    if np.abs(points).max(initial=0) > FAR * max(size) + 100:
        raise ValueError(f"a point lies far outside the image, at {points.flat[np.abs(points).argmax()]:g}")
    if np.abs(np.diff(points, axis=0)).sum() > LONGEST:
        raise ValueError("its outline is longer than any object's")
    return points


def ellipse(
    center: tuple[float, float], radii: tuple[float, float], size: Size, degrees: float = 0.0
) -> tuple[Bool[ndarray, "h w"], Box]:
    """The pixels whose centers lie in an ellipse around `center` (x, y), turned clockwise on the screen.

    Raises:
        ValueError: it has no extent, or lies far outside the image.
    """
    if min(radii) <= 0:
        raise ValueError("its radius is zero")
    (x, y), reach = near(np.array([center], float), size)[0], max(radii)
    x1, x2 = (max(0, min(size[1], round_(x + side))) for side, round_ in ((-reach, math.floor), (reach, math.ceil)))
    y1, y2 = (max(0, min(size[0], round_(y + side))) for side, round_ in ((-reach, math.floor), (reach, math.ceil)))
    across, down = np.arange(x1, x2) + 0.5 - x, np.arange(y1, y2)[:, None] + 0.5 - y
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along, aside = cosine * across + sine * down, cosine * down - sine * across
    return (along / radii[0]) ** 2 + (aside / radii[1]) ** 2 <= 1, (x1, y1, x2, y2)


def objects(shapes: Iterable[Shape], size: Size, scored: bool = False) -> Instances:
    """Shapes as objects, in the order of their first shapes; a part that is ignored makes its object so.

    Args:
        scored: the data set gives scores; its shapes all have one.
    """
    parts = _by_object(shapes)
    fields: dict[str, Any] = {
        "labels": [of_one[0].label for of_one in parts],
        "ignore": [any(part.ignore for part in of_one) for of_one in parts],
        "scores": [of_one[0].score for of_one in parts] if scored else None,
    }
    drawn = Instances.from_polygons([[ring for part in of_one for ring in part.rings] for of_one in parts], size)
    masks = [[part.mask for part in of_one if part.mask is not None] for of_one in parts]
    if not any(masks):
        return drawn.replace(**fields)
    boxes = drawn.mask_boxes.tolist()
    whole = [_union([(drawn.crop(index), tuple(boxes[index])), *masks[index]]) for index in range(len(parts))]
    corners = np.array([box for _, box in whole], np.int64).reshape(-1, 4)
    return Instances.from_crops([crop for crop, _ in whole], corners, size, **fields)


def rings_of_objects(shapes: Iterable[Shape]) -> list[list[Float[ndarray, "_ 2"]]]:
    """For each of the `objects` of these shapes the rings that draw it; none where a part of it is a mask."""
    return [
        [ring for part in of_one for ring in part.rings] if all(part.mask is None for part in of_one) else []
        for of_one in _by_object(shapes)
    ]


def _by_object(shapes: Iterable[Shape]) -> list[list[Shape]]:
    by_object: dict[Hashable, list[Shape]] = {}
    for number, shape in enumerate(shapes):
        key = number if shape.group is None else (shape.group, shape.label)
        by_object.setdefault(key, []).append(shape)
    return list(by_object.values())


def _union(masks: Sequence[Mask]) -> Mask:
    inked = [(crop, box) for crop, box in masks if crop.size]
    if len(inked) < 2:
        return inked[0] if inked else (np.zeros((0, 0), bool), (0, 0, 0, 0))
    boxes = np.array([box for _, box in inked])
    (left, top), (right, bottom) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
    canvas = np.zeros((bottom - top, right - left), bool)
    for crop, (x1, y1, x2, y2) in inked:
        canvas[y1 - top : y2 - top, x1 - left : x2 - left] |= crop
    return canvas, (left, top, right, bottom)


# --- writing ------------------------------------------------------------------------------------------------------


def drawable(path: Path, name: str, truth: Instances, *, ignored: bool, scores: bool) -> tuple[Instances, Counter[str]]:
    """The objects of an image that outlines can hold, and what is lost, counted by name.

    Args:
        ignored: can the format say that an object is ignored?
        scores: can it hold scores?

    Raises:
        InputError: the objects are boxes without masks, or one that is not ignored has no class.
    """
    if not len(truth):
        return Instances.empty(truth.size), Counter()
    demand_masks(path, name, truth)
    inked, lost = truth.mask_areas > 0, fields_lost(truth)
    kept = inked if ignored else inked & ~truth.ignore
    if scores:
        del lost["scores"]
    lost += Counter({"objects without a pixel": int((~inked).sum()), "ignored objects": int((inked & ~kept).sum())})
    return truth[kept], lost


def distinct(path: Path, classes: Sequence[str]) -> None:
    """Refuse classes of one name, for a format that tells them apart by their names.

    Raises:
        InputError: naming the class.
    """
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise InputError(f"{path}: two classes of the name {twice[0]!r}, which only their names could tell apart.")


def keyhole(rings: Sequence[Shaped[ndarray, "_ 2"]]) -> Shaped[ndarray, "_ 2"]:
    """Outlines of parts and holes as one closed walk: a bridge of no width joins each ring to one before it.

    Bridges go between the nearest corners, and each is walked there and back, so that its crossings cancel in COCO's
    rasterization: the one polygon covers the very pixels that lie inside an odd number of the rings.
    """
    if len(rings) == 1:
        return rings[0]
    corners, stops = np.concatenate(rings), np.cumsum([len(one) for one in rings]).tolist()
    detours: dict[int, list[Iterator[int]]] = {}
    for start, stop, (place, own) in zip(stops, stops[1:], _bridges(corners, stops), strict=False):
        # Numbers turned round (~) are corners to be walked over once more, from which no detour starts again.
        detours.setdefault(place, []).append(chain(range(own, stop), range(start, own), (~own, ~place)))
    walk, ways = [], [iter(range(stops[0]))]
    while ways:
        corner = next(ways[-1], None)
        if corner is None:
            ways.pop()
        elif corner < 0:
            walk.append(~corner)
        else:
            walk.append(corner)
            ways += detours.get(corner, ())
    return corners[walk]


def _bridges(corners: Shaped[ndarray, "_ 2"], stops: Sequence[int]) -> Iterator[tuple[int, int]]:
    """For each ring but the first the corner before it that is nearest to one of its own, and that one."""
    from scipy.spatial import KDTree

    # Trees of corners that lie one behind the other, each more than twice the next: few to search, seldom made anew.
    trees: list[tuple[int, int, KDTree]] = []
    for start, stop in zip([0, *stops], stops, strict=False):
        if trees:
            found: list[Any] = [(first, *tree.query(corners[start:stop])) for first, _, tree in trees]
            first, distances, places = min(found, key=lambda one: one[1].min())
            own = int(distances.argmin())
            yield first + int(places[own]), start + own
        while trees and trees[-1][1] - trees[-1][0] <= 2 * (stop - start):
            start = trees.pop()[0]
        trees.append((start, stop, KDTree(corners[start:stop])))
