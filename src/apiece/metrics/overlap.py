"""Overlap: the sparse table of one image's found and true objects, from which every metric is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, starmap

import numpy as np
from jaxtyping import Bool, Float, Integer, Real
from numpy import ndarray

from apiece.instances import Instances
from apiece.metrics.runs import Runs, column_runs, common_runs, meetings
from apiece.stores import RunStore

DENSE_TABLE = 1 << 22
"""Up to so many pairs the intersections are summed in a full table; above, by sorting the pairs that occur."""


@dataclass(frozen=True)
class Overlap:
    """The pairs of one found and one true object that share pixels, ordered by found object, then by true object.

    Attributes:
        found, truth: the objects of each pair.
        intersection: pixels both have: whole numbers for masks, float for boxes.
        found_areas, truth_areas: area of every object, paired or not.
    """

    found: Integer[ndarray, " P"]
    truth: Integer[ndarray, " P"]
    intersection: Real[ndarray, " P"]
    found_areas: Real[ndarray, " N"]
    truth_areas: Real[ndarray, " M"]

    def __len__(self) -> int:
        return len(self.found)

    @cached_property
    def iou(self) -> Float[ndarray, " P"]:
        """Intersection over union."""
        return self.intersection / (self.found_areas[self.found] + self.truth_areas[self.truth] - self.intersection)

    @property
    def share(self) -> Float[ndarray, " P"]:
        """The part of the found object that lies in the true one: COCO's measure for crowds."""
        return self.intersection / self.found_areas[self.found]

    @property
    def dice(self) -> Float[ndarray, " P"]:
        """Twice the intersection over the sum of both areas."""
        return 2 * self.intersection / (self.found_areas[self.found] + self.truth_areas[self.truth])

    def part(self, pairs: slice, found: slice, truth: slice) -> "Overlap":
        """Some objects that follow each other, numbered anew, and their pairs."""
        ours, theirs = self.found[pairs] - found.start, self.truth[pairs] - truth.start
        return Overlap(ours, theirs, self.intersection[pairs], self.found_areas[found], self.truth_areas[truth])

    def where(self, kept: Bool[ndarray, " P"] | Integer[ndarray, " K"]) -> "Overlap":
        """Some of the pairs; the objects stay as they are."""
        return Overlap(self.found[kept], self.truth[kept], self.intersection[kept], self.found_areas, self.truth_areas)


def overlap(found: Instances, truth: Instances) -> Overlap:
    """Compare the masks of two sets of objects of one image. Only objects that touch the same pixels cost anything.

    Time and memory go with the masks' rows, not with the number of pairs: runs of pixels are compared, never object
    with object. Objects without masks are compared by their boxes, see `box_overlap`.
    """
    if not (found.has_masks and truth.has_masks):
        return box_overlap(found.boxes, truth.boxes)
    return run_overlap(*common_runs(found, truth), len(found), len(truth))


def mask_overlaps(images: Sequence[tuple[Instances, Instances]]) -> list[Overlap]:
    """The same for the found and true masks of several images; those that came as COCO's runs are compared at once."""
    mine, theirs = (
        [store for store in (one.store for one in side) if isinstance(store, RunStore)]
        for side in ([found for found, _ in images], [truth for _, truth in images])
    )
    if len(images) < 2 or len(mine) + len(theirs) < 2 * len(images):
        return [overlap(found, truth) for found, truth in images]
    ends, truth_ends = np.cumsum([len(store) for store in mine]), np.cumsum([len(store) for store in theirs])
    whole = run_overlap(column_runs(mine), column_runs(theirs), int(ends[-1]), int(truth_ends[-1]))
    edges = [0, *whole.found.searchsorted(ends).tolist()]
    cuts = zip(pairwise(edges), pairwise([0, *ends.tolist()]), pairwise([0, *truth_ends.tolist()]), strict=True)
    return [whole.part(*starmap(slice, cut)) for cut in cuts]


