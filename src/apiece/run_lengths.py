"""COCO's run lengths: a mask's pixels counted down its columns, zeros first; as lists and as text, many at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, Shaped
from numpy import ndarray

from apiece.masks import Box, Size


class ColumnRuns(NamedTuple):
    """The pixels of N masks as stretches, counted down the columns of their images; none of no length, none touching.

    Attributes:
        start, stop: of each stretch, ascending within a mask.
        offsets: where the stretches of each mask begin; one more at the end.
    """

    start: Integer[ndarray, " R"]
    stop: Integer[ndarray, " R"]
    offsets: Integer[ndarray, " offsets"]


def read_texts(texts: Sequence[str | bytes], pixels: Integer[ndarray, " N"]) -> ColumnRuns:
    """The masks of compressed run lengths, each of an image of so many `pixels`.

    Raises:
        ValueError: one of them is damaged, or does not fill its image.
    """
    gaps, inked, pairs = _paired(*_numbers(texts))
    highest = int(pixels.max(initial=0))
    ends, filled = cumulated(pairs), pixels.cumsum()
    # Each run is looked at by itself first: a sum of huge ones could come round to the right figure.
    for lengths in (gaps, inked):
        if len(lengths) and (lengths.min() < 0 or lengths.max() > highest):
            wrong = ends.searchsorted(((lengths < 0) | (lengths > highest)).argmax(), "right") - 1
            raise ValueError(unfilled(int(pixels[wrong])))
    stop = cumulated(gaps + inked)
    wrong = np.flatnonzero(stop[ends[1:]] != filled)
    if len(wrong):
        raise ValueError(unfilled(int(pixels[wrong[0]])))
    (kept,) = inked.nonzero()
    offsets = kept.searchsorted(ends)
    stop = stop[1:][kept] - (filled - pixels).repeat(np.diff(offsets))
    kind = np.int32 if highest < 2**31 else np.int64
    return _joined(ColumnRuns((stop - inked[kept]).astype(kind), stop.astype(kind), offsets))


def cumulated(numbers: Shaped[ndarray, " N"]) -> Integer[ndarray, " N+1"]:
    """The sum of all numbers before each, and of all."""
    sums = np.zeros(len(numbers) + 1, np.int64)
    numbers.cumsum(out=sums[1:])
    return sums


def unfilled(pixels: int) -> str:
    """What is wrong with run lengths that are made for another image, in words."""
    return f"run lengths that do not fill the image of {pixels} pixels"


def _numbers(texts: Sequence[str | bytes]) -> tuple[Integer[ndarray, " L"], Integer[ndarray, " N"]]:
    """All numbers in compressed run lengths as they are written, and how many each text has.

    Each is written in groups of five bits, lowest first, bit six set while more follow; the last group's highest bit is
    the sign.
    """
    raw = [text if isinstance(text, bytes) else text.encode(errors="surrogatepass") for text in texts]
    codes = np.frombuffer(b"".join(raw), np.uint8) - np.uint8(48)
    edges = cumulated(np.array([len(text) for text in raw], np.int64))
    is_end = (codes & 32) == 0
    # No text ends inside a number.
    if (codes > 63).any() or not is_end[edges[1:][edges[1:] > 0] - 1].all():
        raise ValueError("the compressed run lengths are damaged")
    (ends,) = is_end.nonzero()
    groups = np.diff(ends, prepend=-1)
    longest = int(groups.max(initial=1))
    if longest > 12:
        raise ValueError("the compressed run lengths are damaged")
    starts = ends - groups + 1
    bits = (codes & 31).astype(np.int64)
    numbers = bits[starts]
    for group in range(1, longest):
        (more,) = (groups > group).nonzero()
        numbers[more] |= bits[starts[more] + group] << 5 * group
    (negative,) = (bits[ends] > 15).nonzero()
    numbers[negative] -= np.int64(1) << 5 * groups[negative]
    return numbers, np.diff(ends.searchsorted(edges))


def _paired(
    numbers: Integer[ndarray, " L"], counts: Integer[ndarray, " N"]
) -> tuple[Integer[ndarray, " P"], Integer[ndarray, " P"], Integer[ndarray, " N"]]:
    """Zeros and the ones after them, in pairs, and how many pairs each text has.

    From a text's fourth number on, what is written is the difference to the number before the last.
    """
    odd = counts & 1
    pairs = (counts + odd) // 2
    # A text with an odd count gets a last run of no ones, so that all zeros stand on even places.
    flat = np.zeros(2 * int(pairs.sum()), np.int64)
    flat[np.arange(len(numbers)) + (odd.cumsum() - odd).repeat(counts)] = numbers
    ends, there = pairs.cumsum(), counts > 0
    first, lengths = (ends - pairs)[there], pairs[there]
    gaps, inked = flat[::2].copy(), flat[1::2].copy()
    # A text's first number stands by itself.
    of_first, gaps[first] = gaps[first], 0
    gaps, inked = (sums[1:] - sums[first].repeat(lengths) for sums in (cumulated(gaps), cumulated(inked)))
    gaps[first] = of_first
    inked[ends[odd == 1] - 1] = 0
    return gaps, inked, pairs


def _joined(runs: ColumnRuns) -> ColumnRuns:
    """With stretches of one mask that touch made one."""
    start, stop, offsets = runs
    touching = start[1:] == stop[:-1]
    borders = offsets[1:-1]
    touching[borders[(borders > 0) & (borders < len(start))] - 1] = False
    if not touching.any():
        return runs
    fresh = np.append(True, ~touching)
    return ColumnRuns(start[fresh], stop[np.append(~touching, True)], cumulated(fresh)[offsets])


def crop_to_counts(crop: Bool[ndarray, "h w"], box: Box, size: Size) -> list[int]:
    """Run lengths of the whole image's mask, column by column, zeros first, without making the whole image."""
    height, width = size
    x1, y1, _, _ = box
    # A border of zeros above and below each column makes every run begin and end inside its column.
    columns = np.zeros((crop.shape[1], crop.shape[0] + 2), np.int8)
    columns[:, 1:-1] = crop.T
    column, row = np.nonzero(np.diff(columns, axis=1))
    edges = (x1 + column.astype(np.int64)) * height + y1 + row
    # A run that ends at a column's foot and goes on at the next one's head is one run.
    if crop.shape[0] == height and len(edges) > 2:
        joined = np.flatnonzero(edges[1:-1:2] == edges[2::2])
        edges = np.delete(edges, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    return edges_to_counts(edges, size)


def edges_to_counts(edges: Integer[ndarray, " E"], size: Size) -> list[int]:
    """Run lengths from where stretches begin and end, in turn."""
    pixels = size[0] * size[1]
    if len(edges) and edges[-1] == pixels:
        edges = edges[:-1]
    return np.diff(np.concatenate([[0], edges, [pixels]])).tolist()


def compress_counts(counts: Sequence[int], size: Size) -> str:
    """COCO's compressed form of run lengths.

    Raises:
        ValueError: they do not fill the image, or it has more pixels than pycocotools can count.
    """
    from pycocotools import mask as coco_mask

    pixels = size[0] * size[1]
    if pixels >= 1 << 32:
        raise ValueError(f"an image of {pixels} pixels is more than run lengths can hold")
    if sum(counts) != pixels or min(counts, default=0) < 0:
        raise ValueError(unfilled(pixels))

    runs: Any = {"counts": list(counts), "size": list(size)}
    packed: Any = coco_mask.frPyObjects(runs, *size)
    return packed["counts"].decode()
