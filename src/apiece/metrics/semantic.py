"""Semantic IoU: the pixels of each class's objects taken together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer, Real
from numpy import ndarray

from apiece.metrics.table import Record


def semantic(records: Sequence[Record], classes: Sequence[str], *, threshold: float | None = None) -> dict[str, Any]:
    """IoU of the union of each class's found objects with that of its true ones, over all images, and their mean.

    Pixels of ignored true objects count on neither side. A class that is neither found nor true anywhere has no IoU.
    None without masks.
    """
    counted = union_counts(records, len(classes), threshold)
    if counted is None:
        return {"mean": None, "classes": dict.fromkeys(classes)}
    return _figures(counted.sum(0), classes)


def semantic_resampler(
    records: Sequence[Record], classes: Sequence[str], *, threshold: float | None = None
) -> Callable[[Real[ndarray, " I"]], dict[str, float | None]]:
    """The mean as a function of how often each image counts."""
    counted = union_counts(records, len(classes), threshold)
    if counted is None:
        return lambda weights: {"mean": None}
    return lambda weights: {"mean": _figures(np.tensordot(weights, counted, 1), classes)["mean"]}


def union_counts(records: Sequence[Record], classes: int, threshold: float | None) -> Integer[ndarray, "I C 3"] | None:
    """Pixels in both, found and true of each image and class; None where an image has no masks."""
    result = np.zeros((len(records), classes, 3), np.int64)
    for counted, one in zip(result, records, strict=True):
        if "classes" not in one.unions:
            return None
        pixels = one.unions["classes"]
        kept = one.scores >= (-np.inf if threshold is None else threshold)
        np.add.at(counted[:, 0], one.labels[kept], pixels.right[kept])
        np.add.at(counted[:, 1], one.labels[kept], pixels.found[kept])
        counted[pixels.groups, 2] = pixels.truth
    return result


def _figures(counted: Real[ndarray, "C 3"], classes: Sequence[str]) -> dict[str, Any]:
    both, found, true = counted.T
    union = found + true - both
    ious = {name: float(both[i] / union[i]) if union[i] else None for i, name in enumerate(classes)}
    there = [iou for iou in ious.values() if iou is not None]
    return {"mean": sum(there) / len(there) if there else None, "classes": ious}
