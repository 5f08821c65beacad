"""Prototypes: a few maps of the whole image; an object's mask is a sum of them, cut to its box.

    finest map -> ProtoNet -> prototypes B k h w
    sigmoid(coefficients * prototypes), zero beyond the box and one cell about it -> mask of an object
    truth -> Cells: the cells in and about each true box, and how much of each the object covers

Paper: Bolya et al., YOLACT, ICCV 2019, https://arxiv.org/abs/1904.02689; Rescorer: YOLACT++, TPAMI 2020,
https://arxiv.org/abs/1912.06218. Masks are summed up only in the cells about their boxes.
"""

from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from apiece.masks import Size
from apiece.parts.prior_head import HeadNorm, convolved, xavier
from apiece.parts.true_boxes import Truth

MARGIN = 1.0
"""Cells about a box that its mask may reach into."""
LEAST_SIDE = 63
"""Of what five convolutions of stride 2 without padding leave anything of."""
CELLS_AT_ONCE = 1 << 22
"""Values of whole masks held at once."""


class ProtoNet(nn.Module):
    """Prototypes from the finest map of the pyramid, at twice its size if `enlarged`.

    Args:
        inside: channels of the map.
        width: of the layers.
        count: prototypes.
        layers: convolutions before it is enlarged.
        norm: whether "group" norm follows the convolutions.
        rectified: whether prototypes are never negative; the paper (section 3.1) allows both.
    """

    def __init__(
        self,
        inside: int,
        width: int,
        count: int,
        layers: int = 3,
        enlarged: bool = True,
        norm: HeadNorm = "none",
        rectified: bool = True,
    ):
        super().__init__()
        self.rectified = rectified
        widths = [inside, *[width] * layers]
        self.layers = nn.Sequential(*(convolved(one, width, norm) for one in widths[:-1]))
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear") if enlarged else nn.Identity()
        self.last = convolved(width, width, norm)
        self.prototypes = nn.Conv2d(width, count, 1)
        xavier(self)

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B k _ _"]:
        """Prototypes in float32."""
        prototypes = self.prototypes(self.last(self.enlarge(self.layers(features)))).float()
        return prototypes.relu() if self.rectified else prototypes


class Rescorer(nn.Module):
    """How well a soft mask fits its object: its IoU, for each class (YOLACT++)."""

    def __init__(self, classes: int):
        super().__init__()
        widths = (1, 8, 16, 32, 64, 128)
        pairs = zip(widths, widths[1:], strict=False)
        layers = (nn.Sequential(nn.Conv2d(one, other, 3, stride=2), nn.ReLU(True)) for one, other in pairs)
        self.layers = nn.Sequential(*layers)
        self.classes = nn.Conv2d(widths[-1], classes, 1)
        xavier(self)

    def forward(self, masks: Float[Tensor, "N h w"]) -> Float[Tensor, "N K"]:
        """Of masks of the whole image."""
        short = [max(0, LEAST_SIDE - side) for side in masks.shape[1:]]
        padded = functional.pad(masks[:, None], (0, short[1], 0, short[0]))
        return self.classes(self.layers(padded)).relu().amax((2, 3)).float()


class Windows(NamedTuple):
    """Rectangles of cells, flat: one after another, row by row.

    Attributes:
        owners: which rectangle each cell is of.
        rows, columns: place of each cell.
        first, count: of each rectangle, its first cell here and how many it has.
    """

    owners: Int[Tensor, " E"]
    rows: Int[Tensor, " E"]
    columns: Int[Tensor, " E"]
    first: Int[Tensor, " N"]
    count: Int[Tensor, " N"]

    @classmethod
    def about(cls, boxes: Float[Tensor, "N 4"], steps: tuple[float, float], size: Size) -> "Windows":
        """The cells of a map in and about boxes.

        Args:
            steps: height and width of a cell in pixels.
            size: rows and columns there are.
        """
        x1, y1, x2, y2 = bounds(boxes, steps, size).unbind(1)
        across, down = (x2 - x1).clamp(min=0), (y2 - y1).clamp(min=0)
        count = across * down
        owners = torch.arange(len(boxes), device=boxes.device).repeat_interleave(count)
        first = count.cumsum(0) - count
        within = torch.arange(len(owners), device=boxes.device) - first[owners]
        rows = y1[owners] + torch.div(within, across[owners], rounding_mode="floor")
        return cls(owners, rows, x1[owners] + within % across[owners], first, count)

    def repeated(self, objects: Int[Tensor, " K"]) -> tuple[Int[Tensor, " F"], Int[Tensor, " F"]]:
        """For the rectangles of some objects, one after another: which of those, and the indices of their cells."""
        count = self.count[objects]
        which = torch.arange(len(objects), device=objects.device).repeat_interleave(count)
        begin = self.first[objects] - (count.cumsum(0) - count)
        return which, torch.arange(len(which), device=objects.device) + begin[which]


