"""Pixels that lie together in feature space become clusters: mean shift from many starts at once, looking only nearby.

    points P D -> three principal directions -> cells as wide as the bandwidth, sorted     distances in all D directions
    the fullest cells -> starts -> each moves to the mean of what lies within the bandwidth, until it stands -> modes
    what no mode reaches starts again; at the end every point goes to the nearest mode within reach

The "fast variant of the mean-shift algorithm" of De Brabandere et al., 2017, takes one random pixel after another. Here
starts follow the density, so the result is always the same; each looks at its own and the neighboring cells only, so
the cost grows with the points and not with points times clusters. Mean shift after Comaniciu and Meer, PAMI 2002.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from torch import Tensor

DIRECTIONS = 3
MOST_ROUNDS = 30
PAIRS_AT_ONCE = 1 << 18
FARTHEST_CELL = 1 << 19
FIXED_POINT = 1 << 30
EXACT = "donot_use_mm_for_euclid_dist"


class Clusters(NamedTuple):
    """What was found.

    Attributes:
        labels: 0 for points of no cluster, else 1..N.
        centers: the mode of each cluster; that of the most points first.
        sizes: points of each.
    """

    labels: Int[Tensor, " P"]
    centers: Float[Tensor, "N D"]
    sizes: Int[Tensor, " N"]


def group_by_mean_shift(
    points: Float[Tensor, "P D"],
    bandwidth: float,
    *,
    reach: float | None = None,
    min_size: int = 1,
    tolerance: float = 1e-3,
    max_steps: int = 100,
) -> Clusters:
    """Clusters of points by mean shift with a flat kernel. Nothing is random, and sums do not depend on their order.

    Args:
        points: embeddings of the pixels of one class, on any device. Those not finite belong to no cluster.
        bandwidth: a mode is the mean of what lies this near; of modes this near to each other the fullest stays.
        reach: a point goes to the nearest mode within this distance; None = the bandwidth, the paper's rule.
        min_size: of fewer points, within the bandwidth or at the end, there is no cluster.
        tolerance: a start stands when it moves by less than this part of the bandwidth.
        max_steps: of one start.
    """
    reach = bandwidth if reach is None else reach
    near = _Cells(points, bandwidth)
    centers = _modes(near, bandwidth, max(1, min_size), tolerance * bandwidth, max_steps)
    wide = near if reach == bandwidth else _Cells(points, reach)
    labels, sizes = wide.nearest(centers, reach)
    if bool((sizes < min_size).any()):
        # Their points may be within reach of another.
        centers = centers[sizes >= min_size]
        labels, sizes = wide.nearest(centers, reach)
    order = sizes.argsort(descending=True, stable=True)
    rank = labels.new_zeros(len(centers) + 1)
    rank[order + 1] = torch.arange(1, len(centers) + 1, device=points.device)
    return Clusters(rank[labels], centers[order], sizes[order])


def group_by_nearest_center(
    points: Float[Tensor, "P D"], centers: Float[Tensor, "N D"], reach: float
) -> Int[Tensor, " P"]:
    """1 + the row of the nearest center within reach (of equally near ones the first), 0 where there is none."""
    return _Cells(points, reach).nearest(centers, reach)[0]


class _Cells:
    """Points in the order of a grid over their principal directions.

    Attributes:
        points: the finite ones, in the order of the grid.
        order: for each its place in what was given.
    """

    def __init__(self, points: Float[Tensor, "P D"], side: float):
        finite = points.isfinite().all(1).nonzero().squeeze(1)
        self.count, points = len(points), points.detach().index_select(0, finite).float()
        # A little wider than asked, for rounding.
        self.axes, self.side = _principal_directions(points), side * 1.001
        cells = self._cells(points)
        low, high = (cells.amin(0), cells.amax(0)) if len(cells) else (cells.sum(0), cells.sum(0))
        # With an empty cell at both ends: the neighbor of a row's last cell is not the next row's first.
        self.low, spans = low - 1, (high - low + 3).tolist()
        self.strides = [int(np.prod(spans[axis + 1 :])) for axis in range(len(spans))]
        keys, order = self._keys(cells).sort(stable=True)
        self.keys, self.order, self.points = keys, finite[order], points.index_select(0, order)
        self.shadows = self._project(self.points).float()
        self.occupied, self.cell = keys.unique_consecutive(return_inverse=True)
        self.neighbors = self._neighbors()

    def _project(self, points: Float[Tensor, "P D"]) -> Float[Tensor, "P K"]:
        """Where points lie among the cells; in float64, so that points and centers are rounded alike."""
        return torch.cat([part.double() @ self.axes / self.side for part in points.split(1 << 16)])

    def _cells(self, points: Float[Tensor, "P D"]) -> Int[Tensor, "P K"]:
        return self._project(points).floor().clamp(-FARTHEST_CELL, FARTHEST_CELL).long()

    def _keys(self, cells: Int[Tensor, "P K"]) -> Int[Tensor, " P"]:
        return ((cells - self.low) * torch.tensor(self.strides, device=cells.device)).sum(1)

    def _neighbors(self) -> Int[Tensor, "U V"]:
        """For each occupied cell the numbers of those around it and its own; U where there is none."""
        count, columns = len(self.occupied), []
        for steps in product((-1, 0, 1), repeat=len(self.strides)):
            wanted = self.occupied + sum(step * stride for step, stride in zip(steps, self.strides, strict=True))
            place = torch.searchsorted(self.occupied, wanted).clamp(max=max(0, count - 1))
            columns.append(place.masked_fill(self.occupied[place] != wanted, count))
        return torch.stack(columns, 1)

    def starts(self, free: Bool[Tensor, " P"], least: int) -> Int[Tensor, " S"]:
        """One free point of each cell that has more of them than any neighbor (of equal cells the first).

        Left out are cells with fewer than `least` in and around them.
        """
        counts = torch.bincount(self.cell[free], minlength=len(self.occupied) + 1)
        enough = (counts[:-1] > 0) & (counts[self.neighbors].sum(1) >= least)
        # Unequal numbers, so that a plateau has one peak.
        ranks = counts * len(counts) - torch.arange(len(counts), device=counts.device)
        ranks[:-1][~enough] = -len(counts)
        peaks = (enough & (ranks[:-1] >= ranks[self.neighbors].amax(1))).nonzero().squeeze(1)
        # The middle one in the order of the image: the first lies at an object's border.
        before = counts.cumsum(0)[peaks] - counts[peaks]
        return torch.searchsorted(free.cumsum(0), before + counts[peaks] // 2 + 1)

    def pairs(self, centers: Float[Tensor, "S D"]) -> Iterator[tuple[Tensor, Tensor]]:
        """Positions of all points within a side of each center, and some more, with the center; a part at a time."""
        keys = self._keys(self._cells(centers))
        sideways = [
            sum(step * stride for step, stride in zip(steps, self.strides, strict=False))
            for steps in product((-1, 0, 1), repeat=len(self.strides) - 1)
        ]
        rows = keys[:, None] + torch.tensor(sideways, device=keys.device)
        first = torch.searchsorted(self.keys, rows - 1)
        lengths = torch.searchsorted(self.keys, rows + 1, right=True) - first
        ends = lengths.sum(1).cumsum(0).cpu().numpy()
        at = 0
        while at < len(ends):
            done = int(ends[at - 1]) if at else 0
            stop = max(at + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
            runs = lengths[at:stop].flatten()
            begins = first[at:stop].flatten() - (runs.cumsum(0) - runs)
            position = torch.repeat_interleave(begins, runs)
            position += torch.arange(len(position), device=position.device)
            yield position, torch.repeat_interleave(lengths[at:stop].sum(1)) + at
            at = stop

    def around(self, centers: Float[Tensor, "S D"], radius: float) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of the points within a radius (at most the side) of each center: position, center, difference, distance^2."""
        shadows = self._project(centers).float()
        for position, center in self.pairs(centers):
            # What is farther in three directions need not be looked at in all.
            apart = (self.shadows.index_select(0, position) - shadows.index_select(0, center)).square().sum(1)
            hopeful = (apart <= (radius / self.side) ** 2 * 1.01).nonzero().squeeze(1)
            position, center = position[hopeful], center[hopeful]
            difference = self.points.index_select(0, position) - centers.index_select(0, center)
            distance = difference.square().sum(1)
            inside = (distance <= radius**2).nonzero().squeeze(1)
            yield position[inside], center[inside], difference.index_select(0, inside), distance[inside]

    def means(
        self, centers: Float[Tensor, "S D"], radius: float, free: Bool[Tensor, " P"]
    ) -> tuple[Float[Tensor, "S D"], Int[Tensor, " S"]]:
        """Mean and number of the points within a radius of each center. Those within half of it are free no more."""
        # Whole numbers: their sum is the same in any order, and additions on a GPU have none.
        sums = torch.zeros(centers.shape, dtype=torch.long, device=centers.device)
        counts = sums.new_zeros(len(centers))
        for position, center, difference, distance in self.around(centers, radius):
            sums.index_add_(0, center, (difference * (FIXED_POINT / radius)).long())
            counts += torch.bincount(center, minlength=len(centers))
            free[position[distance <= radius**2 / 4]] = False
        shift = sums.double() * (radius / FIXED_POINT) / counts.clamp(min=1)[:, None]
        return (centers.double() + shift).float(), counts

    def nearest(self, centers: Float[Tensor, "N D"], reach: float) -> tuple[Int[Tensor, " P"], Int[Tensor, " N"]]:
        """1 + the row of each given point's nearest center within reach, or 0; and how many points each center has."""
        never = torch.iinfo(torch.long).max
        best = self.keys.new_full((len(self.points),), never)
        for position, center, _, distance in self.around(centers.float(), reach):
            # Positive floats compare as their bits do: one whole number holds the distance and then the row.
            best.scatter_reduce_(0, position, (distance.view(torch.int32).long() << 32) + center, "amin")
        labels = self.keys.new_zeros(self.count)
        labels[self.order] = torch.where(best == never, 0, (best & 0xFFFFFFFF) + 1)
        return labels, torch.bincount(labels, minlength=len(centers) + 1)[1:]


