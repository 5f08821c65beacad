"""Cityscapes' instance AP, as `evalInstanceLevelSemanticLabeling` of cityscapesScripts defines it.

Ignored true objects with a class are its groups, those of label -1 are void. A found object that reaches no true object
of its class is left out if more than the threshold's share of it lies in void, in groups of its class, or in true
objects that do not count (smaller than the least region, or too far). Of several found objects that reach one true
object the surest is right.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, Real
from numpy import ndarray

from apiece.metrics.table import Record, Table

IOUS = np.arange(0.5, 1.0, 0.05)
LIMITS = (("", 100, np.inf), ("100m", 1000, 100.0), ("50m", 1000, 50.0))
"""What is put behind AP, least region in pixels, largest distance in meters."""


def cityscapes(records: Sequence[Record], classes: Sequence[str]) -> dict[str, Any]:
    """AP and AP50, the mean over classes with true objects, and each class's under `"classes"`.

    Where the truth has a column `distance` in every image (meters; infinite where unknown), also AP100m and AP50m.
    """
    table = _table(records)
    far = all(one.distance is not None for one in records) and bool(records)
    result: dict[str, Any] = {}
    of_classes: dict[str, dict[str, float | None]] = {name: {} for name in classes}
    for suffix, least, limit in LIMITS if far else LIMITS[:1]:
        precision = _precision(table, len(classes), *_counted(table, records, least, limit))
        of_ious = {f"AP{suffix}": precision, **({} if suffix else {"AP50": precision[:, :1]})}
        result |= {key: _mean(values) for key, values in of_ious.items()}
        for number, name in enumerate(classes):
            of_classes[name] |= {key: _mean(values[number]) for key, values in of_ious.items()}
    return {**result, "classes": of_classes}


def cityscapes_resampler(
    records: Sequence[Record], classes: Sequence[str]
) -> Callable[[Real[ndarray, " I"]], dict[str, float | None]]:
    """AP and AP50 as a function of how often each image counts."""
    table = _table(records)
    counted = _counted(table, records, *LIMITS[0][1:])

    def resampled(weights: Real[ndarray, " I"]) -> dict[str, float | None]:
        precision = _precision(table, len(classes), *counted, weights)
        return {"AP": _mean(precision), "AP50": _mean(precision[:, :1])}

    return resampled


def _mean(values: Float[ndarray, "..."]) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else None


def _table(records: Sequence[Record]) -> Table:
    table = Table.of(records)
    table = table.keeping(table.found_areas > 0)
    return table.where(table.same_class)


def _counted(
    table: Table, records: Sequence[Record], least: float, limit: float
) -> tuple[Bool[ndarray, " M"], Integer[ndarray, " M"]]:
    """The true objects that count (no groups, large and near enough), and how often others' pixels count as ignored.

    The original counts the pixels of small groups twice, once as groups and once as small; so do we.
    """
    small = table.mask_areas(records) < least
    if limit < np.inf:
        small |= np.concatenate([np.zeros(0), *(one.distance for one in records if one.distance is not None)]) > limit
    counted = ~table.ignore & ~small
    return counted, ~counted + (table.ignore & small & (table.truth_labels >= 0)).astype(int)


def _precision(
    table: Table,
    classes: int,
    counted: Bool[ndarray, " M"],
    times_ignored: Integer[ndarray, " M"],
    weights: Real[ndarray, " I"] | None = None,
) -> Float[ndarray, "C T"]:
    """AP of each class at each IoU; not a number for a class without true objects."""
    weights = np.ones(len(table.names)) if weights is None else weights.astype(float)
    result = np.full((classes, len(IOUS)), np.nan)
    pixels = np.rint(table.share * table.found_areas[table.found]) * times_ignored[table.truth]
    ignored = np.bincount(table.found, pixels, len(table.labels)) / table.found_areas
    void = table.truth_labels[table.truth] == -1
    for place, iou in enumerate(IOUS):
        good = (table.iou > iou) & ~void
        reached = np.bincount(table.found[good], None, len(table.labels)) > 0
        right = np.flatnonzero(good & counted[table.truth])
        right = right[np.lexsort((-table.scores[table.found[right]], table.truth[right]))]
        first = np.diff(table.truth[right], prepend=-1) > 0
        wrong = ~reached & (ignored <= iou)
        found = np.concatenate([table.found[right], np.flatnonzero(wrong)])
        true = np.concatenate([first, np.zeros(np.count_nonzero(wrong), bool)])
        for label in range(classes):
            truths = counted & (table.truth_labels == label)
            total = weights[table.truth_image[truths]].sum()
            if total:
                chosen = table.labels[found] == label
                image = table.image[found[chosen]]
                result[label, place] = _area(table.scores[found[chosen]], true[chosen], weights[image], total)
    return result


def _area(
    scores: Float[ndarray, " N"], true: Bool[ndarray, " N"], weights: Float[ndarray, " N"], total: float
) -> float:
    """The area under precision over recall at the scores that occur, each point with half of the steps beside it."""
    scores, true, weights = scores[weights > 0], true[weights > 0], weights[weights > 0]
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1) if len(scores) else np.zeros(0, int)
    tp, found = np.cumsum((true * weights)[order])[last], np.cumsum(weights[order])[last]
    recall, precision = np.append(0, tp / total), np.append(1, tp / found)
    steps = np.diff(recall, prepend=0, append=recall[-1])
    return float((precision * (steps[:-1] + steps[1:]) / 2).sum())
