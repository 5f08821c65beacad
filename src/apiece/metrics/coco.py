"""COCO's average precision and recall, equal to pycocotools', from sparse overlaps of whole data sets at once.

An object found is compared only with true objects that it touches; all images and classes are matched in a few rounds
of array operations (`greedy`). Crowds (`ignore`) may be taken by any number of found objects, measured by the part of
the found object inside; true objects outside an area range are ignored in it, and so are found ones that match nothing
and lie outside.

The area of a found mask is its pixels, that of a found box width times height. pycocotools takes the *box's* area for
masks too where an entry of the results has a `bbox`, which moves objects between small, medium and large:
`found_area="bbox"` does the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Real
from numpy import ndarray

from apiece.metrics.greedy import greedy
from apiece.metrics.precision import Accumulation, Curves, Verdicts, accumulate
from apiece.metrics.table import Kind, Record, Table

IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
AREAS = {"all": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}
MAX_DETECTIONS = (1, 10, 100)
EVERY = 1 << 40
"""No limit of found objects."""


def coco(
    records: Sequence[Record],
    classes: Sequence[str],
    *,
    kinds: Sequence[Kind] = ("segm", "bbox"),
    ious: Sequence[float] = IOUS,
    areas: Mapping[str, tuple[float, float]] = AREAS,
    max_detections: Sequence[int] = MAX_DETECTIONS,
    class_agnostic: bool = False,
    found_area: Kind | None = None,
) -> dict[str, Any]:
    """COCO's figures, `{"segm": {"AP": ..., "AP50": ..., "AR1": ..., "classes": {name: the same}}, "bbox": ...}`.

    Args:
        records: in the order of COCO's image ids: of equal scores in several images the first counts first.
        kinds: what is compared: masks, boxes or masks' rims ("boundary"); masks give None where an image has none.
        ious: from which IoUs a found object is right; `AP50` and `AP75` are None where 0.5 and 0.75 are not here.
        areas: ranges of the truth's area in pixels, both ends included, by what is put behind AP and AR; the first is
            the main one.
        max_detections: found objects of a class in an image that count, surest first (`EVERY`: all); AP uses the last.
        class_agnostic: one class for all.
        found_area: whose area says which range a found object is in: its mask's or its box's, by default that of the
            kind.

    Returns:
        figures from 0 to 1, None where no true object counts; `"left_out"`: found objects beyond the maximum in an
        image.
    """
    result: dict[str, Any] = {}
    limits = sorted(max_detections)
    for kind in kinds:
        if kind != "bbox" and not all(one.masks is not None for one in records):
            result[kind] = None
            continue
        table = Table.of(records, kind)
        if found_area is not None:
            table = replace(table, found_areas=Table.of(records, found_area).found_areas)
        verdicts = judge(table, ious, list(areas.values()), limits[-1], class_agnostic=class_agnostic)
        names = ["all"] if class_agnostic else classes
        curves = accumulate(verdicts, len(names), limits)
        result[kind] = summarize(curves, ious, list(areas), limits)
        result[kind]["classes"] = {
            name: summarize(curves.of_class(number), ious, list(areas), limits) for number, name in enumerate(names)
        }
        result[kind]["left_out"] = len(table.labels) - len(verdicts.label)
    return result


def coco_resampler(
    records: Sequence[Record],
    classes: Sequence[str],
    *,
    kind: Kind = "segm",
    max_detections: Sequence[int] = MAX_DETECTIONS,
    class_agnostic: bool = False,
) -> Callable[[Real[ndarray, " I"]], dict[str, float | None]]:
    """AP, AP50 and AP75 of masks (of boxes, where there are no masks) as a function of how often each image counts."""
    limit, number = max(max_detections), 1 if class_agnostic else len(classes)
    verdicts = judge(Table.of(records, kind), areas=[AREAS["all"]], limit=limit, class_agnostic=class_agnostic)

    accumulation = Accumulation(verdicts, number, [limit])

    def resampled(weights: Real[ndarray, " I"]) -> dict[str, float | None]:
        figures = summarize(accumulation.curves(weights), IOUS, ["all"], [limit])
        return {key: figures[key] for key in ("AP", "AP50", "AP75")}

    return resampled


def summarize(curves: Curves, ious: Sequence[float], areas: Sequence[str], limits: Sequence[int]) -> dict[str, Any]:
    """The figures of curves by COCO's names."""
    figures: dict[str, float | None] = {"AP": _mean(curves.precision[0])}
    for name, wanted in (("AP50", 0.5), ("AP75", 0.75)):
        place = np.flatnonzero(np.isclose(ious, wanted))
        figures[name] = _mean(curves.precision[0, place[0]]) if len(place) else None
    figures |= {f"AP{name}": _mean(curves.precision[a]) for a, name in enumerate(areas) if a}
    named = {f"AR{limit}" if limit < EVERY else "AR": place for place, limit in enumerate(limits)}
    figures |= {name: _mean(curves.recall[0, :, :, place]) for name, place in named.items()}
    figures |= {f"AR{name}": _mean(curves.recall[a, :, :, -1]) for a, name in enumerate(areas) if a}
    return figures