def _principal_directions(points: Float[Tensor, "P D"]) -> Float[Tensor, "D K"]:
    """Unit vectors along which the points spread most, in float64."""
    sample = points[:: max(1, len(points) // 20_000)].double()
    centered = sample - sample.mean(0) if len(sample) else sample
    directions = torch.linalg.eigh((centered.T @ centered).cpu()).eigenvectors.flip(1)
    return directions[:, :DIRECTIONS].to(points.device)


def _modes(cells: _Cells, bandwidth: float, min_size: int, tolerance: float, max_steps: int) -> Float[Tensor, "N D"]:
    """The modes, those of the fullest cells first."""
    centers, free = cells.points[:0], torch.ones(len(cells.points), dtype=torch.bool, device=cells.points.device)
    for _ in range(MOST_ROUNDS):
        starts = cells.starts(free, min_size)
        if not len(starts):
            break
        free[starts] = False
        modes, counts = cells.points[starts], torch.zeros_like(starts)
        moving = torch.arange(len(starts), device=starts.device)
        for _ in range(max_steps):
            # What lies around a path would go where it goes.
            moved, counts[moving] = cells.means(modes[moving], bandwidth, free)
            step = (moved - modes[moving]).norm(dim=1)
            modes[moving] = moved
            known = (torch.cdist(moved, centers, compute_mode=EXACT) < bandwidth / 2).any(1)
            counts[moving[known]] = 0
            moving = moving[(step >= tolerance) & ~known]
            if not len(moving):
                break
        fresh = _distinct(centers, modes, counts, bandwidth, min_size)
        centers = torch.cat([centers, fresh])
        for position, *_ in cells.around(fresh, bandwidth):
            free[position] = False
    return centers


def _distinct(centers: Tensor, modes: Tensor, counts: Tensor, bandwidth: float, min_size: int) -> Float[Tensor, "M D"]:
    """The modes of enough points that are a bandwidth from every center and every fuller mode, the fullest first."""
    order = counts.argsort(descending=True, stable=True)
    modes = modes[order[counts[order] >= min_size]]
    both = torch.cat([centers, modes])
    kept = np.ones(len(both), bool)
    if len(both):
        close = KDTree(both.cpu().numpy()).query_pairs(bandwidth, output_type="ndarray")
        for first, other in close[np.lexsort((close[:, 1], close[:, 0]))].tolist():
            if kept[first]:
                kept[other] = False
    return modes[torch.from_numpy(kept[len(centers) :]).to(modes.device)]
