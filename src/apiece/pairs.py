"""Pairs: an image's true and found objects drawn side by side, in the colors of what became of them."""

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8
from numpy import ndarray

from apiece.colors import GREY
from apiece.draw import overlay
from apiece.instances import Instances
from apiece.masks import Size
from apiece.metrics.diagnosis import Fates, fates
from apiece.page import SMALL, Picture
from apiece.png import png_bytes

SIDE = 640
"""Longer sides are reduced to it."""
GAP = 4
RIGHT, WRONG = np.array([30, 130, 230], np.uint8), np.array([245, 120, 20], np.uint8)
"""Blue and orange: told apart by everybody."""


class Shown(NamedTuple):
    """One image to be drawn; `image` is None where there is none, `found` holds only objects that count."""

    name: str
    image: ndarray | None
    truth: Instances
    found: Instances


def pair_picture(
    shown: Shown, classes: Sequence[str], *, class_agnostic: bool = False, by_fate: bool = True
) -> tuple[Picture, str]:
    """Truth on the left, what was found on the right, and a caption.

    Args:
        classes: names that are written on objects, where there are several.
        by_fate: blue is right, orange missed or wrong, grey left out; otherwise each object has its own color.
    """
    fate = fates(shown.found, shown.truth, class_agnostic)
    size = reduced_size(shown.truth.size)
    image = np.full((*size, 1), 128, np.uint8) if shown.image is None else reduced(shown.image, size)
    names = classes if len(classes) > 1 else None
    sides = (
        (shown.truth, _colors(fate.had, np.zeros(len(fate.had), bool))),
        (shown.found, _colors(fate.right, fate.left_out)),
    )
    drawn = []
    for objects, colors in sides:
        smaller = _resized(objects.replace(columns={"color": colors}), size)
        drawn.append(overlay(image, smaller, colors=smaller.columns["color"] if by_fate else "object", classes=names))
    gap = np.full((size[0], GAP, 3), 255, np.uint8)
    return compact(np.hstack([drawn[0], gap, drawn[1]])), _caption(shown, fate)


def _colors(good: Bool[ndarray, " N"], left_out: Bool[ndarray, " N"]) -> UInt8[ndarray, "N 3"]:
    return np.where(left_out[:, None], GREY, np.where(good[:, None], RIGHT, WRONG)).astype(np.uint8)


def _caption(shown: Shown, fate: Fates) -> str:
    true, found = ~shown.truth.ignore, ~fate.left_out
    missed, invented = int((true & ~fate.had).sum()), int((found & ~fate.right).sum())
    nothing = " (no image here)" if shown.image is None else ""
    counts = f"{true.sum()} true, {found.sum()} found; {missed} missed, {invented} wrong"
    return f"{shown.name}: {counts}{nothing}"


def reduced_size(size: Size, side: int = SIDE) -> Size:
    """The size at which an image is shown: as it is, or with a longer side of `side`."""
    height, width = size
    scale = max(height, width) / side
    return size if scale <= 1 else (max(1, round(height / scale)), max(1, round(width / scale)))


def reduced(image: Num[ndarray, "H W *C"] | Bool[ndarray, "H W *C"], size: Size) -> ndarray:
    """An image at a smaller size: the means of blocks of pixels, in its own number type."""
    if image.dtype == bool:
        image = image.view(np.uint8) * np.uint8(255)
    if image.shape[:2] == size:
        return image
    means: Float[ndarray, "H W *C"] = image
    for axis, (old, new) in enumerate(zip(image.shape[:2], size, strict=True)):
        starts = np.arange(new) * old // new
        lengths = np.diff(starts, append=old).reshape((-1, 1, *(1,) * (image.ndim - 2)))
        sums = np.add.reduceat(means, starts, axis, dtype=np.float64)
        means = sums / (lengths if axis == 0 else lengths.swapaxes(0, 1))
    return means.astype(image.dtype) if image.dtype.kind == "f" else np.rint(means).astype(image.dtype)


def _resized(objects: Instances, size: Size) -> Instances:
    if objects.has_masks:
        # A source's own boxes are of no use for drawing masks.
        return objects.replace(boxes=None, areas=None).resized(size)
    scale = np.tile(np.array(size[::-1]) / np.maximum(objects.size[::-1], 1), 2)
    fields = {"scores": objects.scores, "ignore": objects.ignore, "columns": objects.columns}
    return Instances.from_boxes(objects.boxes * scale, size, objects.labels, **fields)


def compact(picture: UInt8[ndarray, "H W 3"]) -> bytes:
    """A picture's bytes: PNG for small ones, which are seen pixel by pixel; else JPEG where that is smaller."""
    exact = png_bytes(picture)
    if picture.shape[1] < SMALL:
        return exact
    from PIL import Image

    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=88, subsampling=0)
    return min(exact, file.getvalue(), key=len)
