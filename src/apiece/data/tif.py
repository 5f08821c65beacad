"""TIFF images: any number type, any number of channels, one plane."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from apiece.data.pillow import pillow_pixels
from apiece.errors import InputError
from apiece.files import replacing
from apiece.masks import Size

FEW = 16
"""A picture's side is longer than this, a line of channels is not."""
WIDEST_PACKING = 1100
"""Deflate packs at most about 1032 bytes into one."""
MOST_BYTES = 1 << 34
LOSSY_OR_PACKED = "save it uncompressed or with zlib (deflate) compression."


def read_tif(path: Path, *, indices: bool = False) -> Shaped[ndarray, "H W C"]:
    """The only plane of a TIFF file, in the file's number type.

    Channels may lie pixel by pixel, plane by plane, or on pages whose axes are named `C` (OME, ImageJ, tifffile).

    Args:
        indices: values as they stand in the file: palette numbers, not colours.

    Raises:
        InputError: a damaged file, a stack of several planes, or a compression that cannot be undone.
    """
    import tifffile

    with _quiet():
        try:
            with tifffile.TiffFile(path) as file:
                series = _only_series(path, file)
                page: Any = series.keyframe
                _check_size(path, series, page)
                try:
                    pixels = series.asarray()
                except ValueError as error:
                    if "imagecodecs" not in str(error):
                        raise
                    return _read_packed(path, page, indices)
                if not indices:
                    pixels = _colored(pixels, page)
                axes = series.axes + "S" * (pixels.ndim - len(series.axes))
        except InputError:
            raise
        # A foreign parser meets damaged bytes: it may raise anything, and whatever it is, the file is to blame.
        except Exception as error:
            raise InputError(
                f"{path}: the TIFF file is damaged or cut off ({error}): make or copy it again."
            ) from error
    return _channels_last(path, pixels, axes)


def _only_series(path: Path, file: Any) -> Any:
    """The full-size image; smaller ones beside it are previews."""
    series = sorted(file.series, key=lambda one: -one.size)
    if not series:
        raise InputError(f"{path}: the TIFF file holds no image: make or copy it again.")
    if len(series) > 1 and series[1].size == series[0].size:
        raise InputError(f"{path}: the TIFF file holds several images, but one is wanted: save each as its own file.")
    return series[0]


def _check_size(path: Path, series: Any, page: Any) -> None:
    """Before memory is taken for it: can the file hold what it says?"""
    found = path.stat().st_size
    if series.dtype is None or series.dtype.kind not in "buif":
        raise InputError(f"{path}: pixels of type {series.dtype} are no image: save it as whole or floating numbers.")
    wanted = series.size * series.dtype.itemsize
    packing = {1: 8, 8: WIDEST_PACKING, 32946: WIDEST_PACKING}.get(int(page.compression), MOST_BYTES)
    if wanted > min(MOST_BYTES, found * packing + (1 << 20)):
        raise InputError(
            f"{path}: the file claims {wanted:,} bytes of pixels, which its {found:,} bytes cannot hold: copy it again."
        )


def _read_packed(path: Path, page: Any, indices: bool) -> Shaped[ndarray, "H W C"]:
    """Through Pillow, where that keeps every bit: 8 bits a channel, or one channel."""
    from PIL import TiffImagePlugin

    name = getattr(page.compression, "name", page.compression)
    if page.bitspersample > 8 and page.samplesperpixel > 1 or page.planarconfig == 2 or page.samplesperpixel > 4:
        raise InputError(
            f"{path}: {name} compression cannot be read at this depth and number of channels: {LOSSY_OR_PACKED}"
        )
    with path.open("rb") as file:
        picture = TiffImagePlugin.TiffImageFile(file)
        pixels = pillow_pixels(picture, indices=indices)
    if pixels.dtype.itemsize < np.dtype(page.dtype).itemsize:
        raise InputError(f"{path}: {name} compression cannot be read in {page.dtype}: {LOSSY_OR_PACKED}")
    return pixels


