"""Diagnosis: what lies behind the figures, from sparse overlaps: curves, calibration, confusions, the worst images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from apiece.instances import Instances
from apiece.metrics.assignment import best_pairs, connected_groups
from apiece.metrics.coco import AREAS, EVERY, IOUS, MAX_DETECTIONS, judge
from apiece.metrics.matching import Counts, count_matches, figures, matched_table
from apiece.metrics.mistakes import errors
from apiece.metrics.operating_point import mostly_ignored
from apiece.metrics.precision import accumulate
from apiece.metrics.table import Record, Table, record

MATCHED = tuple((np.arange(2, 20) / 20).tolist())
"""IoUs at which accuracy is shown."""
SHOWN = ("accuracy", "precision", "recall", "f1", "pq")
RIGHT = 0.5
BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Do scores say how often found objects are right? At an IoU of 0.5, by score (S bins).

    Attributes:
        edges: of the bins; the last one includes its upper edge.
        count, right: found objects in each bin, without those that count as neither right nor wrong, and right ones.
        score: their mean score; not a number for an empty bin.
    """

    edges: Float[ndarray, " E"]
    count: Integer[ndarray, " S"]
    right: Integer[ndarray, " S"]
    score: Float[ndarray, " S"]

    @property
    def share(self) -> Float[ndarray, " S"]:
        """The part of each bin that is right; not a number for an empty one."""
        return np.divide(self.right, self.count, out=np.full(len(self.count), np.nan), where=self.count > 0)

    @property
    def error(self) -> float | None:
        """Expected calibration error: how far score and share lie apart, as a mean over objects (Naeini et al., 2015).

        None where scores are not between 0 and 1, or nothing was found.
        """
        if self.edges[0] < 0 or self.edges[-1] > 1 or not self.count.sum():
            return None
        return float(np.nansum(np.abs(self.share - self.score) * self.count) / self.count.sum())


