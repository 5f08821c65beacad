"""PNG files written strip by strip: 8-bit grey or RGB, 16-bit grey. Only the strip at hand is in memory."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from apiece.errors import InputError
from apiece.files import replacing
from apiece.masks import Size, strips

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2


def write_png(path: Path, rows: Iterable[ndarray], size: Size) -> None:
    """Write a picture given from top to bottom in strips; the file is whole or not there.

    Args:
        rows: strips `h W 3` uint8 (RGB), `h W` uint8 or `h W` uint16 (grey), all of one kind, together H rows high.
        size: height and width of the picture.

    Raises:
        InputError: the picture has no pixels, or the file cannot be written.
    """
    if 0 in size:
        raise InputError(f"{path}: a picture of {size[0]} x {size[1]} pixels cannot be written as PNG.")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(_pieces(rows, size))


def png_bytes(picture: ndarray) -> bytes:
    """A picture `H W 3` uint8, `H W` uint8 or `H W` uint16 as the bytes of a PNG file.

    Raises:
        InputError: the picture has no pixels.
    """
    size = picture.shape[:2]
    if 0 in size:
        raise InputError(f"a picture of {size[0]} x {size[1]} pixels cannot be written as PNG.")
    return b"".join(_pieces((picture[part] for part in strips(size)), size, level=6))


def _pieces(rows: Iterable[ndarray], size: Size, level: int = 1) -> Iterator[bytes]:
    """The bytes of the file, piece by piece (PNG specification, third edition, sections 5, 9 and 11)."""
    remaining = iter(rows)
    first = next(remaining)
    depth, color = 8 * first.dtype.itemsize, RGB if first.ndim == 3 else GREY
    yield SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], depth, color, 0, 0, 0))
    packer = zlib.compressobj(level)
    previous: ndarray = np.zeros(1, np.uint8)
    for strip in chain([first], remaining):
        lines = np.ascontiguousarray(strip, strip.dtype.newbyteorder(">")).reshape(len(strip), -1).view(np.uint8)
        data = packer.compress(_filtered(lines, previous).data)
        previous = lines[-1].copy()
        if data:
            yield _chunk(b"IDAT", data)
    yield _chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b"")


def _filtered(lines: UInt8[ndarray, "h bytes"], previous: UInt8[ndarray, " _"]) -> UInt8[ndarray, "h _"]:
    """Each line as its difference to the line above (filter type 2, up), led by the filter's number."""
    filtered = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = lines[0] - previous
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    return filtered


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
