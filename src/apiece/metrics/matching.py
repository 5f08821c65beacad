"""Matching metrics of label images: accuracy, precision, recall, F1, mean scores, panoptic quality at several IoUs.

As StarDist defines them (`stardist/matching.py`): found and true objects are paired so that most pairs reach the IoU
and, among such pairings, the sum of IoUs is highest; accuracy is tp / (tp + fp + fn), the "average precision" of the
2018 Data Science Bowl.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real
from numpy import ndarray

from apiece.metrics.assignment import best_pairs, connected_groups
from apiece.metrics.operating_point import mostly_ignored
from apiece.metrics.table import Record, Table

IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class Counts(NamedTuple):
    """What a matching gave, at each IoU (T) in each image or class (X).

    Attributes:
        tp, fp, fn: pairs, found objects without one, true objects without one.
        total: sum of the pairs' IoUs.
    """

    tp: Float[ndarray, "T X"]
    fp: Float[ndarray, "T X"]
    fn: Float[ndarray, "T X"]
    total: Float[ndarray, "T X"]


def matching(
    records: Sequence[Record],
    classes: Sequence[str],
    *,
    threshold: float | None = None,
    ious: Sequence[float] = IOUS,
    class_agnostic: bool = False,
) -> dict[str, Any]:
    """Matching figures of a data set.

    Objects match within their class; the first figures count all classes' objects together. Found objects without a
    partner that lie mostly in ignored regions are left out, ignored true objects are never counted.

    Args:
        threshold: found objects with a lower score are left out.
        class_agnostic: objects of different classes match too.

    Returns:
        by IoU (`"0.50"`) and averaged over the IoUs (`"mean"`): the figures over all objects; `"by_image"`: the same as
        mean over images (an image without objects counts 0, as in StarDist); `"classes"`: for each class, where there
        are several; a class that is neither found nor true has no quotients (None).
    """
    table = matched_table(records, threshold, class_agnostic)
    by_image, by_class = count_matches(table, ious, len(classes))
    pooled = Counts(*(part.sum(1, keepdims=True) for part in by_image))
    result = _by_iou(figures(pooled), ious)
    result["by_image"] = _by_iou(figures(by_image), ious)
    if len(classes) > 1 and not class_agnostic:
        of_class = figures(by_class)
        result["classes"] = {
            name: _of_class({key: figure[:, [number]] for key, figure in of_class.items()}, ious)
            for number, name in enumerate(classes)
        }
    result["threshold"] = threshold
    return result


def matching_rows(
    records: Sequence[Record], *, threshold: float | None = None, iou: float = 0.5, class_agnostic: bool = False
) -> list[dict[str, Any]]:
    """For each image its name, counts and figures at one IoU."""
    table = matched_table(records, threshold, class_agnostic)
    by_image, _ = count_matches(table, [iou], 0)
    of_all = figures(by_image)
    whole = ("n_true", "n_pred", "tp", "fp", "fn")
    shown = ("precision", "recall", "accuracy", "f1", "pq")
    return [
        {
            "name": name,
            **{key: int(of_all[key][0, i]) for key in whole},
            **{key: float(of_all[key][0, i]) for key in shown},
        }
        for i, name in enumerate(table.names)
    ]


def matching_resampler(
    records: Sequence[Record], *, threshold: float | None = None, class_agnostic: bool = False
) -> Callable[[Real[ndarray, " I"]], dict[str, float | None]]:
    """The main figures over all objects as a function of how often each image counts."""
    by_image, _ = count_matches(matched_table(records, threshold, class_agnostic), IOUS, 0)

    def resampled(weights: Real[ndarray, " I"]) -> dict[str, float | None]:
        of_all = figures(Counts(*(part @ weights[:, None] for part in by_image)))
        result: dict[str, float | None] = {f"{key}@0.50": float(of_all[key][0, 0]) for key in ("accuracy", "f1", "pq")}
        return result | {"mean accuracy": float(of_all["accuracy"].mean())}

    return resampled


def matched_table(records: Sequence[Record], threshold: float | None, class_agnostic: bool) -> Table:
    """The table of the objects that count at an operating point."""
    table = Table.of(records)
    table = table if threshold is None else table.keeping(table.scores >= threshold)
    return table.without_classes() if class_agnostic else table


def figures(counts: Counts) -> dict[str, Float[ndarray, "T X"]]:
    """All figures from counts; a quotient of nothing by nothing is 0."""
    tp, fp, fn, total = counts
    true, found = tp + fn, tp + fp
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "n_true": true,
        "n_pred": found,
        "precision": _divide(tp, found),
        "recall": _divide(tp, true),
        "accuracy": _divide(tp, tp + fp + fn),
        "f1": _divide(2 * tp, true + found),
        "mean_true_score": _divide(total, true),
        "mean_matched_score": _divide(total, tp),
        "pq": _divide(total, tp + fp / 2 + fn / 2),
        "sq": _divide(total, tp),
        "rq": _divide(2 * tp, true + found),
    }


def _divide(a: ndarray, b: ndarray) -> ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _by_iou(of_all: dict[str, Float[ndarray, "T X"]], ious: Sequence[float]) -> dict[str, Any]:
    """Figures by IoU and their mean; counts are summed over images, quotients averaged."""
    whole = ("tp", "fp", "fn", "n_true", "n_pred")
    reduced = {
        key: figure.sum(1) if key in whole else figure.mean(1) for key, figure in of_all.items() if figure.shape[1]
    }
    result: dict[str, Any] = {}
    for place, iou in enumerate(ious):
        result[f"{iou:.2f}"] = {
            key: int(values[place]) if key in whole else float(values[place]) for key, values in reduced.items()
        }
    result["mean"] = {key: float(values.mean()) for key, values in reduced.items() if key not in whole}
    return result


def _of_class(of_one: dict[str, Float[ndarray, "T 1"]], ious: Sequence[float]) -> dict[str, Any]:
    result = _by_iou(of_one, ious)
    if of_one["n_true"].any() or of_one["n_pred"].any():
        return result
    return {
        iou: {key: value if isinstance(value, int) else None for key, value in block.items()}
        for iou, block in result.items()
    }


def count_matches(table: Table, ious: Sequence[float], classes: int) -> tuple[Counts, Counts]:
    """Counts at each IoU by image and by class (the first `classes` of them)."""
    table = table.where(table.same_class)
    left_out, real = mostly_ignored(table), ~table.ignore
    pairs = table.where(real[table.truth])
    groups = connected_groups(pairs)
    by_image, by_class = [], []
    for iou in ious:
        matched = best_pairs(pairs, groups, iou)
        right, total = pairs.truth[matched], pairs.iou[matched]
        missed = real.copy()
        missed[right] = False
        wrong = ~left_out
        wrong[pairs.found[matched]] = False
        for sums, found_key, truth_key, size in (
            (by_image, table.image, table.truth_image, len(table.names)),
            (by_class, table.labels, table.truth_labels, classes),
        ):
            keys = (truth_key[right], found_key[wrong], truth_key[missed])
            counted = [np.bincount(key, None, size)[:size] for key in keys]
            sums.append([*counted, np.bincount(truth_key[right], total, size)[:size]])
    return Counts(*np.array(by_image, float).swapaxes(0, 1)), Counts(*np.array(by_class, float).swapaxes(0, 1))
