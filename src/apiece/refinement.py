"""Refinement: the masks of any method brought to the edges in the image, by one CRF of all objects and the background.

masks ─distance to the border─▶ probabilities ─mean field─▶ marginals ─the likeliest label─▶ masks without overlap
"""

from collections.abc import Callable, Iterator
from math import ceil, log
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, Num
from numpy import ndarray

from apiece.instances import Instances
from apiece.masks import Box, Size, label_type
from apiece.parts.crf import CRF, REACH, mean_field

VALUES = 6_000_000
"""Pixels times labels up to which a window is refined in one piece: some 700 MB."""
LEAST = 64
"""Pixels of a side that is not cut any more."""
FARTHEST = log(999)
"""How far outside its mask, in softnesses, an object has a probability of 0.001; farther off it never is."""
NEVER = 1000.0
"""The energy of what cannot be."""
PERCENTILES = (0.5, 99.8)
"""Of the values of a channel that is not 8-bit: they become 0 and 255."""


Image = Num[ndarray, "H W *C"] | Bool[ndarray, "H W *C"]


class Window(NamedTuple):
    """A part of an image that is refined by itself.

    Attributes:
        inner: the box `x1 y1 x2 y2` whose result counts.
        outer: what is looked at for it.
        objects: the indices of the objects that may lie there, the surest first.
    """

    inner: Box
    outer: Box
    objects: Integer[ndarray, " M"]


def refined(found: Instances, image: Image, crf: CRF, device: str | torch.device = "cpu") -> Instances:
    """The same objects with masks that follow the image's edges; labels, scores and order stay.

    Where masks overlap, their objects share the pixels, and neighbors and colors decide; between equal ones the surer
    wins. Afterwards none overlap. An object that is left without a pixel is left out. Boxes and areas that were given
    are gone: the new masks say them. Large or crowded images are refined in windows that overlap so far that their
    borders are not seen.

    Args:
        found: at the image's size; objects that have boxes only come back as they are.
        image: of any number type; 8-bit values are taken as they are, of others percentiles become 0 and 255.
        device: where to compute.
    """
    if not len(found) or not found.has_masks or not image.size:
        return found
    levels = intensities(image)
    layer = np.zeros(found.size, label_type(len(found)))
    for inner, outer, objects in windows(found, crf):
        place, inside = _slices(outer, (0, 0)), _slices(inner, (outer[0], outer[1]))
        energies = torch.as_tensor(_energies(found, objects, outer, crf), device=device)
        marginals = mean_field(energies, torch.as_tensor(levels(image[place]), device=device), crf)
        labels = np.append(0, objects + 1)
        layer[_slices(inner, (0, 0))] = labels[marginals.cpu().numpy().argmax(0)[inside]]
    return found.with_layers(layer[None])


def windows(found: Instances, crf: CRF) -> Iterator[Window]:
    """What has to be looked at of an image, in pieces of bounded size that tell nothing twice."""
    reach = ceil(FARTHEST * crf.softness)
    boxes = found.mask_boxes[found.mask_areas > 0] if len(found) else found.mask_boxes
    if not len(boxes):
        return
    order = np.arange(len(found)) if found.scores is None else np.argsort(-found.scores, kind="stable")
    whole = (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())
    waiting = [_grown(whole, reach, found.size)]
    while waiting:
        inner = waiting.pop()
        outer = _grown(inner, ceil(REACH * max(crf.bilateral_sxy, crf.gaussian_sxy)), found.size)
        x1, y1, x2, y2 = found.mask_boxes[order].T
        near = (x1 < outer[2] + reach) & (x2 > outer[0] - reach) & (y1 < outer[3] + reach) & (y2 > outer[1] - reach)
        objects = order[near & (x2 > x1)]
        width, height = inner[2] - inner[0], inner[3] - inner[1]
        values = (len(objects) + 1) * (outer[2] - outer[0]) * (outer[3] - outer[1])
        if values > VALUES and max(width, height) > LEAST:
            waiting += _halves(inner)
        elif len(objects):
            yield Window(inner, outer, objects)