@dataclass(frozen=True)
class Diagnosis:
    """What lies behind a scoring's figures.

    Attributes:
        classes, names: of classes (C) and images (I).
        threshold: the operating point of all but the curves of precision and the calibration; None = everything counts.
        class_agnostic: do objects match whatever their class? Then there is one class.
        masks: were masks compared, or boxes?
        scored: do the found objects' scores differ at all?
        ious: T, those of the precision curves.
        precision: highest precision at a recall of at least 0, 0.01, ... 1 (R), as COCO counts it.
        limit, left_out: found objects of a class in an image that the precision curves count, and how many they do not.
        matched: figures of the matching at each of `MATCHED`, by name.
        calibration: of the scores.
        confusion: how many objects of each class (row; the last: of none, invented) were found as which class (column;
            the last: not found), at an IoU of 0.5.
        errors: see `mistakes.errors`.
        worst: places of the images, those with the lowest accuracy at an IoU of 0.5 first.
        accuracy, mistakes: of each image at that IoU: accuracy (1 if nothing is there and nothing found), fp + fn.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    threshold: float | None
    class_agnostic: bool
    masks: bool
    scored: bool
    ious: Float[ndarray, " T"]
    precision: Float[ndarray, "T C R"]
    limit: int
    left_out: int
    matched: dict[str, Float[ndarray, " M"]]
    calibration: Calibration
    confusion: Integer[ndarray, "K K"]
    errors: dict[str, Any]
    worst: Integer[ndarray, " I"]
    accuracy: Float[ndarray, " I"]
    mistakes: Integer[ndarray, " I"]


def diagnose(
    records: Sequence[Record],
    classes: Sequence[str],
    *,
    threshold: float | None = None,
    class_agnostic: bool = False,
    limit: int = MAX_DETECTIONS[-1],
) -> Diagnosis:
    """Look behind the figures of a data set.

    Args:
        threshold: found objects with a lower score are left out of what needs a decision.
        class_agnostic: the records' objects are of one class.
        limit: found objects of a class in an image that the precision curves count, as in COCO's AP.
    """
    classes = ("object",) if class_agnostic else tuple(classes)
    table, point = matched_table(records, None, class_agnostic), matched_table(records, threshold, class_agnostic)
    verdicts = judge(table, IOUS, [AREAS["all"]], limit)
    by_image, _ = count_matches(point, MATCHED, 0)
    of_images, half = figures(by_image), MATCHED.index(RIGHT)
    accuracy = np.where(of_images["n_true"] + of_images["n_pred"] > 0, of_images["accuracy"], 1.0)
    wrong = (of_images["fp"] + of_images["fn"])[half].astype(np.int64)
    pooled = figures(Counts(*(part.sum(1, keepdims=True) for part in by_image)))
    return Diagnosis(
        classes=classes,
        names=table.names,
        threshold=threshold,
        class_agnostic=class_agnostic,
        masks=all(one.masks is not None for one in records),
        scored=len(table.scores) > 0 and float(np.ptp(table.scores)) > 0,
        ious=np.array(IOUS),
        precision=accumulate(verdicts, len(classes), [limit]).precision[0],
        limit=limit,
        left_out=len(table.labels) - len(verdicts.label),
        matched={name: pooled[name][:, 0] for name in SHOWN},
        calibration=calibrate(table),
        confusion=confuse(point, len(classes)),
        errors=errors(records, classes, threshold=threshold),
        worst=np.lexsort((-wrong, accuracy[half:].mean(0), accuracy[half])),
        accuracy=accuracy[half],
        mistakes=wrong,
    )


def calibrate(table: Table) -> Calibration:
    """How often found objects are right by their scores, all of them."""
    verdicts = judge(table, [RIGHT], [AREAS["all"]], EVERY)
    right, counted = verdicts.right[0, 0], (verdicts.right | verdicts.wrong)[0, 0]
    scores = verdicts.scores[counted]
    low, high = float(scores.min(initial=0.0)), float(scores.max(initial=1.0))
    edges = np.linspace(low, high, BINS + 1)
    place = np.searchsorted(edges[1:-1], scores, "right")
    count = np.bincount(place, None, BINS)
    return Calibration(
        edges,
        count,
        np.bincount(place, right[counted], BINS).astype(np.int64),
        np.divide(np.bincount(place, scores, BINS), count, out=np.full(BINS, np.nan), where=count > 0),
    )


def confuse(table: Table, classes: int, iou: float = RIGHT) -> Integer[ndarray, "K K"]:
    """True classes (rows) against found ones (columns); the last of each is none.

    Objects of one class are paired first, as the matching does; what is left is paired whatever the class. Found
    objects that lie mostly in ignored regions are left out.
    """
    plain = table.where(~table.ignore[table.truth])
    partner = np.full(len(table.labels), -1)
    had = np.zeros(len(table.ignore), bool)
    for pairs in (plain.where(plain.same_class), plain):
        pairs = pairs.where((partner[pairs.found] < 0) & ~had[pairs.truth])
        chosen = best_pairs(pairs, connected_groups(pairs), iou)
        partner[pairs.found[chosen]] = pairs.truth[chosen]
        had[pairs.truth[chosen]] = True
    paired, missed = np.flatnonzero(partner >= 0), ~had & ~table.ignore
    invented = (partner < 0) & ~mostly_ignored(table)
    none = classes
    rows = [table.truth_labels[partner[paired]], table.truth_labels[missed], np.full(invented.sum(), none)]
    columns = [table.labels[paired], np.full(missed.sum(), none), table.labels[invented]]
    code = np.concatenate(rows) * (classes + 1) + np.concatenate(columns)
    return np.bincount(code, None, (classes + 1) ** 2).reshape(classes + 1, classes + 1)


@dataclass(frozen=True)
class Fates:
    """What became of the objects of one image at an IoU of 0.5.

    Attributes:
        right: is the found object a true one's partner?
        left_out: does it count as neither right nor wrong?
        had: is the true object found?
    """

    right: Bool[ndarray, " N"]
    left_out: Bool[ndarray, " N"]
    had: Bool[ndarray, " M"]


def fates(found: Instances, truth: Instances, class_agnostic: bool = False) -> Fates:
    """Say which objects of one image are right, as the matching does."""
    table = matched_table([record("", found, truth, boxes=False)], None, class_agnostic)
    table = table.where(table.same_class)
    pairs = table.where(~table.ignore[table.truth])
    chosen = best_pairs(pairs, connected_groups(pairs), RIGHT)
    right, had = np.zeros(len(found), bool), np.zeros(len(truth), bool)
    right[pairs.found[chosen]], had[pairs.truth[chosen]] = True, True
    return Fates(right, mostly_ignored(table) & ~right, had)
