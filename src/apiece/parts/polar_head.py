"""The head of PolarMask: what it says of every point, and how far found rays and boxes are from true ones."""

from collections.abc import Sequence
from math import gcd, log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Said(NamedTuple):
    """What the head says of P points: logits of classes and centerness, logarithms of rays and of boxes' sides."""

    classes: Float[Tensor, "*B P C"]
    centerness: Float[Tensor, "*B P 1"]
    rays: Float[Tensor, "*B P R"]
    boxes: Float[Tensor, "*B P 4"] | None

    @classmethod
    def of(cls, maps: Sequence[Float[Tensor, "B _ _ _"]], levels: int) -> "Said":
        """From the head's maps, level by level."""
        kinds = len(maps) // levels
        rows = [
            torch.cat([one.float().flatten(2) for one in maps[kind::kinds]], 2).transpose(1, 2) for kind in range(kinds)
        ]
        return cls(rows[0], rows[1], rows[2], rows[3] if kinds > 3 else None)

    def image(self, index: int) -> "Said":
        """Of one image."""
        boxes = None if self.boxes is None else self.boxes[index]
        return Said(self.classes[index], self.centerness[index], self.rays[index], boxes)


LARGEST = log(1e5)
"""Logarithm of the longest ray in pixels: exp of a wild output would overflow."""


def lengths(logarithms: Tensor) -> Tensor:
    """The lengths in pixels that logarithms say."""
    return logarithms.clamp(max=LARGEST).exp()


def polar_iou_loss(found: Float[Tensor, "M R"], true: Float[Tensor, "M R"]) -> Float[Tensor, " M"]:
    """Log of the sum of the greater over the sum of the lesser lengths (equation 8)."""
    return (torch.maximum(found, true).sum(1) / torch.minimum(found, true).sum(1).clamp(min=1e-6)).log()


def box_iou_loss(found: Float[Tensor, "M 4"], true: Float[Tensor, "M 4"]) -> Float[Tensor, " M"]:
    """-log IoU of boxes about one point, given by their sides' distances; sides are one pixel longer, as there."""
    common = (torch.minimum(found, true)[:, :2] + torch.minimum(found, true)[:, 2:] + 1).clamp(min=0).prod(1)
    areas = [(sides[:, :2] + sides[:, 2:] + 1).prod(1) for sides in (found, true)]
    return -(common / (areas[0] + areas[1] - common)).clamp(min=1e-6).log()


class Head(nn.Module):
    """Two or three branches of convolutions, shared by all levels, each of which has its own factors for logarithms.

    Args:
        width: channels of the pyramid and of the branches.
        classes: how many.
        rays: how many.
        levels: of the pyramid.
        layers: convolutions in each branch, with group norm.
        boxes: whether there is a branch for boxes.
    """

    def __init__(self, width: int, classes: int, rays: int, levels: int, layers: int, boxes: bool):
        super().__init__()
        self.class_branch, self.ray_branch = _branch(width, layers), _branch(width, layers)
        self.classes, self.centerness, self.rays = (nn.Conv2d(width, n, 3, padding=1) for n in (classes, 1, rays))
        self.ray_scales = nn.Parameter(torch.ones(levels))
        self.with_boxes = boxes
        if boxes:
            self.box_branch, self.boxes = _branch(width, layers), nn.Conv2d(width, 4, 3, padding=1)
            self.box_scales = nn.Parameter(torch.ones(levels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # All is background at first: a probability of 0.01.
        nn.init.constant_(self.classes.bias, -log(99))  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def begin_at(self, lengths: Sequence[float]) -> None:
        """Have each level say these lengths first."""
        last = [(self.ray_scales, self.rays)] + ([(self.box_scales, self.boxes)] if self.with_boxes else [])
        for scales, convolution in last:
            nn.init.constant_(convolution.bias, log(lengths[0]))  # pyright: ignore[reportArgumentType]
            scales.copy_(torch.tensor(lengths).log() / log(lengths[0]))

    def forward(self, levels: list[Float[Tensor, "B C _ _"]]) -> list[Float[Tensor, "B _ _ _"]]:
        """Of each level the maps of `Said`, one after another."""
        maps = []
        for number, features in enumerate(levels):
            of_class = self.class_branch(features)
            maps += [self.classes(of_class), self.centerness(of_class)]
            maps.append(self.rays(self.ray_branch(features)) * self.ray_scales[number])
            if self.with_boxes:
                maps.append(self.boxes(self.box_branch(features)) * self.box_scales[number])
        return maps


def _branch(width: int, layers: int) -> nn.Sequential:
    # Groups, not batches: the levels share this, and their statistics are not alike.
    groups = gcd(32, max(width // 4, 1))
    return nn.Sequential(*(
        layer
        for _ in range(layers)
        for layer in (nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.ReLU(True))
    ))  # fmt: skip
