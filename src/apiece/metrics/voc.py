"""AP^r, the average precision of regions: PASCAL VOC's, of "Simultaneous detection and segmentation" (2014).

Each found object goes for the true one of its class with which it has the highest IoU, taken or not; if that reaches
the threshold, it is right the first time and a duplicate afterwards. AP is the area under precision, made falling, over
recall. AP^r vol is the mean over IoUs of 0.1 to 0.9.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, Real
from numpy import ndarray

from apiece.metrics.table import Record, Table

IOUS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def voc(records: Sequence[Record], classes: Sequence[str], *, ious: Sequence[float] = IOUS) -> dict[str, Any]:
    """AP^r by IoU (`"0.10"`), as `AP50` and averaged (`"mean"`): the mean over classes, and `"classes"`.

    Ignored true objects are VOC's difficult ones: found objects that go for them are neither right nor wrong.
    """
    precision = Judged(records, ious).average_precision(len(classes))
    there = precision[~np.isnan(precision).any(1)]
    result = _by_iou(there.mean(0) if len(there) else np.full(len(ious), np.nan), ious)
    result["classes"] = {name: _by_iou(precision[i], ious) for i, name in enumerate(classes)}
    return result


def voc_resampler(
    records: Sequence[Record], classes: Sequence[str], *, ious: Sequence[float] = IOUS
) -> Callable[[Real[ndarray, " I"]], dict[str, float | None]]:
    """AP50 and the mean as a function of how often each image counts."""
    judged = Judged(records, ious)

    def resampled(weights: Real[ndarray, " I"]) -> dict[str, float | None]:
        precision = judged.average_precision(len(classes), weights)
        there = precision[~np.isnan(precision).any(1)]
        figures = _by_iou(there.mean(0) if len(there) else np.full(len(ious), np.nan), ious)
        return {key: figures[key] for key in ("AP50", "mean") if key in figures}

    return resampled


def _by_iou(precision: Float[ndarray, " T"], ious: Sequence[float]) -> dict[str, Any]:
    result: dict[str, Any] = {
        f"{iou:.2f}": None if np.isnan(one) else float(one) for iou, one in zip(ious, precision, strict=True)
    }
    if "0.50" in result:
        result["AP50"] = result["0.50"]
    result["mean"] = None if np.isnan(precision).any() else float(precision.mean())
    return result


class Judged:
    """All found objects by class and falling score, with what became of them at each IoU."""

    def __init__(self, records: Sequence[Record], ious: Sequence[float]):
        table = Table.of(records)
        order = np.lexsort((table.image, -table.scores, table.labels))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        self.labels: Integer[ndarray, " N"] = table.labels[order]
        self.image: Integer[ndarray, " N"] = table.image[order]
        self.right: Bool[ndarray, "T N"] = np.zeros((len(ious), len(order)), bool)
        self.wrong: Bool[ndarray, "T N"] = np.ones((len(ious), len(order)), bool)
        self.true_labels, self.true_image = table.truth_labels[~table.ignore], table.truth_image[~table.ignore]
        pairs = table.where(table.same_class)
        # One pair for each found object: its highest IoU, of equal ones the first true object.
        best = np.lexsort((pairs.truth, -pairs.iou, place[pairs.found]))
        best = best[np.flatnonzero(np.diff(place[pairs.found[best]], prepend=-1))]
        found, truth, iou = place[pairs.found[best]], pairs.truth[best], pairs.iou[best]
        for right, wrong, least in zip(self.right, self.wrong, ious, strict=True):
            good = iou >= least
            _, first = np.unique(truth[good], return_index=True)
            right[found[good][first]] = True
            skipped = table.ignore[truth] & good
            right[found[skipped]] = False
            wrong[found[skipped]] = False
            wrong &= ~right

    def average_precision(self, classes: int, weights: Real[ndarray, " I"] | None = None) -> Float[ndarray, "C T"]:
        """AP of each class at each IoU; not a number for a class without true objects."""
        result = np.full((classes, len(self.right)), np.nan)
        times = np.ones(len(self.image)) if weights is None else weights[self.image].astype(float)
        true_times = np.ones(len(self.true_image)) if weights is None else weights[self.true_image]
        edges = np.searchsorted(self.labels, np.arange(classes + 1))
        for label in range(classes):
            total = true_times[self.true_labels == label].sum()
            chosen = slice(edges[label], edges[label + 1])
            if total:
                tp, fp = (np.cumsum(kind[:, chosen] * times[chosen], 1) for kind in (self.right, self.wrong))
                precision = tp / np.maximum(tp + fp, 1e-300)
                falling = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
                result[label] = (np.diff(tp / total, prepend=0.0) * falling).sum(1)
        return result
