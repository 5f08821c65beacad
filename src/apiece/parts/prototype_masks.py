"""Masks from prototypes at the original size, each only about its box; the prototypes of a perfect network; pictures.

    prototypes k h w, coefficients N k, boxes N 4 -> soft masks in the cells about boxes -> pixels above one half
    truth -> prototypes and coefficients: objects whose boxes are apart share a prototype

Paper: Bolya et al., YOLACT, ICCV 2019, https://arxiv.org/abs/1904.02689, section 3.3 and 4.
"""

from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from numpy import ndarray

from apiece import draw
from apiece.instances import Instances, concatenate
from apiece.masks import Size
from apiece.parts.prototypes import Cells, bounds
from apiece.parts.true_boxes import Truth

STRIP = 1 << 20
"""Pixels of a mask that are computed at once."""
UNPACKED = 1 << 24
"""Pixels of masks that wait to be packed, eight to a byte."""
PICTURE = 2048
"""Pixels of the longest side of a picture of prototypes, about."""
RAISED = 0.2
"""What a perfect network says of a cell that an object barely touches."""
CERTAIN = 12.0
"""The logit of a perfect network's certainty."""


class Raster(NamedTuple):
    """How the cells of prototypes lie on an image.

    Attributes:
        cells: rows and columns of cells.
        steps: height and width of a cell in pixels of the image.
        size: height and width of the image.
    """

    cells: Size
    steps: tuple[float, float]
    size: Size

    def bounds(self, boxes: Float[ndarray, "N 4"]) -> Integer[ndarray, "N 4"]:
        """First column and row of the cells in and about boxes, and those after the last."""
        return bounds(torch.from_numpy(boxes), self.steps, self.cells).numpy()


def soft_mask(
    prototypes: Float[ndarray, "k h w"], coefficients: Float[ndarray, " k"], place: Integer[ndarray, "4"]
) -> Float[ndarray, "a b"]:
    """How much each cell of a rectangle `x1 y1 x2 y2` belongs to an object, 0 to 1."""
    x1, y1, x2, y2 = place.tolist()
    logits = np.tensordot(coefficients, prototypes[:, y1:y2, x1:x2], 1)
    return 1 / (1 + np.exp(-logits.clip(-60, 60)))


def objects_of(
    prototypes: Float[ndarray, "k h w"],
    coefficients: Float[ndarray, "N k"],
    boxes: Float[ndarray, "N 4"],
    raster: Raster,
    labels: ndarray,
    scores: ndarray,
) -> Instances:
    """The objects at the size of the image; those without a pixel are gone. Boxes are kept, cut at the image.

    Args:
        boxes: `x1 y1 x2 y2` in pixels of the image.
    """
    pieces, crops, places, waiting, first = [], [], [], 0, 0
    limit = np.tile(raster.size[::-1], 2)
    for index, place in enumerate(raster.bounds(boxes)):
        crop, corner = enlarged(soft_mask(prototypes, coefficients[index], place), place, raster)
        crops.append(crop)
        places.append((*corner, corner[0] + crop.shape[1], corner[1] + crop.shape[0]))
        waiting += crop.size
        if waiting > UNPACKED or index == len(boxes) - 1:
            part = slice(first, index + 1)
            of_part = Instances.from_crops(crops, places, raster.size, labels[part], scores=scores[part])
            pieces.append(of_part.replace(boxes=boxes[part].clip(0, limit)))
            crops, places, waiting, first = [], [], 0, index + 1
    found = concatenate(pieces) if pieces else Instances.empty(raster.size, scored=True)
    return found[found.mask_areas > 0]


