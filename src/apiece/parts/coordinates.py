"""Coordinates of pixels, in units in which networks speak of places."""

from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from apiece.errors import CallError
from apiece.masks import Size


def pixel_axes(
    size: Size, step: float | None, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, " W"], Float[Tensor, " H"]]:
    """The x of each column and the y of each row.

    Args:
        size: height and width of the image.
        step: the difference of neighbors; None = those of the published spatial embeddings, linspace(0, 2, 2048) and
            linspace(0, 1, 1024): 2/2047 across and 1/1023 down, and no further.

    Raises:
        CallError: an image beyond the published coordinates.
    """
    height, width = size
    if step is not None:
        return torch.arange(width, device=device) * step, torch.arange(height, device=device) * step
    if height > 1024 or width > 2048:
        raise CallError(f"legacy_coordinates end at 1024 x 2048 pixels, but the image has {height} x {width}.")
    return torch.linspace(0, 2, 2048, device=device)[:width], torch.linspace(0, 1, 1024, device=device)[:height]


def spread(size: Size) -> Float[Tensor, "2 h w"]:
    """x, then y, from -1 at the first column (row) to 1 at the last: CoordConv's coordinates."""
    y, x = (torch.linspace(-1, 1, side) for side in size)
    return torch.stack([x.expand(size), y[:, None].expand(size)])


def periodic(size: Size, step: float, period: float, shift: tuple[float, float]) -> Float[Tensor, "4 h w"]:
    """Sine and cosine of x, then of y, that repeat after a period: coordinates of images of any size.

    Args:
        step: pixels from one place to the next.
        period: in pixels.
        shift: what is added to y and to x, in pixels.
    """
    down, across = (
        ((torch.arange(side) + 0.5) * step + more) * (2 * pi / period) for side, more in zip(size, shift, strict=True)
    )
    y, x = down[:, None].expand(size), across.expand(size)
    return torch.stack([x.sin(), x.cos(), y.sin(), y.cos()])
