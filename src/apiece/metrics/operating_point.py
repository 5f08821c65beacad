"""The operating point: the score below which objects are left out, wherever a decision is needed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from apiece.metrics.greedy import greedy
from apiece.metrics.table import Record, Table


def best_threshold(
    records: Sequence[Record],
    figure: Literal["accuracy", "f1"] = "accuracy",
    *,
    iou: float = 0.5,
    class_agnostic: bool = False,
) -> tuple[float, float]:
    """The score threshold with the highest matching figure over a set of images, and that figure.

    Exact for greedy matching (the surest object chooses first), which is the best matching where objects do not
    overlap. Of several thresholds with the same figure the one farthest from any score is taken. 0.5 if nothing was
    found.

    Args:
        figure: accuracy tp / (tp + fp + fn), or f1.
        iou: from which intersection over union a found object is right.
    """
    table = Table.of(records)
    right, counted = _judged(table.without_classes() if class_agnostic else table, iou)
    order = np.flatnonzero(counted)[np.argsort(-table.scores[counted], kind="stable")]
    if not len(order):
        return 0.5, 0.0
    scores, truth = table.scores[order], np.count_nonzero(~table.ignore)
    tp, found = np.cumsum(right[order]), np.arange(1, len(order) + 1)
    reached = 2 * tp / (found + truth) if figure == "f1" else tp / (found + truth - tp)
    # Only between two different scores, or below the lowest, can objects be cut off.
    next_score = np.append(scores[1:], min(0.0, scores[-1]))
    cuts = np.append(np.flatnonzero(next_score[:-1] < scores[:-1]), len(scores) - 1)
    best = cuts[reached[cuts] == reached[cuts].max()]
    cut = best[np.argmax(scores[best] - next_score[best])]
    return float((scores[cut] + next_score[cut]) / 2), float(reached[cut])


def _judged(table: Table, iou: float) -> tuple[Bool[ndarray, " N"], Bool[ndarray, " N"]]:
    """Of each found object: is it right, and does it count (what is wrong but mostly in ignored regions does not)?"""
    rank = by_score(table)
    count = len(table.labels)
    pairs = table.where(table.same_class & (table.iou >= iou) & ~table.ignore[table.truth])
    order = np.lexsort((-pairs.iou, rank[pairs.found]))
    taken = greedy(rank[pairs.found[order]], pairs.truth[order], np.zeros(len(table.ignore), bool), count)
    right = taken[rank] >= 0
    return right, right | ~mostly_ignored(table)


def by_score(table: Table) -> ndarray:
    """The place of each found object when all are ordered by image and falling score, equal ones as they come."""
    rank = np.empty(len(table.labels), np.int64)
    rank[np.lexsort((-table.scores, table.image))] = np.arange(len(rank))
    return rank


def mostly_ignored(table: Table, share: float = 0.5) -> Bool[ndarray, " N"]:
    """Found objects more than half of which lie in ignored regions of their class."""
    pairs = table.where(table.same_class & table.ignore[table.truth])
    inside: Float[ndarray, " N"] = np.bincount(pairs.found, pairs.share, len(table.labels))
    return inside > share
