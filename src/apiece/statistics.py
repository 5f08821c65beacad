"""What the objects of a data set are like, in numbers that a method's limits follow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from apiece.instances import Instances


@dataclass(frozen=True)
class Statistics:
    """What a sample of the training data says of its objects, ignored ones left out.

    Attributes:
        areas: pixels of each object.
        sides: height and width of each object's box.
        counts: objects of each image.
    """

    areas: Integer[ndarray, " N"]
    sides: Integer[ndarray, "N 2"]
    counts: Integer[ndarray, " I"]

    @classmethod
    def of(cls, truths: Sequence[Instances]) -> "Statistics":
        """Of the objects of some images."""
        known = [truth[~truth.ignore & (truth.mask_areas > 0)] for truth in truths]
        boxes = np.concatenate([np.zeros((0, 4), np.int64), *(one.mask_boxes for one in known)])
        areas = np.concatenate([np.zeros(0, np.int64), *(one.mask_areas for one in known)])
        return cls(areas, boxes[:, [3, 2]] - boxes[:, [1, 0]], np.array([len(one) for one in known], np.int64))
