"""Record: what all metrics need of one image; Table: the same of a whole data set, as long arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer, Real
from numpy import ndarray

from apiece.instances import Instances
from apiece.masks import Size
from apiece.metrics.boundary import rims
from apiece.metrics.overlap import Overlap, box_overlap, mask_overlaps, overlap, run_overlap
from apiece.metrics.runs import row_runs
from apiece.metrics.unions import UnionPixels, union_pixels

Kind = Literal["segm", "bbox", "boundary"]


@dataclass(frozen=True)
class Record:
    """One image's found and true objects after comparison: fields and sparse overlaps, no pixels.

    Attributes:
        labels, scores: of the found objects; scores are 1 where a finding has none (label images).
        truth_labels, truth_areas, ignore: of the true objects; areas are the source's own where it gave some (COCO's
            `area`).
        masks, boxes: overlaps of masks and of boxes; None where there are no masks, or where they were not asked for.
        unions: pixels that objects cover together, by how they were grouped.
        rims: overlaps of the masks' rims, where they were asked for.
        distance: of the true objects from the camera in meters, where the truth says it.
    """

    name: str
    size: Size
    labels: Integer[ndarray, " N"]
    scores: Float[ndarray, " N"]
    truth_labels: Integer[ndarray, " M"]
    truth_areas: Float[ndarray, " M"]
    ignore: Bool[ndarray, " M"]
    masks: Overlap | None
    boxes: Overlap | None = None
    unions: dict[str, UnionPixels] = field(default_factory=dict)
    rims: Overlap | None = None
    distance: Float[ndarray, " M"] | None = None


def record(
    name: str,
    found: Instances,
    truth: Instances,
    *,
    masks: bool = True,
    boxes: bool = True,
    unions: Sequence[str] = (),
    rim: bool = False,
    compared: Overlap | None = None,
) -> Record:
    """Compare one image's found objects with its truth.

    Args:
        masks: compare masks, where both sides have them.
        boxes: compare boxes too (COCO's bbox figures); they always are where either side has no masks.
        unions: count the pixels of all objects together ("foreground") and of each class together ("classes").
        rim: compare the masks' rims too (boundary AP).
        compared: the overlap of the masks, where it is known already.
    """
    masked = masks and found.has_masks and truth.has_masks
    scores = np.ones(len(found)) if found.scores is None else found.scores
    mask_overlap, counted = compared, {}
    if masked and not unions:
        mask_overlap = overlap(found, truth) if compared is None else compared
    elif masked:
        # Pixels of unions are painted row by row.
        mine, theirs = row_runs(found), row_runs(truth)
        mask_overlap = run_overlap(mine, theirs, len(found), len(truth))
        for union in unions:
            sides = (found.labels, truth.labels) if union == "classes" else (0 * found.labels, 0 * truth.labels)
            counted[union] = union_pixels(mine, theirs, scores, truth.ignore, *sides, truth.size)
    return Record(
        name,
        truth.size,
        found.labels,
        scores,
        truth.labels,
        truth.areas,
        truth.ignore,
        mask_overlap,
        box_overlap(found.boxes, truth.boxes) if boxes or not masked else None,
        counted,
        overlap(rims(found), rims(truth)) if rim and masked else None,
        truth.columns["distance"].astype(np.float64) if "distance" in truth.columns else None,
    )


def records_of(
    images: Sequence[tuple[str, Instances, Instances]],
    *,
    masks: bool = True,
    boxes: bool = True,
    unions: Sequence[str] = (),
    rim: bool = False,
) -> list[Record]:
    """The same for several images, each with its name, found and true objects: faster than one after another."""
    masked = masks and not unions and all(found.has_masks and truth.has_masks for _, found, truth in images)
    known = mask_overlaps([(found, truth) for _, found, truth in images]) if masked else [None] * len(images)
    return [
        record(*image, masks=masks, boxes=boxes, unions=unions, rim=rim, compared=compared)
        for image, compared in zip(images, known, strict=True)
    ]


@dataclass(frozen=True)
class Table:
    """The records of a data set end to end: objects are numbered through all images.

    Attributes:
        names: of the images.
        image, labels, scores, found_areas: of each found object; its area is its mask's, or its box's where boxes are
            compared.
        truth_image, truth_labels, truth_areas, ignore: of each true object.
        found, truth, iou, share: of each pair: its objects, intersection over union, and the part of the found object
            inside.
    """

    names: tuple[str, ...]
    image: Integer[ndarray, " N"]
    labels: Integer[ndarray, " N"]
    scores: Float[ndarray, " N"]
    found_areas: Real[ndarray, " N"]
    truth_image: Integer[ndarray, " M"]
    truth_labels: Integer[ndarray, " M"]
    truth_areas: Float[ndarray, " M"]
    ignore: Bool[ndarray, " M"]
    found: Integer[ndarray, " P"]
    truth: Integer[ndarray, " P"]
    iou: Float[ndarray, " P"]
    share: Float[ndarray, " P"]
    dice: Float[ndarray, " P"]

    @classmethod
    def of(cls, records: Sequence[Record], kind: Kind = "segm") -> "Table":
        """Put records end to end. `kind` says whether masks or boxes count; boxes stand in where there are no masks."""
        counts, truths = [len(one.labels) for one in records], [len(one.truth_labels) for one in records]
        images, rims_too = np.arange(len(records)), kind == "boundary"
        pairs = _end_to_end([_overlap(one, kind) for one in records], counts, truths)
        return cls(
            tuple(one.name for one in records),
            np.repeat(images, counts),
            _joined([one.labels for one in records], np.int64),
            _joined([one.scores for one in records], np.float64),
            pairs.found_areas,
            np.repeat(images, truths),
            _joined([one.truth_labels for one in records], np.int64),
            _joined([one.truth_areas for one in records], np.float64),
            _joined([one.ignore for one in records], bool),
            pairs.found,
            pairs.truth,
            np.minimum(pairs.iou, _joined([_rim_ious(one) for one in records], float)) if rims_too else pairs.iou,
            pairs.share,
            pairs.dice,
        )

    @cached_property
    def same_class(self) -> Bool[ndarray, " P"]:
        """Pairs whose objects may match: of one class, or the true one is ignored whatever the class (label -1)."""
        label = self.truth_labels[self.truth]
        return (label == self.labels[self.found]) | ((label == -1) & self.ignore[self.truth])

    def mask_areas(self, records: Sequence[Record]) -> Real[ndarray, " M"]:
        """Pixels of each true object of the records that the table was made of, whatever areas the source gave."""
        return _joined([_overlap(one, "segm").truth_areas for one in records], np.float64)

    def without_classes(self) -> "Table":
        """All objects as if of one class."""
        return replace(self, labels=np.zeros_like(self.labels), truth_labels=np.zeros_like(self.truth_labels))

    def where(self, pairs: Bool[ndarray, " P"]) -> "Table":
        """Some of the pairs; the objects stay."""
        chosen = {name: getattr(self, name)[pairs] for name in ("found", "truth", "iou", "share", "dice")}
        return replace(self, **chosen)

    def keeping(self, kept: Bool[ndarray, " N"]) -> "Table":
        """Some of the found objects, with their pairs."""
        place = np.cumsum(kept) - 1
        fewer = self.where(kept[self.found])
        objects = {name: getattr(self, name)[kept] for name in ("image", "labels", "scores", "found_areas")}
        return replace(fewer, found=place[fewer.found], **objects)


def _end_to_end(overlaps: Sequence[Overlap], counts: Sequence[int], truths: Sequence[int]) -> Overlap:
    """The pairs of all images, of so many found and true objects each."""
    first, first_truth = np.cumsum([0, *counts])[:-1], np.cumsum([0, *truths])[:-1]
    return Overlap(
        _joined([one.found + start for one, start in zip(overlaps, first, strict=True)], np.int64),
        _joined([one.truth + start for one, start in zip(overlaps, first_truth, strict=True)], np.int64),
        _joined([one.intersection for one in overlaps], np.float64),
        _joined([one.found_areas for one in overlaps], np.float64),
        _joined([one.truth_areas for one in overlaps], np.float64),
    )


def _rim_ious(one: Record) -> Float[ndarray, " P"]:
    """The IoU of the rims of each pair of masks, 0 where they do not touch."""
    if one.rims is None or one.masks is None:
        raise ValueError(f"{one.name}: the rims were not compared.")
    width = len(one.truth_labels)
    result = np.zeros(len(one.masks))
    place = np.searchsorted(one.masks.found * width + one.masks.truth, one.rims.found * width + one.rims.truth)
    result[place] = one.rims.iou
    return result


def _overlap(one: Record, kind: Kind) -> Overlap:
    chosen = one.boxes if kind == "bbox" else one.masks
    if chosen is not None:
        return chosen
    other = one.masks if kind == "bbox" else one.boxes
    if other is None:
        raise ValueError(f"{one.name}: neither masks nor boxes were compared.")
    return other


def _joined(parts: Sequence[ndarray], kind: type) -> ndarray:
    return np.concatenate([np.zeros(0, kind), *parts]).astype(kind, copy=False)
