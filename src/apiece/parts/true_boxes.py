"""Truth as detectors of boxes want it: boxes, labels, and where nothing is known."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from apiece.instances import Instances
from apiece.masks import Size


class Truth(NamedTuple):
    """The objects of one image.

    Attributes:
        size: height and width of the image, without padding.
        boxes: of the masks.
        labels: from 0.
        ignored: the region where nothing is known, less what the objects cover; None where there is none.
        masks: the same objects.
    """

    size: Size
    boxes: Float[Tensor, "N 4"]
    labels: Int[Tensor, " N"]
    ignored: Bool[Tensor, "H W"] | None
    masks: Instances

    @classmethod
    def of(cls, target: Instances, device: torch.device) -> "Truth":
        """From an image's objects, sorted by box; those without a pixel are left out."""
        known = target[~target.ignore & (target.mask_areas > 0)]
        # What is drawn from them shall not depend on the order in which they came.
        known = known[np.lexsort([known.mask_areas, known.labels, *known.mask_boxes.T])]
        boxes = torch.from_numpy(known.mask_boxes.astype(np.float32)).to(device)
        labels = torch.from_numpy(known.labels.astype(np.int64)).to(device)
        ignored = None
        if target.ignore.any():
            region = (target[target.ignore].label_map() > 0) & (known.label_map() == 0)
            ignored = torch.from_numpy(region).to(device)
        return cls(known.size, boxes, labels, ignored, known)
