"""Scorer: images one after another, figures of all metrics at the end."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from apiece.errors import CallError, InputError
from apiece.instances import Instances
from apiece.metrics import bootstrap, cityscapes, coco, counts, leaves, matching, mistakes, semantic, voc
from apiece.metrics.diagnosis import Diagnosis, diagnose
from apiece.metrics.operating_point import best_threshold
from apiece.metrics.report import Report
from apiece.metrics.table import Record, records_of

METRICS = ("coco", "matching", "leaves", "voc", "semantic", "counts", "boundary", "cityscapes", "errors")
DECIDING = ("matching", "leaves", "semantic", "counts", "errors")
"""Metrics that go by the operating point."""
UNIONS = {"leaves": "foreground", "semantic": "classes"}


def wanted(metrics: Sequence[str], class_agnostic: bool, coco_options: dict[str, Any]) -> dict[str, Any]:
    """What of each image has to be compared for some metrics: arguments of `records_of`."""
    kinds = coco_options.get("kinds", ("segm", "bbox")) if "coco" in metrics else ()
    area = coco_options.get("found_area")
    return {
        "masks": set(metrics) != {"coco"} or "segm" in kinds or area == "segm",
        "boxes": "bbox" in kinds or area == "bbox",
        "unions": sorted({"foreground" if class_agnostic else UNIONS[name] for name in metrics if name in UNIONS}),
        "rim": "boundary" in metrics,
    }


class Scorer:
    """Takes images one after another and keeps only what the metrics need of each: sparse overlaps, no pixels.

    Args:
        classes: names of the classes; labels are indices into it.
        metrics: which figures the report has, of `METRICS`.
        threshold: the operating point: found objects with a lower score are left out of everything but AP.
        class_agnostic: objects match whatever their class, as if there were one.
        coco_options: further arguments of `metrics.coco.coco` (IoUs, areas, maximum detections).

    Raises:
        CallError: a metric that does not exist.
    """

    def __init__(
        self,
        classes: Sequence[str],
        metrics: Sequence[str] = ("matching", "coco"),
        *,
        threshold: float | None = None,
        class_agnostic: bool = False,
        coco_options: dict[str, Any] | None = None,
    ):
        for name in metrics:
            if name not in METRICS:
                raise CallError(f"there is no metric {name!r}: choose from {', '.join(METRICS)}.")
        self.classes = tuple(classes)
        self.metrics = tuple(metrics)
        self.threshold = threshold
        self.class_agnostic = class_agnostic
        self.coco_options = coco_options or {}
        self.wanted = wanted(metrics, class_agnostic, self.coco_options)
        self.records: list[Record] = []
        self.notes: list[str] = []

    def add(self, name: str, found: Instances, truth: Instances) -> None:
        """Compare one image.

        Raises:
            InputError: found and true objects are of different image sizes, a score is not a number, or there are boxes
                only where a metric needs masks.
        """
        self.records += self.compared([(name, found, truth)])

    def compared(self, images: Sequence[tuple[str, Instances, Instances]]) -> list[Record]:
        """Some images, each with its name, found and true objects, compared as by `add` but not kept."""
        for image in images:
            self._check(*image)
        return records_of(images, **self.wanted)

    def _check(self, name: str, found: Instances, truth: Instances) -> None:
        if found.size != truth.size:
            ours, theirs = (f"{height} x {width}" for height, width in (found.size, truth.size))
            raise InputError(
                f"{name}: the found objects are of an image of {ours} pixels, but the truth is of {theirs}."
            )
        if found.scores is not None and np.isnan(found.scores).any():
            place = int(np.isnan(found.scores).argmax())
            raise InputError(f"{name}: the score of found object {place} is not a number.")
        if "boundary" in self.metrics and not (found.has_masks and truth.has_masks):
            raise InputError(f"{name}: boundary figures need masks, but there are boxes only.")

    def best_threshold(self, figure: Literal["accuracy", "f1"] = "accuracy", iou: float = 0.5) -> tuple[float, float]:
        """The threshold with the best matching figure over the images so far, and that figure."""
        return best_threshold(self.records, figure, iou=iou, class_agnostic=self.class_agnostic)

    def report(self, threshold: float | None = None, *, intervals: bool = False) -> Report:
        """All figures of the images so far.

        Args:
            threshold: the operating point in place of the scorer's own.
            intervals: add 95 % confidence intervals of the main figures, by resampling the images.
        """
        threshold = self.threshold if threshold is None else threshold
        calls = _calls(self, threshold)
        figures: dict[str, Any] = {"images": len(self.records), "threshold": threshold}
        figures |= {name: calls[name][0]() for name in self.metrics}
        if intervals:
            figures["intervals"] = {
                name: bootstrap.intervals(calls[name][1](), len(self.records))
                for name in self.metrics
                if len(calls[name]) > 1
            }
        rows = [{"name": one.name} for one in self.records]
        for name in self.metrics:
            of_images = calls[name][2]() if len(calls[name]) > 2 else rows
            rows = [row | more for row, more in zip(rows, of_images, strict=True)]
        diagnosed = partial(_diagnosed, self, tuple(self.records), threshold)
        return Report(figures, rows, diagnosed, (*self.notes, *self._warnings(threshold)))

    def _warnings(self, threshold: float | None) -> list[str]:
        """What a reader of the figures should know."""
        deciding = [name for name in self.metrics if name in DECIDING]
        scores = [one.scores for one in self.records if len(one.scores)]
        if threshold is not None or not deciding or not any((some != scores[0][0]).any() for some in scores):
            return []
        return [f"No threshold: in {', '.join(deciding)} every found object counts, however low its score."]


def _diagnosed(scorer: Scorer, records: Sequence[Record], threshold: float | None) -> Diagnosis:
    limits = scorer.coco_options.get("max_detections", coco.MAX_DETECTIONS)
    records = _one_class(records) if scorer.class_agnostic else records
    options: dict[str, Any] = {"threshold": threshold, "class_agnostic": scorer.class_agnostic, "limit": max(limits)}
    return diagnose(records, scorer.classes, **options)


def _one_class(records: Sequence[Record]) -> list[Record]:
    """The records as if all objects were of the first class; what is void for any class stays so."""
    return [
        replace(
            one,
            labels=np.zeros_like(one.labels),
            truth_labels=np.minimum(one.truth_labels, 0),
            unions=dict.fromkeys(("foreground", "classes"), one.unions["foreground"]) if one.unions else {},
        )
        for one in records
    ]


def _calls(scorer: Scorer, threshold: float | None) -> dict[str, tuple[Callable[[], Any], ...]]:
    """For each metric what gives its figures, its resampler and, where there are, the figures of each image."""
    first = (scorer.records, scorer.classes)
    # COCO's own rule for objects without classes breaks ties by class; the others need no more than one class.
    plain = (_one_class(scorer.records), ("object",)) if scorer.class_agnostic else first
    point: dict[str, Any] = {"threshold": threshold}
    match: dict[str, Any] = {**point, "class_agnostic": scorer.class_agnostic}
    options: dict[str, Any] = {"class_agnostic": scorer.class_agnostic, **scorer.coco_options}
    few = {key: options[key] for key in ("class_agnostic", "max_detections") if key in options}
    return {
        "coco": (partial(coco.coco, *first, **options), partial(coco.coco_resampler, *first, **few)),
        "boundary": (
            partial(_boundary, *first, options),
            partial(coco.coco_resampler, *first, kind="boundary", **few),
        ),
        "matching": (
            partial(matching.matching, *first, **match),
            partial(matching.matching_resampler, scorer.records, **match),
            partial(matching.matching_rows, scorer.records, **match),
        ),
        "leaves": tuple(
            partial(call, scorer.records, **point)
            for call in (leaves.leaves, leaves.leaves_resampler, leaves.leaf_rows)
        ),
        "cityscapes": tuple(partial(call, *plain) for call in (cityscapes.cityscapes, cityscapes.cityscapes_resampler)),
        "voc": (partial(voc.voc, *plain), partial(voc.voc_resampler, *plain)),
        "semantic": tuple(partial(call, *plain, **point) for call in (semantic.semantic, semantic.semantic_resampler)),
        "errors": (partial(mistakes.errors, *plain, **point),),
        "counts": tuple(partial(call, *plain, **point) for call in (counts.counts, counts.counts_resampler)),
    }


def _boundary(records: Sequence[Record], classes: Sequence[str], options: dict[str, Any]) -> dict[str, Any]:
    return coco.coco(records, classes, **{**options, "kinds": ["boundary"]})["boundary"]


def compare(scorer: Scorer, other: Scorer, threshold: float | None = None) -> dict[str, Any]:
    """For each metric that both have: the first's main figures minus the other's, with 95 % intervals, paired by image.

    Raises:
        CallError: they were not given the same images in the same order, or one has masks and the other has not.
    """
    if [one.name for one in scorer.records] != [one.name for one in other.records]:
        raise CallError("only findings in the same images can be compared.")
    if [one.masks is None for one in scorer.records] != [one.masks is None for one in other.records]:
        raise CallError("findings with masks cannot be compared with findings that are boxes only.")
    mine, theirs = (_calls(one, one.threshold if threshold is None else threshold) for one in (scorer, other))
    return {
        name: bootstrap.differences(mine[name][1](), theirs[name][1](), len(scorer.records))
        for name in scorer.metrics
        if name in other.metrics and len(mine[name]) > 1
    }
