"""Soft values of one object's window, brought from network to original size."""

from math import ceil, floor

import torch
from jaxtyping import Float
from numpy import ndarray
from torch.nn.functional import grid_sample

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
