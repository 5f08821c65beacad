"""Objects of cells: those that score, their masks, one of several cells for one object, and back to full size.

    scores K R C of each grid -> scoring: cells and classes above a threshold        P
    masks of these, some at a time -> areas, mean masks, tiles -> Matrix NMS         the objects, the surest first
    -> masks again, of these only, each about its object: Q h w with their corners -> decoded: Instances

No tensor of objects x image, and at most `AT_ONCE` samples of masks at once.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from apiece.instances import Instances
from apiece.masks import Size
from apiece.parts.cell_masks import Coverage, cut, stacked
from apiece.parts.cells import Assignment, Grid, Shapes
from apiece.parts.paste import paste
from apiece.parts.suppress import joined, matrix_decay, overlapping_pairs, tiles_of

AT_ONCE = 1 << 22
"""Samples of masks that are held at once."""


class Cells(NamedTuple):
    """Cells of a class that score, grid by grid and row by row: number of the grid, place, class, score."""

    grids: Int[Tensor, " P"]
    rows: Int[Tensor, " P"]
    columns: Int[Tensor, " P"]
    labels: Int[Tensor, " P"]
    scores: Float[Tensor, " P"]

    def __getitem__(self, index: Tensor) -> "Cells":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Cells(*(field[index] for field in tuple(self)))

    def lots(self, windows: Sequence[int]) -> list[Int[Tensor, " p"]]:
        """Numbers of cells of one grid each, of so many samples a window."""
        numbers = torch.arange(len(self.grids), device=self.grids.device)
        grids, counts = self.grids.unique_consecutive(return_counts=True)
        at_once = [max(1, AT_ONCE // windows[grid]) for grid in grids.tolist()]
        parts = numbers.split(counts.tolist())
        return [lot for part, most in zip(parts, at_once, strict=True) for lot in part.split(most)]


class Rules(NamedTuple):
    """What becomes an object.

    Attributes:
        least: samples that a mask of each grid has to exceed.
        windows: samples of a window of each grid, at the first grid's step.
        score_threshold: of cells.
        peaks: only cells that score no less than their upper, left and upper left neighbors.
        mask_threshold: of samples.
        kernel, decay: of Matrix NMS, see `matrix_decay`.
        final_threshold: of objects, after it.
        limit: the most objects; five times as many masks are compared, twenty times as many cells looked at.
    """

    least: tuple[float, ...]
    windows: tuple[int, ...]
    score_threshold: float
    peaks: bool
    mask_threshold: float
    kernel: Literal["gaussian", "linear"]
    decay: float
    final_threshold: float
    limit: int


MasksOf = Callable[[Cells], tuple[Float[Tensor, "P h w"], Int[Tensor, "P 2"]]]
"""Of cells of one grid: masks in their windows, zero outside the image; row and column of each window's corner."""


