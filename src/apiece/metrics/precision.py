"""Precision over recall, as COCO counts it: from judged objects to curves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, Real
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


def accumulate(verdicts: Verdicts, classes: int, limits: Sequence[int]) -> Curves:
    """The curves of all classes.

    Args:
        limits: how many found objects of a class in an image count; the last is what the verdicts were made with.
    """
    return Accumulation(verdicts, classes, limits).curves()


class Accumulation:
    """Verdicts made ready for curves, also of images that count several times or not at all.

    Args:
        limits: as for `accumulate`.
    """

    def __init__(self, verdicts: Verdicts, classes: int, limits: Sequence[int]):
        self.verdicts, self.classes, self.limits = verdicts, classes, limits
        self.first: Integer[ndarray, " C"] = np.searchsorted(verdicts.label, np.arange(classes))
        self.images = 1 + max(int(images.max(initial=-1)) for images in (verdicts.image, verdicts.truth_image))
        self.hits = [_Hits.of(right, verdicts.label, classes) for right in verdicts.right]

    def curves(self, weights: Real[ndarray, " I"] | None = None) -> Curves:
        """The curves of all classes.

        Args:
            weights: how often each image counts, for resampling; by default once.
        """
        weights = np.ones(self.images) if weights is None else weights.astype(float)
        label, times = self.verdicts.truth_label, weights[self.verdicts.image]
        precision, recall = [], []
        for hits, wrong, counted in zip(self.hits, self.verdicts.wrong, self.verdicts.counted, strict=True):
            true = counted & (label >= 0) & (label < self.classes)
            total = np.bincount(label[true], weights[self.verdicts.truth_image[true]], self.classes).astype(float)
            total[total == 0] = np.nan
            precision.append(self._envelopes(hits, wrong, times, total))
            recall.append(
                [hits.sums(times * (self.verdicts.rank < limit), len(wrong)) / total for limit in self.limits]
            )
        recall = np.array(recall).reshape(len(self.hits), len(self.limits), *precision[0].shape[:2])
        return Curves(np.stack(precision), recall.transpose(0, 2, 3, 1))

    def _envelopes(
        self, hits: "_Hits", wrong: Bool[ndarray, "T N"], times: Float[ndarray, " N"], total: Float[ndarray, " C"]
    ) -> Float[ndarray, "T C R"]:
        """The highest precision at each recall or beyond; 0 where the recall is not reached.

        It is reached at a right object: those that follow only lower it.
        """
        tp = hits.cumulated(times)
        sums = np.zeros((len(wrong), len(times) + 1))
        np.cumsum(wrong * times, 1, out=sums[:, 1:])
        fp = sums[hits.row, hits.place + 1] - sums[hits.row, self.first[hits.label]]
        reached = RECALLS.searchsorted(tp / total[hits.label], "right") - 1
        # The last recall that each reaches: ascending within a class, and so through all.
        cell = (hits.row * self.classes + hits.label) * len(RECALLS) + reached
        best, first = np.zeros(len(wrong) * self.classes * len(RECALLS)), np.flatnonzero(np.diff(cell, prepend=-1))
        if len(first):
            best[cell[first]] = np.maximum.reduceat(tp / (fp + tp + np.spacing(1)), first)
        best = best.reshape(len(wrong), self.classes, len(RECALLS))
        best = np.maximum.accumulate(best[:, :, ::-1], 2)[:, :, ::-1]
        return np.where(np.isnan(total)[:, None], np.nan, best)


@dataclass(frozen=True)
class _Hits:
    """Where found objects are right in one area range, by IoU, class and falling score.

    Attributes:
        row, place, label: IoU, found object and class of each.
        start, length: of the stretches of one IoU and class.
    """

    row: Integer[ndarray, " E"]
    place: Integer[ndarray, " E"]
    label: Integer[ndarray, " E"]
    classes: int
    start: Integer[ndarray, " G"]
    length: Integer[ndarray, " G"]

    @classmethod
    def of(cls, right: Bool[ndarray, "T N"], label: Integer[ndarray, " N"], classes: int) -> "_Hits":
        row, place = np.nonzero(right)
        start = np.flatnonzero(np.diff(row * classes + label[place], prepend=-1))
        return cls(row, place, label[place], classes, start, np.diff(start, append=len(row)))

    def cumulated(self, times: Float[ndarray, " N"]) -> Float[ndarray, " E"]:
        """How many are right up to each, within its IoU and class."""
        own = times[self.place]
        sums = own.cumsum()
        return sums - (sums - own)[self.start].repeat(self.length)

    def sums(self, times: Float[ndarray, " N"], ious: int) -> Float[ndarray, "T C"]:
        """How many are right at each IoU in each class."""
        group = self.row * self.classes + self.label
        return np.bincount(group, times[self.place], ious * self.classes).astype(float).reshape(ious, self.classes)
