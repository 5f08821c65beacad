"""Images of several sizes in one padded batch, through a network as if each were alone."""

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from apiece.instances import Instances
from apiece.masks import Size


def of_one_size(
    images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"], stride: int
) -> Iterator[tuple[list[int], Float[Tensor, "_ C _ _"]]]:
    """Which images of a padded batch are of one size, and these, padded to the stride only; the smaller sizes first."""
    padded = _padded(sizes, stride)
    for height, width in sorted(set(padded)):
        members = [index for index, size in enumerate(padded) if size == (height, width)]
        # Whole batches are passed as they are, uncopied.
        alike = images if len(members) == len(images) else images[members]
        yield members, alike[:, :, :height, :width]


def _padded(sizes: Integer[Tensor, "B 2"], stride: int) -> list[Size]:
    return [(ceil(height / stride) * stride, ceil(width / stride) * stride) for height, width in sizes.tolist()]


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
    if all(size == canvas for size in _padded(sizes, stride)):
        return [maps.float() for maps in network(images)]
    whole: list[Tensor] = []
    for members, alike in of_one_size(images, sizes, stride):
        parts = [maps.float() for maps in network(alike)]
        steps = [alike.shape[2] // part.shape[2] for part in parts]
        whole = whole or [
            part.new_zeros(len(images), part.shape[1], *(side // step for side in canvas))
            for part, step in zip(parts, steps, strict=True)
        ]
        for maps, part in zip(whole, parts, strict=True):
            maps[members, :, : part.shape[2], : part.shape[3]] = part
    return whole


def each_apart(
    find: Callable[[Tensor, list[list[int]]], list[dict[str, Tensor]]],
    images: Float[Tensor, "B C H W"],
    sizes: Integer[Tensor, "B 2"],
    stride: int,
) -> dict[str, Tensor]:
    """Run a finder on images of one size at a time, padded to the stride only: each is treated as if it were alone.

    Args:
        find: from images and the sizes of their valid parts to a mapping of named rows for each.

    Returns:
        The rows of all images, filled up (see `filled`).
    """
    rows: list[Any] = [None] * len(images)
    for members, alike in of_one_size(images, sizes, stride):
        found = find(alike, sizes[members].tolist())
        for index, one in zip(members, found, strict=True):
            rows[index] = one
    return filled(rows)


def filled(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The rows of all images, filled up with zeros to the most of any, at least one."""
    longest = max([1, *(len(one["scores"]) for one in rows)])
    return {name: torch.stack([_longer(one[name], longest) for one in rows]) for name in rows[0]}


def _longer(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])


def resized(
    images: Float[Tensor, "B C H W"], targets: list[Instances], sizes: Sequence[Size], stride: int
) -> tuple[Float[Tensor, "B C _ _"], list[Instances]]:
    """Each image's valid part and its objects brought to a size, on one canvas of multiples of the stride.

    What has its size already is returned as it is.
    """
    if all(target.size == size for target, size in zip(targets, sizes, strict=True)):
        return images, targets
    height, width = (max(ceil(side / stride) * stride for side in sides) for sides in zip(*sizes, strict=True))
    canvas = images.new_zeros(*images.shape[:2], height, width)
    for place, image, target, (rows, columns) in zip(canvas, images, targets, sizes, strict=True):
        own = image[None, :, : target.size[0], : target.size[1]]
        place[:, :rows, :columns] = functional.interpolate(own, (rows, columns), mode="bilinear", antialias=True)[0]
    return canvas, [target.resized(size) for target, size in zip(targets, sizes, strict=True)]


def valid(sizes: Integer[Tensor, "B 2"], images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """1 on the images, 0 in their padding."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=sizes.device)[None] < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device)[None] < sizes[:, 1:]
    return (rows[:, None, :, None] & columns[:, None, None, :]).float()
