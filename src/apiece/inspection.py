"""Inspection: what a data set is like."""

import numpy as np

from apiece.data.dataset import Dataset
from apiece.methods.method import Statistics


def statistics(data: Dataset, images: int = 200) -> Statistics:
    """What a sample of the data, evenly spread, says of its objects."""
    truths = [data.truth(int(i)) for i in np.unique(np.linspace(0, len(data) - 1, images).astype(int))]
    known = [truth[~truth.ignore & (truth.mask_areas > 0)] for truth in truths]
    boxes = np.concatenate([one.mask_boxes for one in known])
    areas = np.concatenate([one.mask_areas for one in known])
    return Statistics(areas, boxes[:, [3, 2]] - boxes[:, [1, 0]], np.array([len(one) for one in known]))
