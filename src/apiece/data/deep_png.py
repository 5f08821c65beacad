"""PNG files of 16 bits a channel with more than one channel, which Pillow would cut to 8 bits.

Source: PNG specification, third edition, sections 5 (chunks) and 9 (filters).
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from numpy import ndarray

from apiece.errors import InputError
from apiece.png import SIGNATURE

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Channels of the colour types that 16-bit files may have."""
SUB, UP, AVERAGE, PAETH = 1, 2, 3, 4


def header(head: bytes) -> tuple[int, int, int, int, int] | None:
    """Height, width, bit depth, colour type and interlacing in a PNG file's first 29 bytes; None for anything else."""
    if len(head) < 29 or not head.startswith(SIGNATURE) or head[12:16] != b"IHDR":
        return None
    width, height, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", head[16:29])
    return height, width, depth, color, interlace


def read_deep_png(path: Path) -> UInt16[ndarray, "H W C"]:
    """A PNG file of 16 bits a channel.

    Raises:
        InputError: the file is damaged, cut off, or interlaced.
    """
    data = path.read_bytes()
    facts = header(data[:29])
    if facts is None or facts[2] != 16 or facts[3] not in CHANNELS:
        raise InputError(f"{path}: this is not a PNG image of 16 bits a channel.")
    height, width, _, color, interlace = facts
    if interlace:
        raise InputError(
            f"{path}: interlaced PNG of 16 bits and {CHANNELS[color]} channels: save it without interlacing."
        )
    pixel = 2 * CHANNELS[color]
    lines = _inflate(path, _image_data(path, data), height, 1 + pixel * width)
    kinds = lines[:, 0]
    if (kinds > PAETH).any():
        raise InputError(f"{path}: the PNG file is damaged (unknown filter {int(kinds.max())}): make or copy it again.")
    pixels = lines[:, 1:].reshape(height, width, pixel)
    return _unfilter(kinds, pixels).view(">u2").astype(np.uint16)


def _image_data(path: Path, data: bytes) -> bytes:
    """All IDAT chunks, one after another."""
    place, pieces = len(SIGNATURE), []
    while place + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        content, stop = data[place + 8 : place + 8 + length], place + 12 + length
        if stop > len(data):
            break
        if kind == b"IDAT":
            if zlib.crc32(content, zlib.crc32(kind)) != struct.unpack(">I", data[stop - 4 : stop])[0]:
                raise InputError(f"{path}: the PNG file is damaged (wrong checksum): make or copy it again.")
            pieces.append(content)
        if kind == b"IEND":
            return b"".join(pieces)
        place = stop
    raise InputError(f"{path}: the PNG file is cut off: make or copy it again.")


def _inflate(path: Path, packed: bytes, height: int, line: int) -> UInt8[ndarray, "H line"]:
    """The filtered lines, each led by its filter's number."""
    try:
        lines = zlib.decompressobj().decompress(packed, height * line)
    except zlib.error as error:
        raise InputError(f"{path}: the PNG file is damaged ({error}): make or copy it again.") from error
    if len(lines) < height * line:
        raise InputError(f"{path}: the PNG file holds fewer pixels than it says: make or copy it again.")
    return np.frombuffer(lines, np.uint8).reshape(height, line)


def _unfilter(kinds: UInt8[ndarray, " H"], filtered: UInt8[ndarray, "H W bytes"]) -> UInt8[ndarray, "H W bytes"]:
    """Undo the line filters."""
    height, width, pixel = filtered.shape
    # A line above and a pixel to the left, both zero, spare the special cases.
    plain = np.zeros((height + 1, width + 1, pixel), np.uint8)
    # Average and Paeth need the pixel to the left before the next can be known; Sub and Up are sums along one axis.
    if np.isin(kinds, (AVERAGE, PAETH)).any():
        _unfilter_diagonally(kinds, filtered, plain)
        return np.ascontiguousarray(plain[1:, 1:])
    for row, kind in enumerate(kinds.tolist()):
        line = np.cumsum(filtered[row], 0, dtype=np.uint8) if kind == SUB else filtered[row]
        plain[row + 1, 1:] = line + plain[row, 1:] if kind == UP else line
    return np.ascontiguousarray(plain[1:, 1:])


def _unfilter_diagonally(kinds: UInt8[ndarray, " h"], filtered: UInt8[ndarray, "h W bytes"], plain: ndarray) -> None:
    """Undo filters that look left, up and up-left: pixels of one anti-diagonal do not need each other.

    Args:
        plain: h+1 W+1 bytes, contiguous, its first line and column zero; the rest is written.
    """
    height, width, pixel = filtered.shape
    flat, source = plain.reshape(-1, pixel), filtered.astype(np.int16).reshape(-1, pixel)
    kind = kinds[:, None]
    sub, up, average, paeth = (kind == number for number in (SUB, UP, AVERAGE, PAETH))
    only_paeth = bool(paeth.all())
    for diagonal in range(height + width - 1):
        first, last = max(0, diagonal - width + 1), min(height, diagonal + 1)  # rows on it
        rows = slice(first, last)
        # Row r, column diagonal - r: in flat lines of width + 1 the next row's pixel lies `width` further on.
        place = (first + 1) * (width + 1) + diagonal - first + 1
        stop = place + (last - first - 1) * width + 1

        def at(back: int, place: int = place, stop: int = stop) -> ndarray:
            return flat[place - back : stop - back : width].astype(np.int16)

        left, above, corner = at(1), at(width + 1), at(width + 2)
        guess = _paeth(left, above, corner)
        if not only_paeth:
            guess = np.where(paeth[rows], guess, np.where(average[rows], (left + above) >> 1, 0))
            guess += np.where(sub[rows], left, 0) + np.where(up[rows], above, 0)
        start = first * width + diagonal - first
        difference = source[start : start + (last - first - 1) * (width - 1) + 1 : max(width - 1, 1)]
        flat[place:stop:width] = (guess + difference).astype(np.uint8)


def _paeth(left: ndarray, above: ndarray, corner: ndarray) -> ndarray:
    """Whichever of the three neighbours is nearest to left + above - corner; ties in this order."""
    to_left, to_above = abs(above - corner), abs(left - corner)
    to_corner = abs(left + above - 2 * corner)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)
