"""Pictures of what networks say: which way pixels point and where they arrive; soft masks."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from numpy import ndarray

from apiece import draw
from apiece.colors import object_colors
from apiece.masks import Size


def pointing(
    offsets: Float[ndarray, "2 H W"], embeddings: Float[ndarray, "2 H W"], objects: Bool[ndarray, "H W"]
) -> dict[str, UInt8[ndarray, "H W 3"]]:
    """Pictures of the object pixels' offsets.

    Args:
        offsets: x and y, in any unit.
        embeddings: where each pixel arrives, x and y in pixels.
        objects: the pixels that count.

    Returns:
        "offsets": angle as color, length as brightness; "displaced": each pixel where it arrives, in its angle's color.
    """
    angles = draw.color_of_angle(offsets * objects)
    return {"offsets": angles, "displaced": draw.pile(embeddings[:, objects].T, objects.shape, angles[objects])}


def soft_masks(
    masks: Sequence[Float[ndarray, "_ _"]], corners: Integer[ndarray, "N 2"], size: Size
) -> UInt8[ndarray, "H W 3"]:
    """Masks of probabilities, each in its color as strong as it is sure, the first on top; at rows and columns."""
    picture = np.zeros((*size, 3), np.float32)
    colors = object_colors(np.arange(len(masks)))
    for mask, (top, left), color in reversed(list(zip(masks, corners.tolist(), colors, strict=True))):
        part = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
        soft = mask[: part.shape[0], : part.shape[1], None]
        part += soft * (color - part)
    return picture.astype(np.uint8)