def run_overlap(mine: Runs, theirs: Runs, found: int, truth: int) -> Overlap:
    """The same from the runs of `found` and `truth` objects."""
    pairs = _intersections(mine, theirs, found, truth)
    return Overlap(*pairs, run_areas(mine, found), run_areas(theirs, truth))


def run_areas(runs: Runs, count: int) -> Integer[ndarray, " N"]:
    """Pixels of each of `count` objects."""
    return np.bincount(runs.owner, runs.stop - runs.start, count).astype(np.int64)


def _intersections(
    mine: Runs, theirs: Runs, found: int, truth: int
) -> tuple[Integer[ndarray, " P"], Integer[ndarray, " P"], Integer[ndarray, " P"]]:
    """Found object, true object and common pixels of each pair that has any."""
    dense = found * truth <= DENSE_TABLE
    table = np.zeros(found * truth if dense else 0)  # of whole numbers below 2**53
    codes, pixels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for a, b in meetings(mine.start, mine.stop, theirs.start, theirs.stop):
        common = np.minimum(mine.stop[a], theirs.stop[b]) - np.maximum(mine.start[a], theirs.start[b])
        code = mine.owner[a] * truth + theirs.owner[b]
        if dense:
            table += np.bincount(code, common, len(table))
            continue
        code, common = _summed(code, common)
        codes.append(code)
        pixels.append(common)
    if dense:
        code = np.flatnonzero(table)
        return code // max(truth, 1), code % max(truth, 1), table[code].astype(np.int64)
    code, common = _summed(np.concatenate(codes), np.concatenate(pixels))
    return code // truth, code % truth, common


def _summed(code: Integer[ndarray, " R"], pixels: Integer[ndarray, " R"]) -> tuple[ndarray, ndarray]:
    """Each code once, ascending, with the sum of its pixels."""
    order = np.argsort(code)
    code = code[order]
    first = np.flatnonzero(np.diff(code, prepend=-1))
    return code[first], np.add.reduceat(pixels[order], first) if len(first) else pixels[:0]


def box_overlap(found: Float[ndarray, "N 4"], truth: Float[ndarray, "M 4"]) -> Overlap:
    """Compare boxes `x1 y1 x2 y2` of one image, as COCO does: continuous coordinates, no pixel added to a side."""
    found_areas, truth_areas = box_areas(found), box_areas(truth)
    mine, theirs = np.argsort(found[:, 0], kind="stable"), np.argsort(truth[:, 0], kind="stable")
    rows, columns, areas = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for a, b in meetings(found[mine, 0], found[mine, 2], truth[theirs, 0], truth[theirs, 2]):
        a, b = mine[a], theirs[b]
        high = np.minimum(found[a, 3], truth[b, 3]) - np.maximum(found[a, 1], truth[b, 1])
        meet = np.flatnonzero(high > 0)
        a, b, high = a[meet], b[meet], high[meet]
        wide = np.minimum(found[a, 2], truth[b, 2]) - np.maximum(found[a, 0], truth[b, 0])
        rows.append(a[wide > 0])
        columns.append(b[wide > 0])
        areas.append((wide * high)[wide > 0])
    row, column, area = np.concatenate(rows), np.concatenate(columns), np.concatenate(areas)
    order = np.lexsort((column, row))
    return Overlap(row[order], column[order], area[order], found_areas, truth_areas)


def box_areas(boxes: Float[ndarray, "N 4"]) -> Float[ndarray, " N"]:
    """Width times height of boxes `x1 y1 x2 y2`.

    COCO keeps widths, we keep corners; a width of up to nine decimals is got back exactly, so that areas at the border
    of a size class and IoUs at a threshold fall on the same side as COCO's.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    rounded = np.round(sides, 9)
    sides = np.where(np.abs(rounded - sides) < 1e-11, rounded, sides)
    return sides[:, 0] * sides[:, 1]
