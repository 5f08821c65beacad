"""Classes of blocks of pixels: the targets of an encoder that classifies places, and a picture of what it says."""

from math import ceil
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray
from torch import Tensor, nn

from apiece.colors import object_colors
from apiece.parts.owners import Owners

IGNORED = -100
"""The target of blocks that are in no term."""

Rule = Literal["centers", "majority", "any"]


def block_target(truth: Owners, block: int, num_classes: int, rule: Rule) -> Integer[Tensor, "h w"]:
    """The class of each block, 0 = background, 1 + label else; `IGNORED` where an ignored object and no other lies."""
    height, width = truth.owner.shape
    shape = ceil(height / block), ceil(width / block)
    row, column = truth.pixels // width // block, truth.pixels % width // block
    cells, classes = shape[0] * shape[1], 1 + num_classes
    labels = truth.labels[truth.objects]
    counts = torch.bincount((row * shape[1] + column) * classes + 1 + labels, minlength=cells * classes)
    counts = counts.reshape(cells, classes)
    taken = counts.sum(1) > 0
    if rule == "majority":
        # Of the block's part that lies in the image.
        down = (torch.arange(1, shape[0] + 1) * block).clamp(max=height).diff(prepend=torch.zeros(1, dtype=torch.long))
        across = (torch.arange(1, shape[1] + 1) * block).clamp(max=width).diff(prepend=torch.zeros(1, dtype=torch.long))
        counts[:, 0] = (down[:, None] * across).flatten().to(counts.device) - counts.sum(1)
        target = counts.argmax(1)
    else:
        target = counts.argmax(1) * taken
    if rule == "centers" and len(truth):
        order = truth.sizes.argsort(stable=True)
        x, y = truth.centroids()[order].round().long().T // block
        for place, label in zip((y * shape[1] + x).tolist(), truth.labels[order].tolist(), strict=True):
            target[place] = 1 + label
    void = nn.functional.max_pool2d(truth.ignored.any(0)[None].float(), block, ceil_mode=True)[0].flatten() > 0
    target[void & ~taken] = IGNORED
    return target.reshape(shape)


def picture_of_blocks(blocks: Float[ndarray, "C h w"]) -> UInt8[ndarray, "h w 3"]:
    """Each class in its color, as bright as it is probable; the background black."""
    colors = object_colors(np.arange(len(blocks) - 1)).astype(np.float32)
    return (blocks[1:].transpose(1, 2, 0) @ colors).clip(0, 255).astype(np.uint8)
