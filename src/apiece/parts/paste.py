"""Soft values of one object's window, brought from network to original size."""

from collections.abc import Callable
from math import ceil, floor

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch.nn.functional import grid_sample

from apiece.instances import Instances
from apiece.masks import Box, Size


def paste(values: Float[ndarray, "h w"], box: Box, size: Size, original: Size) -> tuple[Float[ndarray, "a b"], Box]:
    """Interpolate a window linearly to the original image, only inside its box; beyond the window the values fall to zero.

    Args:
        values: the window.
        box: where it lies, `x1 y1 x2 y2` in an image of `size`.
        size, original: height and width of the image now and then; pixel centers correspond as in `align_corners=False`.

    Returns:
        The values at the original size and their box there.
    """
    scale_y, scale_x = original[0] / size[0], original[1] / size[1]
    x1, y1 = floor(box[0] * scale_x), floor(box[1] * scale_y)
    x2, y2 = min(ceil(box[2] * scale_x), original[1]), min(ceil(box[3] * scale_y), original[0])
    x = ((torch.arange(x1, x2) + 0.5) / scale_x - box[0]) / (box[2] - box[0]) * 2 - 1
    y = ((torch.arange(y1, y2) + 0.5) / scale_y - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.stack([x.expand(len(y), len(x)), y[:, None].expand(len(y), len(x))], 2)
    window = torch.as_tensor(values, dtype=torch.float32)[None, None]
    # At the image's own border the window goes on as it ends; elsewhere it was cut with a margin and ends at zero anyway.
    sampled = grid_sample(window, grid[None].float(), padding_mode="border", align_corners=False)[0, 0]
    return sampled.numpy(), (x1, y1, x2, y2)


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
