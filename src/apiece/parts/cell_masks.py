"""Masks of cells: each in a window about its cell, at a step of several pixels.

    Shapes -> Coverage: true masks, each in its box -> in_windows: the same about given cells       P h w
    maps E H W, one kernel a cell -> windows: sums over E, only in a window about each cell         P h w
    windows -> cut: a part of each, such as its object's box                                        P a b

Used by SOLO: no tensor of objects x image, and no work for cells that nobody asks for.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, Num
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import pad

from apiece.masks import Size
from apiece.parts.cells import Shapes

AT_ONCE = 64
"""Cells whose windows are computed together."""


class Coverage(NamedTuple):
    """Masks at a coarser step, each cut to its box: how much of each sample's square an object covers, 0 to 1.

    Attributes:
        corners: row and column of each box's first sample.
        shapes: height and width of each box in samples.
        values: all boxes' samples, row by row, one box after another.
    """

    corners: Integer[ndarray, "N 2"]
    shapes: Integer[ndarray, "N 2"]
    values: Num[ndarray, " V"]

    @classmethod
    def of(cls, shapes: Shapes, step: int, legacy: bool = False) -> "Coverage":
        """Of the objects of an image, with a sample for each square of `step` pixels.

        Args:
            legacy: as the authors' code, which shrinks masks of bytes linearly: a sample is 1 where half of the 2 x 2
                pixels in the middle of its square or more are the object's; objects of a pixel's width may have none.
        """
        corners = shapes.boxes[:, [1, 0]].astype(np.int64) // step
        boxes = (shapes.boxes[:, [3, 2]] - 1) // step + 1 - corners
        offsets = np.concatenate([[0], np.cumsum(boxes.prod(1))])
        # Which rows and columns of a square count.
        counted = np.ones(step, np.int64)
        if legacy and step > 1:
            counted[: step // 2 - 1] = counted[step // 2 + 1 :] = 0
        runs = shapes.runs if counted.all() else shapes.runs.of_some(counted[shapes.runs.rows % step] > 0)
        begin = (offsets[:-1] - corners[:, 0] * boxes[:, 1] - corners[:, 1])[runs.objects]
        line = begin + runs.rows // step * boxes[runs.objects, 1]
        change = np.zeros(offsets[-1] + 2)
        # From a column on all count: a part of its own square's, and all of the next ones'. What begins is taken off
        # again where the run stops, be that in the next line's first square.
        rest = counted[::-1].cumsum()[::-1]
        for columns, sign in ((runs.starts, 1.0), (runs.stops, -1.0)):
            square, within = np.divmod(columns, step)
            for place, share in ((line + square, rest[within]), (line + square + 1, rest[0] - rest[within])):
                change += np.bincount(place, sign * share, len(change))
        count = change.cumsum()[:-2]
        if legacy and step > 1:
            return cls(corners, boxes, (count >= 2).astype(np.uint8))
        return cls(corners, boxes, (count / step**2).astype(np.float32))

    def in_windows(
        self, objects: Integer[ndarray, " P"], corners: Integer[ndarray, "P 2"], size: Size
    ) -> Num[ndarray, "P h w"]:
        """Objects in windows of one size with these corners; what lies outside is cut off."""
        found = np.zeros((len(objects), *size), self.values.dtype)
        ends = self.shapes.prod(1).cumsum()
        low = self.corners[objects] - corners
        shapes = self.shapes[objects]
        first, last = np.maximum(low, 0), np.minimum(low + shapes, size)
        table = np.concatenate([first, last, first - low, last - low], 1).tolist()
        masks = zip(found, objects.tolist(), table, strict=True)
        for window, one, (top, left, bottom, right, y1, x1, y2, x2) in masks:
            if top < bottom and left < right:
                height, width = self.shapes[one]
                whole = self.values[ends[one] - height * width : ends[one]].reshape(height, width)
                window[top:bottom, left:right] = whole[y1:y2, x1:x2]
        return found


def within(shape: Size, cell: tuple[float, float], size: Size) -> Float[Tensor, "R C"]:
    """1 for cells (or samples) that begin within an image, 0 for those in its padding."""
    rows, columns = (torch.arange(count) * side < end for count, side, end in zip(shape, cell, size, strict=True))
    return (rows[:, None] & columns).float()


def known_samples(shapes: Shapes, canvas: Size, step: int) -> Float[Tensor, "h w"]:
    """1 for samples of which something is known: within the image, and on no ignored object."""
    known = within((canvas[0] // step, canvas[1] // step), (step, step), shapes.size)
    known[shapes.void[:, 0] // step, shapes.void[:, 1] // step] = 0
    return known


def windows(
    maps: Float[Tensor, "E H W"], kernels: Float[Tensor, "P E"], corners: Int[Tensor, "P 2"], size: Size
) -> Float[Tensor, "P h w"]:
    """The sum over maps, weighted by each cell's kernel, in its window only; zero outside the maps.

    Neighboring cells should follow one another: some at a time are computed on what their windows cover together.
    """
    found: list[Tensor] = [kernels.new_zeros(0, *size)]
    for some, weights in zip(corners.split(AT_ONCE), kernels.split(AT_ONCE), strict=True):
        if not len(some):
            continue
        (top, left), (low, right) = some.amin(0).tolist(), some.amax(0).tolist()
        low, right = low + size[0], right + size[1]
        covered = pad(maps, (-left, right - maps.shape[2], -top, low - maps.shape[1]))
        whole = weights @ covered.flatten(1)
        if covered.shape[1:] != size:
            row = torch.arange(size[0], device=maps.device) + (some[:, :1] - top)
            column = torch.arange(size[1], device=maps.device) + (some[:, 1:] - left)
            whole = whole.gather(1, (row[:, :, None] * (right - left) + column[:, None]).flatten(1))
        found.append(whole.view(-1, *size))
    return torch.cat(found)


def cut(
    windows: Float[Tensor, "N h w"], shifts: Int[Tensor, "N 2"], shapes: Int[Tensor, "N 2"], size: Size
) -> Float[Tensor, "N a b"]:
    """A part of each window: from row and column `shifts` on, as large as `shapes`; zero beyond that, up to `size`."""
    places = [torch.arange(side, device=shifts.device) for side in size]
    row, column = (shifts[:, axis, None] + place for axis, place in enumerate(places))
    height, width = windows.shape[1:]
    index = row.clamp(max=height - 1)[:, :, None] * width + column.clamp(max=width - 1)[:, None]
    inside = [place < shapes[:, axis, None] for axis, place in enumerate(places)]
    values = windows.flatten(1).gather(1, index.flatten(1)).view(-1, *size)
    return values * (inside[0][:, :, None] & inside[1][:, None])


def stacked(rows: Sequence[Tensor], fill: float = 0) -> Tensor:
    """Tensors that differ in size along any dimension as one, filled up at their ends; the first becomes at least 1."""
    most = [max(1, *sizes) for sizes in zip(*(one.shape for one in rows), strict=True)]
    # `pad` wants the last dimension first.
    ends = [[end for side, whole in zip(one.shape, most, strict=True) for end in (whole - side, 0)] for one in rows]
    return torch.stack([pad(one, some[::-1], value=fill) for one, some in zip(rows, ends, strict=True)])
