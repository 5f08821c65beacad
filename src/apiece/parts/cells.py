"""Cells: an image cut into a grid, each cell in charge of the object whose center lies in it.

    truth -> Shapes: center, box, class of each object, its pixels as runs
    Shapes, Grid -> assigned: the cells in charge of each object; of which cells nothing is known

Grid of a set number of cells: Wang et al., SOLO, ECCV 2020. A grid of cells of a set size in pixels, whose windows are
as large as a period of them, is ours: what is learned on crops holds on images of any size.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from numpy import ndarray
from torch import Tensor

from apiece.instances import Instances
from apiece.masks import Size
from apiece.parts.pixel_runs import Runs
from apiece.statistics import THIN, Statistics

LONGEST = 6.0
"""Cells; length of the objects that a grid is in charge of, at most."""
ANY = 1e9
"""Pixels; no object is longer."""


class Grid(NamedTuple):
    """One grid of cells over an image.

    Attributes:
        shape: rows and columns of cells.
        cell: height and width of a cell in pixels.
        sizes: the least and greatest size of an object it is in charge of, in pixels.
        step: pixels from one sample of a mask to the next.
        window: height and width of a mask's window, in samples.
        period: cells after which channels and coordinates repeat; 0 = never, and windows are the whole image.
    """

    shape: Size
    cell: tuple[float, float]
    sizes: tuple[float, float]
    step: int
    window: Size
    period: int

    @property
    def canvas(self) -> Size:
        """Height and width of the padded image."""
        return round(self.shape[0] * self.cell[0]), round(self.shape[1] * self.cell[1])

    def relative(self, device: torch.device) -> Float[Tensor, "6 h w"]:
        """1, x, y, x^2, y^2 and xy of each sample of a window, from its cell's center, in units of two cells.

        Without a period only the 1 means something: windows do not lie about their cells.
        """
        height, width = self.window
        unit = 2 * self.cell[0]
        x, y = ((torch.arange(side, device=device) + 0.5 - side / 2) * self.step / unit for side in (width, height))
        x, y = x.expand(height, width), y[:, None].expand(height, width)
        return torch.stack([torch.ones_like(x), x, y, x.square(), y.square(), x * y])

    def corners(self, rows: Int[Tensor, " P"], columns: Int[Tensor, " P"]) -> Int[Tensor, "P 2"]:
        """Row and column of the first sample of each cell's window; it may lie outside the image."""
        cells = torch.stack([rows, columns], 1)
        if not self.period:
            return torch.zeros_like(cells)
        side = int(self.cell[0])
        return ((2 * cells + 1) * side - self.period * side) // (2 * self.step)


