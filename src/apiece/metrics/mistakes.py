"""What each mistake is, and how much AP each kind costs: in the spirit of TIDE (2020), with splits and merges.

A found object is right if COCO's matching says so at an IoU of 0.5. Each wrong one is, in this order,

    duplicate    of a true object of its class that a surer one has
    wrong class  but otherwise right
    merged       over more than half of each of several true objects of its class
    split        one of several that lie mostly in one true object of its class and together cover more than half of it
    loose mask   with an IoU of at least 0.1 with a true object of its class
    both         loose mask and wrong class
    invented     none of these

and a true object that nobody has is missed, if no mistake but an invented one concerns it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer
from numpy import ndarray

from apiece.metrics.coco import AREAS, EVERY, judge
from apiece.metrics.precision import Verdicts, accumulate
from apiece.metrics.table import Record, Table

KINDS = ("duplicate", "wrong class", "merged", "split", "loose mask", "both", "invented")
RIGHT, NEAR = 0.5, 0.1


@dataclass(frozen=True)
class Mistakes:
    """Every object's fate.

    Attributes:
        kind: of each found object: a place in KINDS, or -1 if it is right or left out.
        target: the true object that a wrong one meant, or -1.
        right: does the found object count as right?
        missed: does nobody have or mean the true object?
        had: is the true object found?
    """

    kind: Integer[ndarray, " N"]
    target: Integer[ndarray, " N"]
    right: Bool[ndarray, " N"]
    missed: Bool[ndarray, " M"]
    had: Bool[ndarray, " M"]


def errors(records: Sequence[Record], classes: Sequence[str], *, threshold: float | None = None) -> dict[str, Any]:
    """How many mistakes of each kind there are, and what they cost.

    Args:
        threshold: only found objects with at least this score are counted; the costs go by all of them, as AP does.

    Returns:
        `AP50`, and for each kind `count` and `cost`: by how much AP50 would rise if this kind alone were mended: an
        object that means one nobody has becomes right, the others go; missed objects are no longer asked for.
    """
    table = Table.of(records)
    areas = table.mask_areas(records)
    point = table if threshold is None else table.keeping(table.scores >= threshold)
    counted, all_of_them = find_mistakes(point, areas), find_mistakes(table, areas)
    start = _average_precision(_verdicts(table, all_of_them), len(classes))
    kinds: dict[str, Any] = {}
    for place, name in enumerate(KINDS):
        mended = _average_precision(_mended(table, all_of_them, place), len(classes))
        kinds[name] = {"count": int((counted.kind == place).sum()), "cost": _minus(mended, start)}
    mended = _average_precision(_verdicts(table, all_of_them, all_of_them.missed), len(classes))
    kinds["missed"] = {"count": int(counted.missed.sum()), "cost": _minus(mended, start)}
    return {"AP50": start, "kinds": kinds}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def find_mistakes(table: Table, areas: ndarray) -> Mistakes:
    """Say of each object what it is. `areas` are the true masks' pixels."""
    right, wrong, partner = _matched(table)
    had = np.zeros(len(table.ignore), bool)
    had[partner[right]] = True
    pairs = table.where(wrong[table.found] & ~table.ignore[table.truth])
    same = pairs.same_class
    of_truth = pairs.share * pairs.found_areas[pairs.found] / areas[pairs.truth]
    within = same & ~had[pairs.truth] & (pairs.share > 0.5)
    pieces = np.bincount(pairs.truth[within], None, len(had)) > 1
    pieces &= np.bincount(pairs.truth[within], of_truth[within], len(had)) > 0.5
    covers = same & (of_truth > 0.5)
    several = np.bincount(pairs.found[covers], None, len(wrong)) > 1
    meant = (
        same & (pairs.iou >= RIGHT),
        ~same & (pairs.iou >= RIGHT),
        covers & several[pairs.found],
        within & pieces[pairs.truth],
        same & (pairs.iou >= NEAR),
        ~same & (pairs.iou >= NEAR),
    )
    kind, target = np.where(wrong, KINDS.index("invented"), -1), np.full(len(wrong), -1)
    # From the last kind to the first, and from the lowest IoU to the highest: what is written last stays.
    for place, chosen in reversed(list(enumerate(meant))):
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(pairs.iou[rows], kind="stable")]
        kind[pairs.found[rows]] = place
        target[pairs.found[rows]] = pairs.truth[rows]
    concerned = np.zeros(len(had), bool)
    concerned[target[target >= 0]] = True
    return Mistakes(kind, target, right, ~table.ignore & ~had & ~concerned, had)


def _matched(table: Table) -> tuple[Bool[ndarray, " N"], Bool[ndarray, " N"], Integer[ndarray, " N"]]:
    """Which found objects COCO's matching calls right and wrong at an IoU of 0.5, and the partner of each right one."""
    verdicts = judge(table, [RIGHT], [AREAS["all"]], EVERY)
    right, wrong = np.zeros(len(table.labels), bool), np.zeros(len(table.labels), bool)
    right[verdicts.place] = verdicts.right[0, 0]
    wrong[verdicts.place] = verdicts.wrong[0, 0]
    partner = np.full(len(table.labels), -1)
    partner[verdicts.place] = verdicts.partner[0, 0]
    return right, wrong, partner


def _mended(table: Table, mistakes: Mistakes, kind: int) -> Verdicts:
    """The verdicts if one kind of mistake were mended."""
    these = np.flatnonzero(mistakes.kind == kind)
    wanted = these[(mistakes.target[these] >= 0) & ~mistakes.had[mistakes.target[these]]]
    # Of several that mean the same the surest is made right.
    wanted = wanted[np.argsort(-table.scores[wanted], kind="stable")]
    _, first = np.unique(mistakes.target[wanted], return_index=True)
    chosen = wanted[first]
    mended_kind, right, labels = mistakes.kind.copy(), mistakes.right.copy(), table.labels.copy()
    mended_kind[these] = -1
    right[chosen] = True
    labels[chosen] = table.truth_labels[mistakes.target[chosen]]
    return _verdicts(replace(table, labels=labels), replace(mistakes, kind=mended_kind, right=right))


def _verdicts(table: Table, mistakes: Mistakes, left_out: Bool[ndarray, " M"] | None = None) -> Verdicts:
    order = np.lexsort((table.image, -table.scores, table.labels))
    counted = ~table.ignore if left_out is None else ~table.ignore & ~left_out
    return Verdicts(
        table.image[order],
        table.labels[order],
        table.scores[order],
        np.zeros(len(order), int),
        mistakes.right[order][None, None],
        (mistakes.kind[order] >= 0)[None, None],
        table.truth_image,
        table.truth_labels,
        counted[None],
        order,
        np.full((1, 1, len(order)), -1),
    )


def _average_precision(verdicts: Verdicts, classes: int) -> float | None:
    precision = accumulate(verdicts, classes, []).precision
    there = precision[~np.isnan(precision)]
    return float(there.mean()) if there.size else None
