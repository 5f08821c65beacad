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
        precision = _Judged(table, len(classes), *_counted(table, records, least, limit)).average_precision()
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
    judged = _Judged(table, len(classes), *_counted(table, records, *LIMITS[0][1:]))

    def resampled(weights: Real[ndarray, " I"]) -> dict[str, float | None]:
        precision = judged.average_precision(weights)
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


class _Judged:
    """What is right and what is wrong at each IoU, by IoU, class and falling score."""

    def __init__(
        self,
        table: Table,
        classes: int,
        counted: Bool[ndarray, " M"],
        times_ignored: Integer[ndarray, " M"],
    ):
        verdicts = [_verdicts(table, counted, times_ignored, iou) for iou in IOUS]
        found = np.concatenate([one for one, _ in verdicts])
        row = np.repeat(np.arange(len(IOUS)), [len(one) for one, _ in verdicts])
        label, score = table.labels[found], table.scores[found]
        order = np.lexsort((-score, label, row))
        order = order[(label[order] >= 0) & (label[order] < classes)]
        group, score = (row * classes + label)[order], score[order]
        self.images, self.classes = len(table.names), classes
        self.image: Integer[ndarray, " E"] = table.image[found[order]]
        self.right: Bool[ndarray, " E"] = np.concatenate([right for _, right in verdicts])[order]
        # Points of a curve lie where scores change.
        changes = (np.diff(group, append=-1) != 0) | (np.diff(score, append=0) != 0)
        self.points: Integer[ndarray, " K"] = np.flatnonzero(changes)
        self.group: Integer[ndarray, " K"] = group[self.points]
        self.first: Bool[ndarray, " K"] = np.diff(self.group, prepend=-1) != 0
        true = counted & (table.truth_labels >= 0) & (table.truth_labels < classes)
        self.true_image, self.true_label = table.truth_image[true], table.truth_labels[true]

    def average_precision(self, weights: Real[ndarray, " I"] | None = None) -> Float[ndarray, "C T"]:
        """AP of each class at each IoU; not a number for a class without true objects.

        The area under precision over recall, each point with half of the steps beside it. A curve begins at precision 1
        and recall 0.
        """
        weights = np.ones(self.images) if weights is None else weights.astype(float)
        total = np.bincount(self.true_label, weights[self.true_image], self.classes).astype(float)
        times, starts = weights[self.image], np.flatnonzero(self.first)
        tp, found = (sums[self.points] for sums in ((times * self.right).cumsum(), times.cumsum()))
        lengths = np.diff(starts, append=len(tp))
        tp, found = (sums - np.append(0, sums)[starts].repeat(lengths) for sums in (tp, found))
        recall = tp / np.where(total > 0, total, np.nan)[self.group % self.classes]
        precision = np.divide(tp, found, out=np.ones(len(tp)), where=found > 0)
        step = recall - np.where(self.first, 0, np.append(0, recall)[:-1])
        after = np.append(np.where(self.first, 0, step)[1:], 0)[: len(step)]
        area = precision * (step + after) / 2 + self.first * step / 2
        areas = np.bincount(self.group, area, len(IOUS) * self.classes).astype(float)
        return np.where(total > 0, areas.reshape(len(IOUS), self.classes), np.nan).T


def _verdicts(
    table: Table, counted: Bool[ndarray, " M"], times_ignored: Integer[ndarray, " M"], iou: float
) -> tuple[Integer[ndarray, " E"], Bool[ndarray, " E"]]:
    """The found objects that count at an IoU, some several times, and whether they are right."""
    pixels = np.rint(table.share * table.found_areas[table.found]) * times_ignored[table.truth]
    ignored = np.bincount(table.found, pixels, len(table.labels)) / table.found_areas
    good = (table.iou > iou) & (table.truth_labels[table.truth] != -1)
    reached = np.bincount(table.found[good], None, len(table.labels)) > 0
    right = np.flatnonzero(good & counted[table.truth])
    right = right[np.lexsort((-table.scores[table.found[right]], table.truth[right]))]
    first = np.diff(table.truth[right], prepend=-1) > 0
    wrong = np.flatnonzero(~reached & (ignored <= iou))
    return np.concatenate([table.found[right], wrong]), np.append(first, np.zeros(len(wrong), bool))
