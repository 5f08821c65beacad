"""UNet: the light one, for small objects and small machines.

    image B C H W -> stem, stride 2 -> down: two blocks a level, halved between        strides 2, 4, 8, 16
                  -> up: doubled, joined with the level of the way down, one block     strides 8, 4, 2
                  -> one convolution a head, its four values a place laid out as 2 x 2 pixels     B n H W each
                     (with detail: laid out first, joined with a block at full size, one block, one convolution)

After Ronneberger et al., MICCAI 2015, with a strided first convolution and full-resolution heads by pixel shuffle (Shi
et al., CVPR 2016), so that no layer works at full resolution: that is where a U-Net spends its time on a CPU.
"""

from collections.abc import Sequence
from math import ceil, log2
from typing import TypedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = (32, 64, 96, 128)
"""Channels at strides 2, 4, 8, 16: for objects of up to 80 pixels."""
DETAIL = 16
"""Channels at full resolution, for objects of a few pixels."""
LARGE = 48.0
"""Objects of this many pixels across need neither a level at full resolution nor many channels at stride 2."""


class Shape(TypedDict):
    """Arguments of `UNet` that follow the objects."""

    widths: tuple[int, ...]
    detail: int


def shape_of(widths: Sequence[int] | None, detail: int | None) -> Shape:
    """What is given, and the usual for what is left open."""
    return {"widths": tuple(widths or WIDTHS), "detail": DETAIL if detail is None else detail}


def shape_for(small: float, large: float) -> Shape:
    """The U-Net for objects of some sizes in pixels: the deepest stride is a fifth of a large object's length or more.

    So deep, a place sees a large object whole. Four levels are enough for lengths of 70; with objects of 200 the
    distance to the center of mass is not learned with four at all, and with six in minutes.

    Args:
        small: the diameter of small objects.
        large: the longer side of large ones.
    """
    levels = min(max(ceil(log2(max(large, 1.0) / 5)), len(WIDTHS)), 7)
    fine = WIDTHS if small < LARGE else (24, *WIDTHS)
    widths = (*fine[: min(len(fine), levels)], *[WIDTHS[-1]] * max(0, levels - len(fine)))
    return {"widths": widths, "detail": DETAIL if small < LARGE else 0}


def block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    """A 3 x 3 convolution, batch norm, rectifier."""
    convolution = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """A small encoder-decoder with several heads at full resolution.

    Args:
        channels: of the images.
        heads: channels of each output.
        widths: channels at strides 2, 4, 8, ...: one more width is one more level.
        detail: channels of a last level at full resolution, for objects of a few pixels; 0 = none, which is faster.

    Attributes:
        stride: of the deepest level; the sides of images are multiples of it.
        encoder_widths: channels of what `encode` gives.
    """

    def __init__(
        self,
        channels: int = 3,
        heads: Sequence[int] = (1,),
        widths: Sequence[int] = WIDTHS,
        detail: int = 0,
    ):
        super().__init__()
        self.stride, self.encoder_widths = 2 ** len(widths), tuple(widths)
        first, *deeper = widths
        self.stem = nn.Sequential(block(channels, first, stride=2), block(first, first))
        pairs = list(zip(widths, deeper, strict=False))
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), block(a, b), block(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(block(a + b, a) for a, b in reversed(pairs))
        self.detail = block(channels, detail) if detail else None
        self.last = block(first // 4 + detail, detail) if detail else nn.Identity()
        inside, places = (detail, 1) if detail else (first, 4)
        self.heads = nn.ModuleList(nn.Conv2d(inside, places * outputs, 3, padding=1) for outputs in heads)

    def encode(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """The features of the way down, of strides 2, 4, 8, ..."""
        levels = [self.stem(images)]
        for stage in self.down:
            levels.append(stage(levels[-1]))
        return levels

    def decode(
        self, images: Float[Tensor, "B C H W"], levels: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> list[Float[Tensor, "B n H W"]]:
        """One map for each head from the features of the way down, at the images' size."""
        *skips, joined = levels
        for stage, skip in zip(self.up, reversed(skips), strict=True):
            joined = stage(torch.cat([nn.functional.interpolate(joined, size=skip.shape[2:]), skip], 1))
        if self.detail is None:
            return [nn.functional.pixel_shuffle(head(joined), 2) for head in self.heads]
        full = self.last(torch.cat([nn.functional.pixel_shuffle(joined, 2), self.detail(images)], 1))
        return [head(full) for head in self.heads]

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B n H W"]]:
        """One map for each head, at the images' size."""
        return self.decode(images, self.encode(images))
