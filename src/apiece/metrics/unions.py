"""Pixels that objects cover together, for every operating point at once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from apiece.masks import Size, strips
from apiece.metrics.runs import Runs

PIXELS = 1 << 20
"""Pixels of an image that are painted at once."""


class UnionPixels(NamedTuple):
    """How many pixels groups of objects (all, or those of a class) cover in an image.

    Each pixel is counted for the surest found object on it: the union of the objects above any score is the sum of
    their counts.

    Attributes:
        found: pixels counted for each found object, but for those in ignored regions.
        right: those of them that true objects of its group cover.
        groups: the groups that true objects belong to.
        truth: pixels of the true objects of each of these groups.
    """

    found: Integer[ndarray, " N"]
    right: Integer[ndarray, " N"]
    groups: Integer[ndarray, " G"]
    truth: Integer[ndarray, " G"]


def union_pixels(
    found: Runs,
    truth: Runs,
    scores: Float[ndarray, " N"],
    ignore: Bool[ndarray, " M"],
    group: Integer[ndarray, " N"],
    truth_group: Integer[ndarray, " M"],
    size: Size,
) -> UnionPixels:
    """Count the pixels of each group. Ignored true objects of the group or of group -1 cut their pixels out."""
    rank = np.empty(len(scores), np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    counts, right = np.zeros(len(scores), np.int64), np.zeros(len(scores), np.int64)
    groups = np.unique(truth_group[~ignore])
    totals = np.zeros(len(groups), np.int64)
    for number in np.union1d(np.unique(group), groups).tolist():
        mine = _those(found, group[found.owner] == number)
        of_group = truth_group[truth.owner] == number
        ignored = ignore[truth.owner]
        theirs = _those(truth, of_group & ~ignored)
        void = _those(truth, ignored & (of_group | (truth_group[truth.owner] == -1)))
        for rows in strips(size, PIXELS):
            first, last = rows.start * size[1], rows.stop * size[1]
            if not (_within(mine, first, last) or _within(theirs, first, last)):
                continue
            surest = _painted(mine, -rank, first, last)
            true = _painted(theirs, np.zeros(len(ignore), int), first, last) >= 0
            surest[(_painted(void, np.zeros(len(ignore), int), first, last) >= 0) & ~true] = -1
            counts += np.bincount(surest + 1, None, len(scores) + 1)[1:]
            right += np.bincount(surest[true] + 1, None, len(scores) + 1)[1:]
            totals[groups == number] += np.count_nonzero(true)
    return UnionPixels(counts, right, groups, totals)


def _those(runs: Runs, chosen: Bool[ndarray, " R"]) -> Runs:
    return Runs(*(part[chosen] for part in runs))


def _within(runs: Runs, first: int, last: int) -> bool:
    """Does a run start between two pixels?"""
    return bool(np.searchsorted(runs.start, first) < np.searchsorted(runs.start, last))


def _painted(runs: Runs, height: Integer[ndarray, " N"], first: int, last: int) -> Integer[ndarray, " P"]:
    """The pixels first..last - 1 with the object that lies highest on each, or -1. Ends of strips are ends of rows."""
    chosen = slice(*np.searchsorted(runs.start, (first, last)))
    start, stop, owner = (part[chosen] for part in runs)
    # Where pixels are written several times the last stays.
    order = np.argsort(height[owner], kind="stable")
    start, length, owner = start[order], (stop - start)[order], owner[order]
    pixel = np.arange(length.sum()) + np.repeat(start - first - (np.cumsum(length) - length), length)
    painted = np.full(last - first, -1)
    painted[pixel] = np.repeat(owner, length)
    return painted
