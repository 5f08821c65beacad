"""Pixels that vote for their object's center: displacements become peaks, and peaks become objects.

    displacements 2 H W -> each pixel that moves votes where it arrives -> vote map, summed over a small window
                        -> peaks: local maxima, the weaker of two given up where its own voters' aim is no finer
                        -> a pixel joins the nearest peak if it misses it by less than its distance allows

After the decoding of DCME (Watanabe and Wolf, ITSC 2018), with limits that are relative to the distance a vote has come
in place of its fixed 50 votes, 15 pixels and gaps of 10: an object of ten pixels and one of a hundred thousand are
found by the same rule. One vote a pixel (the original's program counts most of them twice).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from apiece.masks import Size, label_type


class Votes(NamedTuple):
    """The objects that were found, strongest peak first.

    Attributes:
        labels: 0 where there is none, else 1..N.
        peaks: x and y of each object's center in pixels.
        errors: for each pixel of an object, how far its vote misses the peak, as a share of what is allowed; else 0.
        scores: one minus the mean error of each object.
    """

    labels: Integer[ndarray, "H W"]
    peaks: Float[ndarray, "N 2"]
    errors: Float[ndarray, "H W"]
    scores: Float[ndarray, " N"]


class Voters(NamedTuple):
    """The pixels that vote: flat indices, what they are displaced by, and where they arrive, x and y in pixels."""

    pixels: Integer[ndarray, " P"]
    lengths: Float[ndarray, " P"]
    places: Float[ndarray, "P 2"]


def group_by_votes(
    displacement: Float[ndarray, "2 H W"],
    *,
    still: float = 1.0,
    slack: float = 1.0,
    tolerance: float = 0.4,
    window: int = 3,
    min_votes: float = 4.0,
    min_size: int = 1,
    peaks: Float[ndarray, "N 2"] | None = None,
) -> Votes:
    """Objects of a field of displacements. Time grows with the pixels that move, not with pixels times objects.

    Args:
        displacement: from each pixel to its object's center, x and y in pixels; zero on the background.
        still: pixels; what moves less does not vote. It joins the object whose peak it lies at.
        slack, tolerance: a vote may miss its peak by slack pixels and this share of the pixel's distance from it.
        window: side of the square over which votes are summed, odd.
        min_votes: in a peak's window.
        min_size: pixels of the smallest object.
        peaks: given centers, in place of those the votes make.
    """
    size = displacement.shape[1], displacement.shape[2]
    voters = _voters(displacement, still)
    if peaks is None:
        peaks = _peaks(voters, size, slack, tolerance, window, min_votes)
    owner, errors = _owners(voters, peaks, size, slack, tolerance)
    _add_still(owner, peaks, np.hypot(*displacement) < still, slack)
    return _counted(owner, errors, peaks, min_size)


def _voters(displacement: Float[ndarray, "2 H W"], still: float) -> Voters:
    """Those that move far enough, and arrive within the image."""
    height, width = displacement.shape[1:]
    x, y = displacement.reshape(2, -1)
    # NaN compares false: a pixel without a finite displacement does not vote.
    pixels = np.flatnonzero(x * x + y * y >= still * still)
    x, y = x[pixels], y[pixels]
    places = np.stack([pixels % width + x, pixels // width + y], 1)
    inside = ((places > -0.5) & (places < (width - 0.5, height - 0.5))).all(1)
    return Voters(pixels[inside], np.hypot(x, y)[inside], places[inside])


def _peaks(
    voters: Voters, size: Size, slack: float, tolerance: float, window: int, min_votes: float
) -> Float[ndarray, "N 2"]:
    """Where votes pile up, strongest first."""
    from scipy.ndimage import uniform_filter

    height, width = size
    if not len(voters.pixels):
        return np.zeros((0, 2))
    cells = np.rint(voters.places).astype(np.int64) @ (1, width)
    count = np.bincount(cells, minlength=height * width).reshape(size).astype(np.float32)
    # Summed over the window, then averaged over it: maxima are single cells.
    piled = uniform_filter(uniform_filter(count, window, mode="constant"), window, mode="constant") * window**2
    row, column = np.nonzero(piled >= min_votes)
    padded = np.pad(piled, 1)
    highest = np.max([padded[row + i, column + j] for i in range(3) for j in range(3)], axis=0)
    top = piled[row, column] >= highest
    row, column = row[top], column[top]
    way = np.bincount(cells, voters.lengths, height * width).reshape(size)
    reach = _window_mean(way, count, row, column, window)
    order = np.argsort(-piled[row, column], kind="stable")
    corners = np.stack([column, row], 1)[order].astype(np.float64)
    kept = _kept(corners, slack + tolerance * reach[order])
    return _refined(corners[kept], voters, slack + tolerance * reach[order][kept])


def _window_mean(
    way: Float[ndarray, "H W"], count: Float[ndarray, "H W"], row: ndarray, column: ndarray, window: int
) -> Float[ndarray, " N"]:
    """How far, on average, the votes of each window have come."""
    half = window // 2
    ways, counts = np.pad(way, half), np.pad(count, half)
    steps = [(i, j) for i in range(window) for j in range(window)]
    total = sum(ways[row + i, column + j] for i, j in steps)
    return total / np.maximum(sum(counts[row + i, column + j] for i, j in steps), 1)


def _kept(places: Float[ndarray, "N 2"], radius: Float[ndarray, " N"]) -> Integer[ndarray, " K"]:
    """Those, in order, that lie farther than their own radius from every one kept before."""
    from scipy.spatial import KDTree

    if not len(places):
        return np.zeros(0, np.int64)
    # The scatter of far pixels' votes makes peaks of its own about the true one; a small object's votes have come from
    # near, so that it stays apart from a large one's center.
    near = KDTree(places).query_ball_point(places, radius)
    kept = np.zeros(len(places), bool)
    for index, others in enumerate(near):
        kept[index] = not any(kept[other] for other in others if other < index)
    return np.flatnonzero(kept)


def _refined(peaks: Float[ndarray, "N 2"], voters: Voters, radius: Float[ndarray, " N"]) -> Float[ndarray, "N 2"]:
    """Each peak moved to the mean of the votes about it."""
    if not len(peaks):
        return peaks
    nearest, distance = _nearest(voters.places, peaks)
    own = distance <= radius[nearest]
    count = np.bincount(nearest[own], minlength=len(peaks))
    sums = [np.bincount(nearest[own], voters.places[own, axis], len(peaks)) for axis in (0, 1)]
    return np.where(count[:, None] > 0, np.stack(sums, 1) / np.maximum(count, 1)[:, None], peaks)


def _nearest(
    places: Float[ndarray, "P 2"], peaks: Float[ndarray, "N 2"]
) -> tuple[Integer[ndarray, " P"], Float[ndarray, " P"]]:
    """The peak nearest to the cell of each place, and how far the place itself lies from it."""
    from scipy.spatial import KDTree

    # Votes share cells: of a good network's there are far fewer cells than votes.
    low = np.floor(places.min(0))
    column, row = np.rint((places - low) * 2).astype(np.int64).T
    across = int(column.max()) + 1
    cells = row * across + column
    used = np.zeros(int(cells.max()) + 1, bool)
    used[cells] = True
    known = np.flatnonzero(used)
    centers = np.stack([known % across, known // across], 1) / 2 + low
    table = np.zeros(len(used), np.int64)
    table[known] = KDTree(peaks).query(centers)[1]
    nearest = table[cells]
    return nearest, np.hypot(*(places - peaks[nearest]).T)


def _owners(
    voters: Voters, peaks: Float[ndarray, "N 2"], size: Size, slack: float, tolerance: float
) -> tuple[Integer[ndarray, "H W"], Float[ndarray, "H W"]]:
    """For each pixel the peak it belongs to, or -1, and how far its vote misses it as a share of what is allowed."""
    owner, errors = np.full(size, -1, np.int64), np.zeros(size, np.float32)
    if not len(peaks) or not len(voters.pixels):
        return owner, errors
    nearest, missed = _nearest(voters.places, peaks)
    columns_rows = np.stack([voters.pixels % size[1], voters.pixels // size[1]], 1)
    allowed = slack + tolerance * np.hypot(*(columns_rows - peaks[nearest]).T)
    near = missed <= allowed
    owner.ravel()[voters.pixels[near]] = nearest[near]
    errors.ravel()[voters.pixels[near]] = (missed / allowed)[near]
    return owner, errors


def _add_still(
    owner: Integer[ndarray, "H W"], peaks: Float[ndarray, "N 2"], still: Bool[ndarray, "H W"], slack: float
) -> None:
    """Give the pixels at a peak, which need not move, to its object: where its other pixels lie about them.

    A center off its object, of a sickle or a stick under another, has none of its pixels beside it.
    """
    height, width = owner.shape
    reach = int(np.ceil(slack)) + 1
    steps = np.arange(-reach, reach + 1)
    down, across = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    column = np.rint(peaks[:, :1]).astype(np.int64) + across
    row = np.rint(peaks[:, 1:]).astype(np.int64) + down
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    row, column = row.clip(0, height - 1), column.clip(0, width - 1)
    number = np.arange(len(peaks))[:, None]
    mine = (owner[row, column] == number) & inside
    center = np.hypot(column - peaks[:, :1], row - peaks[:, 1:]) <= slack + 0.5
    free = center & inside & still[row, column] & (owner[row, column] < 0)
    surrounded = mine.sum(1) >= 0.5 * (inside & ~free).sum(1)
    free &= surrounded[:, None]
    owner[row[free], column[free]] = np.broadcast_to(number, free.shape)[free]


def _counted(
    owner: Integer[ndarray, "H W"], errors: Float[ndarray, "H W"], peaks: Float[ndarray, "N 2"], min_size: int
) -> Votes:
    """Those of enough pixels, numbered from 1 in the order of their peaks."""
    taken = owner.ravel() >= 0
    objects = owner.ravel()[taken]
    areas = np.bincount(objects, minlength=len(peaks))
    kept = np.flatnonzero(areas >= max(min_size, 1))
    number = np.zeros(len(peaks) + 1, label_type(len(kept)))
    number[kept] = np.arange(1, len(kept) + 1)
    missed = np.bincount(objects, errors.ravel()[taken], len(peaks))[kept] / areas[kept]
    return Votes(number[owner], peaks[kept], errors, 1 - missed)