def _colored(pixels: ndarray, page: Any) -> ndarray:
    """Palette numbers as colours, white-is-zero turned round, one bit as 0 and 255."""
    photometric = int(page.photometric)
    if photometric == 3 and page.colormap is not None:
        return np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, pixels], 0, -1)
    if photometric == 0 and pixels.dtype.kind in "bu":
        pixels = ~pixels
    return pixels.astype(np.uint8) * np.uint8(255) if pixels.dtype == bool else pixels


def _channels_last(path: Path, pixels: ndarray, axes: str) -> Shaped[ndarray, "H W C"]:
    """Bring the axes that tifffile names to H W C.

    `S` are the samples of a pixel, `C` channels; `Q` and `I` mean that the file does not say what its pages are.
    """
    if len(axes) == 3 and axes[0] in "QI" and axes[1:] == "YX" and pixels.shape[2] <= FEW < pixels.shape[0]:
        axes = "YXS"  # H W C written as if each line of the image were a page of its own
    if not pixels.size or not {"X", "Y"} <= set(axes):
        raise InputError(f"{path}: the TIFF file holds no pixels: make or copy it again.")
    long = [place for place, name in enumerate(axes) if pixels.shape[place] > 1 or name in "YX"]
    names = "".join(axes[place] for place in long)
    pixels = pixels.reshape([pixels.shape[place] for place in long])
    if sorted(names.replace("S", "C")) not in (["X", "Y"], ["C", "X", "Y"]):
        count = pixels.size // (pixels.shape[names.index("Y")] * pixels.shape[names.index("X")])
        raise InputError(
            f"{path}: a stack of {count} pages (axes {names}), but one image is wanted: save each plane as its own "
            "file, or, if the pages are channels, name the axes CYX when saving."
        )
    if len(names) == 2:
        pixels, names = pixels[..., None], names + "C"
    order = [names.replace("S", "C").index(name) for name in "YXC"]
    pixels = pixels.transpose(order)
    # By its name: of two types of one width, `long long` and `long`, the common one.
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=").name)


@contextmanager
def _quiet() -> Iterator[None]:
    """What tifffile would log about a damaged file is said in one sentence by the caller."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def write_tif(path: Path, strips: Iterable[ndarray], size: Size, kind: Any, channels: int = 1) -> None:
    """Write a zlib-compressed TIFF file strip by strip; it is whole or not there.

    Args:
        strips: `h W` or `h W C` arrays from top to bottom, all but the last of the same height.
        size: height and width of the image.
        kind: number type of the pixels.

    Raises:
        InputError: the image has no pixels, or the file cannot be written.
    """
    import zlib

    import tifffile

    if 0 in size:
        raise InputError(f"{path}: an image of {size[0]} x {size[1]} pixels cannot be written as TIFF.")
    strips = iter(strips)
    first = next(strips)
    little = np.dtype(kind).newbyteorder("<")

    def packed() -> Iterator[bytes]:
        yield zlib.compress(np.ascontiguousarray(first, little).data, 1)
        for strip in strips:
            yield zlib.compress(np.ascontiguousarray(strip, little).data, 1)

    layout: dict[str, Any] = {"photometric": "rgb" if channels in (3, 4) and little.itemsize <= 2 else "minisblack"}
    if channels > 1:
        layout["planarconfig"] = "contig"
    if channels == 4 and layout["photometric"] == "rgb":
        layout["extrasamples"] = ["unassalpha"]
    shape = size if channels == 1 else (*size, channels)
    bytes_there = int(np.prod(shape, dtype=np.int64)) * little.itemsize
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            packed(),
            shape=shape,
            dtype=little,
            rowsperstrip=len(first),
            compression="zlib",
            byteorder="<",
            bigtiff=bytes_there > 0xF0000000,
            **layout,
        )
