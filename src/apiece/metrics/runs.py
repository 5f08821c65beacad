"""The runs of masks, by rows or columns, and which runs of two sets meet: the step that all overlaps are made of."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, Real
from numpy import ndarray

from apiece.instances import Instances
from apiece.masks import STRIP, strips
from apiece.stores import CropStore, LayerStore, RunStore

PAIRS = 1 << 20
"""Pairs of runs handled at once: a few tens of megabytes."""


class Runs(NamedTuple):
    """Stretches of pixels, ordered by start.

    Attributes:
        start, stop: pixels counted row by row through the whole image, or column by column.
        owner: the object each run belongs to.
    """

    start: Integer[ndarray, " R"]
    stop: Integer[ndarray, " R"]
    owner: Integer[ndarray, " R"]


def common_runs(found: Instances, truth: Instances) -> tuple[Runs, Runs]:
    """The runs of two sets of masks of one image: by columns where both came so, else by rows."""
    mine, theirs = found.store, truth.store
    if isinstance(mine, RunStore) and isinstance(theirs, RunStore):
        return column_runs([mine]), column_runs([theirs])
    return row_runs(found), row_runs(truth)


def column_runs(stores: Sequence[RunStore]) -> Runs:
    """The runs of masks that came by columns, those of several images one image's pixels behind the other's."""
    pixels = [store.size[0] * store.size[1] for store in stores]
    before, counts = np.cumsum([0, *pixels]), np.concatenate([np.diff(store.offsets) for store in stores])
    start, stop = (
        np.concatenate([getattr(store, edge) + first for store, first in zip(stores, before[:-1], strict=True)])
        for edge in ("start", "stop")
    )
    order = start.argsort()
    return Runs(start[order], stop[order], np.arange(len(counts)).repeat(counts)[order])


def row_runs(instances: Instances) -> Runs:
    """The runs of all masks in single rows.

    Costs the boxes' pixels for packed crops, the image's for label layers; both in strips.
    """
    store = instances.store.packed() if isinstance(instances.store, RunStore) else instances.store
    if isinstance(store, LayerStore):
        pieces = [_layer_runs(store, number) for number in range(len(store.planes))]
    else:
        pieces = list(_crop_runs(store))
    runs = (
        Runs(*(np.concatenate([np.zeros(0, np.int64), *parts]) for parts in zip(*pieces, strict=True)))
        if pieces
        else _no_runs()
    )
    if isinstance(store, LayerStore) and len(pieces) == 1:
        return runs
    order = np.argsort(runs.start, kind="stable")
    return Runs(*(part[order] for part in runs))


def meetings(
    start: Real[ndarray, " A"],
    stop: Real[ndarray, " A"],
    other_start: Real[ndarray, " B"],
    other_stop: Real[ndarray, " B"],
) -> Iterator[tuple[Integer[ndarray, " P"], Integer[ndarray, " P"]]]:
    """All pairs of half-open intervals of two sets, each ordered by start, that overlap: each pair once, in chunks.

    Two intervals overlap if one starts inside the other, and all that start inside one lie side by side in the ordered
    list.
    """
    before = other_start.searchsorted(start, "left")  # of the others start before each
    yield from _expanded(before, _ends(before, stop, other_start))
    # What starts no later than another has no more of the others before it.
    before = np.bincount(before, minlength=len(other_start) + 1).cumsum()[:-1]
    for theirs, mine in _expanded(before, _ends(before, other_stop, start)):
        yield mine, theirs


def _ends(
    first: Integer[ndarray, " A"], stop: Real[ndarray, " A"], other_start: Real[ndarray, " B"]
) -> Integer[ndarray, " A"]:
    """For each interval, of which the `first` of the others does not start before it: up to which they start inside."""
    last = first.copy()
    some = np.flatnonzero(first < len(other_start))
    some = some[other_start[first[some]] < stop[some]]
    last[some] = other_start.searchsorted(stop[some], "left")
    return last


def _expanded(
    first: Integer[ndarray, " N"], last: Integer[ndarray, " N"]
) -> Iterator[tuple[Integer[ndarray, " P"], Integer[ndarray, " P"]]]:
    """Each row i with each number of first[i]..last[i] - 1."""
    counts = last - first
    ends = np.cumsum(counts)
    row = 0
    while row < len(counts):
        done = ends[row - 1] if row else 0
        after = max(int(np.searchsorted(ends, done + PAIRS, "right")), row + 1)
        of_rows = counts[row:after]
        rows = np.repeat(np.arange(row, after), of_rows)
        shift = first[row:after] - (ends[row:after] - of_rows - done)
        yield rows, np.arange(len(rows)) + np.repeat(shift, of_rows)
        row = after


def _no_runs() -> Runs:
    return Runs(*(np.zeros(0, np.int64) for _ in range(3)))


def _layer_runs(store: LayerStore, number: int) -> Runs:
    """The runs of the objects on one label layer."""
    members = np.flatnonzero(store.layer == number)
    members = members[np.argsort(store.value[members], kind="stable")]
    values = store.value[members]
    width = store.size[1]
    pieces = [_no_runs()]
    for rows in strips(store.size) if len(members) else ():
        plane = store.planes[number, rows]
        edges = np.ones(plane.shape, bool)
        np.not_equal(plane[:, 1:], plane[:, :-1], out=edges[:, 1:])
        start = np.flatnonzero(edges)
        ink = plane.ravel()[start]
        stop = np.append(start[1:], plane.size)
        inked = np.flatnonzero(ink > 0)
        start, stop, ink = start[inked], stop[inked], ink[inked].astype(np.int64)
        place = np.searchsorted(values, ink).clip(max=len(values) - 1)
        known = values[place] == ink
        offset = rows.start * width
        pieces.append(Runs(start[known] + offset, stop[known] + offset, members[place[known]]))
    return Runs(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def _crop_runs(store: CropStore) -> Iterator[Runs]:
    """The runs of packed crops, some objects at a time."""
    first = 0
    while first < len(store):
        limit = store.offsets[first] + STRIP // 8
        after = max(int(np.searchsorted(store.offsets, limit, "right")) - 1, first + 1)
        yield _unpacked_runs(store, first, after)
        first = after


def _unpacked_runs(store: CropStore, first: int, after: int) -> Runs:
    """The runs of the packed crops first..after - 1."""
    boxes = store.boxes[first:after].astype(np.int64)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    begin = 8 * (store.offsets[first:after] - store.offsets[first])
    ink = np.unpackbits(store.bits[store.offsets[first] : store.offsets[after]]).view(bool)
    start, stop = _bit_runs(ink, _row_starts(begin, width, height))
    # A crop without bits begins where the next one does: the last that begins there is the one with bits.
    owner = np.searchsorted(begin, start, "right") - 1
    row, column = np.divmod(start - begin[owner], width[owner])
    place = (boxes[owner, 1] + row) * store.size[1] + boxes[owner, 0] + column
    return Runs(place, place + (stop - start), owner + first)


def _row_starts(
    begin: Integer[ndarray, " N"], width: Integer[ndarray, " N"], height: Integer[ndarray, " N"]
) -> Integer[ndarray, " rows"]:
    """The bit at which each row of each crop begins."""
    row = np.arange(int(height.sum())) - np.repeat(np.cumsum(height) - height, height)
    return np.repeat(begin, height) + row * np.repeat(width, height)


def _bit_runs(
    ink: Bool[ndarray, " bits"], row_starts: Integer[ndarray, " rows"]
) -> tuple[Integer[ndarray, " R"], Integer[ndarray, " R"]]:
    """Starts and stops of the runs of set bits, none of which goes beyond its row."""
    fresh = np.zeros(len(ink) + 1, bool)  # does nothing go on from the bit before to this one?
    fresh[row_starts] = True
    fresh[-1] = True
    begins, ends = fresh[:-1].copy(), fresh[1:]
    begins[1:] |= ~ink[:-1]
    ends[:-1] |= ~ink[1:]
    return np.flatnonzero(ink & begins), np.flatnonzero(ink & ends) + 1
