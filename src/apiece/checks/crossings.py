"""Where the outlines of objects cross themselves."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Real
from numpy import ndarray

from apiece.metrics.runs import meetings


class Crossings(NamedTuple):
    """Points at which an outline properly crosses itself; where it only touches itself there is none.

    Attributes:
        owner: the object of each.
        points: where, `x y`.
        loops: area in pixels of the smaller of both loops that an outline falls into there.
    """

    owner: Integer[ndarray, " K"]
    points: Float[ndarray, "K 2"]
    loops: Float[ndarray, " K"]


class _Edges(NamedTuple):
    """The edges of many rings, one ring after another.

    Attributes:
        owner, ring: the object and the ring of each.
        start, stop: its end points, E 2.
        swept: twice the area that the ring's edges before it sweep, seen from the ring's first point.
    """

    owner: Integer[ndarray, " E"]
    ring: Integer[ndarray, " E"]
    start: Float[ndarray, "E 2"]
    stop: Float[ndarray, "E 2"]
    swept: Float[ndarray, " E"]


def crossings(outlines: Sequence[Sequence[Real[ndarray, "_ 2"]]]) -> Crossings:
    """All points at which rings cross themselves. Rings of one object may cross each other: they are united.

    Args:
        outlines: for each object its rings.
    """
    edges = _edges(outlines)
    first, second = _pairs(edges)
    # A bridge, walked there and back, joins parts and holes to one ring: it encloses nothing, whatever it crosses.
    bridge = _walked_back(edges)
    outline = ~bridge[first] & ~bridge[second]
    first, second = first[outline], second[outline]
    (a, b), (c, d) = ((edges.start[of], edges.stop[of]) for of in (first, second))
    before, after = _turn(c, d, a), _turn(c, d, b)
    proper = np.flatnonzero((before * after < 0) & (_turn(a, b, c) * _turn(a, b, d) < 0))
    first, second = first[proper], second[proper]
    share = before[proper] / (before[proper] - after[proper])
    point = edges.start[first] + share[:, None] * (edges.stop[first] - edges.start[first])
    return Crossings(edges.owner[first], point, _loops(edges, first, second, point))


def _edges(outlines: Sequence[Sequence[Real[ndarray, "_ 2"]]]) -> _Edges:
    rings = [(owner, ring) for owner, of_object in enumerate(outlines) for ring in of_object if len(ring) > 3]
    lengths = np.array([len(ring) for _, ring in rings], np.int64)
    start = np.concatenate([np.zeros((0, 2)), *(ring for _, ring in rings)])
    first = np.cumsum(lengths) - lengths
    following = np.arange(1, len(start) + 1)
    following[first + lengths - 1] = first
    stop, origin = start[following], np.repeat(start[first], lengths, axis=0)
    swept = np.cumsum(np.append(0.0, _cross(start - origin, stop - origin)))[:-1]
    owners = np.array([owner for owner, _ in rings], np.int64)
    ring = np.repeat(np.arange(len(rings)), lengths)
    return _Edges(np.repeat(owners, lengths), ring, start, stop, swept - np.repeat(swept[first], lengths))


def _pairs(edges: _Edges) -> tuple[Integer[ndarray, " P"], Integer[ndarray, " P"]]:
    """Edges of one ring that share a column and a row, the earlier first."""
    low, high = np.minimum(edges.start, edges.stop), np.maximum(edges.start, edges.stop)
    # Rings side by side: edges of two of them never meet.
    width = high[:, 0].max(initial=0.0) - low[:, 0].min(initial=0.0) + 1
    left = low[:, 0] + edges.ring * width
    right = high[:, 0] + edges.ring * width + 1e-6
    order = np.argsort(left, kind="stable")
    found = [np.zeros((2, 0), np.int64)]
    for one, other in meetings(left[order], right[order], left[order], right[order]):
        one, other = order[one], order[other]
        near = (one < other) & (low[one, 1] <= high[other, 1]) & (low[other, 1] <= high[one, 1])
        found.append(np.stack([one[near], other[near]]))
    first, second = np.concatenate(found, axis=1)
    return first, second


def _walked_back(edges: _Edges) -> Bool[ndarray, " E"]:
    """The edges that their ring walks in the other direction too."""
    there = np.concatenate([edges.ring[:, None], edges.start, edges.stop], axis=1)
    back = np.concatenate([edges.ring[:, None], edges.stop, edges.start], axis=1)
    _, number = np.unique(np.concatenate([there, back]), axis=0, return_inverse=True)
    number = number.ravel()
    return np.isin(number[: len(there)], number[len(there) :])


def _loops(
    edges: _Edges, first: Integer[ndarray, " K"], second: Integer[ndarray, " K"], point: Float[ndarray, "K 2"]
) -> Float[ndarray, " K"]:
    """Areas of the smaller loops at crossings of two edges."""
    opening = np.flatnonzero(np.diff(edges.ring, prepend=-1))
    begin, last = opening[edges.ring[first]], np.append(opening[1:], len(edges.ring))[edges.ring[first]] - 1
    origin = edges.start[begin]
    whole = edges.swept[last] + _cross(edges.start[last] - origin, edges.stop[last] - origin)
    # From the crossing along the first edge, through all edges between, and along the second one back to it.
    loop = edges.swept[second] - edges.swept[np.minimum(first + 1, last)]
    loop += _cross(edges.start[second] - origin, point - origin) + _cross(point - origin, edges.stop[first] - origin)
    return np.minimum(np.abs(loop), np.abs(whole - loop)) / 2


def _cross(one: Float[ndarray, "K 2"], other: Float[ndarray, "K 2"]) -> Float[ndarray, " K"]:
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]


def _turn(a: Float[ndarray, "K 2"], b: Float[ndarray, "K 2"], c: Float[ndarray, "K 2"]) -> Float[ndarray, " K"]:
    """Positive where c lies on one side of the line from a to b, negative on the other, 0 on it."""
    return _cross(b - a, c - a)
