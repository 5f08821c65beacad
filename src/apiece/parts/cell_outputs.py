"""What heads over cells say of a batch, read cell by cell: scores, masks in windows, and their losses."""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn.functional import interpolate, one_hot
from torchvision.ops import sigmoid_focal_loss

from apiece.masks import Size
from apiece.parts.cell_heads import CellHeads, CellMaps
from apiece.parts.cell_masks import Coverage, known_samples, windows, within
from apiece.parts.cell_objects import Cells, MasksOf
from apiece.parts.cells import Assignment, Grid, Shapes
from apiece.parts.losses import dice_loss


class Truths:
    """The true masks of one image at the steps they are asked for, with what is known there.

    Args:
        shapes: the objects.
        legacy: how masks are shrunk, see `Coverage`.
    """

    def __init__(self, shapes: Shapes, legacy: bool):
        self.shapes, self.legacy = shapes, legacy
        self.steps: dict[int, tuple[Coverage, Tensor]] = {}

    def windows(self, cells: Assignment, grid: Grid) -> tuple[Num[Tensor, "P h w"], Float[Tensor, "P h w"]]:
        """The masks of cells in charge in their windows, and 1 where something is known."""
        if grid.step not in self.steps:
            coverage = Coverage.of(self.shapes, grid.step, self.legacy)
            self.steps[grid.step] = coverage, known_samples(self.shapes, grid.canvas, grid.step)
        coverage, known = self.steps[grid.step]
        corners = grid.corners(cells.rows, cells.columns)
        truth = torch.from_numpy(coverage.in_windows(cells.objects.numpy(), corners.numpy(), grid.window))
        seen = windows(known[None], torch.ones(len(corners), 1), corners, grid.window)
        # Of an object's own samples it is known whose they are, whatever else lies there.
        return truth, torch.where(truth > 0, 1.0, seen)


class Said(NamedTuple):
    """Maps of a batch of images of one padded size.

    Attributes:
        heads: what said it.
        maps: what it said.
        grids: over the padded images.
        shift: cells that periods begin earlier.
    """

    heads: CellHeads
    maps: CellMaps
    grids: list[Grid]
    shift: Size = (0, 0)

    @property
    def device(self) -> torch.device:
        """Where the maps are."""
        return self.maps.category[0][0].device

    def heats(self, image: int, size: Size) -> list[Float[Tensor, "K _ _"]]:
        """The scores of one image's cells and classes in each grid, 0 for cells that begin in its padding."""
        return [
            maps[image].float().sigmoid() * within(grid.shape, grid.cell, size).to(self.device)
            for maps, grid in zip(self.maps.category, self.grids, strict=True)
        ]

    def probabilities(
        self, image: int, number: int, rows: Int[Tensor, " P"], columns: Int[Tensor, " P"], scale: int = 1
    ) -> Float[Tensor, "P h w"]:
        """Masks of cells of a grid in their windows, at the grid's own step, or `scale` times as fine."""
        grid = self.grids[number]
        corners, factors = grid.corners(rows, columns), []
        for maps, kernels, near in self.heads.factors(self.maps, image, number, rows, columns, self.shift):
            logits = windows(maps, kernels, corners, grid.window)
            if near is not None:
                logits = logits + torch.einsum("pd,dhw->phw", near, grid.relative(near.device)[: near.shape[1]])
            factor = logits.sigmoid()
            finer = interpolate(factor[None], scale_factor=scale, mode="bilinear")[0] if scale > 1 else factor
            factors.append(finer)
        return factors[0] if len(factors) == 1 else factors[0] * factors[1]

    def masks_of(self, image: int, size: Size) -> MasksOf:
        """What `objects_of` asks for: masks at the first grid's step, zero in the image's padding."""
        return partial(self._masks, image, size)

    def _masks(self, image: int, size: Size, cells: Cells) -> tuple[Float[Tensor, "P h w"], Int[Tensor, "P 2"]]:
        number = int(cells.grids[0])
        grid, step = self.grids[number], self.grids[0].step
        scale = grid.step // step
        found = self.probabilities(image, number, cells.rows, cells.columns, scale)
        corners = grid.corners(cells.rows, cells.columns) * scale
        inside = within((grid.canvas[0] // step, grid.canvas[1] // step), (step, step), size).to(found)
        ones = found.new_ones(len(found), 1)
        return found * windows(inside[None], ones, corners, (found.shape[1], found.shape[2])), corners

    def category_loss(
        self, image: int, number: int, cells: Assignment, alpha: float, gamma: float
    ) -> Float[Tensor, ""]:
        """The focal loss of one image's cells in a grid, summed over those of which something is known."""
        logits = self.maps.category[number][image].float()
        target = one_hot(cells.labels + 1, 1 + len(logits))[:, :, 1:].permute(2, 0, 1).to(logits)
        return (sigmoid_focal_loss(logits, target, alpha, gamma) * cells.known.to(logits)).sum()

    def mask_losses(self, image: int, number: int, cells: Assignment, truths: Truths) -> Float[Tensor, " P"]:
        """The dice loss of each cell in charge, over what is known."""
        found = self.probabilities(image, number, cells.rows.to(self.device), cells.columns.to(self.device))
        truth, known = (samples.to(self.device) for samples in truths.windows(cells, self.grids[number]))
        return dice_loss(found * known, truth * known)
