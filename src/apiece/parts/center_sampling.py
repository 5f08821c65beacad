"""Which points of a pyramid's maps stand for which objects: those near an object's center, on the level of its size.

Paper: Tian et al., FCOS: Fully Convolutional One-Stage Object Detection, ICCV 2019, https://arxiv.org/abs/1904.01355
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, Real
from numpy import ndarray

from apiece.masks import Size


def map_points(maps: Sequence[Size], strides: Sequence[int]) -> Float[ndarray, "P 2"]:
    """x and y of the points of maps of these sizes, one after another, row by row; centers of pixels are whole."""
    each = []
    for (height, width), stride in zip(maps, strides, strict=True):
        row, column = np.indices((height, width)).reshape(2, -1)
        each.append(np.stack([column, row], 1) * stride + stride // 2)
    return np.concatenate(each).astype(np.float32)


def cells_within(maps: Sequence[Size], strides: Sequence[int], size: Size) -> Bool[ndarray, " P"]:
    """Which points' cells, of a stride's side, begin in an image of this size, rather than in its padding."""
    each = []
    for (height, width), stride in zip(maps, strides, strict=True):
        row, column = np.indices((height, width)).reshape(2, -1) * stride
        each.append((row < size[0]) & (column < size[1]))
    return np.concatenate(each)


def owners(
    boxes: Float[ndarray, "N 4"],
    centers: Float[ndarray, "N 2"],
    maps: Sequence[Size],
    strides: Sequence[int],
    limits: Sequence[float],
    radius: float,
    at_least_one: bool,
) -> Integer[ndarray, " P"]:
    """The object that each point stands for, or -1; of several that of the smallest box, of equal ones the first.

    A point stands for an object if it lies inside its box, no farther from its center than the radius along either
    axis, and the farthest side of the box is at a distance that belongs to the point's level.

    Args:
        boxes: `x1 y1 x2 y2`; centers of pixels are at whole numbers.
        maps: height and width of each level's map.
        limits: the largest distance that belongs to each level but the last; its own and those above the next finer
            level's belong to it.
        radius: in strides of the level; infinite = the whole box.
        at_least_one: the point nearest to the center, on the level of the object's size, stands for an object that
            otherwise would have none.
    """
    low_limits, high_limits = [-1.0, *limits], [*limits, np.inf]
    sizes = np.array([height * width for height, width in maps], np.int64)
    bases = np.cumsum(sizes) - sizes
    locations, objects = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, (size, stride) in enumerate(zip(maps, strides, strict=True)):
        index, column, row = _within(boxes, centers, size, stride, radius * stride)
        farthest = _farthest(np.stack([column, row], 1) * stride + stride // 2, boxes[index])
        mine = (farthest >= low_limits[number]) & (farthest <= high_limits[number])
        locations.append((bases[number] + row * size[1] + column)[mine])
        objects.append(index[mine])
    if at_least_one:
        without = np.flatnonzero(np.bincount(np.concatenate(objects), minlength=len(boxes)) == 0)
        level = np.searchsorted(limits, _farthest(centers[without], boxes[without]))
        stride, size = np.array(strides)[level], np.array(maps).reshape(-1, 2)[level]
        place = np.rint((centers[without] - stride[:, None] // 2) / stride[:, None]).astype(np.int64)
        column, row = place.clip(0, size[:, ::-1] - 1).T
        locations.append(bases[level] + row * size[:, 1] + column)
        objects.append(without)
    location, taken = np.concatenate(locations), np.concatenate(objects)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    # The last that is written stays.
    order = np.lexsort((-taken, -areas[taken]))
    owner = np.full(int(sizes.sum()), -1, np.int64)
    owner[location[order]] = taken[order]
    return owner


def _farthest(points: Real[ndarray, "M 2"], boxes: Float[ndarray, "M 4"]) -> Float[ndarray, " M"]:
    """The distance of the farthest side of each point's box."""
    return np.maximum(points - boxes[:, :2], boxes[:, 2:] - points).max(1)


def _within(
    boxes: ndarray, centers: ndarray, size: Size, stride: int, radius: float
) -> tuple[Integer[ndarray, " M"], Integer[ndarray, " M"], Integer[ndarray, " M"]]:
    """Pairs of an object and a point strictly within its box and the square about its center: object, column, row."""
    low = np.maximum(centers - radius, boxes[:, :2]) - stride // 2
    high = np.minimum(centers + radius, boxes[:, 2:]) - stride // 2
    first = np.maximum(np.floor(low / stride).astype(np.int64) + 1, 0)
    last = np.minimum(np.ceil(high / stride).astype(np.int64) - 1, np.array(size[::-1]) - 1)
    across, down = np.maximum(last - first + 1, 0).T
    index = np.repeat(np.arange(len(boxes)), across * down)
    within = np.arange(len(index)) - np.repeat(np.cumsum(across * down) - across * down, across * down)
    width = np.maximum(across, 1)[index]
    return index, first[index, 0] + within % width, first[index, 1] + within // width
