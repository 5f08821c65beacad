"""Instances: the objects of one image, with masks that never cost more than their boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from apiece import masks, polygons
from apiece.masks import Size
from apiece.stores import CropStore, LayerStore

if TYPE_CHECKING:
    import torch

Store = CropStore | LayerStore | None


class InstanceTensors(NamedTuple):
    """Instances on a device: what a loss needs of them.

    Attributes:
        layers: L H W, int64; object i is where some layer equals i + 1.
        labels: N, int64.
        ignore: N, bool.
        boxes: N 4, float32.
    """

    layers: torch.Tensor
    labels: torch.Tensor
    ignore: torch.Tensor
    boxes: torch.Tensor


class Instances:
    """N objects of one image of height H and width W.

    Make them with `from_dense`, `from_crops`, `from_label_map`, `from_layers`, `from_rle`, `from_polygons` or `from_boxes`. Masks are
    the truth: boxes and areas are read from them unless the source gave its own. Indexing (`found[found.scores > 0.5]`) filters every
    field at once. Nothing is ever changed in place.

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
        store: Store = None,
        scores: Any = None,
        ignore: Any = None,
        boxes: Any = None,
        areas: Any = None,
        columns: Mapping[str, Any] | None = None,
    ):
        count = len(labels)
        self.size: Size = (int(size[0]), int(size[1]))
        self.labels: Integer[ndarray, " N"] = np.asarray(labels, np.int64).reshape(count)
        self.scores: Float[ndarray, " N"] | None = None if scores is None else np.asarray(scores, np.float64)
        self.ignore: Bool[ndarray, " N"] = np.zeros(count, bool) if ignore is None else np.asarray(ignore, bool)
        self.columns: dict[str, ndarray] = {name: np.asarray(column) for name, column in (columns or {}).items()}
        self._store = store
        self._boxes = None if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 4)
        self._areas = None if areas is None else np.asarray(areas, np.float64)
        for name, field in self._fields():
            if len(field) != count:
                raise ValueError(
                    f"{count} labels, but {len(field)} {name}: every field needs one entry for each object."
                )

    def _fields(self) -> list[tuple[str, Any]]:
        named = [("scores", self.scores), ("ignore", self.ignore), ("boxes", self._boxes), ("areas", self._areas)]
        return [
            (name, field)
            for name, field in [*named, ("masks", self._store), *self.columns.items()]
            if field is not None
        ]

    # --- making ---

    @classmethod
    def empty(cls, size: Size, *, scored: bool = False) -> Instances:
        """An image without objects; `scored` if it is a method's finding rather than truth."""
        return cls.from_crops([], np.zeros((0, 4), np.int32), size, scores=np.zeros(0) if scored else None)

    @classmethod
    def from_crops(
        cls, crops: Sequence[Bool[ndarray, "_ _"]], boxes: Any, size: Size, labels: Any = None, **fields: Any
    ) -> Instances:
        """From masks cut to boxes `x1 y1 x2 y2` that lie in the image; empty borders of crops are cut away."""
        boxes = np.asarray(boxes, np.int64).reshape(-1, 4)
        tight = [masks.tighten(crop, (x1, y1)) for crop, (x1, y1, _, _) in zip(crops, boxes.tolist(), strict=True)]
        store = CropStore.pack(
            [crop for crop, _ in tight], np.array([box for _, box in tight], np.int64).reshape(-1, 4), size
        )
        return cls(size, np.zeros(len(crops)) if labels is None else labels, store=store, **fields)

    @classmethod
    def from_dense(cls, stack: Bool[ndarray, "N H W"], labels: Any = None, **fields: Any) -> Instances:
        """From one full-size mask for each object."""
        corners = [(0, 0, stack.shape[2], stack.shape[1])] * len(stack)
        return cls.from_crops(list(stack), corners, stack.shape[1:], labels, **fields)

    @classmethod
    def from_label_map(
        cls, label_map: Integer[ndarray, "H W"], labels: Any = None, *, values: Any = None, **fields: Any
    ) -> Instances:
        """From a label map, which stays where the masks lie; it is not copied and must not be changed afterwards.

        Args:
            values: the values that are objects, in their order; by default every positive value that occurs, ascending.
        """
        values = masks.label_values(label_map) if values is None else np.asarray(values, np.int64)
        store = LayerStore(label_map[None], np.zeros(len(values), np.int64), values)
        return cls(label_map.shape, np.zeros(len(values)) if labels is None else labels, store=store, **fields)

    @classmethod
    def from_layers(cls, layers: Integer[ndarray, "L H W"], labels: Any = None, **fields: Any) -> Instances:
        """From label layers, which are not copied: each positive value is one object, on one layer only; ascending order.

        Raises:
            ValueError: a value occurs on two layers.
        """
        found = [masks.label_values(layer) for layer in layers]
        values = np.concatenate(found) if found else np.zeros(0, np.int64)
        layer = np.repeat(np.arange(len(found)), [len(of_layer) for of_layer in found])
        order = np.argsort(values, kind="stable")
        if len(np.unique(values)) != len(values):
            raise ValueError("a label occurs on two layers: each object must lie on one layer.")
        store = LayerStore(layers, layer[order], values[order])
        return cls(layers.shape[1:], np.zeros(len(values)) if labels is None else labels, store=store, **fields)

    @classmethod
    def from_rle(cls, runs: Iterable[Mapping[str, Any]], size: Size, labels: Any = None, **fields: Any) -> Instances:
        """From COCO's run lengths `{"size": [h, w], "counts": list, str or bytes}`.

        Raises:
            ValueError: runs that are damaged or made for another size.
        """
        crops, boxes = [], []
        for run in runs:
            if tuple(run["size"]) != tuple(size):
                raise ValueError(f"run lengths for an image of {run['size']}, but the image is {list(size)}")
            counts = run["counts"]
            crop, box = masks.counts_to_crop(
                masks.expand_counts(counts) if isinstance(counts, str | bytes) else counts, size
            )
            crops.append(crop)
            boxes.append(box)
        return cls.from_crops(crops, boxes, size, labels, **fields)

    @classmethod
    def from_polygons(
        cls, outlines: Iterable[Sequence[Any]], size: Size, labels: Any = None, **fields: Any
    ) -> Instances:
        """From polygons: for each object the rings whose union it is, each a sequence of `x y` points, rasterised by COCO's rule."""
        pairs = [
            polygons.polygons_to_crop([np.asarray(ring, float).reshape(-1, 2) for ring in rings], size)
            for rings in outlines
        ]
        return cls.from_crops([crop for crop, _ in pairs], [box for _, box in pairs], size, labels, **fields)

    @classmethod
    def from_boxes(cls, boxes: Any, size: Size, labels: Any = None, **fields: Any) -> Instances:
        """Boxes `x1 y1 x2 y2` without masks."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        return cls(size, np.zeros(len(boxes)) if labels is None else labels, boxes=boxes, **fields)

    # --- reading ---

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        kind = "boxes" if not self.has_masks else "objects"
        return f"Instances({len(self)} {kind} in {self.size[0]} x {self.size[1]}, {'truth' if self.scores is None else 'scored'})"

    def __getitem__(self, index: Any) -> Instances:
        """Some of the objects: a number, a slice, indices or a bool mask."""
        indices = np.atleast_1d(np.arange(len(self))[index])

        def chosen(field: Any) -> Any:
            return None if field is None else field[indices]

        return Instances(
            self.size,
            self.labels[indices],
            store=None if self._store is None else self._store.select(indices),
            scores=chosen(self.scores),
            ignore=self.ignore[indices],
            boxes=chosen(self._boxes),
            areas=chosen(self._areas),
            columns={name: column[indices] for name, column in self.columns.items()},
        )

    def replace(self, **fields: Any) -> Instances:
        """The same objects with some of `labels`, `scores`, `ignore`, `boxes`, `areas`, `columns` exchanged (None removes)."""
        kept = {
            "labels": self.labels,
            "scores": self.scores,
            "ignore": self.ignore,
            "boxes": self._boxes,
            "areas": self._areas,
        }
        merged = {**kept, "columns": self.columns, **fields}
        return Instances(self.size, merged.pop("labels"), store=self._store, **merged)

    @property
    def has_masks(self) -> bool:
        """False for results that are boxes only."""
        return self._store is not None

    @property
    def store(self) -> CropStore | LayerStore:
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
        """Area of each object in pixels: the source's own where it gave some, else the masks' (the boxes' where there are none)."""
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

    def crops(self) -> Iterable[Bool[ndarray, "_ _"]]:
        """Each object's mask inside its box, one at a time."""
        return (self.store.crop(index) for index in range(len(self)))

    # --- other forms ---

    def dense(self) -> Bool[ndarray, "N H W"]:
        """One full-size mask for each object. Costs N x H x W bytes: for small images and tests."""
        stack = np.zeros((len(self), *self.size), bool)
        for plane, crop, (x1, y1, x2, y2) in zip(stack, self.crops(), self.mask_boxes.tolist(), strict=True):
            plane[y1:y2, x1:x2] = crop
        return stack

    def layers(self) -> Integer[ndarray, "L H W"]:
        """All objects whole on a few label layers, object i with value i + 1. Not to be written to: it may be the masks' own place."""
        return self.store.layers()

    def label_map(self, rows: slice = slice(None)) -> Integer[ndarray, "h W"]:
        """All objects on one map, object i with value i + 1: where several lie the smallest is seen, of equal ones the first.

        Not to be written to: it may be the place where the masks lie.

        Args:
            rows: only these rows of the image; writers go strip by strip.
        """
        store = self.store
        if isinstance(store, LayerStore) and len(store.planes) == 1:
            return store.renumbered(0, rows)
        top, bottom, _ = rows.indices(self.size[0])
        painted = np.zeros((bottom - top, self.size[1]), masks.label_type(len(self)))
        boxes = self.mask_boxes
        for index in np.lexsort((-np.arange(len(self)), -self.mask_areas)).tolist():
            x1, y1, x2, y2 = boxes[index].tolist()
            first, last = max(y1, top), min(y2, bottom)
            if first < last:
                crop = self.crop(index, slice(first - y1, last - y1))
                painted[first - top : last - top, x1:x2][crop] = index + 1
        return painted

    def with_layers(self, layers: Integer[ndarray, "L H W"]) -> Instances:
        """These objects after their `layers()` were moved or cut: those left without a pixel are gone, given boxes and areas too."""
        moved = Instances.from_layers(layers)
        kept = moved.store.value - 1 if isinstance(moved.store, LayerStore) else np.zeros(0, np.int64)
        rest = self.replace(boxes=None, areas=None)
        scores = None if rest.scores is None else rest.scores[kept]
        columns = {name: column[kept] for name, column in rest.columns.items()}
        return Instances(
            moved.size, rest.labels[kept], store=moved.store, scores=scores, ignore=rest.ignore[kept], columns=columns
        )

    def rle(self) -> list[dict[str, Any]]:
        """COCO's compressed run lengths of each object."""
        size = list(self.size)
        counts = (
            masks.crop_to_counts(crop, box, self.size)
            for crop, box in zip(self.crops(), map(tuple, self.mask_boxes.tolist()), strict=True)
        )
        return [{"size": size, "counts": masks.compress_counts(runs, self.size)} for runs in counts]

    def polygons(self) -> list[list[list[Integer[ndarray, "_ 2"]]]]:
        """For each object its parts, for each part the outer ring and the holes' rings (see `polygons.crop_to_polygons`)."""
        corners = self.mask_boxes[:, :2].tolist()
        return [polygons.crop_to_polygons(crop, (x, y)) for crop, (x, y) in zip(self.crops(), corners, strict=True)]

    def to(self, device: torch.device | str) -> InstanceTensors:
        """Label layers and fields as tensors on a device."""
        import torch

        return InstanceTensors(
            torch.as_tensor(self.layers().astype(np.int64), device=device),
            torch.as_tensor(self.labels, device=device),
            torch.as_tensor(self.ignore, device=device),
            torch.as_tensor(self.boxes, dtype=torch.float32, device=device),
        )

    def equals(self, other: Instances) -> bool:
        """The same objects in the same order, to the last pixel and field?"""
        mine, yours = dict(self._fields()), dict(other._fields())
        if self.size != other.size or len(self) != len(other) or mine.keys() != yours.keys():
            return False
        arrays = [name for name in mine if name != "masks"]
        if not all(np.array_equal(mine[name], yours[name]) for name in arrays) or (self.labels != other.labels).any():
            return False
        if not self.has_masks:
            return True
        if (self.mask_boxes != other.mask_boxes).any():
            return False
        return all(np.array_equal(a, b) for a, b in zip(self.crops(), other.crops(), strict=True))


def concatenate(pieces: Sequence[Instances]) -> Instances:
    """All objects of several findings in one image, in order. Scores, given boxes and areas, and columns must be in all or in none.

    Raises:
        ValueError: no pieces, different image sizes, or fields that only some have.
    """
    if not pieces:
        raise ValueError("nothing to concatenate.")
    if (
        len({piece.size for piece in pieces}) > 1
        or len({tuple(name for name, _ in piece._fields()) for piece in pieces}) > 1
    ):
        raise ValueError("only objects of one image and with the same fields can be concatenated.")
    joined = {
        name: np.concatenate([dict(piece._fields())[name] for piece in pieces])
        for name, _ in pieces[0]._fields()
        if name != "masks"
    }
    named = {name: joined.pop(name, None) for name in ("scores", "ignore", "boxes", "areas")}
    store = None
    if pieces[0].has_masks:
        stores = [piece.store if isinstance(piece.store, CropStore) else piece.store.packed() for piece in pieces]
        starts = np.cumsum([0, *(len(one.bits) for one in stores)])
        offsets = np.concatenate(
            [one.offsets[:-1] + start for one, start in zip(stores, starts[:-1], strict=True)] + [starts[-1:]]
        )
        boxes = np.concatenate([one.boxes for one in stores])
        store = CropStore(pieces[0].size, boxes, np.concatenate([one.bits for one in stores]), offsets)
    labels = np.concatenate([piece.labels for piece in pieces])
    return Instances(pieces[0].size, labels, store=store, columns=joined, **named)
