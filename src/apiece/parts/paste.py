"""Soft values of one object's window, brought from network to original size."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import grid_sample

from apiece.instances import Instances
from apiece.masks import Box, Size


@runtime_checkable
class Resized(Protocol):
    """An image's size in its file and in the network: a `Frame`."""

    @property
    def original(self) -> Size:
        """In the file."""
        ...

    @property
    def size(self) -> Size:
        """In the network, without padding."""
        ...


def paste(values: Float[ndarray, "h w"], box: Box, size: Size, original: Size) -> tuple[Float[ndarray, "a b"], Box]:
    """Interpolate a window linearly to the original image, only inside its box; at its border values go on as they end.

    Args:
        values: the window.
        box: where it lies, `x1 y1 x2 y2` in an image of `size`.
        size, original: height and width of the image now and then; pixels correspond as in `align_corners=False`.

    Returns:
        The values at the original size and their box there.
    """
    y1, y2, y = _places(box[1], box[3], size[0], original[0])
    x1, x2, x = _places(box[0], box[2], size[1], original[1])
    grid = torch.stack([x.expand(len(y), len(x)), y[:, None].expand(len(y), len(x))], 2)
    window = torch.as_tensor(values, dtype=torch.float32)[None, None]
    # Right at the image's own border; elsewhere the window has a margin and ends at zero.
    sampled = grid_sample(window, grid[None].float(), padding_mode="border", align_corners=False)[0, 0]
    return sampled.numpy(), (x1, y1, x2, y2)


def _places(low: int, high: int, size: int, original: int) -> tuple[int, int, Float[Tensor, " S"]]:
    """One side of a window at the original size: where it begins and ends, and its pixels' places in it, -1 to 1."""
    # In whole numbers: a rounded scale would now and then add a row beyond the window.
    first, last = low * original // size, -(-high * original // size)
    centers = (torch.arange(first, last, dtype=torch.float64) + 0.5) * size / original
    return first, last, (centers - low) / (high - low) * 2 - 1


def enlarged(
    found: Instances, soft: Callable[[int, tuple[slice, slice]], Float[ndarray, "h w"]], original: Size
) -> Instances:
    """Objects found at network size, brought to the original size by interpolating their soft values, each in its box.

    Args:
        found: at network size, without overlap within a layer.
        soft: the membership, 0..1, of an object (by its index) on a window of the image.
        original: height and width of the result; a pixel belongs to an object where its membership is above one half.
    """
    layers, (height, width) = found.layers(), found.size
    crops, boxes = [], []
    for index, (x1, y1, x2, y2) in enumerate(found.mask_boxes.tolist()):
        box = max(x1 - 1, 0), max(y1 - 1, 0), min(x2 + 1, width), min(y2 + 1, height)
        window = np.s_[box[1] : box[3], box[0] : box[2]]
        owner = next((layer[window] for layer in layers if (layer[window] == index + 1).any()), None)
        # What another object owns is not this one's, however near it lies.
        values = (
            0 * soft(index, window) if owner is None else soft(index, window) * ((owner == 0) | (owner == index + 1))
        )
        crop, place = paste(values, box, found.size, original)
        crops.append(crop > 0.5)
        boxes.append(place)
    return Instances.from_crops(crops, boxes, original, found.labels, scores=found.scores)