def _mean(values: Float[ndarray, "..."]) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else None


def judge(
    table: Table,
    ious: Sequence[float] = IOUS,
    areas: Sequence[tuple[float, float]] = tuple(AREAS.values()),
    limit: int = MAX_DETECTIONS[-1],
    *,
    class_agnostic: bool = False,
) -> Verdicts:
    """Match the found objects of all images with the true ones, at every area range and IoU.

    Args:
        limit: found objects of a class in an image that take part, surest first.
    """
    kinds, true_kinds = table.labels, table.truth_labels
    table = table.without_classes() if class_agnostic else table
    # Of equal scores and IoUs, COCO goes by the order of entries; without classes, by the classes' order first.
    order = np.lexsort((kinds, -table.scores, table.labels, table.image))
    rank = _places(table.image[order], table.labels[order])
    order, rank = order[rank < limit], rank[rank < limit]
    turn = np.full(len(kinds), -1)
    turn[order] = np.arange(len(order))
    truth_place = np.empty(len(true_kinds), np.int64)
    truth_place[np.lexsort((true_kinds, table.truth_image))] = np.arange(len(true_kinds))

    overlap = np.where(table.ignore[table.truth], table.share, table.iou)
    least = np.minimum(ious, 1 - 1e-10)
    kept = np.flatnonzero(table.same_class & (turn[table.found] >= 0) & (overlap >= least.min(initial=1)))
    pairs = turn[table.found[kept]], table.truth[kept], overlap[kept], truth_place[table.truth[kept]]
    low, high = np.array(areas, float).T[:, :, None]  # A 1
    ignored = table.ignore | (table.truth_areas < low) | (table.truth_areas > high)
    outside = (table.found_areas[order] < low) | (table.found_areas[order] > high)
    partner = np.stack([_partners(pairs, table.ignore, of_area, least, len(order)) for of_area in ignored])
    matched = partner >= 0
    neither = matched & np.stack(
        [np.append(of_area, False)[of_found] for of_area, of_found in zip(ignored, partner, strict=True)]
    )
    final = np.lexsort((np.arange(len(order)), -table.scores[order], table.labels[order]))
    chosen = order[final]
    return Verdicts(
        table.image[chosen],
        table.labels[chosen],
        table.scores[chosen],
        rank[final],
        (matched & ~neither)[:, :, final],
        (~matched & ~outside[:, None])[:, :, final],
        table.truth_image,
        table.truth_labels,
        ~ignored,
        chosen,
        partner[:, :, final],
    )


def _places(image: Integer[ndarray, " N"], label: Integer[ndarray, " N"]) -> Integer[ndarray, " N"]:
    """The place of each entry in its group; entries of one image and label stand together."""
    fresh = np.ones(len(image), bool)
    fresh[1:] = (image[1:] != image[:-1]) | (label[1:] != label[:-1])
    first = np.flatnonzero(fresh)
    return np.arange(len(image)) - np.repeat(first, np.diff(np.append(first, len(image))))


def _partners(
    pairs: tuple[ndarray, ndarray, ndarray, ndarray], crowd: ndarray, ignored: ndarray, ious: ndarray, turns: int
) -> Integer[ndarray, "T N"]:
    """Whom each found object gets in one area range, or -1. It wants what counts first, then the largest overlap."""
    turn, truth, overlap, place = pairs
    order = np.lexsort((-place, -overlap, ignored[truth], turn))
    turn, truth, overlap = turn[order], truth[order], overlap[order]
    partners = np.full((len(ious), turns), -1, np.int32)
    for partner, iou in zip(partners, ious, strict=True):
        good = np.flatnonzero(overlap >= iou)
        taken = greedy(turn[good], truth[good], crowd, turns)
        matched = np.flatnonzero(taken >= 0)
        partner[matched] = truth[good][taken[matched]]
    return partners