def scoring(heats: Sequence[Float[Tensor, "K _ _"]], rules: Rules) -> Cells:
    """The cells and classes above the threshold."""
    parts = []
    for number, heat in enumerate(heats):
        kept = heat > rules.score_threshold
        if rules.peaks:
            kept &= heat == max_pool2d(heat[None], 2, stride=1, padding=1)[0, :, :-1, :-1]
        row, column, label = kept.permute(1, 2, 0).nonzero(as_tuple=True)
        parts.append(Cells(torch.full_like(row, number), row, column, label, heat[label, row, column]))
    cells = Cells(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
    most = 20 * rules.limit
    return cells if len(cells.scores) <= most else cells[cells.scores.topk(most).indices.sort().values]


def objects_of(heats: Sequence[Float[Tensor, "K _ _"]], masks_of: MasksOf, rules: Rules) -> dict[str, Tensor]:
    """The objects of one image, the surest first: `scores` Q, `labels` Q, `masks` Q h w and their `corners` Q 2.

    A score is a cell's times the mean of its mask's samples above the threshold, lowered by Matrix NMS.
    """
    cells = scoring(heats, rules)
    tiles, counts, measured = [], [], [heats[0].new_zeros(0, 6)]
    for lot in cells.lots(rules.windows):
        masks, corners = masks_of(cells[lot])
        inside = masks > rules.mask_threshold
        tiles.append(tiles_of(inside, corners))
        counts.append(len(lot))
        area = inside.sum((1, 2))
        mean = (masks * inside).sum((1, 2)) / area.clamp(min=1)
        measured.append(torch.cat([torch.stack([area, mean], 1), _extents(inside, corners)], 1))
    area, mean, *extents = torch.cat(measured).T
    scores = cells.scores * mean
    least = torch.tensor(rules.least, device=area.device)[cells.grids]
    order = _falling((area > least).nonzero().squeeze(1), scores)[: 5 * rules.limit]
    if len(order):
        pairs = overlapping_pairs(joined(tiles, counts).chosen(order, len(scores)), cells.labels[order])
        scores = scores.index_put((order,), scores[order] * matrix_decay(pairs, len(order), rules.kernel, rules.decay))
        order = _falling(order[scores[order] >= rules.final_threshold], scores)[: rules.limit]
    boxes = torch.stack(extents, 1)[order].long()
    found = _about_objects(cells[order], boxes, masks_of, rules.windows)
    return {"scores": scores[order], "labels": cells.labels[order], "masks": found, "corners": boxes[:, :2]}


def _falling(chosen: Int[Tensor, " P"], scores: Float[Tensor, " N"]) -> Int[Tensor, " P"]:
    return chosen[scores[chosen].argsort(descending=True, stable=True)]


def _extents(inside: Bool[Tensor, "P h w"], corners: Int[Tensor, "P 2"]) -> Float[Tensor, "P 4"]:
    """First row and column of each mask and those behind its last, with a sample about it, within the window."""
    found = []
    for axis in (0, 1):
        line = inside.any(2 - axis).int()
        first, last = line.argmax(1), line.shape[1] - line.flip(1).argmax(1)
        found += [corners[:, axis] + (first - 1).clamp(min=0), corners[:, axis] + (last + 1).clamp(max=line.shape[1])]
    return torch.stack([found[0], found[2], found[1], found[3]], 1).float()


def _about_objects(
    cells: Cells, boxes: Int[Tensor, "Q 4"], masks_of: MasksOf, windows: Sequence[int]
) -> Float[Tensor, "Q h w"]:
    """The masks of cells of any grids, each cut to its box."""
    shapes = boxes[:, 2:] - boxes[:, :2]
    size = (int(shapes[:, 0].max()), int(shapes[:, 1].max())) if len(boxes) else (1, 1)
    found = cells.scores.new_zeros(len(boxes), *size)
    by_grid = cells.grids.argsort(stable=True)
    for lot in cells[by_grid].lots(windows):
        which = by_grid[lot]
        masks, corners = masks_of(cells[which])
        found[which] = cut(masks, boxes[which, :2] - corners, shapes[which], size)
    return found


def decoded(rows: dict[str, ndarray], size: Size, original: Size, *, step: int, threshold: float) -> Instances:
    """Objects at the original size, from one image's `masks`, `corners`, `scores` (0 = no object) and `labels`.

    Args:
        size: of the image in the network, without padding.
        step: pixels from one sample of a mask to the next.
    """
    crops, boxes, taken = [], [], np.flatnonzero(rows["scores"] > 0)
    # Samples are places in an image `step` times smaller, which need not be of whole size: whole numbers instead.
    finer = original[0] * step, original[1] * step
    limits = [-(-side // step) for side in size]
    for index in taken.tolist():
        values, (top, left) = rows["masks"][index], rows["corners"][index].astype(np.int64).tolist()
        values = values[: limits[0] - top, : limits[1] - left]
        down, across = (np.flatnonzero(values.any(axis)) for axis in (1, 0))
        # With the zeros behind the last: at its border a window goes on as it ends.
        values = values[: down.max(initial=-2) + 2, : across.max(initial=-2) + 2]
        box = left, top, left + values.shape[1], top + values.shape[0]
        soft, (x, y, _, _) = paste(values, box, size, finer) if values.size else (np.zeros((1, 1)), (0, 0, 0, 0))
        crop = soft[: original[0] - y, : original[1] - x] > threshold
        crops.append(crop)
        boxes.append((x, y, x + crop.shape[1], y + crop.shape[0]))
    found = Instances.from_crops(
        crops, boxes, original, rows["labels"][taken].astype(np.int64), scores=rows["scores"][taken]
    )
    return found[found.mask_areas > 0]


def ideal_objects(shapes: Shapes, grids: Sequence[Grid], assigned: Sequence[Assignment]) -> dict[str, Tensor]:
    """The rows of `objects_of` for true objects: each by one of the cells in charge of it, with the largest window.

    Objects without a cell, and what lies outside their windows, are lost.
    """
    step, taken = grids[0].step, set()
    masks: list[Tensor] = []
    corners, chosen = [], [torch.zeros(0, dtype=torch.long)]
    for grid, cells in reversed(list(zip(grids, assigned, strict=True))):
        objects, first = np.unique(cells.objects.numpy(), return_index=True)
        fresh = torch.from_numpy(first[[number not in taken for number in objects.tolist()]].astype(np.int64))
        taken.update(objects.tolist())
        scale = grid.step // step
        begin = grid.corners(cells.rows[fresh], cells.columns[fresh]) * scale
        window = grid.window[0] * scale, grid.window[1] * scale
        soft, places = _ideal_masks(shapes, cells.objects[fresh], begin, window, step)
        masks += list(soft)
        corners.append(places)
        chosen.append(cells.objects[fresh])
    return {
        "scores": torch.ones(len(masks)),
        "labels": torch.from_numpy(shapes.labels)[torch.cat(chosen)],
        "masks": stacked(masks) if masks else torch.zeros(0, 1, 1),
        "corners": torch.cat(corners),
    }


def _ideal_masks(
    shapes: Shapes, objects: Int[Tensor, " Q"], corners: Int[Tensor, "Q 2"], size: Size, step: int
) -> tuple[Float[Tensor, "Q h w"], Int[Tensor, "Q 2"]]:
    """The masks that come nearest to given objects when interpolated, in windows of one size, each cut to its object.

    Begun with the share of each sample that an object covers, they are mended where interpolation goes wrong.
    """
    chosen = objects.numpy()
    coarse, fine = Coverage.of(shapes, step), Coverage.of(shapes, 1)
    begin = torch.from_numpy(coarse.corners[chosen]) - 1
    first = torch.maximum(torch.maximum(begin, corners), torch.zeros_like(begin))
    last = torch.minimum(begin + torch.from_numpy(coarse.shapes[chosen]) + 2, corners + torch.tensor(size))
    extent = (last - first).clamp(min=1)
    whole: Size = (int(extent[:, 0].max()), int(extent[:, 1].max())) if len(extent) else (1, 1)
    inside = cut(torch.ones(len(chosen), *whole), torch.zeros_like(first), extent, whole)
    places = first.numpy()
    soft = torch.from_numpy(coarse.in_windows(chosen, places, whole)) * inside
    truth = torch.from_numpy(fine.in_windows(chosen, places * step, (whole[0] * step, whole[1] * step)))
    for _ in range(20 if step > 1 and len(chosen) else 0):
        seen = interpolate(soft[None], scale_factor=step, mode="bilinear")[0] > 0.5
        soft = (soft + 0.5 * avg_pool2d(truth - seen.float(), step)).clamp(0, 1) * inside
    return soft, first