def enlarged(
    soft: Float[ndarray, "a b"], place: Integer[ndarray, "4"], raster: Raster
) -> tuple[Bool[ndarray, "h w"], tuple[int, int]]:
    """The pixels where a rectangle of cells, interpolated linearly, is above one half; and the first one, `x y`.

    Beyond the rectangle there are zeros, beyond the image its border goes on.
    """
    if not soft.size:
        return np.zeros((0, 0), bool), (0, 0)
    x1, y1, x2, y2 = place.tolist()
    x, column, across = _taps(x1, x2, raster.steps[1], raster.cells[1], raster.size[1])
    y, row, down = _taps(y1, y2, raster.steps[0], raster.cells[0], raster.size[0])
    padded = np.pad(soft.astype(np.float32), 1)
    columns = padded[:, column] * (1 - across) + padded[:, column + 1] * across
    crop = np.empty((len(row), len(column)), bool)
    step = max(1, STRIP // max(len(column), 1))
    for top in range(0, len(row), step):
        part = slice(top, top + step)
        values, share = columns[row[part]], down[part, None]
        crop[part] = values * (1 - share) + columns[row[part] + 1] * share > 0.5
    return crop, (x, y)


def _taps(
    begin: int, end: int, step: float, cells: int, limit: int
) -> tuple[int, Integer[ndarray, " P"], Float[ndarray, " P"]]:
    """Along one axis: the first pixel that some cells reach, and for each the cell before it and how far beyond it is.

    Cells are numbered from 0, which is the one before the first.
    """
    first = max(0, ceil((begin - 0.5) * step - 0.5))
    last = min(limit, ceil((end + 0.5) * step - 0.5))
    middle = ((np.arange(first, max(first, last)) + 0.5) / step - 0.5).clip(0, cells - 1)
    cell = np.floor(middle).astype(np.int64)
    # Rounding may put a pixel just outside.
    inside = (cell - begin + 1).clip(0, end - begin)
    return first, inside, (middle - (inside + begin - 1)).clip(0, 1).astype(np.float32)


def perfect(truth: Truth, raster: Raster, count: int) -> tuple[Float[ndarray, "k h w"], Float[ndarray, "N k"]]:
    """Prototypes and coefficients whose masks are the true ones, as far as cells can show them.

    The first prototype is constant; each other one shows objects whose boxes and the cells about them are apart. If
    there are not enough of them, objects share one that are not, and see parts of each other.
    """
    cells = Cells.of(truth, raster.steps, raster.cells)
    colors = _colors(raster.bounds(truth.boxes.numpy()), raster.cells, count - 1)
    owners = cells.windows.owners.numpy()
    share = np.zeros((count, *raster.cells), np.float32)
    # The most that an object covers of a cell counts as all of it: what is tiny would not be seen.
    most = np.zeros(len(colors), np.float32)
    np.maximum.at(most, owners, cells.values.numpy())
    values = cells.values.numpy() / np.maximum(most, 1e-6)[owners]
    np.maximum.at(share, (colors[owners] + 1, cells.windows.rows.numpy(), cells.windows.columns.numpy()), values)
    # A little more than the share: interpolated linearly and cut at one half, corners would be lost.
    bound = 1 / (1 + np.exp(CERTAIN))
    share = np.where(share > 0, RAISED + (1 - RAISED) * share, 0).clip(bound, 1 - bound)
    prototypes = np.log(share / (1 - share)) + CERTAIN
    prototypes[0] = CERTAIN
    coefficients = np.zeros((len(colors), count), np.float32)
    coefficients[:, 0] = -1
    coefficients[np.arange(len(colors)), colors + 1] = 1
    return prototypes.astype(np.float32), coefficients


def _colors(places: Integer[ndarray, "N 4"], cells: Size, count: int) -> Integer[ndarray, " N"]:
    """A color for each rectangle, unlike those of all it meets, or where none is left that of which it meets least."""
    colors, painted = np.zeros(len(places), np.int64), np.zeros((count, *cells), bool)
    for index, (x1, y1, x2, y2) in enumerate(places.tolist()):
        color = painted[:, y1:y2, x1:x2].sum((1, 2)).argmin()
        painted[color, y1:y2, x1:x2] = True
        colors[index] = color
    return colors


def mosaic(prototypes: Float[ndarray, "k h w"]) -> UInt8[ndarray, "_ _ 3"]:
    """All prototypes side by side, as in the paper's figure 5, as bright as they are active, by one scale."""
    across = ceil(len(prototypes) ** 0.5)
    thin = max(1, max(prototypes.shape[1:]) * across // PICTURE)
    small = prototypes[:, ::thin, ::thin]
    low, high = float(small.min(initial=0)), float(small.max(initial=1e-6))
    rows = -(-len(small) // across)
    sheet = np.full((rows * across, small.shape[1] + 2, small.shape[2] + 2), np.nan, np.float32)
    sheet[: len(small), 1:-1, 1:-1] = (small - low) / (high - low)
    lines = sheet.reshape(rows, across, *sheet.shape[1:]).transpose(0, 2, 1, 3)
    return draw.heat(lines.reshape(rows * sheet.shape[1], across * sheet.shape[2]), 0, 1)


def together(
    prototypes: Float[ndarray, "k h w"], coefficients: Float[ndarray, "N k"], places: Integer[ndarray, "N 4"]
) -> UInt8[ndarray, "h w 3"]:
    """All soft masks on one picture with a pixel for each cell, the surer cell on top."""
    canvas = np.zeros(prototypes.shape[1:], np.float32)
    for place, own in zip(places, coefficients, strict=True):
        x1, y1, x2, y2 = place.tolist()
        part = canvas[y1:y2, x1:x2]
        np.maximum(part, soft_mask(prototypes, own, place), out=part)
    return draw.heat(canvas, 0, 1)
