"""Masks of one size, each stretched over its box: from true masks to targets, and from soft masks to objects.

Paper: He et al., Mask R-CNN, ICCV 2017, https://arxiv.org/abs/1703.06870. Nothing is ever N x H x W: targets are
sampled from windows about the boxes that ask for them, and soft masks at the pixels inside their boxes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from torchvision.ops import roi_align

from apiece.instances import Instances, concatenate
from apiece.masks import Size

STRIP = 1 << 20
"""Pixels of a mask that are computed at once."""
UNPACKED = 1 << 24
"""Pixels of masks that wait to be packed, eight to a byte."""


def mask_targets(
    masks: Instances,
    objects: Int[Tensor, " R"],
    boxes: Float[Tensor, "R 4"],
    side: int,
    aligned: bool = True,
    binary: bool = True,
) -> Float[Tensor, "R s s"]:
    """True masks cut to boxes and brought to one size by RoIAlign, with a sample for every pixel.

    Args:
        objects: whose mask each box asks for.
        boxes: `x1 y1 x2 y2` in pixels.
        aligned: see `regions.pooled`.
        binary: whether a cell is 1 where at least half of it is covered, else 0; otherwise it is the share.
    """
    result = boxes.new_zeros(len(boxes), side, side)
    low, high = boxes[:, :2].floor().long() - 1, boxes[:, 2:].ceil().long() + 2
    for window in _windows(masks, objects, low, high, repeated=True):
        own = torch.cat([window.places[:, None].float(), boxes[window.members] - window.origins.repeat(1, 2)], 1)
        cells = roi_align(window.canvas[:, None], own, side, 1.0, -1, aligned)
        result[window.members] = cells[:, 0]
    return (result >= 0.5).float() if binary else result


def masks_at(masks: Instances, objects: Int[Tensor, " R"], points: Float[Tensor, "R P 2"]) -> Float[Tensor, "R P"]:
    """True masks, interpolated linearly at points `x y` in pixels; 0 beyond the image.

    Args:
        objects: whose mask each row of points asks for.
    """
    result = points.new_zeros(points.shape[:2])
    low, high = points.amin(1).floor().long() - 1, points.amax(1).ceil().long() + 1
    for window in _windows(masks, objects, low, high, repeated=False):
        places = points[window.members] - window.origins[:, None]
        result[window.members] = _bilinear(window.canvas, window.places, places - 0.5)
    return result


def _bilinear(canvas: Float[Tensor, "G h w"], rows: Tensor, places: Float[Tensor, "R P 2"]) -> Float[Tensor, "R P"]:
    """Values between pixels, of which the first one's place is 0 0; beyond the canvas all is 0."""
    height, width = canvas.shape[1:]
    corner = places.floor()
    total = torch.zeros_like(places[..., 0])
    for shift in ((0, 0), (0, 1), (1, 0), (1, 1)):
        pixel = corner + places.new_tensor(shift)
        weight = (1 - (places - pixel).abs()).prod(-1)
        x, y = pixel.long().unbind(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        value = canvas[rows[:, None].expand_as(x), y.clamp(0, height - 1), x.clamp(0, width - 1)]
        total = total + weight * inside * value
    return total


class _Window(NamedTuple):
    """Some objects' masks, each cut to what is asked of it.

    Attributes:
        canvas: G h w, the masks.
        members: which of the asking rows they are for.
        places: the mask of each of these rows.
        origins: the pixel `x y` at the upper left of it.
    """

    canvas: Float[Tensor, "G h w"]
    members: Int[Tensor, " R"]
    places: Int[Tensor, " R"]
    origins: Int[Tensor, "R 2"]


def _windows(
    masks: Instances, objects: Int[Tensor, " R"], low: Int[Tensor, "R 2"], high: Int[Tensor, "R 2"], repeated: bool
) -> Iterator[_Window]:
    """Windows that hold, of each object's mask, all that its rows ask for; those of about one size together.

    Args:
        low, high: first pixel and the one after the last that each row asks for, `x y`, in the image or beyond.
        repeated: whether beyond the image its border goes on; otherwise there is nothing.
    """
    if not len(objects):
        return
    limit = np.array(masks.size[::-1]) + 2
    asked, mine = np.unique(objects.cpu().numpy(), return_inverse=True)
    first, last = np.tile(limit, (len(asked), 1)), np.full((len(asked), 2), -2)
    np.minimum.at(first, mine, low.cpu().numpy().clip(-2, limit))
    np.maximum.at(last, mine, high.cpu().numpy().clip(-2, limit))
    last = np.maximum(last, first + 1)
    classes, group = np.unique(np.ceil(np.log2(last - first)).astype(np.int64), axis=0, return_inverse=True)
    for number in range(len(classes)):
        chosen = np.flatnonzero(group.ravel() == number)
        width, height = (last - first)[chosen].max(0)
        canvas = np.zeros((len(chosen), height, width), np.float32)
        for plane, one in zip(canvas, chosen, strict=True):
            _lay(plane, masks, int(asked[one]), first[one], repeated)
        members = np.flatnonzero(np.isin(mine, chosen))
        places = np.searchsorted(chosen, mine[members])
        arrays = canvas, members, places, first[mine[members]]
        yield _Window(*(torch.from_numpy(array).to(objects.device) for array in arrays))


def _lay(plane: Float[ndarray, "h w"], masks: Instances, index: int, origin: ndarray, repeated: bool) -> None:
    """Write an object's mask into a window whose upper left pixel is `origin`, `x y`."""
    x1, y1, x2, y2 = masks.mask_boxes[index].tolist()
    x, y = np.arange(plane.shape[1]) + origin[0], np.arange(plane.shape[0]) + origin[1]
    if repeated:
        x, y = x.clip(0, masks.size[1] - 1), y.clip(0, masks.size[0] - 1)
    columns, rows = (x >= x1) & (x < x2), (y >= y1) & (y < y2)
    plane[np.ix_(rows, columns)] = masks.crop(index)[np.ix_(y[rows] - y1, x[columns] - x1)]


def objects_of(
    soft: Float[ndarray, "N s s"], boxes: Float[ndarray, "N 4"], size: Size, labels: ndarray, scores: ndarray
) -> Instances:
    """The objects of soft masks stretched over boxes; those without a pixel are gone. The boxes are kept as they are.

    Args:
        boxes: `x1 y1 x2 y2` in pixels of the image, not rounded.
        size: height and width of the image.
    """
    pieces, crops, places, kept, waiting = [], [], [], [], 0
    for index in range(len(soft)):
        crop, place = stretched(soft[index], boxes[index], size)
        if crop.any():
            crops.append(crop)
            places.append(place)
            kept.append(index)
            waiting += crop.size
        if waiting > UNPACKED or index == len(soft) - 1:
            packed = Instances.from_crops(crops, places, size, labels[kept], scores=scores[kept])
            pieces.append(packed.replace(boxes=boxes[kept]))
            crops, places, kept, waiting = [], [], [], 0
    return concatenate(pieces) if pieces else Instances.empty(size, scored=True)


def stretched(
    soft: Float[ndarray, "s s"], box: Float[ndarray, "4"], size: Size
) -> tuple[Bool[ndarray, "h w"], tuple[int, int, int, int]]:
    """The pixels where a soft mask, stretched over a box and ending in zeros, is at least one half; and their box.

    It is interpolated at the middles of pixels. None beyond the box can reach one half.
    """
    (x1, x, across), (y1, y, down) = (
        _taps(float(box[axis]), float(box[axis + 2]), soft.shape[0], size[1 - axis]) for axis in (0, 1)
    )
    padded = np.pad(soft, 1)
    columns = padded.T[x] * (1 - across) + padded.T[x + 1] * across  # w s+2
    columns = np.ascontiguousarray(columns.T)  # s+2 w
    crop = np.empty((len(y), len(x)), bool)
    step = max(1, STRIP // max(len(x), 1))
    for top in range(0, len(y), step):
        rows = slice(top, top + step)
        values = columns[y[rows]]
        values += (columns[y[rows] + 1] - values) * down[rows]
        np.greater_equal(values, 0.5, out=crop[rows])
    return crop, (x1, y1, x1 + len(x), y1 + len(y))


def _taps(low: float, high: float, count: int, limit: int) -> tuple[int, Int[ndarray, " P"], Float[ndarray, "P 1"]]:
    """The first pixel with its middle in an interval, and for each the cell before it and how far it is beyond that.

    Cells are numbered from 0, which is one before the interval's first.
    """
    first, last = max(int(np.ceil(low - 0.5)), 0), min(int(np.floor(high - 0.5)) + 1, limit)
    pixels = np.arange(first, max(first, last))
    places = (pixels + 0.5 - low) / max(high - low, 1e-9) * count + 0.5
    cell = np.clip(np.floor(places).astype(np.int64), 0, count)
    return first, cell, (places - cell).astype(np.float32)[:, None]
