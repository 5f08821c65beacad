"""Precision over recall, as COCO counts it: from judged objects to curves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, Real, Shaped
from numpy import ndarray

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Verdicts:
    """What became of each found object, at every area range (A) and IoU (T).

    Attributes:
        image, label, scores: of the found objects, ordered by class, then by falling score, then by image.
        rank: place among the found objects of its class in its image, by score.
        right, wrong: does it count as such? Neither if it matches an ignored object, or matches none and is outside the
            area range.
        truth_image, truth_label: of the true objects.
        counted: does the true object count in this area range?
        place: of the found objects in the table that was judged.
        partner: the true object that each matches, ignored or not, or -1.
    """

    image: Integer[ndarray, " N"]
    label: Integer[ndarray, " N"]
    scores: Float[ndarray, " N"]
    rank: Integer[ndarray, " N"]
    right: Bool[ndarray, "A T N"]
    wrong: Bool[ndarray, "A T N"]
    truth_image: Integer[ndarray, " M"]
    truth_label: Integer[ndarray, " M"]
    counted: Bool[ndarray, "A M"]
    place: Integer[ndarray, " N"]
    partner: Integer[ndarray, "A T N"]


@dataclass(frozen=True)
class Curves:
    """Precision and recall of each class; not a number for a class without true objects.

    Attributes:
        precision: highest precision at a recall of at least 0, 0.01, ... 1 (R), with the last limit of found objects.
        recall: at each limit (L) of found objects in an image.
    """

    precision: Float[ndarray, "A T C R"]
    recall: Float[ndarray, "A T C L"]

    def of_class(self, number: int) -> "Curves":
        """The curves of one class."""
        return Curves(self.precision[:, :, [number]], self.recall[:, :, [number]])


def accumulate(
    verdicts: Verdicts, classes: int, limits: Sequence[int], weights: Real[ndarray, " I"] | None = None
) -> Curves:
    """The curves of all classes.

    Args:
        limits: how many found objects of a class in an image count; the last is what the verdicts were made with.
        weights: how often each image counts, for resampling; by default once.
    """
    areas, ious = verdicts.right.shape[:2]
    precision = np.full((areas, ious, classes, len(RECALLS)), np.nan)
    recall = np.full((areas, ious, classes, len(limits)), np.nan)
    edges = np.searchsorted(verdicts.label, np.arange(classes + 1))
    times = None if weights is None else weights[verdicts.image]
    counted = verdicts.counted if weights is None else verdicts.counted * weights[verdicts.truth_image]
    for label in range(classes):
        chosen = slice(edges[label], edges[label + 1])
        totals = counted[:, verdicts.truth_label == label].sum(1)
        right, wrong = verdicts.right[:, :, chosen], verdicts.wrong[:, :, chosen]
        if times is not None:
            right, wrong = right * times[chosen], wrong * times[chosen]
        for area in np.flatnonzero(totals):
            precision[area, :, label] = _envelopes(right[area], wrong[area], float(totals[area]))
            for place, limit in enumerate(limits):
                recall[area, :, label, place] = right[area][:, verdicts.rank[chosen] < limit].sum(1) / totals[area]
    return Curves(precision, recall)


def _envelopes(right: Shaped[ndarray, "T N"], wrong: Shaped[ndarray, "T N"], total: float) -> Float[ndarray, "T R"]:
    """The highest precision at each recall or beyond; 0 where the recall is not reached."""
    tp, fp = np.cumsum(right, 1, dtype=float), np.cumsum(wrong, 1, dtype=float)
    precision = tp / (fp + tp + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], 1)
    return np.stack(
        [row[np.searchsorted(reached, RECALLS, "left")] for row, reached in zip(best, tp / total, strict=True)]
    )
