"""Images of several sizes in one padded batch, through a network as if each were alone."""

from collections.abc import Callable, Sequence
from math import ceil

import torch
from jaxtyping import Float, Integer
from torch import Tensor


def by_size(
    network: Callable[[Tensor], Sequence[Tensor]],
    images: Float[Tensor, "B C H W"],
    sizes: Integer[Tensor, "B 2"],
    stride: int,
) -> list[Tensor]:
    """A network's maps in float32, images of different sizes passed apart.

    Each is padded to the stride only, so its maps are the same alone and in any batch; beyond that they are zero.
    A batch without padding is passed at once.

    Args:
        network: from images to maps B n h w, each at full size or at a part of it that divides the stride.
        images: padded at the bottom and right.
        sizes: height and width of each image's valid part.
        stride: sides of what is passed are multiples of it.
    """
    canvas = tuple(images.shape[2:])
    padded = [tuple(ceil(side / stride) * stride for side in size) for size in sizes.tolist()]
    if all(size == canvas for size in padded):
        return [maps.float() for maps in network(images)]
    whole: list[Tensor] = []
    for height, width in sorted(set(padded)):
        members = [index for index, size in enumerate(padded) if size == (height, width)]
        parts = [maps.float() for maps in network(images[members, :, :height, :width])]
        steps = [height // part.shape[2] for part in parts]
        whole = whole or [
            part.new_zeros(len(images), part.shape[1], *(side // step for side in canvas))
            for part, step in zip(parts, steps, strict=True)
        ]
        for maps, part in zip(whole, parts, strict=True):
            maps[members, :, : part.shape[2], : part.shape[3]] = part
    return whole


def valid(sizes: Integer[Tensor, "B 2"], images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """1 on the images, 0 in their padding."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=sizes.device)[None] < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device)[None] < sizes[:, 1:]
    return (rows[:, None, :, None] & columns[:, None, None, :]).float()
