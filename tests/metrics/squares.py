"""Squares in a row: objects whose overlaps can be worked out in the head."""

import numpy as np

from apiece.instances import Instances


def squares(*corners: int, **fields) -> Instances:
    """Squares of 10 x 10 pixels at the given columns of a 10 x 100 image."""
    stack = np.zeros((len(corners), 10, 100), bool)
    for mask, column in zip(stack, corners, strict=True):
        mask[:, column : column + 10] = True
    return Instances.from_dense(stack, **fields)