def _halves(box: Box) -> list[Box]:
    x1, y1, x2, y2 = box
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    return [(x1, y1, x, y2), (x, y1, x2, y2)] if x2 - x1 > y2 - y1 else [(x1, y1, x2, y), (x1, y, x2, y2)]


def _grown(box: Box, margin: int, size: Size) -> Box:
    """A box with a margin, as far as the image goes."""
    x1, y1, x2, y2 = box
    return max(x1 - margin, 0), max(y1 - margin, 0), min(x2 + margin, size[1]), min(y2 + margin, size[0])


def _slices(box: Box, origin: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a box, counted from an `x y`."""
    x, y = origin
    return slice(box[1] - y, box[3] - y), slice(box[0] - x, box[2] - x)


def _energies(found: Instances, objects: Integer[ndarray, " M"], box: Box, crf: CRF) -> Float[ndarray, "M+1 h w"]:
    """Minus the log odds of each object against the background, whose energy is zero, in a box of the image."""
    energies = np.full((len(objects) + 1, box[3] - box[1], box[2] - box[0]), NEVER, np.float32)
    energies[0] = 0
    reach = ceil(FARTHEST * crf.softness)
    highest = log(crf.certainty / (1 - crf.certainty))
    for plane, index in zip(energies[1:], objects.tolist(), strict=True):
        # Of a large object only what lies near.
        own: Box = tuple(found.mask_boxes[index].tolist())
        near = _common(_grown(own, reach, found.size), _grown(box, reach, found.size))
        shared = _common(near, box)
        if shared[0] >= shared[2] or shared[1] >= shared[3]:
            continue
        odds = _depth(_mask(found, index, near))[_slices(shared, near[:2])] / crf.softness
        plane[_slices(shared, box[:2])] = np.where(odds < -FARTHEST, NEVER, -odds.clip(-highest, highest))
    return energies


def _common(one: Box, other: Box) -> Box:
    """What two boxes share; if that is nothing, a side is not positive."""
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _mask(found: Instances, index: int, box: Box) -> Bool[ndarray, "h w"]:
    """An object's mask in a box."""
    mask = np.zeros((box[3] - box[1], box[2] - box[0]), bool)
    own: Box = tuple(found.mask_boxes[index].tolist())
    shared = _common(own, box)
    rows, columns = _slices(shared, own[:2])
    mask[_slices(shared, box[:2])] = found.crop(index, rows)[:, columns]
    return mask


def _depth(mask: Bool[ndarray, "h w"]) -> Float[ndarray, "h w"]:
    """How many pixels inside the mask each pixel's center lies, negative outside."""
    from scipy.ndimage import distance_transform_edt

    if mask.all() or not mask.any():
        return np.where(mask, np.inf, -np.inf)
    inside, outside = (np.asarray(distance_transform_edt(side)) for side in (mask, ~mask))
    return np.where(mask, inside - 0.5, 0.5 - outside)


def intensities(image: Image) -> Callable[[ndarray], Float[ndarray, "C h w"]]:
    """How a part of an image becomes intensities: 8-bit values are, of others percentiles become 0 and 255."""
    channels = image[:, :, None] if image.ndim == 2 else image
    if image.dtype == np.uint8:
        low, high = np.zeros(channels.shape[2]), np.full(channels.shape[2], 255.0)
    else:
        every = max(1, int((channels.shape[0] * channels.shape[1] / 2**18) ** 0.5))
        sample = channels[::every, ::every].reshape(-1, channels.shape[2]).astype(np.float64)
        finite = [values[np.isfinite(values)] for values in sample.T]
        low, high = np.array([np.percentile(values, PERCENTILES) if values.size else (0, 1) for values in finite]).T

    def levels(part: ndarray) -> Float[ndarray, "C h w"]:
        part = part[:, :, None] if part.ndim == 2 else part
        scaled = (part.astype(np.float64) - low) * np.where(high > low, 255 / np.where(high > low, high - low, 1), 0)
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255)
        return np.ascontiguousarray(np.moveaxis(scaled, 2, 0), np.float32)

    return levels