def bounds(boxes: Float[Tensor, "N 4"], steps: tuple[float, float], size: Size) -> Int[Tensor, "N 4"]:
    """First column and row of the cells in and about boxes, and those after the last."""
    scale = boxes.new_tensor([steps[1], steps[0]] * 2)
    low, high = (boxes / scale - MARGIN)[:, :2], (boxes / scale + MARGIN)[:, 2:]
    limit = boxes.new_tensor(size[::-1])
    # A cell counts where its number is not below the low end and below the high one.
    return torch.cat([low.clamp(min=0).ceil().minimum(limit), high.minimum(limit).ceil()], 1).long()


class Cells(NamedTuple):
    """The cells of a map in and about each true box.

    Attributes:
        windows: which they are.
        values: how much of each its object covers, 0 to 1.
        areas: of the boxes, in cells.
        known: of each, whether something is known there.
    """

    windows: Windows
    values: Float[Tensor, " E"]
    areas: Float[Tensor, " N"]
    known: Float[Tensor, " E"]

    @classmethod
    def of(cls, truth: Truth, steps: tuple[float, float], size: Size, binary: bool = False) -> "Cells":
        """Masks interpolated linearly at the middles of cells, none beyond the image.

        Args:
            steps: height and width of a cell in pixels.
            size: rows and columns of the map; cells in the image's padding are left out.
            binary: 1 where it is more than one half, else 0, as the authors have it; masks of a pixel may vanish.
        """
        rows, columns = (min(n, ceil(side / step)) for n, side, step in zip(size, truth.size, steps, strict=True))
        windows = Windows.about(truth.boxes, steps, (rows, columns))
        layers = truth.masks.layers()
        of_layer = np.zeros(len(truth.masks) + 1, np.int64)
        for number, layer in enumerate(layers):
            of_layer[np.unique(layer)] = number
        device = truth.boxes.device
        painted, plane = (torch.from_numpy(one).to(device) for one in (layers.astype(np.int32), of_layer[1:]))
        owners = windows.owners
        values = _interpolated(painted, plane[owners], owners + 1, windows, steps)
        known = torch.ones_like(values)
        if truth.ignored is not None:
            nothing = torch.zeros_like(owners)
            known = (_interpolated(truth.ignored[None].int(), nothing, nothing + 1, windows, steps) == 0).float()
        sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]) / truth.boxes.new_tensor(steps[::-1])
        return cls(windows, (values > 0.5).float() if binary else values, sides.prod(1), known)


def _interpolated(
    layers: Int[Tensor, "L H W"], planes: Tensor, wanted: Tensor, windows: Windows, steps: tuple[float, float]
) -> Float[Tensor, " E"]:
    """How much of a value there is on a layer at the middle of each cell, between the four pixels about it."""
    taps = []
    for place, step, side in zip((windows.rows, windows.columns), steps, layers.shape[1:], strict=True):
        middle = ((place + 0.5) * step - 0.5).clamp(0, side - 1)
        low = middle.floor()
        part = (middle - low).float()
        low = low.long()
        taps.append(((low, 1 - part), ((low + 1).clamp(max=side - 1), part)))
    total = torch.zeros(len(planes), device=layers.device)
    for row, down in taps[0]:
        for column, across in taps[1]:
            total += (layers[planes, row, column] == wanted) * down * across
    return total


def mask_logits(
    prototypes: Float[Tensor, "k h w"], coefficients: Float[Tensor, "K k"], places: Int[Tensor, " F"], which: Tensor
) -> Float[Tensor, " F"]:
    """The masks before the sigmoid, at some places (row * w + column) of some of them."""
    whole = coefficients @ prototypes.flatten(1)
    return whole.flatten().index_select(0, which * whole.shape[1] + places)


def rescored(
    rescorer: Rescorer,
    prototypes: Float[Tensor, "k h w"],
    coefficients: Float[Tensor, "N k"],
    boxes: Float[Tensor, "N 4"],
    labels: Int[Tensor, " N"],
    steps: tuple[float, float],
) -> Float[Tensor, " N"]:
    """What IoU the masks of findings are held to have, some at a time."""
    size = prototypes.shape[1], prototypes.shape[2]
    found = [boxes.new_zeros(0)]
    for part in torch.arange(len(boxes), device=boxes.device).split(max(1, CELLS_AT_ONCE // (size[0] * size[1]))):
        windows = Windows.about(boxes[part], steps, size)
        places = windows.rows * size[1] + windows.columns
        soft = mask_logits(prototypes, coefficients[part], places, windows.owners).sigmoid()
        masks = soft.new_zeros(len(part) * size[0] * size[1])
        masks = masks.index_copy(0, windows.owners * size[0] * size[1] + places, soft).view(-1, *size)
        found.append(rescorer(masks).gather(1, labels[part, None])[:, 0])
    return torch.cat(found)
