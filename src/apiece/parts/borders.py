"""Where objects end: the edges of their pixels, or the pixels of their border; and their centers of mass.

Coordinates are x, y in pixels with the centers of pixels at whole numbers. Of an object in several parts only the
largest counts.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from apiece.instances import Instances


class Borders(NamedTuple):
    """The borders of N objects.

    Attributes:
        starts, stops: both ends of the edges between pixels of an object and others, each as long as it is straight;
            or, both alike, the centers of the border's pixels.
        offsets: where each object's begin; one more at the end.
        centers: of mass.
    """

    starts: Float[ndarray, "S 2"]
    stops: Float[ndarray, "S 2"]
    offsets: Integer[ndarray, " N+1"]
    centers: Float[ndarray, "N 2"]


def edges(truth: Instances) -> Borders:
    """The edges of the objects' pixels and the means of their pixels; nothing here is done one by one.

    Parts that touch at corners only are apart.
    """
    count = len(truth)
    pieces, owners, centers = [np.zeros((0, 2, 2), np.float32)], [np.zeros(0, np.int64)], np.zeros((count, 2))
    for layer in truth.layers():
        plane = largest_parts(layer)
        row, column = np.nonzero(plane)
        owner = plane[row, column].astype(np.int64) - 1
        area = np.maximum(np.bincount(owner, minlength=count), 1)
        centers += np.stack([np.bincount(owner, place, count) / area for place in (column, row)], 1)
        for across in (False, True):
            ends, of_object = _edges(plane, across)
            pieces.append(ends)
            owners.append(of_object)
    owner, ends = np.concatenate(owners), np.concatenate(pieces)
    order = np.argsort(owner, kind="stable")
    offsets = np.searchsorted(owner[order], np.arange(count + 1))
    return Borders(ends[order, 0], ends[order, 1], offsets, centers)


def _edges(plane: Integer[ndarray, "H W"], across: bool) -> tuple[Float[ndarray, "S 2 2"], Integer[ndarray, " S"]]:
    """The horizontal edges of a label map, or those across: their ends, and the object (from 0) that each is of."""
    plane = plane.T if across else plane
    padded = np.pad(plane, ((1, 1), (0, 0)))
    row, column = np.nonzero(padded[1:] != padded[:-1])
    pieces, owners = [], []
    for own in (padded[row, column], padded[row + 1, column]):
        y, x, owner = row[own > 0], column[own > 0], own[own > 0]
        # Where the next edge does not go on with this one.
        ends = (np.diff(y) != 0) | (np.diff(x) != 1) | (np.diff(owner.astype(np.int64)) != 0)
        last = np.flatnonzero(np.append(ends, np.ones(min(len(y), 1), bool)))
        first = np.append(np.zeros(min(len(y), 1), np.int64), last[:-1] + 1)
        places = [x[first], y[first], x[last] + 1, y[first]]
        pieces.append(np.stack(places, 1).reshape(-1, 2, 2).astype(np.float32) - 0.5)
        owners.append(owner[first].astype(np.int64) - 1)
    edges = np.concatenate(pieces)
    return edges[:, :, ::-1] if across else edges, np.concatenate(owners)


def largest_parts(plane: Integer[ndarray, "H W"]) -> Integer[ndarray, "H W"]:
    """A label map where each object has only its largest part, 4-connected; of equal ones the first."""
    from scipy.ndimage import label

    # A map of twice the size with pixels and the links between those of one object: all objects' parts at one go.
    linked = np.zeros((2 * plane.shape[0], 2 * plane.shape[1]), bool)
    linked[::2, ::2] = plane > 0
    linked[1:-1:2, ::2] = (plane[1:] == plane[:-1]) & (plane[1:] > 0)
    linked[::2, 1:-1:2] = (plane[:, 1:] == plane[:, :-1]) & (plane[:, 1:] > 0)
    labeled: tuple[ndarray, int] = label(linked)  # pyright: ignore[reportAssignmentType]
    parts, count = labeled[0][::2, ::2], labeled[1]
    owner = np.zeros(count + 1, np.int64)
    owner[parts] = plane
    if count == len(np.unique(owner)) - 1:
        return plane
    # The last that is written stays: the largest, and of equal ones the first.
    order = np.lexsort((-np.arange(count + 1), np.bincount(parts.ravel(), minlength=count + 1)))
    largest = np.zeros(int(plane.max(initial=0)) + 1, np.int64)
    largest[owner[order]] = order
    return np.where(largest[plane] == parts, plane, 0)


def border_pixels(truth: Instances) -> Borders:
    """The border's pixels and the centers of the polygons through them, cut down to whole numbers, as in PolarMask's
    program (github.com/xieenze/PolarMask), which takes OpenCV's outline of the largest part, 8-connected.

    Its sums round: a center that is a whole number comes out there as that or one less, depending on their order. A
    line of one pixel's width has no polygon; its center is the mean of its pixels.
    """
    points, centers = [np.zeros((0, 2), np.float32)], np.zeros((len(truth), 2))
    for index, (crop, corner) in enumerate(zip(truth.crops(), truth.mask_boxes[:, :2], strict=True)):
        filled = _largest_outline(crop)
        padded = np.pad(filled, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        row, column = np.nonzero(filled & ~inner)
        points.append(np.stack([column, row], 1).astype(np.float32) + corner.astype(np.float32))
        area, moments = _polygon(filled)
        center = moments / area if area else np.array([column.mean(), row.mean()])
        # A hair, for sums of thirds that should be whole.
        centers[index] = np.floor(center + corner + 1e-9)
    places, offsets = np.concatenate(points), np.cumsum([len(one) for one in points])
    return Borders(places, places, offsets, centers)


def _largest_outline(crop: Bool[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """The 8-connected part whose outline encloses most, without holes."""
    from scipy.ndimage import label

    labeled: tuple[ndarray, int] = label(crop, np.ones((3, 3)))  # pyright: ignore[reportAssignmentType]
    parts = []
    for number in range(1, labeled[1] + 1):
        beyond: ndarray = label(np.pad(labeled[0] != number, 1, constant_values=True))[0]  # pyright: ignore
        parts.append(beyond[1:-1, 1:-1] != beyond[0, 0])
    return parts[0] if len(parts) == 1 else max(parts, key=lambda part: _polygon(part)[0])


def _polygon(filled: Bool[ndarray, "h w"]) -> tuple[float, Float[ndarray, "2"]]:
    """Area and first moments (x, y) of the polygon through the centers of a part's border pixels.

    It is made of a square for every four pixels that lie together, and half of one for every three.
    """
    corners = np.stack([filled[:-1, :-1], filled[:-1, 1:], filled[1:, :-1], filled[1:, 1:]]).astype(np.int64)
    row, column = np.nonzero(corners.sum(0) >= 3)
    of_corner = corners[:, row, column]
    area = np.where(of_corner.sum(0) == 4, 1.0, 0.5)
    x = column + (of_corner[1] + of_corner[3]) / of_corner.sum(0)
    y = row + (of_corner[2] + of_corner[3]) / of_corner.sum(0)
    return float(area.sum()), np.array([(area * x).sum(), (area * y).sum()])
