"""Where the masks of `Instances` lie: packed bits of crops, or the run lengths or label layers they were read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from numpy import ndarray

from apiece.masks import LARGE, Size, bit_counts, first_fit, label_areas, label_boxes, label_type, renumber
from apiece.run_lengths import ColumnRuns, cumulated


@dataclass(frozen=True)
class CropStore:
    """N masks as bits, each cut to its box and padded to whole bytes, one after another in one buffer.

    Attributes:
        size: height and width of the image.
        boxes: `x1 y1 x2 y2` of each crop, inside the image.
        bits: all crops' bits, row by row.
        offsets: where each crop's bytes begin; one more at the end.
    """

    size: Size
    boxes: Integer[ndarray, "N 4"]
    bits: UInt8[ndarray, " bytes"]
    offsets: Integer[ndarray, " N+1"]

    @classmethod
    def pack(cls, crops: Sequence[Bool[ndarray, "_ _"]], boxes: Integer[ndarray, "N 4"], size: Size) -> "CropStore":
        """Pack crops whose boxes lie in the image."""
        packed = [np.packbits(crop) for crop in crops]
        offsets = np.cumsum([0, *map(len, packed)])
        bits = np.concatenate(packed) if packed else np.zeros(0, np.uint8)
        return cls(size, np.asarray(boxes, np.int32).reshape(-1, 4), bits, offsets)

    @classmethod
    def joined(cls, stores: "Sequence[Store]") -> "CropStore":
        """The masks of one or more stores of one image, in order."""
        packed = [store if isinstance(store, CropStore) else store.packed() for store in stores]
        starts = np.cumsum([0, *(len(store.bits) for store in packed)])
        offsets = [store.offsets[:-1] + start for store, start in zip(packed, starts[:-1], strict=True)]
        boxes = np.concatenate([store.boxes for store in packed])
        bits = np.concatenate([store.bits for store in packed])
        return cls(packed[0].size, boxes, bits, np.concatenate([*offsets, starts[-1:]]))

    def __len__(self) -> int:
        return len(self.boxes)

    @cached_property
    def areas(self) -> Integer[ndarray, " N"]:
        """Pixels of each mask."""
        return bit_counts(self.bits, self.offsets)

    def crop(self, index: int, rows: slice = slice(None)) -> Bool[ndarray, "h w"]:
        """The mask of one object inside its box, or some rows of it; others are not unpacked."""
        x1, y1, x2, y2 = self.boxes[index].tolist()
        width = x2 - x1
        top, bottom, _ = rows.indices(y2 - y1)
        pixels, (byte, bit) = max(bottom - top, 0) * width, divmod(top * width, 8)
        bits = self.bits[self.offsets[index] + byte : self.offsets[index + 1]][: (bit + pixels + 7) // 8]
        return np.unpackbits(bits, count=bit + pixels)[bit:].view(bool).reshape(-1 if width else 0, width)

    def select(self, indices: Integer[ndarray, " M"]) -> "CropStore":
        """The store of some of the objects, in the order of `indices`."""
        pieces = [self.bits[self.offsets[i] : self.offsets[i + 1]] for i in indices.tolist()]
        bits = np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
        offsets = np.concatenate([[0], np.cumsum(np.diff(self.offsets)[indices])]).astype(np.int64)
        return CropStore(self.size, self.boxes[indices], bits, offsets)

    def layers(self) -> Integer[ndarray, "L H W"]:
        """Label layers that hold every object whole, numbered from 1."""
        return first_fit([self.crop(i) for i in range(len(self))], self.boxes, self.size)


@dataclass(frozen=True)
class RunStore:
    """N masks as COCO's runs: stretches of pixels counted down the columns of the image.

    Attributes:
        size: height and width of the image.
        start, stop: of each stretch, ascending within a mask; none is of no length, none touch.
        offsets: where each mask's stretches begin; one more at the end.
    """

    size: Size
    start: Integer[ndarray, " R"]
    stop: Integer[ndarray, " R"]
    offsets: Integer[ndarray, " offsets"]

    @classmethod
    def of(cls, runs: ColumnRuns, size: Size, first: int, last: int) -> "RunStore":
        """The masks first..last - 1 of some that were read together, which are of one image."""
        begin, end = runs.offsets[[first, last]].tolist()
        return cls(size, runs.start[begin:end], runs.stop[begin:end], runs.offsets[first : last + 1] - begin)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def boxes(self) -> Integer[ndarray, "N 4"]:
        """Boxes `x1 y1 x2 y2` of the masks; zeros for an empty one."""
        boxes = np.zeros((len(self), 4), np.int32)
        inked = np.flatnonzero(np.diff(self.offsets))
        if len(inked):
            height = self.size[0]
            (first, top), (last, bottom) = np.divmod(self.start, height), np.divmod(self.stop - 1, height)
            # A stretch that goes on in the next column touches foot and head.
            across, begin = first != last, self.offsets[inked]
            boxes[inked, 0] = first[begin]
            boxes[inked, 1] = np.minimum.reduceat(np.where(across, 0, top), begin)
            boxes[inked, 2] = last[self.offsets[inked + 1] - 1] + 1
            boxes[inked, 3] = np.maximum.reduceat(np.where(across, height - 1, bottom), begin) + 1
        return boxes

    @cached_property
    def areas(self) -> Integer[ndarray, " N"]:
        """Pixels of each mask."""
        return np.diff(cumulated(self.stop - self.start)[self.offsets])

    def crop(self, index: int, rows: slice = slice(None)) -> Bool[ndarray, "h w"]:
        """The mask of one object inside its box, or some rows of it."""
        x1, y1, x2, y2 = self.boxes[index].tolist()
        height, stretches = y2 - y1, slice(self.offsets[index], self.offsets[index + 1])
        # Inside the box the columns are shorter.
        first, top = np.divmod(self.start[stretches], self.size[0])
        last, bottom = np.divmod(self.stop[stretches] - 1, self.size[0])
        change = np.zeros((x2 - x1) * height + 1, np.int8)
        change[(first - x1) * height + top - y1] = 1
        change[(last - x1) * height + bottom - y1 + 1] -= 1
        columns = np.cumsum(change[:-1], dtype=np.int8).view(bool).reshape(x2 - x1, height)
        return np.ascontiguousarray(columns.T[rows])

    def select(self, indices: Integer[ndarray, " M"]) -> "RunStore":
        """The store of some of the objects, in the order of `indices`."""
        counts = np.diff(self.offsets)[indices]
        offsets = cumulated(counts)
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[indices] - offsets[:-1], counts)
        return RunStore(self.size, self.start[place], self.stop[place], offsets)

    def layers(self) -> Integer[ndarray, "L H W"]:
        """Label layers that hold every object whole, numbered from 1."""
        return self.packed().layers()

    def packed(self) -> CropStore:
        """The same masks as packed crops."""
        return CropStore.pack([self.crop(i) for i in range(len(self))], self.boxes, self.size)


@dataclass(frozen=True)
class LayerStore:
    """N masks as places in label layers: object i is where `planes[layer[i]] == value[i]`. Planes are never written to.

    Attributes:
        planes: label layers; values that belong to no object are background.
        layer: the layer of each object.
        value: the value of each object in its layer.
    """

    planes: Integer[ndarray, "L H W"]
    layer: Integer[ndarray, " N"]
    value: Integer[ndarray, " N"]

    def __len__(self) -> int:
        return len(self.value)

    @property
    def size(self) -> Size:
        """Height and width of the image."""
        return self.planes.shape[1:]

    @cached_property
    def boxes(self) -> Integer[ndarray, "N 4"]:
        """Boxes `x1 y1 x2 y2` of the masks; zeros for an empty one."""
        boxes = np.zeros((len(self), 4), np.int32)
        for plane, members in self._members():
            boxes[members] = label_boxes(plane, self.value[members])
        return boxes

    @cached_property
    def areas(self) -> Integer[ndarray, " N"]:
        """Pixels of each mask."""
        areas = np.zeros(len(self), np.int64)
        for plane, members in self._members():
            areas[members] = label_areas(plane, self.value[members])
        return areas

    def _members(self) -> list[tuple[Integer[ndarray, "H W"], Integer[ndarray, " M"]]]:
        """Each layer with the indices of its objects."""
        sets = [(plane, np.flatnonzero(self.layer == number)) for number, plane in enumerate(self.planes)]
        return [(plane, members) for plane, members in sets if len(members)]

    def crop(self, index: int, rows: slice = slice(None)) -> Bool[ndarray, "h w"]:
        """The mask of one object inside its box, or some rows of it."""
        x1, y1, x2, y2 = self.boxes[index].tolist()
        return self.planes[self.layer[index], y1:y2, x1:x2][rows] == self.value[index]

    def select(self, indices: Integer[ndarray, " M"]) -> "LayerStore":
        """The store of some of the objects, in the order of `indices`; boxes and areas already known are kept."""
        chosen = LayerStore(self.planes, self.layer[indices], self.value[indices])
        for known in self.__dict__.keys() & {"boxes", "areas"}:
            chosen.__dict__[known] = self.__dict__[known][indices]
        return chosen

    def layers(self) -> Integer[ndarray, "L H W"]:
        """The layers with the objects numbered from 1; the planes themselves, uncopied, where they are so already."""
        if not self.size[0] or not self.size[1]:
            return np.zeros((1, *self.size), np.uint16)
        used = [plane for plane, _ in self._members()]
        if not used:
            return np.zeros((1, *self.size), np.uint16)
        if len(used) == len(self.planes) and self.numbered:
            return self.planes
        return np.stack([self.renumbered(number) for number in range(len(self.planes)) if (self.layer == number).any()])

    @cached_property
    def numbered(self) -> bool:
        """Do the planes hold exactly the objects' numbers 1..N, in a label map's type?"""
        if self.planes.dtype != label_type(len(self)) or not np.array_equal(self.value, np.arange(1, len(self) + 1)):
            return False
        return int(self.planes.max(initial=0)) <= len(self)

    def renumbered(self, number: int, rows: slice = slice(None)) -> Integer[ndarray, "h W"]:
        """Rows of one layer with the objects' numbers 1..N in place of their values."""
        plane, members = self.planes[number, rows], np.flatnonzero(self.layer == number)
        if self.numbered:
            return plane
        highest = int(plane.max(initial=0))
        if highest > LARGE:
            return renumber(plane, self.value[members], members + 1).astype(label_type(len(self)), copy=False)
        table = np.zeros(highest + 1, label_type(len(self)))
        inside = members[self.value[members] <= highest]
        table[self.value[inside]] = inside + 1
        return table[np.maximum(plane, 0) if plane.dtype.kind == "i" else plane]

    def packed(self) -> CropStore:
        """The same masks as packed crops."""
        return CropStore.pack([self.crop(i) for i in range(len(self))], self.boxes, self.size)


Store = CropStore | RunStore | LayerStore
"""Any of the three."""
