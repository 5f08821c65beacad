"""Anchors: boxes of set shapes at every place of every map; boxes told relative to them; which belong to which object.

Paper: Ren et al., Faster R-CNN, NIPS 2015, https://arxiv.org/abs/1506.01497. Boxes are `x1 y1 x2 y2` in pixels.
"""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from apiece.masks import Size

LARGEST = log(1000 / 16)
"""A box grows to at most 62.5 times its anchor's side: exp of a wild output would overflow."""

PAIRS_AT_ONCE = 1 << 22


def shapes(size: float, ratios: Sequence[float], rounded: bool = False) -> Float[Tensor, "A 2"]:
    """Width and height of the anchors of one size (root of their area) and each ratio, height over width.

    Args:
        rounded: to whole pixels each way from the center, as torchvision's.
    """
    height = torch.tensor(ratios, dtype=torch.float32).sqrt()
    half = torch.stack([size / height, size * height], 1) / 2
    return half.round() * 2 if rounded else half * 2


def grid(
    shape: Float[Tensor, "A 2"], size: Size, steps: tuple[float, float], offset: float = 0.0
) -> Float[Tensor, "P 4"]:
    """The anchors of a map of a size, place by place, row by row: all shapes at a place follow one another.

    Args:
        steps: distance of neighboring rows and columns in pixels.
        offset: where in its cell an anchor's center lies: 0 = the upper left corner, as in the paper's code, 0.5 = the
            middle.
    """
    rows, columns = (
        (torch.arange(count, device=shape.device) + offset) * step for count, step in zip(size, steps, strict=True)
    )
    centers = torch.stack([columns.expand(size), rows[:, None].expand(size)], 2).reshape(-1, 1, 2)
    return torch.cat([centers - shape / 2, centers + shape / 2], 2).reshape(-1, 4)


def encode(
    boxes: Float[Tensor, "N 4"], anchors: Float[Tensor, "N 4"], weights: Sequence[float]
) -> Float[Tensor, "N 4"]:
    """Boxes relative to anchors: shift of the center in anchor's sides, logarithms of the sides' ratios; weighted."""
    (x, y, width, height), (own_x, own_y, own_width, own_height) = _centers(boxes), _centers(anchors)
    shifts = (x - own_x) / own_width, (y - own_y) / own_height
    return torch.stack([*shifts, (width / own_width).log(), (height / own_height).log()], 1) * boxes.new_tensor(weights)


def decode(
    deltas: Float[Tensor, "N 4"], anchors: Float[Tensor, "N 4"], weights: Sequence[float]
) -> Float[Tensor, "N 4"]:
    """The boxes that `encode` tells of."""
    x, y, width, height = _centers(anchors)
    right, down, wider, higher = (deltas / deltas.new_tensor(weights)).unbind(1)
    center_x, center_y = right * width + x, down * height + y
    half_width, half_height = wider.clamp(max=LARGEST).exp() * width / 2, higher.clamp(max=LARGEST).exp() * height / 2
    edges = center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height
    return torch.stack(edges, 1)


def _centers(boxes: Float[Tensor, "N 4"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x and y of the centers, widths and heights."""
    x1, y1, x2, y2 = boxes.unbind(1)
    width, height = x2 - x1, y2 - y1
    return x1 + width / 2, y1 + height / 2, width, height


class Matches(NamedTuple):
    """What each of some boxes has to do with the true ones.

    Attributes:
        objects: the true box that it overlaps most, 0 where there is none at all.
        overlap: IoU with it.
        best: whether no other box overlaps some true box more than this one does; of equal ones all are.
    """

    objects: Int[Tensor, " N"]
    overlap: Float[Tensor, " N"]
    best: Bool[Tensor, " N"]


def matches(boxes: Float[Tensor, "N 4"], truth: Float[Tensor, "M 4"]) -> Matches:
    """Match boxes to true ones by IoU, a part of the table at a time."""
    from torchvision.ops import box_iou

    objects = boxes.new_zeros(len(boxes), dtype=torch.long)
    overlap, best = boxes.new_zeros(len(boxes)), boxes.new_zeros(len(boxes), dtype=torch.bool)
    if not len(truth) or not len(boxes):
        return Matches(objects, overlap, best)
    most, leading = boxes.new_zeros(len(truth)), []
    step = max(1, PAIRS_AT_ONCE // len(truth))
    for first in range(0, len(boxes), step):
        part = slice(first, first + step)
        table = box_iou(truth, boxes[part])
        overlap[part], objects[part] = table.max(0)
        top = table.amax(1)
        row, column = ((table == top[:, None]) & (table > 0)).nonzero().unbind(1)
        leading.append((row, column + first, top[row]))
        most = torch.maximum(most, top)
    row, column, value = (torch.cat(each) for each in zip(*leading, strict=True))
    best[column[value == most[row]]] = True
    return Matches(objects, overlap, best)


def sample(
    positive: Bool[Tensor, " N"], negative: Bool[Tensor, " N"], count: int, share: float, generator: torch.Generator
) -> tuple[Int[Tensor, " P"], Int[Tensor, " Q"]]:
    """Indices of at most `count` drawn ones, of which at most a share is positive; negatives fill up the rest."""
    chosen = []
    for candidates, limit in ((positive, int(count * share)), (negative, count)):
        places = candidates.nonzero().squeeze(1)
        limit = min(len(places), limit - sum(map(len, chosen)))
        # Drawn on the CPU, so that every device draws the same.
        order = torch.randperm(len(places), generator=generator)[:limit]
        chosen.append(places[order.to(places.device)])
    return chosen[0], chosen[1]


def share_within(boxes: Float[Tensor, "N 4"], region: Bool[Tensor, "H W"]) -> Float[Tensor, " N"]:
    """The share of each box, cut at the image and rounded to whole pixels, that a region covers."""
    height, width = region.shape
    total = torch.nn.functional.pad(region.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    limits = boxes.new_tensor([width, height, width, height])
    x1, y1, x2, y2 = boxes.round().clamp(min=0).minimum(limits).long().unbind(1)
    inside = total[y2, x2] - total[y1, x2] - total[y2, x1] + total[y1, x1]
    return (inside / ((x2 - x1) * (y2 - y1)).clamp(min=1)).float()
