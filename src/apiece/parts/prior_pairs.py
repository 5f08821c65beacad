"""Pairs of a true box and a prior that overlap enough, found without a table of all, and their one-to-one matching.

    levels -> kinds (kept) -> overlapping: pairs -> ranked: their order -> one_to_one: pairs

NumPy on the CPU: these are many small steps, each of which costs torch several times as much.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

CELLS_AT_ONCE = 1 << 20
"""IoU values held at once, about."""


class Pairs(NamedTuple):
    """Pairs of an object and a prior, with their IoU and the squared distance of their middles."""

    objects: Integer[ndarray, " E"]
    priors: Integer[ndarray, " E"]
    overlap: Float[ndarray, " E"]
    away: Float[ndarray, " E"]

    def of(self, chosen: ndarray) -> "Pairs":
        """Some of them."""
        return Pairs(*(values[chosen] for values in self))


class Kinds(NamedTuple):
    """All shapes of all levels: width and height, steps and numbers of valid places along x and y, how to count."""

    sides: Float[ndarray, "2 S"]
    steps: Float[ndarray, "2 S"]
    valid: Integer[ndarray, "2 S"]
    first: Integer[ndarray, " S"]
    down: Integer[ndarray, " S"]
    across: Integer[ndarray, " S"]


@lru_cache(64)
def kinds(levels: tuple) -> Kinds:
    """Of levels, as plain values; kept, as trainings have few sizes of images."""
    rows, begin = [], 0
    for shapes_, size, steps, valid in levels:
        each = len(shapes_)
        for number, sides in enumerate(shapes_):
            rows.append((*sides, *steps[::-1], *valid[::-1], begin + number, size[1] * each, each))
        begin += each * size[0] * size[1]
    table = np.array(rows, np.float64).reshape(-1, 9).T
    whole = table[4:].astype(np.int64)
    return Kinds(table[:2].astype(np.float32), table[2:4].astype(np.float32), whole[:2], *whole[2:])


def overlapping(kinds: Kinds, boxes: Float[ndarray, "N 4"], least: float) -> Pairs:
    """All pairs whose IoU is at least so, or above 0; object by object."""
    low, high = np.ascontiguousarray(boxes.T).reshape(2, 2, -1)  # x and y
    sides, middles = high - low, (low + high) / 2
    common = np.minimum(sides[:, :, None], kinds.sides[:, None])
    common = common[0] * common[1]
    areas = (sides[0] * sides[1])[:, None] + kinds.sides[0] * kinds.sides[1]
    # Even with their middles together, most shapes could not overlap enough; the slack is for rounding.
    one, kind = (common >= (least - 1e-4) * (areas - common)).nonzero()
    # Nor can those whose middles are farther apart than this along x or y.
    own, theirs, steps, middles = sides[:, one], kinds.sides[:, kind], kinds.steps[:, kind], middles[:, one]
    both = (own + theirs) / 2
    reach = both * ((1 - least) / (1 + least) + 1e-4)
    begin = np.maximum(np.ceil((middles - reach) / steps - 0.5), 0).astype(np.int64)
    end = np.minimum(np.floor((middles + reach) / steps - 0.5).astype(np.int64) + 1, kinds.valid[:, kind])
    across, down = np.maximum(end - begin, 0)
    place = kinds.first[kind] + begin[1] * kinds.down[kind] + begin[0] * kinds.across[kind]
    inner, total = np.minimum(own, theirs), areas[one, kind]
    # What is added to the distance of the middles, and to the place, from one row or column to the next.
    offset = begin.astype(np.float32) + 0.5
    counts, nothing = across * down, np.zeros(0, np.float32)
    found = [Pairs(one[:0], kind[:0], nothing, nothing)]
    before = counts.cumsum() - counts
    for first, last in _parts(before):
        many = counts[first:last]
        which = np.arange(first, last).repeat(many)
        within = np.arange(len(which)) - (before[first:last] - before[first]).repeat(many)
        row, column = np.divmod(within, across[which])
        cell = np.stack([column, row]).astype(np.float32) + offset[:, which]
        away = np.abs(cell * steps[:, which] - middles[:, which])
        shared = np.maximum(np.minimum(inner[:, which], both[:, which] - away), 0)
        shared = shared[0] * shared[1]
        overlap = shared / (total[which] - shared)
        enough = (overlap >= least if least else overlap > 0).nonzero()[0]
        which, shape = which[enough], kind[which[enough]]
        prior = place[which] + row[enough] * kinds.down[shape] + column[enough] * kinds.across[shape]
        away = away[:, enough]
        found.append(Pairs(one[which], prior, overlap[enough], away[0] ** 2 + away[1] ** 2))
    return Pairs(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _parts(before: Integer[ndarray, " E"]) -> list[tuple[int, int]]:
    """First and last of those whose cells are looked at together, so that memory does not grow with their number.

    Args:
        before: how many cells there are before each one's.
    """
    if not len(before):
        return []
    if before[-1] < CELLS_AT_ONCE:
        return [(0, len(before))]
    edges = [0, *(np.flatnonzero(np.diff(before // CELLS_AT_ONCE)) + 1).tolist(), len(before)]
    return list(zip(edges, edges[1:], strict=False))


def ranked(pairs: Pairs) -> Integer[ndarray, " E"]:
    """The pairs from the most overlap to the least; of equal ones the nearer middles come first, then the first."""
    # Positive floats compare as their bits do.
    overlap, away = (values.astype(np.float32).view(np.int32).astype(np.int64) for values in pairs[2:])
    return np.argsort(away - (overlap << 32), kind="stable")


def one_to_one(pairs: Pairs, order: Integer[ndarray, " E"], objects: int) -> Integer[ndarray, " K"]:
    """Pairs in this order, each taken if its object and its prior are free.

    Found object by object: each asks for its priors in turn, and one that another has it gets if their pair is earlier;
    that one then asks on (Gale and Shapley, 1962; as all agree on the order, there is only one answer).
    """
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    mine = order[np.argsort(pairs.objects[order], kind="stable")]
    ends = np.bincount(pairs.objects, minlength=objects).cumsum().tolist()
    asked, held = [0, *ends[:-1]], {}
    for one in range(objects):
        while asked[one] < ends[one]:
            pair = mine[asked[one]]
            prior, asked[one] = int(pairs.priors[pair]), asked[one] + 1
            other = held.get(prior)
            if other is None:
                held[prior] = pair, one
                break
            if rank[pair] < rank[other[0]]:
                held[prior], one = (pair, one), other[1]
    return np.array([pair for pair, _ in held.values()], np.int64)
