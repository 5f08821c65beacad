"""Features of boxes: each from the map whose stride fits its size, sampled to one size.

Papers: RoIAlign: He et al., Mask R-CNN, ICCV 2017, https://arxiv.org/abs/1703.06870; the choice of the map: Lin et al.,
Feature Pyramid Networks, CVPR 2017, equation 1. Boxes are `x1 y1 x2 y2` in pixels of the image.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import roi_align, roi_pool

from apiece.parts.alignment import aligned_rows

CANONICAL_SIDE, CANONICAL_STRIDE = 224, 16
"""A box of this side (the root of its area) is of the map of this stride."""

AT_ONCE = 512
"""Boxes whose samples are looked up together, so that working memory does not grow with their number."""


def pooled(
    maps: Sequence[Float[Tensor, "B C _ _"]],
    strides: Sequence[int],
    boxes: Sequence[Float[Tensor, "_ 4"]],
    side: int,
    kind: Literal["align", "pool"] = "align",
    aligned: bool = True,
    sampling: int = 2,
) -> Float[Tensor, "R C s s"]:
    """The features of the boxes of all images, one after another, in float32.

    Args:
        side: of the result.
        kind: "align", means of bilinear samples at exact places; "pool", maxima over cells rounded to whole features
            (Fast R-CNN), which misplaces a box by up to half a stride.
        aligned: whether samples lie where a feature's middle is taken for its pixels' middle; without it all is half a
            feature off, as in the first implementations and in torchvision's detectors.
        sampling: samples in a cell each way; 0 = one for each feature that it covers.
    """
    lengths = [len(of_image) for of_image in boxes]
    images = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor(lengths)).to(maps[0].device)
    regions = torch.cat([images[:, None].float(), torch.cat(list(boxes))], 1)
    level = levels(regions[:, 1:], strides)
    channels = maps[0].shape[1]
    result = maps[0].new_zeros(len(regions), side, side, channels, dtype=torch.float32)
    for number, (one, stride) in enumerate(zip(maps, strides, strict=True)):
        # Also of no box: every map shall have a gradient.
        members, whole = (level == number).nonzero().squeeze(1), one.float()
        if kind == "align" and sampling and one.device.type == "cpu":
            for part in members.split(AT_ONCE):
                result[part] = aligned_rows(whole, regions[part], side, stride, sampling, aligned)
            continue
        if kind == "pool":
            cells = roi_pool(whole, regions[members], side, 1 / stride)
        else:
            cells = roi_align(whole, regions[members], side, 1 / stride, sampling, aligned)
        result[members] = cells.permute(0, 2, 3, 1)
    return result.permute(0, 3, 1, 2)


def levels(boxes: Float[Tensor, "R 4"], strides: Sequence[int]) -> Tensor:
    """Which of the maps, whose strides double, each box is of."""
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
    # A millionth more: a box that is too small by rounding only is of the coarser map, as in torchvision.
    steps = torch.floor(torch.log2(side * (CANONICAL_STRIDE / (CANONICAL_SIDE * strides[0])) + 1e-30) + 1e-6)
    return steps.clamp(0, len(strides) - 1).long()
