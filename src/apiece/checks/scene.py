"""The objects of one image as they are looked at for faults."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from apiece.instances import Instances
from apiece.stores import LayerStore

SLACK = 1.0
"""Pixels that an outline may leave the image by: tools round."""
SPLINTER = 0.1
"""A part of an object smaller than this share of its largest one does not count."""


class Hit(NamedTuple):
    """A fault that was found at one object of an image; -1 is the whole image."""

    fault: str
    index: int
    words: str


@dataclass(frozen=True)
class Scene:
    """The objects of one image.

    Attributes:
        truth: the objects.
        outlines: their rings as the source has them, where it has some.
        format: the data set's format.
        stride: objects whose sides are both shorter are small.
    """

    truth: Instances
    outlines: list[list[ndarray]] = field(default_factory=list)
    format: str = ""
    stride: int = 4

    @cached_property
    def outside(self) -> dict[int, Float[ndarray, " 2"]]:
        """Objects drawn beyond the image, each with its furthest point."""
        height, width = self.truth.size
        if self.truth.has_masks:
            corners = np.array([_corners(rings) for rings in self.outlines], np.float64).reshape(-1, 2, 2)
        else:
            corners = self.truth.boxes.reshape(-1, 2, 2)
        low, high = -corners[:, 0], corners[:, 1] - [width, height]
        beyond = np.flatnonzero(np.maximum(low, high).max(1) > SLACK)
        return {
            index: np.where(low[index] > high[index], corners[index, 0], corners[index, 1]) for index in beyond.tolist()
        }

    @property
    def label_map(self) -> Integer[ndarray, "H W"] | None:
        """The map that the masks lie on, if it is one, where each pixel has one number."""
        store = self.truth.store if self.truth.has_masks else None
        return store.planes[0] if isinstance(store, LayerStore) and len(store.planes) == 1 else None

    def name(self, index: int) -> str:
        """What an object is called in its file."""
        truth = self.truth
        if "id" in truth.columns:
            return f"annotation {truth.columns['id'][index]}"
        store = truth.store if truth.has_masks else None
        return f"number {store.value[index]}" if isinstance(store, LayerStore) else f"object {index + 1}"

    def parts(self, index: int) -> Integer[ndarray, "P 4"]:
        """Boxes `x1 y1 x2 y2` of an object's parts, pixels being joined by their corners too; splinters left out."""
        from scipy.ndimage import find_objects, label

        crop = self.truth.crop(index)
        labeled, count = label(crop, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
        areas = np.bincount(labeled.ravel(), minlength=count + 1)[1:]
        boxes = [(place[1].start, place[0].start, place[1].stop, place[0].stop) for place in find_objects(labeled)]
        kept = areas >= SPLINTER * areas.max(initial=0)
        return np.array(boxes, np.int64).reshape(-1, 4)[kept] + np.tile(self.truth.mask_boxes[index, :2], 2)


def _corners(rings: list[ndarray]) -> list[ndarray]:
    """The least and the greatest coordinates of an object's points."""
    points = np.concatenate([ring for ring in rings if len(ring)] or [np.zeros((1, 2))])
    return [points.min(0), points.max(0)]
