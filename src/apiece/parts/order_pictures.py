"""Pictures of a sequence: in which order objects are found, and the map of each step."""

import numpy as np
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray

from apiece import draw
from apiece.views import written

WIDE = 384
"""Pixels about which a picture has on its longer side, that numbers do not hide objects."""
MOST = 24
"""Maps that are shown."""


def order_pictures(
    maps: Float[ndarray, "T H W"], numbers: Integer[ndarray, " T"], threshold: float
) -> dict[str, UInt8[ndarray, "_ _ 3"]]:
    """Pictures of an image's steps.

    Args:
        maps: at the image's size, 0..1, the first step first.
        numbers: of the steps, as they are written.
        threshold: what is above it is an object's; the earlier step's where two claim a pixel.

    Returns:
        "order": objects, the first the darkest, each with its number, small images enlarged; "steps": a sheet of maps,
        if there are any.
    """
    order = np.full(maps.shape[1:], np.nan, np.float32)
    for place in reversed(range(len(maps))):
        order[maps[place] > threshold] = place
    times = max(1, WIDE // max(order.shape))
    order = order.repeat(times, 0).repeat(times, 1)
    picture = draw.heat(order, 0, max(1, len(maps) - 1))
    for place, number in enumerate(numbers.tolist()):
        _write(picture, order == place, str(number))
    if not len(maps):
        return {"order": picture}
    tiles = [draw.heat(one, 0, 1) for one in maps[:MOST]]
    return {"order": picture, "steps": draw.contact_sheet(tiles, 6, 2, [str(n) for n in numbers[:MOST].tolist()])}


def _write(picture: UInt8[ndarray, "H W 3"], mask: ndarray, text: str) -> None:
    """A text in the middle of a mask, on black, where the picture has room for it."""
    rows, columns = np.nonzero(mask)
    letters = written(text)[:, :, None]
    height, width = letters.shape[:2]
    if not len(rows) or height > picture.shape[0] or width > picture.shape[1]:
        return
    # The object's own pixel nearest to its middle, so that the text lies on the object whatever its shape.
    nearest = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
    top = min(max(int(rows[nearest]) - height // 2, 0), picture.shape[0] - height)
    left = min(max(int(columns[nearest]) - width // 2, 0), picture.shape[1] - width)
    picture[top : top + height, left : left + width] = 255 * letters
