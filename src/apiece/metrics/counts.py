"""Counting: how many objects were found in each image, against how many there are."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Real
from numpy import ndarray

from apiece.metrics.operating_point import mostly_ignored
from apiece.metrics.table import Record, Table


def counts(records: Sequence[Record], classes: Sequence[str], *, threshold: float | None = None) -> dict[str, Any]:
    """Errors of the number of objects in an image: found minus true.

    Ignored true objects are not counted, nor are found ones that lie mostly in ignored regions.

    Returns:
        `found` and `true` in all images; `bias`, the mean error; `mae`, the mean absolute error; `rmse`, the root of
        the mean square; `exact`, the share of images with the right number; `"classes"`: the same for each class, where
        there are several.
    """
    found, true = count_objects(records, len(classes), threshold)
    result = _figures(found.sum(1), true.sum(1), None)
    if len(classes) > 1:
        result["classes"] = {name: _figures(found[:, i], true[:, i], None) for i, name in enumerate(classes)}
    return result


def counts_resampler(
    records: Sequence[Record], classes: Sequence[str], *, threshold: float | None = None
) -> Callable[[Real[ndarray, " I"]], dict[str, float | None]]:
    """The main figures as a function of how often each image counts."""
    found, true = (side.sum(1) for side in count_objects(records, len(classes), threshold))
    return lambda weights: {key: _figures(found, true, weights)[key] for key in ("bias", "mae", "rmse", "exact")}


def count_objects(
    records: Sequence[Record], classes: int, threshold: float | None
) -> tuple[Integer[ndarray, "I C"], Integer[ndarray, "I C"]]:
    """Found and true objects of each image and class."""
    table = Table.of(records)
    table = table if threshold is None else table.keeping(table.scores >= threshold)
    counted, real = ~mostly_ignored(table), ~table.ignore

    def tally(image: ndarray, label: ndarray) -> ndarray:
        return np.bincount(image * classes + label, None, len(records) * classes).reshape(len(records), classes)

    return tally(table.image[counted], table.labels[counted]), tally(table.truth_image[real], table.truth_labels[real])


def _figures(found: ndarray, true: ndarray, weights: Real[ndarray, " I"] | None) -> dict[str, Any]:
    error: Float[ndarray, " I"] = (found - true).astype(float)

    def mean(values: ndarray) -> float | None:
        return float(np.average(values, weights=weights)) if len(values) else None

    square = mean(error**2)
    return {
        "found": int(found.sum()),
        "true": int(true.sum()),
        "bias": mean(error),
        "mae": mean(np.abs(error)),
        "rmse": None if square is None else square**0.5,
        "exact": mean(error == 0),
    }