def numbered_grids(
    counts: Sequence[int], canvas: Size, ranges: Sequence[tuple[float, float]], steps: Sequence[int]
) -> list[Grid]:
    """Grids of set numbers of cells along either side of a padded image; masks all over it."""
    height, width = canvas
    return [
        Grid((count, count), (height / count, width / count), sizes, step, (height // step, width // step), 0)
        for count, sizes, step in zip(counts, ranges, steps, strict=True)
    ]


def sized_grids(
    sides: Sequence[int], canvas: Size, ranges: Sequence[tuple[float, float]], steps: Sequence[int], period: int
) -> list[Grid]:
    """Grids of square cells of set sides, which repeat after a period; masks in windows as large as that."""
    windows = [period * side // step for side, step in zip(sides, steps, strict=True)]
    return [
        Grid((canvas[0] // side, canvas[1] // side), (side, side), sizes, step, (window, window), period)
        for side, sizes, step, window in zip(sides, ranges, steps, windows, strict=True)
    ]


def cells_for(statistics: Statistics, period: int, most: int) -> dict[str, Any]:
    """Sides of `cells` for such objects, and their `reach`: how long the objects of a cell are, in cells, at most.

    That is `LONGEST`; the smallest objects are a third as long. Thin objects that cross have centers near each other,
    for their length: they may be longer, as far as the window of a period about their center holds them.
    """
    times = max(1.0, min(statistics.elongation, 0.9 * period / LONGEST)) if statistics.elongation > THIN else 1.0
    small, large = np.percentile(statistics.sides.max(1) / times, (5, 99.5))
    last = max(2, int(np.ceil(np.log2(large / LONGEST))))
    first = min(last, max(2, int(np.floor(np.log2(small / 2))), last - most + 1))
    return {"cells": tuple(2**power for power in range(first, last + 1)), "reach": round(LONGEST * times, 2)}


def ranges_of(sides: Sequence[int], reach: float = LONGEST) -> tuple[tuple[float, float], ...]:
    """The least (a quarter) and greatest length of objects for grids of cells of such sides; the first and the last
    know no end.
    """
    least = [0.0, *(reach / 4 * side for side in sides[1:])]
    return tuple(zip(least, [*(reach * side for side in sides[:-1]), ANY], strict=True))


class Shapes(NamedTuple):
    """The objects of one image as cells want them, the largest first, so that of two in one cell the smaller has it.

    Attributes:
        centers: row and column of the mean of each object's pixels, by their index.
        boxes: `x1 y1 x2 y2` of each object's pixels.
        labels: class of each object.
        runs: the pixels of the objects.
        void: row, column and class of each pixel of ignored objects.
        size: of the image.
    """

    centers: Float[ndarray, "N 2"]
    boxes: Integer[ndarray, "N 4"]
    labels: Integer[ndarray, " N"]
    runs: Runs
    void: Integer[ndarray, "V 3"]
    size: Size

    @classmethod
    def of(cls, truth: Instances, ordered: bool = True) -> "Shapes":
        """Of an image's objects; in their own order unless `ordered`, so that the last of two in one cell has it."""
        runs, count = Runs.of(truth), len(truth)
        lengths = runs.stops - runs.starts
        areas = np.bincount(runs.objects, lengths, count)
        # Twice the sum of the columns of a run; halves are exact.
        sums = runs.rows * lengths, lengths * (runs.starts + runs.stops - 1) / 2
        centers = np.stack([np.bincount(runs.objects, each, count) for each in sums], 1) / np.maximum(areas, 1)[:, None]
        # Equal areas go by their places: the order in a file means nothing.
        order = np.lexsort((*centers.T, -areas)) if ordered else np.arange(count)
        order = order[((areas > 0) & ~truth.ignore)[order]]
        number = np.full(count, -1)
        number[order] = np.arange(len(order))
        void = runs.of_some(truth.ignore[runs.objects]).pixels() if truth.ignore.any() else np.zeros((0, 3), np.int64)
        void[:, 2] = truth.labels[void[:, 2]]
        own = number[runs.objects]
        known = runs._replace(objects=own) if len(order) == count else runs._replace(objects=own).of_some(own >= 0)
        return cls(centers[order], known.boxes(len(order)), truth.labels[order], known, void, truth.size)

    @property
    def sides(self) -> Integer[ndarray, "N 2"]:
        """Height and width of each object's box."""
        return self.boxes[:, [3, 2]] - self.boxes[:, [1, 0]]


class Assignment(NamedTuple):
    """Which cells of one grid are in charge.

    Attributes:
        rows, columns, objects: cells in charge and their objects.
        labels: class of each cell's object, -1 without.
        known: whether anything is known of a cell and class.
    """

    rows: Int[Tensor, " P"]
    columns: Int[Tensor, " P"]
    objects: Int[Tensor, " P"]
    labels: Int[Tensor, "R C"]
    known: Bool[Tensor, "K R C"]


def assigned(
    shapes: Shapes, grid: Grid, classes: int, sigma: float = 0.2, legacy: bool = False, repeated: bool = False
) -> Assignment:
    """Give each object of the grid's sizes the cells that its center region touches, at most 3 x 3.

    An object's size is the longer side of its box (of a grid without period the root of its box's area), its center
    region `sigma` times its box about its center of mass. Cells that an ignored object touches, or that begin beyond
    the image, are unknown, unless they are in charge.

    Args:
        legacy: as the authors' code: a center lies half a pixel lower, and cells are found by dividing by 1 / S in
            single precision, which is off by one at most borders.
        repeated: list a cell of several objects for each (its class is the last one's), as their code of "v2" does.
    """
    (height, width), rows = shapes.size, grid.shape[0]
    size = shapes.sides.max(1) if grid.period else np.sqrt(shapes.sides.prod(1))
    chosen = np.flatnonzero((size >= grid.sizes[0]) & (size <= grid.sizes[1]))
    center, half = shapes.centers[chosen] + (0 if legacy else 0.5), shapes.sides[chosen] * sigma / 2
    middle, low, high = (_cell(place, grid, legacy) for place in (center, center - half, center + half))
    low = np.maximum(np.maximum(low, 0), middle - 1)
    high = np.minimum(np.minimum(high, np.array(grid.shape) - 1), middle + 1)
    region = low[:, None] + np.indices((3, 3)).reshape(2, 9).T
    object_, which = np.nonzero((region <= high[:, None]).all(2))
    row, column = region[object_, which].T
    owner = np.full(grid.shape, -1)
    owner[row, column] = chosen[object_]
    if not repeated:
        row, column = np.nonzero(owner >= 0)
    objects = chosen[object_] if repeated else owner[row, column]
    known = np.ones((classes, *grid.shape), bool)
    known[:, np.arange(rows) * grid.cell[0] >= height] = False
    known[:, :, np.arange(grid.shape[1]) * grid.cell[1] >= width] = False
    place = (shapes.void[:, :2] / grid.cell).astype(np.int64)
    for label in np.unique(shapes.void[:, 2]).tolist():
        touched = tuple(place[shapes.void[:, 2] == label].T)
        known[(slice(None) if label < 0 else label, *touched)] = False
    known[:, row, column] = True
    labels = np.where(owner >= 0, np.append(shapes.labels, -1)[owner], -1)
    return Assignment(*(torch.from_numpy(array) for array in (row, column, objects, labels, known)))


def _cell(place: Float[ndarray, "N 2"], grid: Grid, legacy: bool) -> Integer[ndarray, "N 2"]:
    if not legacy:
        return np.floor(place / grid.cell).astype(np.int64)
    counts = np.array(grid.shape)
    share = place.astype(np.float32) / (counts * grid.cell).astype(np.float32)
    return np.floor_divide(share, (1.0 / counts).astype(np.float32)).astype(np.int64)
