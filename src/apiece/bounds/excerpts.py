"""Excerpts: one image's objects, or of a very large image those in a window, so that memory stays bounded."""

from typing import NamedTuple

import numpy as np

from apiece.contact_sheets import with_masks
from apiece.data.dataset import Dataset
from apiece.inspection_page import within
from apiece.instances import Instances

VALUES = 1 << 26
"""Numbers that a dense network's outputs for one image may have, about; larger images are cut."""
LARGEST = 1 << 22
"""Pixels of a window at most."""
CHANNELS = 16
"""Of a pixel's outputs, beside one for each class: as many as the widest representation has."""

Window = tuple[slice, slice]


class Excerpt(NamedTuple):
    """The objects that have pixels in a window of an image, cut to it.

    Attributes:
        index, name: of the image.
    """

    index: int
    name: str
    window: Window
    truth: Instances

    @property
    def known(self) -> Instances:
        """The objects that count."""
        return self.truth[~self.truth.ignore]


def excerpt(data: Dataset, index: int) -> Excerpt | None:
    """The objects of an image, or of a window of a very large one; None if there are none.

    Boxes without masks become rectangles; boxes and areas that the source gives are left out.

    Raises:
        InputError: the annotation cannot be read.
    """
    truth = with_masks(data.truth(index)).replace(boxes=None, areas=None)
    truth = truth[truth.mask_areas > 0]
    if truth.ignore.all():
        return None
    window = window_of(truth, max(1, min(LARGEST, VALUES // (CHANNELS + len(data.classes)))))
    if (window[0].stop - window[0].start, window[1].stop - window[1].start) != truth.size:
        truth = within(truth, window)
        truth = truth[truth.mask_areas > 0]
    return Excerpt(index, data.names[index], window, truth)


def window_of(truth: Instances, pixels: int) -> Window:
    """The whole image, or of one with more pixels a window of so many around one of its objects."""
    height, width = truth.size
    if height * width <= pixels:
        return slice(0, height), slice(0, width)
    known = truth.mask_boxes[~truth.ignore]
    x1, y1, x2, y2 = known[len(known) // 2].tolist()
    tall = min(height, max(int(np.sqrt(pixels)), pixels // width))
    wide = min(width, pixels // tall)
    top = int(np.clip((y1 + y2 - tall) // 2, 0, height - tall))
    left = int(np.clip((x1 + x2 - wide) // 2, 0, width - wide))
    return slice(top, top + tall), slice(left, left + wide)
