"""Which images are one: the same pixels, or the same picture saved, reduced or brightened anew."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num, UInt64
from numpy import ndarray

SIDE, FINE, LOW = 32, 16, 8
"""Images are reduced to SIDE x SIDE; their FINE x FINE slowest waves are compared, LOW x LOW of them make the hash."""
SAMPLED = 512
"""Of larger images so many rows and columns are looked at."""
BITS = 10
"""Hashes of one picture differ in so many of their 63 bits at most."""
CORRELATION = 0.9
"""Details of one picture agree so well: copies in other files by 0.95, other pictures of a kind by 0.5 at most."""
PAIRS = 1 << 22
"""Pairs of hashes compared at once."""


class Likeness(NamedTuple):
    """What is kept of an image.

    Attributes:
        exact: digest of its pixels, size and number type.
        hash: the signs of its slowest waves.
        detail: its wave strengths, of length 1; zeros for an image of one value.
    """

    exact: bytes
    hash: int
    detail: Float[ndarray, " D"]


class Pair(NamedTuple):
    """Two images that are one: places in the list, the earlier first. `exact`: to the last pixel."""

    first: int
    second: int
    exact: bool
    correlation: float


def likeness(image: Num[ndarray, "H W C"] | Bool[ndarray, "H W C"]) -> Likeness:
    """What is kept of an image to find it again: about 1 kB.

    The hash is Zauner's pHash ("Implementation and benchmarking of perceptual image hash functions", 2010): signs of
    the discrete cosine transform of the reduced image.
    """
    from scipy.fft import dctn

    digest = hashlib.blake2b(f"{image.shape} {image.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    waves = np.asarray(dctn(_reduced(image), norm="ortho"))
    slow = waves[:LOW, :LOW].ravel()[1:]
    bits = np.packbits(np.append(slow > np.median(slow), False))
    # The slowest waves are much alike in all images of a kind (dark rims, light skies): they are weighed down.
    order = np.add.outer(np.arange(FINE), np.arange(FINE))
    detail = (waves[:FINE, :FINE] * np.minimum(order, LOW) / LOW)[order > 0].astype(np.float32)
    length = np.linalg.norm(detail)
    return Likeness(digest.digest(), int(bits.view(np.uint64)[0]), detail / length if length > 1e-6 else 0 * detail)


def _reduced(image: ndarray) -> Float[ndarray, "32 32"]:
    """The image in grey, from 0 to 1, in means of SIDE x SIDE fields."""
    if not image.size:
        return np.zeros((SIDE, SIDE), np.float32)
    image = image[:: max(1, image.shape[0] // SAMPLED), :: max(1, image.shape[1] // SAMPLED)]
    if image.dtype.kind == "f":
        image = np.nan_to_num(image.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    gray = _means(_means(image.reshape(len(image), -1), 0).reshape(SIDE, *image.shape[1:]).sum(2), 1)
    low, high = gray.min(), gray.max()
    return (gray - low) / (high - low) if high > low else 0 * gray


def _means(values: ndarray, axis: int) -> Float[ndarray, "_ _"]:
    """An array along an axis in SIDE means."""
    length = values.shape[axis]
    if length < SIDE:
        values, length = values.repeat(-(-SIDE // length), axis), length * -(-SIDE // length)
    edges = np.arange(SIDE) * length // SIDE
    counts = np.diff(np.append(edges, length)).astype(np.float32)
    return np.add.reduceat(values, edges, axis, dtype=np.float32) / (counts[:, None] if axis == 0 else counts)


def pairs(images: Sequence[Likeness]) -> Iterator[Pair]:
    """All pairs of images that are one, by the earlier."""
    hashes = np.array([image.hash for image in images], np.uint64)
    for first, second in _near(hashes):
        one, other = images[first], images[second]
        exact = one.exact == other.exact
        correlation = 1.0 if exact else float(one.detail @ other.detail)
        if exact or correlation >= CORRELATION:
            yield Pair(first, second, exact, correlation)


def _near(hashes: UInt64[ndarray, " N"]) -> Iterator[tuple[int, int]]:
    """Pairs of hashes that differ in few bits."""
    rows_at_once = max(1, PAIRS // max(len(hashes), 1))
    for start in range(0, len(hashes), rows_at_once):
        block = hashes[start : start + rows_at_once]
        different = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        rows, columns = np.nonzero(different <= BITS)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column:
                yield start + row, start + column
