"""Instances: the objects of one image, with masks that never cost more than their boxes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from apiece import forms
from apiece.fields import Fields, demand_rows, joined
from apiece.masks import Size
from apiece.stores import CropStore, Store
from apiece.tensors import InstanceTensors

if TYPE_CHECKING:
    import torch


class Instances:
    """N objects of one image of height H and width W.

    Make them with `from_dense`, `from_crops`, `from_label_map`, `from_layers`, `from_rle`, `from_polygons` or
    `from_boxes`, whose further keywords are the fields below. Masks are the truth: boxes and areas are read from them
    unless the source gave its own. Indexing (`found[found.scores > 0.5]`) filters every field at once. Nothing is ever
    changed in place, nor are the arrays to be written to: they may be the place where the masks lie.

    Attributes:
        size: height and width of the image.
        labels: N, the class of each object from 0; -1 = any class (only for ignored ones).
        scores: N, or None for truth.
        ignore: N, True for crowds, groups and void: neither right nor wrong.
        columns: further named arrays of N rows (order, distance, id).
    """

    def __init__(
        self,
        size: Size,
        labels: Any,
        *,
        store: Store | None = None,
        scores: Any = None,
        ignore: Any = None,
        boxes: Any = None,
        areas: Any = None,
        columns: Mapping[str, Any] | None = None,
    ):
        rows = Fields.of(labels, scores=scores, ignore=ignore, boxes=boxes, areas=areas, columns=columns)
        if store is not None:
            demand_rows("masks", len(store), len(rows.labels))
        self.size: Size = (int(size[0]), int(size[1]))
        self.labels: Integer[ndarray, " N"] = rows.labels
        self.scores: Float[ndarray, " N"] | None = rows.scores
        self.ignore: Bool[ndarray, " N"] = rows.ignore
        self.columns: dict[str, ndarray] = rows.columns
        self._boxes, self._areas, self._store = rows.boxes, rows.areas, store

    @property
    def _fields(self) -> Fields:
        return Fields(self.labels, self.scores, self.ignore, self._boxes, self._areas, self.columns)

    @classmethod
    def _of(cls, store: Store, labels: Any, fields: Mapping[str, Any]) -> Instances:
        return cls(store.size, np.zeros(len(store)) if labels is None else labels, store=store, **fields)

    @classmethod
    def empty(cls, size: Size, *, scored: bool = False) -> Instances:
        """An image without objects; `scored` if it is a method's finding rather than truth."""
        return cls.from_crops([], np.zeros((0, 4), np.int32), size, scores=np.zeros(0) if scored else None)

    @classmethod
    def from_crops(
        cls, crops: Sequence[Bool[ndarray, "_ _"]], boxes: Any, size: Size, labels: Any = None, **fields: Any
    ) -> Instances:
        """From masks cut to boxes `x1 y1 x2 y2` that lie in the image; empty borders of crops are cut away."""
        return cls._of(forms.from_crops(crops, boxes, size), labels, fields)

    @classmethod
    def from_dense(cls, stack: Bool[ndarray, "N H W"], labels: Any = None, **fields: Any) -> Instances:
        """From one full-size mask for each object."""
        return cls._of(forms.from_dense(stack), labels, fields)

    @classmethod
    def from_label_map(
        cls, label_map: Integer[ndarray, "H W"], labels: Any = None, *, values: Any = None, **fields: Any
    ) -> Instances:
        """From a label map, which stays where the masks lie; it is not copied and must not be changed afterwards.

        Args:
            values: the values that are objects, in their order; by default all positive ones that occur, ascending.
        """
        return cls._of(forms.from_label_map(label_map, values), labels, fields)

    @classmethod
    def from_layers(cls, layers: Integer[ndarray, "L H W"], labels: Any = None, **fields: Any) -> Instances:
        """From label layers, which are not copied: each positive value is one object, on one layer only; ascending.

        Raises:
            ValueError: a value occurs on two layers.
        """
        return cls._of(forms.from_layers(layers), labels, fields)

    @classmethod
    def from_rle(cls, runs: Iterable[Mapping[str, Any]], size: Size, labels: Any = None, **fields: Any) -> Instances:
        """From COCO's run lengths `{"size": [h, w], "counts": list, str or bytes}`.

        Raises:
            ValueError: runs that are damaged or made for another size.
        """
        return cls._of(forms.from_rle(runs, size), labels, fields)

    @classmethod
    def from_polygons(cls, outlines: Iterable[Sequence], size: Size, labels: Any = None, **fields: Any) -> Instances:
        """From polygons: for each object the rings of `x y` points whose union it is, rasterized by COCO's rule."""
        return cls._of(forms.from_polygons(outlines, size), labels, fields)

    @classmethod
    def from_boxes(cls, boxes: Any, size: Size, labels: Any = None, **fields: Any) -> Instances:
        """Boxes `x1 y1 x2 y2` without masks."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        return cls(size, np.zeros(len(boxes)) if labels is None else labels, boxes=boxes, **fields)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        kind, origin = "objects" if self.has_masks else "boxes", "truth" if self.scores is None else "scored"
        return f"Instances({len(self)} {kind} in {self.size[0]} x {self.size[1]}, {origin})"

    def __getitem__(self, index: Any) -> Instances:
        """Some of the objects: a number, a slice, indices or a bool mask."""
        indices = np.atleast_1d(np.arange(len(self))[index])
        store = None if self._store is None else self._store.select(indices)
        return Instances(self.size, store=store, **vars(self._fields.chosen(indices)))

    def replace(self, **fields: Any) -> Instances:
        """The same objects with other `labels`, `scores`, `ignore`, `boxes`, `areas` or `columns` (None removes)."""
        return Instances(self.size, store=self._store, **{**vars(self._fields), **fields})

    @property
    def has_masks(self) -> bool:
        """False for results that are boxes only."""
        return self._store is not None

    @property
    def store(self) -> Store:
        """Where the masks lie.

        Raises:
            ValueError: these objects have boxes only.
        """
        if self._store is None:
            raise ValueError("these objects have boxes only, no masks.")
        return self._store

    @property
    def boxes(self) -> Float[ndarray, "N 4"]:
        """`x1 y1 x2 y2` of each object: the source's own where it gave some, else the masks'."""
        return self._boxes if self._boxes is not None else self.store.boxes.astype(np.float64)

    @property
    def areas(self) -> Float[ndarray, " N"]:
        """Pixels of each object: the source's own figure where it gave one, else the mask's, or the box's without."""
        if self._areas is not None:
            return self._areas
        if self._store is not None:
            return self._store.areas.astype(np.float64)
        return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(1)

    @property
    def mask_boxes(self) -> Integer[ndarray, "N 4"]:
        """The smallest boxes that hold the masks."""
        return self.store.boxes

    @property
    def mask_areas(self) -> Integer[ndarray, " N"]:
        """Pixels of the masks."""
        return self.store.areas

    def crop(self, index: int, rows: slice = slice(None)) -> Bool[ndarray, "h w"]:
        """One object's mask inside its `mask_boxes` entry, or some rows of it."""
        return self.store.crop(index, rows)

    def crops(self) -> Iterator[Bool[ndarray, "_ _"]]:
        """Each object's mask inside its box, one at a time."""
        return forms.crops(self.store)

    def dense(self) -> Bool[ndarray, "N H W"]:
        """One full-size mask for each object. Costs N x H x W bytes: for small images and tests."""
        return forms.dense(self.store)

    def layers(self) -> Integer[ndarray, "L H W"]:
        """All objects whole on a few label layers, object i with value i + 1."""
        return self.store.layers()

    def label_map(self, rows: slice = slice(None)) -> Integer[ndarray, "h W"]:
        """All objects on one map, object i with value i + 1: of several the smallest is seen, of equal ones the first.

        Args:
            rows: only these rows of the image; writers go strip by strip.
        """
        return forms.label_map(self.store, rows)

    def with_layers(self, layers: Integer[ndarray, "L H W"]) -> Instances:
        """These objects on moved or cut `layers()`; those left without a pixel are gone, given boxes and areas too."""
        store = forms.from_layers(layers)
        fields = vars(self._fields.chosen(store.value - 1))
        return Instances(store.size, store=store, **{**fields, "boxes": None, "areas": None})

    def resized(self, size: Size) -> Instances:
        """These objects in the image at another size, where each pixel takes what its center lies on in their layers.

        Those left without a pixel are gone, given boxes and areas too; at their own size they stay as they are.
        """
        return self if size == self.size else self.with_layers(forms.resized(self.layers(), size))

    def rle(self) -> list[dict[str, Any]]:
        """COCO's compressed run lengths of each object."""
        return forms.rle(self.store)

    def polygons(self) -> list[list[list[Integer[ndarray, "_ 2"]]]]:
        """For each object its parts, for each part the outer ring and its holes' (see `polygons.crop_to_polygons`)."""
        return forms.outlines(self.store)

    def to(self, device: torch.device | str) -> InstanceTensors:
        """Label layers and fields as tensors on a device."""
        return InstanceTensors.of(self.layers(), self.labels, self.ignore, self.boxes, device)

    def equals(self, other: Instances) -> bool:
        """The same objects in the same order, to the last pixel and field?"""
        if self.size != other.size or self.has_masks != other.has_masks or not self._fields.equals(other._fields):
            return False
        return not self.has_masks or forms.same(self.store, other.store)


def concatenate(pieces: Sequence[Instances]) -> Instances:
    """All objects of several findings in one image, in order.

    Raises:
        ValueError: no pieces, different image sizes, or fields (given boxes and areas among them) that only some have.
    """
    if not pieces:
        raise ValueError("nothing to concatenate.")
    if len({(piece.size, piece.has_masks, piece._fields.kind) for piece in pieces}) > 1:
        raise ValueError("only objects of one image and with the same fields can be concatenated.")
    store = CropStore.joined([piece.store for piece in pieces]) if pieces[0].has_masks else None
    return Instances(pieces[0].size, store=store, **vars(joined([piece._fields for piece in pieces])))
