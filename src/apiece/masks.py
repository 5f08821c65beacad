"""Masks in their many forms: crops, label maps and layers. Pure functions on NumPy arrays. (`run_lengths`: COCO's.)

A *crop* is a mask cut to its bounding box: a bool array `h w` and the box's corner `(x1, y1)` in the image.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from numpy import ndarray

Size = tuple[int, int]
Box = tuple[int, int, int, int]

STRIP = 1 << 22
"""Pixels handled at once where a whole image is walked through: temporary arrays stay a few megabytes."""

BYTES = 1 << 16
"""Bytes of packed crops whose pixels are counted at once."""

LARGE = 1 << 22
"""No tables with an entry for each value of a label map are made beyond this value."""


def strips(size: Size, pixels: int = STRIP) -> list[slice]:
    """Slices of rows that together cover an image of `size`, each of about `pixels` pixels."""
    height, width = size
    rows = max(1, pixels // max(width, 1))
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def label_type(count: int) -> type[np.uint16] | type[np.uint32]:
    """The smallest type of a label map of `count` objects."""
    return np.uint16 if count < 2**16 else np.uint32


def bounding_box(mask: Bool[ndarray, "H W"]) -> Box:
    """The smallest `x1 y1 x2 y2` that holds the mask (x2, y2 exclusive); all zero for an empty mask."""
    rows = np.flatnonzero(mask.any(1))
    if not rows.size:
        return (0, 0, 0, 0)
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def tighten(crop: Bool[ndarray, "h w"], corner: tuple[int, int]) -> tuple[Bool[ndarray, "a b"], Box]:
    """Cut a crop at `corner` (x1, y1) down to its mask: the smaller crop and its box in the image."""
    x1, y1, x2, y2 = bounding_box(crop)
    if x1 == x2:
        return crop[:0, :0], (0, 0, 0, 0)
    x, y = corner
    return crop[y1:y2, x1:x2], (x + x1, y + y1, x + x2, y + y2)


def label_values(label_map: Integer[ndarray, "H W"]) -> Integer[ndarray, " N"]:
    """The positive values that occur in a label map, ascending; without sorting the pixels and strip by strip."""
    if not label_map.size:
        return np.zeros(0, np.int64)
    highest = int(label_map.max())
    if highest > 1 << 26:
        values = np.unique(np.concatenate([np.unique(label_map[rows]) for rows in strips(label_map.shape)]))
        return values[values > 0].astype(np.int64)
    present = np.zeros(max(highest, 0) + 1, bool)
    for rows in strips(label_map.shape):
        strip = label_map[rows]
        present[strip[strip > 0] if strip.dtype.kind == "i" else strip] = True
    present[0] = False
    return np.flatnonzero(present)


def bit_counts(bits: UInt8[ndarray, " bytes"], offsets: Integer[ndarray, " offsets"]) -> Integer[ndarray, " N"]:
    """Bits that are set in each stretch of bytes; stretch i is `offsets[i]` to `offsets[i + 1]`."""
    counts = np.zeros(len(offsets) - 1, np.int64)
    for begin in range(0, len(bits), BYTES):
        sums = np.append(0, np.bitwise_count(bits[begin : begin + BYTES]).cumsum(dtype=np.int64))
        end = begin + len(sums) - 1
        # Stretches with bytes in this block; the first and the last may have some in others, too.
        first, last = int(offsets.searchsorted(begin, "right")) - 1, int(offsets.searchsorted(end))
        counts[first:last] += np.diff(sums[offsets[first : last + 1].clip(begin, end) - begin])
    return counts


def label_areas(label_map: Integer[ndarray, "H W"], values: Integer[ndarray, " N"]) -> Integer[ndarray, " N"]:
    """Pixels of each of `values` in a label map."""
    areas = np.zeros(len(values), np.int64)
    if not len(values):
        return areas
    large = values.max() > LARGE
    place = np.arange(1, len(values) + 1) if large else values
    highest = int(place.max())
    for rows in strips(label_map.shape):
        strip = renumber(label_map[rows], values, place) if large else label_map[rows]
        if strip.size and (strip.min() < 0 or strip.max() > highest):
            strip = np.where((strip > 0) & (strip <= highest), strip, 0)
        areas += np.bincount(strip.ravel(), minlength=highest + 1)[place]
    return areas


def label_boxes(label_map: Integer[ndarray, "H W"], values: Integer[ndarray, " N"]) -> Integer[ndarray, "N 4"]:
    """Box `x1 y1 x2 y2` of each of `values` in a label map; zeros for a value that is not there."""
    from scipy.ndimage import find_objects

    boxes = np.zeros((len(values), 4), np.int32)
    if not len(values) or not label_map.size:
        return boxes
    if values.max() > LARGE:
        numbers = np.arange(1, len(values) + 1)
        label_map, values = renumber(label_map, values, numbers), numbers
    found = find_objects(label_map, int(values.max()))
    for row, value in enumerate(values.tolist()):
        place = found[value - 1]
        if place is not None:
            rows, columns = place
            boxes[row] = columns.start, rows.start, columns.stop, rows.stop
    return boxes


def renumber(
    label_map: Integer[ndarray, "H W"], values: Integer[ndarray, " N"], numbers: Integer[ndarray, " N"]
) -> Integer[ndarray, "H W"]:
    """A label map with `numbers` in place of `values` and 0 elsewhere, by search: for values too large for a table."""
    result = np.zeros(label_map.shape, label_type(int(numbers.max(initial=0))))
    if not len(values):
        return result
    order = np.argsort(values)
    place = np.searchsorted(values, label_map, sorter=order).clip(max=len(values) - 1)
    hit = values[order][place] == label_map
    result[hit] = numbers[order][place][hit]
    return result


def first_fit(
    crops: Sequence[Bool[ndarray, "_ _"]], boxes: Integer[ndarray, "N 4"], size: Size
) -> Integer[ndarray, "L H W"]:
    """Paint masks, numbered from 1 in their order, on as few label layers as greedy first fit needs; none is cut."""
    corners, left = boxes[:, :2].tolist(), []
    ground = np.zeros(size, label_type(len(crops)))
    for index, (crop, (x, y)) in enumerate(zip(crops, corners, strict=True)):
        window = ground[y : y + crop.shape[0], x : x + crop.shape[1]]
        if window[crop].any():
            left.append(index)
        else:
            window[crop] = index + 1
    if not left:
        return ground[None]
    places = first_free([crops[index] for index in left], [corners[index] for index in left], size)
    layers = np.zeros((max(places) + 2, *size), ground.dtype)
    layers[0] = ground
    for index, place in zip(left, places, strict=True):
        crop, (x, y) = crops[index], corners[index]
        layers[place + 1, y : y + crop.shape[0], x : x + crop.shape[1]][crop] = index + 1
    return layers


def first_free(crops: Sequence[Bool[ndarray, "_ _"]], corners: Sequence[Sequence[int]], size: Size) -> list[int]:
    """For each mask, in order, the first layer where no mask before it has one of its pixels."""
    # Bit b of a pixel of plane p: it is taken on layer 8 * p + b. So one look answers for eight layers.
    planes, places = [np.zeros(size, np.uint8)], []
    for crop, (x, y) in zip(crops, corners, strict=True):
        window, number = (slice(y, y + crop.shape[0]), slice(x, x + crop.shape[1])), 0
        while (taken := int(np.bitwise_or.reduce((planes[number][window] * crop).ravel()))) == 255:
            number += 1
            if number == len(planes):
                planes.append(np.zeros(size, np.uint8))
        lowest_free = ~taken & (taken + 1)
        planes[number][window] |= crop * np.uint8(lowest_free)
        places.append(8 * number + lowest_free.bit_length() - 1)
    return places
