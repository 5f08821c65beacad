"""The rims of masks, for boundary AP ("Boundary IoU", Cheng et al., 2021).

The rim is what erosion with a square takes away, as wide as 2 % of the image's diagonal; the image's border counts as
an edge. Boundary AP is COCO's AP with the smaller of mask IoU and rim IoU; crowds go by the masks alone.
"""

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from apiece.instances import Instances
from apiece.masks import Size

SHARE_OF_DIAGONAL = 0.02


def rims(instances: Instances, share: float = SHARE_OF_DIAGONAL) -> Instances:
    """The objects with their rims in place of their masks.

    Args:
        share: the rim's width as a share of the image's diagonal; at least one pixel.
    """
    width = rim_width(instances.size, share)
    crops = (_rim(crop, width) for crop in instances.crops())
    return Instances.from_crops(list(crops), instances.mask_boxes, instances.size)


def rim_width(size: Size, share: float = SHARE_OF_DIAGONAL) -> int:
    """The rim's width in pixels for an image of `size`."""
    return max(1, round(share * float(np.hypot(*size))))


def _rim(crop: Bool[ndarray, "h w"], width: int) -> Bool[ndarray, "h w"]:
    """What erosion takes away from a mask, outside of whose box nothing is."""
    from scipy.ndimage import minimum_filter1d

    if min(crop.shape) <= 2 * width:
        return crop
    core = crop.view(np.uint8)
    for axis in (0, 1):
        core = minimum_filter1d(core, 2 * width + 1, axis, mode="constant", cval=0)
    return crop & (core == 0)
