"""Images that Pillow reads without loss, turned as their EXIF tag says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from apiece.errors import InputError

MOST_PIXELS = 1 << 30
"""Larger images are refused before memory is taken for them."""
ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""
TURNS: dict[int, Callable[[ndarray], ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image[::-1].swapaxes(0, 1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image[:, ::-1].swapaxes(0, 1),
}


def read_with_pillow(path: Path, head: bytes, *, indices: bool = False) -> Shaped[ndarray, "H W C"]:
    """A PNG, JPEG, BMP or WebP file of at most 8 bits a channel, or 16 bits of grey.

    Args:
        head: the file's first bytes.
        indices: palette numbers and single bits as they stand in the file, not turned.

    Raises:
        InputError: the file is damaged, or larger than can be read.
    """
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    # The plug-ins themselves: `Image.open` would refuse large images by a limit that only the whole process can change.
    plugins: dict[bytes, Any] = {
        b"\x89P": PngImagePlugin.PngImageFile,
        b"\xff\xd8": JpegImagePlugin.JpegImageFile,
        b"BM": BmpImagePlugin.BmpImageFile,
        b"RI": WebPImagePlugin.WebPImageFile,
    }
    try:
        with path.open("rb") as file:
            picture = plugins[head[:2]](file)
            if picture.width * picture.height > MOST_PIXELS:
                raise InputError(
                    f"{path}: an image of {picture.height} x {picture.width} pixels is more than can be read."
                )
            pixels = pillow_pixels(picture, indices=indices)
            turn = None if indices or head[:2] in (b"\x89P", b"BM") else picture.getexif().get(ORIENTATION)
    except InputError:
        raise
    # A foreign parser meets damaged bytes: it may raise anything, and whatever it is, the file is to blame.
    except Exception as error:
        raise InputError(f"{path}: the image is damaged or cut off ({error}): make or copy it again.") from error
    return np.ascontiguousarray(TURNS[turn](pixels)) if turn in TURNS else pixels


def pillow_pixels(picture: Any, *, indices: bool = False) -> Shaped[ndarray, "H W C"]:
    """The pixels of a Pillow image; see `read_image` for `indices`."""
    mode = picture.mode
    if mode in ("P", "PA") and not indices:
        picture = picture.convert("RGBA" if mode == "PA" or "transparency" in picture.info else "RGB")
    elif mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "F", "I") and not mode.startswith("I;16"):
        picture = picture.convert("RGB")
    pixels = np.asarray(picture)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(1 if indices else 255)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
