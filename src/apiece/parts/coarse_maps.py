"""Maps with a place for each `step` x `step` pixels of the network's image, and masks at the original size."""

from math import ceil

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from apiece.masks import Box
from apiece.parts.paste import Resized


def cut_out(
    soft: Float[ndarray, "h w"], step: int, frame: Resized, threshold: float
) -> tuple[Bool[ndarray, "_ _"], Box]:
    """Where a map, interpolated to the original size, is above a threshold: a crop and its box, `x1 y1 x2 y2`."""
    rows, columns = np.nonzero(soft > threshold)
    if not len(rows):
        return np.zeros((0, 0), bool), (0, 0, 0, 0)
    sides = []
    for axis, places in enumerate((rows, columns)):
        # Between two places a map is nowhere higher than at both.
        scale = step * frame.original[axis] / frame.size[axis]
        low, high = int((places.min() - 1) * scale), ceil((places.max() + 2) * scale)
        sides.append((max(low, 0), min(high, frame.original[axis])))
    (y1, y2), (x1, x2) = sides
    box = x1, y1, x2, y2
    return interpolated(soft, step, frame, box) > threshold, box


def leveled(shares: Float[Tensor, "h w"], threshold: float) -> Float[Tensor, "h w"]:
    """What a map must say of places that are covered so far, if it shall cross a threshold at a straight border.

    Between a place of 1 and one of 0 lies one that is covered by f. Interpolated, the map crosses t where the border
    is for t / (3/2 - f) if f is at least one half, else for 1 - (1 - t) / (f + 1/2); values end at 0 and 1.
    """
    over, under = threshold / (1.5 - shares), 1 - (1 - threshold) / (shares + 0.5)
    return torch.where(shares >= 0.5, over, under).clamp(0, 1) * (shares > 0)


def interpolated(soft: Float[ndarray, "h w"], step: int, frame: Resized, box: Box) -> Float[ndarray, "_ _"]:
    """A map between its places: at the middles of the original image's pixels in a box. Borders go on as they end."""
    for axis, (first, last) in enumerate(((box[1], box[3]), (box[0], box[2]))):
        places = (np.arange(first, last) + 0.5) * frame.size[axis] / frame.original[axis] / step - 0.5
        places = places.clip(0, ceil(frame.size[axis] / step) - 1)
        low = places.astype(np.int64)
        high = np.minimum(low + 1, soft.shape[axis] - 1)
        share = np.expand_dims((places - low).astype(np.float32), 1 - axis)
        soft = soft.take(low, axis) * (1 - share) + soft.take(high, axis) * share
    return soft


def coverage(mask: Bool[ndarray, "H W"], step: int) -> Float[Tensor, "h w"]:
    """The share of each place that a mask covers; beyond the image its border goes on."""
    padding = -mask.shape[1] % step, -mask.shape[0] % step
    whole = functional.pad(torch.from_numpy(mask).float()[None, None], (0, padding[0], 0, padding[1]), mode="replicate")
    return functional.avg_pool2d(whole, step)[0, 0]


def covered(masks: Bool[ndarray, "N H W"], step: int, like: Float[Tensor, "T h w"]) -> Float[Tensor, "N P"]:
    """The share of each place that each mask covers, of maps as large as given; nothing beyond the image."""
    whole = torch.from_numpy(masks).to(like.device, like.dtype)
    down, right = (side * step - own for side, own in zip(like.shape[1:], whole.shape[1:], strict=True))
    whole = functional.pad(whole, (0, right, 0, down)).unflatten(2, (-1, step)).unflatten(1, (-1, step))
    return whole.mean((2, 4)).flatten(1)
