"""Shapes of masks, and what stands in whose way: what decides which methods can show an object.

All of it is measured on the mask inside its box; whole sets of objects are walked through one object at a time.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from numpy import ndarray

LINES = 128
"""Pixels of a mask to which lines are drawn from its middle."""
STEPS = 64
"""Points of each line that are looked at."""
AT_ONCE = 1 << 20
"""Pairs of boxes compared at once."""


class Shape(NamedTuple):
    """What one object is like.

    Attributes:
        convexity: its pixels over those of its convex hull; 1 for whatever is convex on the grid of pixels.
        seen: part of its pixels that a straight line from its middle reaches without leaving it; 1 if it is star-convex
            about its middle, which is its pixel nearest to the centroid.
        parts: pieces that do not touch each other, not even at corners.
        holes: pieces of the ground that it surrounds.
        hollow: are the holes more than 2 % of its pixels?
    """

    convexity: float
    seen: float
    parts: int
    holes: int
    hollow: bool


def shape_of(mask: Bool[ndarray, "h w"]) -> Shape:
    """Measure a mask, which has at least one pixel."""
    parts, holes, hollow = parts_and_holes(mask)
    return Shape(convexity(mask), seen_share(mask), parts, holes, hollow)


def convexity(mask: Bool[ndarray, "h w"]) -> float:
    """Pixels of a mask over the pixels whose centers lie in the convex hull of its pixels' centers.

    The hull's pixels are counted by Pick's theorem: its area + half of its border's pixels + 1.
    """
    rows = np.flatnonzero(mask.any(1))
    first = mask[rows].argmax(1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    right = _half_hull(list(zip(rows.tolist(), last.tolist(), strict=True)), side=1)
    left = _half_hull(list(zip(rows.tolist(), first.tolist(), strict=True)), side=-1)
    corners = np.array(left + right[::-1], np.int64)
    ahead = np.roll(corners, -1, 0)
    doubled = abs(int((corners[:, 0] * ahead[:, 1] - ahead[:, 0] * corners[:, 1]).sum()))
    border = int(np.gcd(*np.abs(ahead - corners).T).sum())
    return float(np.count_nonzero(mask) / (doubled / 2 + border / 2 + 1))


def _half_hull(points: list[tuple[int, int]], side: int) -> list[tuple[int, int]]:
    """The points, one a row from top to bottom, that lie outermost to the right (side 1) or left (side -1)."""
    kept: list[tuple[int, int]] = []
    for row, column in points:
        while len(kept) > 1:
            (top, first), (middle, second) = kept[-2:]
            if side * ((second - first) * (row - top) - (column - first) * (middle - top)) > 0:
                break
            kept.pop()
        kept.append((row, column))
    return kept


def seen_share(mask: Bool[ndarray, "h w"], lines: int = LINES) -> float:
    """Part of a mask's pixels that a straight line from its middle reaches without leaving it (see `Shape`).

    A line is in the mask where any of the four pixels around a point of it is, so that steps of an outline do not count
    as bays. Of many pixels some are tried, evenly spread.
    """
    places = np.argwhere(mask)
    middle = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
    tried = places[np.unique(np.linspace(0, len(places) - 1, lines).astype(int))]
    length = int(np.abs(tried - middle).max())
    steps = np.linspace(0, 1, min(STEPS, length + 1))[:, None, None]
    points = middle + steps * (tried - middle)  # steps lines 2
    low, high = np.floor(points).astype(int), np.ceil(points).astype(int)
    inside = np.zeros(points.shape[:2], bool)
    for row in (low[..., 0], high[..., 0]):
        for column in (low[..., 1], high[..., 1]):
            inside |= mask[row, column]
    return float(inside.all(0).mean())


def parts_and_holes(mask: Bool[ndarray, "h w"]) -> tuple[int, int, bool]:
    """How many parts and holes a mask has, and whether the holes are more than 2 % of it."""
    if mask.all():
        return 1, 0, False
    from scipy.ndimage import label

    ground = np.pad(~mask, 1, constant_values=True)
    pieces, count = label(ground)  # pyright: ignore[reportGeneralTypeIssues]
    inside = np.bincount(pieces.ravel(), minlength=count + 1)[1:].sum() - np.count_nonzero(pieces == pieces[0, 0])
    parts = int(label(mask, np.ones((3, 3)))[1])  # pyright: ignore[reportIndexIssue, reportCallIssue, reportArgumentType]
    return parts, count - 1, bool(inside > 0.02 * np.count_nonzero(mask))


def suppressed(boxes: Num[ndarray, "N 4"], labels: Integer[ndarray, " N"], overlap: float) -> Bool[ndarray, " N"]:
    """Which of equally sure boxes would be lost by suppression: the IoU with one before it, kept, of its class is more.

    Memory grows with the pairs that overlap so much, not with all pairs.
    """
    lost = np.zeros(len(boxes), bool)
    neighbors: dict[int, list[int]] = {}
    for first, second in close_boxes(boxes, labels, overlap).tolist():
        neighbors.setdefault(first, []).append(second)
    for index in sorted(neighbors):
        if not lost[index]:
            lost[[other for other in neighbors[index] if other > index]] = True
    return lost


def close_boxes(boxes: Num[ndarray, "N 4"], labels: Integer[ndarray, " N"], overlap: float) -> Integer[ndarray, "P 2"]:
    """Pairs of boxes of one class whose IoU is more than `overlap`, first < second."""
    order = np.argsort(boxes[:, 0], kind="stable")
    boxes, labels = boxes[order].astype(np.float64), labels[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    found = [np.zeros((0, 2), np.int64)]
    step = max(1, AT_ONCE // max(len(boxes), 1))
    for start, end in pairwise([*range(0, len(boxes), step), len(boxes)]):
        # Sorted by their left sides: boxes that begin beyond the farthest right side meet none of these.
        last = int(np.searchsorted(boxes[:, 0], boxes[start:end, 2].max()))
        ours, theirs = boxes[start:end, None], boxes[None, start:last]
        common = (np.minimum(ours[..., 2:], theirs[..., 2:]) - np.maximum(ours[..., :2], theirs[..., :2])).clip(min=0)
        shared = common.prod(2)
        close = shared > overlap * (areas[start:end, None] + areas[None, start:last] - shared)
        close &= labels[start:end, None] == labels[None, start:last]
        one, other = np.nonzero(np.triu(close, 1))
        found.append(np.sort(np.stack([order[one + start], order[other + start]], 1), 1))
    return np.concatenate(found)


def nearest_distance(points: Float[ndarray, "N 2"]) -> Float[ndarray, " N"]:
    """How far the nearest other point is; infinite for a point alone."""
    from scipy.spatial import KDTree

    if len(points) < 2:
        return np.full(len(points), np.inf)
    distance, _ = KDTree(points).query(points, 2)
    return distance[:, 1]
