"""What the objects of a data set are like: for a method's limits, which follow them, and for whoever looks at them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from numpy import ndarray

from apiece.instances import Instances
from apiece.tallies import Counts, Tally

CELLS = 32
"""Rows and columns of the map of positions."""
COARSE_FROM = 32.0
"""Pixels; where small objects are larger, stride 4 is fine enough."""
THIN = 1.5
"""Objects of more elongation are thin: where they cross, their centers are near each other."""
MOST_PAIRS = 1 << 19
"""Pairs of boxes compared in one image; of more objects a sample is compared with all."""


@dataclass(frozen=True)
class Statistics:
    """What a sample of the training data says of its objects, ignored ones left out.

    Attributes:
        areas: pixels of each object.
        sides: height and width of each object's box.
        counts: objects of each image.
        nested: the greatest IoU of an object's box with another one's of its class and image; of some objects.
    """

    areas: Integer[ndarray, " N"]
    sides: Integer[ndarray, "N 2"]
    counts: Integer[ndarray, " I"]
    nested: Float[ndarray, " M"] = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, truths: Sequence[Instances]) -> "Statistics":
        """Of the objects of some images."""
        known = [truth[~truth.ignore & (truth.mask_areas > 0)] for truth in truths]
        alike = (one.mask_boxes[one.labels == label] for one in known for label in np.unique(one.labels))
        nested = np.concatenate([np.zeros(0), *map(nearest_iou, alike)])
        boxes = np.concatenate([np.zeros((0, 4), np.int64), *(one.mask_boxes for one in known)])
        areas = np.concatenate([np.zeros(0, np.int64), *(one.mask_areas for one in known)])
        return cls(areas, boxes[:, [3, 2]] - boxes[:, [1, 0]], np.array([len(one) for one in known], np.int64), nested)

    @classmethod
    def together(cls, parts: Sequence["Statistics"]) -> "Statistics":
        """Of several lots of images, at least one."""
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    @property
    def small(self) -> float:
        """Pixels: the diameter that a tenth of the objects do not reach, as of discs with their areas."""
        return float(np.sqrt(4 * np.percentile(self.areas, 10) / np.pi)) if len(self.areas) else 0.0

    @property
    def narrow(self) -> float:
        """Pixels: half the breadth that a quarter of the objects do not reach: a disc's radius, an ellipse's shorter
        half axis if it lies along the image's sides; of what lies across somewhat more.
        """
        return float(np.percentile(self.areas / self.sides.max(1), 25) * 2 / np.pi) if len(self.areas) else 0.0

    @property
    def elongation(self) -> float:
        """How many times the middle object is as long as an ellipse of its area that is twice as long as broad; at
        least 1.
        """
        longer = self.sides.max(1) / np.sqrt(8 * self.areas / np.pi)
        return max(1.0, float(np.median(longer))) if len(longer) else 1.0

    @property
    def sharing(self) -> float:
        """IoU of two boxes from which on they are more probably one object found twice than two: a little more than
        what a twentieth of the objects exceed with another, but at least 0.5, as in the papers, and at most 0.8.
        """
        known = np.percentile(self.nested, 95) + 0.02 if len(self.nested) else 0.0
        return round(float(np.clip(known, 0.5, 0.8)), 2)

    @property
    def large(self) -> float:
        """Pixels: the longer side that a tenth of the objects exceed."""
        return float(np.percentile(self.sides.max(1), 90)) if len(self.areas) else 0.0


@dataclass
class Survey:
    """What a whole data set is like, image by image: it grows with the number of classes, not with what it has seen.

    Ignored objects are counted, and otherwise left out.

    Attributes:
        classes: names of the classes.
        images, objects, ignored: how many.
        empty: images without objects.
        sizes: how many images have each height and width.
        per_image: objects of each image that has some.
        diameters: of discs with the objects' areas, in pixels.
        aspects: width over height of the objects' boxes.
        longest: longer sides of the objects' boxes.
        class_objects, class_images: objects of each class, and images it is in.
        class_diameters: diameters of each class.
        covered: images by the share of their area that objects cover, in twentieths.
        pixels, area: of all images together, and those of them that objects cover.
        depths: images by the most objects that lie on one of their pixels: 1 = none overlap.
        overlapping: objects by the share of their pixels that others have too: none, then in tenths.
        nested: objects by the greatest IoU of their box with another's, in tenths.
        touching: objects that touch or overlap another.
        cut: objects that reach the border of their image.
        places: objects by where their box's center lies in the image.
        most, smallest, deepest: name of the image with the most objects, the smallest one, the deepest overlap; and
            how many objects, pixels, objects on one pixel these are.
    """

    classes: tuple[str, ...]
    images: int = 0
    objects: int = 0
    ignored: int = 0
    empty: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    per_image: Counts = field(default_factory=Counts)
    diameters: Tally = field(default_factory=Tally)
    aspects: Tally = field(default_factory=Tally)
    longest: Tally = field(default_factory=Tally)
    covered: Integer[ndarray, "20"] = field(default_factory=lambda: np.zeros(20, np.int64))
    pixels: int = 0
    area: int = 0
    depths: Counter[int] = field(default_factory=Counter)
    overlapping: Integer[ndarray, "11"] = field(default_factory=lambda: np.zeros(11, np.int64))
    nested: Integer[ndarray, "10"] = field(default_factory=lambda: np.zeros(10, np.int64))
    touching: int = 0
    cut: int = 0
    places: Integer[ndarray, "Y X"] = field(default_factory=lambda: np.zeros((CELLS, CELLS), np.int64))
    most: tuple[str, int] = ("", 0)
    smallest: tuple[str, int] = ("", 0)
    deepest: tuple[str, int] = ("", 0)

    def __post_init__(self) -> None:
        self.class_objects = np.zeros(len(self.classes), np.int64)
        self.class_images = np.zeros(len(self.classes), np.int64)
        self.class_diameters = [Tally() for _ in self.classes]

    def add(self, name: str, truth: Instances) -> None:
        """Take in one image's objects, which have masks."""
        self.images += 1
        self.sizes[truth.size] += 1
        self.pixels += truth.size[0] * truth.size[1]
        self.ignored += int(truth.ignore.sum())
        truth = truth[~truth.ignore]
        truth = truth[truth.mask_areas > 0]
        if not len(truth):
            self.empty += 1
            self.covered[0] += 1
            return
        self.objects += len(truth)
        self.per_image[len(truth)] += 1
        self._add_shapes(truth)
        self._add_classes(truth)
        self._add_overlaps(name, truth)
        if len(truth) > self.most[1]:
            self.most = name, len(truth)
        least = int(truth.mask_areas.min())
        if not self.smallest[0] or least < self.smallest[1]:
            self.smallest = name, least

    def figures(self) -> dict[str, Any]:
        """The main figures, for JSON; quantiles of nothing are None."""
        shares = (0.05, 0.25, 0.5, 0.75, 0.95)
        known = bool(self.objects)
        return {
            **{name: getattr(self, name) for name in ("images", "objects", "ignored", "empty", "touching", "cut")},
            "classes": dict(zip(self.classes, self.class_objects.tolist(), strict=True)),
            "diameters": {f"{share:g}": self.diameters.quantile(share) if known else None for share in shares},
            "per_image": {f"{share:g}": self.per_image.quantile(share) if known else None for share in shares},
            "most": self.most[1],
            "covered": self.area / max(self.pixels, 1),
            "overlapping": int(self.overlapping[1:].sum()),
            "deepest": self.deepest[1],
        }

    def _add_shapes(self, truth: Instances) -> None:
        """Sizes, aspects, places."""
        boxes, (height, width) = truth.mask_boxes, truth.size
        sides = boxes[:, 2:] - boxes[:, :2]
        self.diameters.add(_diameters(truth))
        self.aspects.add(sides[:, 0] / sides[:, 1])
        self.longest.add(sides.max(1))
        self.cut += int(((boxes[:, :2] == 0) | (boxes[:, 2:] == (width, height))).any(1).sum())
        column, row = ((boxes[:, :2] + boxes[:, 2:]) * CELLS // (2 * np.array([width, height]))).clip(max=CELLS - 1).T
        np.add.at(self.places, (row, column), 1)

    def _add_classes(self, truth: Instances) -> None:
        diameters = _diameters(truth)
        for label in np.unique(truth.labels[truth.labels >= 0]).tolist():
            members = truth.labels == label
            self.class_objects[label] += int(members.sum())
            self.class_images[label] += 1
            self.class_diameters[label].add(diameters[members])

    def _add_overlaps(self, name: str, truth: Instances) -> None:
        """Who covers whom, and how deep."""
        layers = truth.layers()
        cover = (layers > 0).sum(0, dtype=np.uint16)
        area, depth = int(np.count_nonzero(cover)), int(cover.max())
        self.area += area
        self.covered[min(area * 20 // cover.size, 19)] += 1
        self.depths[depth] += 1
        if depth > self.deepest[1]:
            self.deepest = name, depth
        inside = np.zeros(len(truth) + 1, np.int64)
        if depth > 1:
            for layer in layers:
                inside += np.bincount(layer[cover > 1].ravel(), minlength=len(inside))
        shares = inside[1:] / truth.mask_areas
        np.add.at(self.overlapping, np.ceil(shares * 10).astype(np.int64).clip(0, 10), 1)
        np.add.at(self.nested, (nearest_iou(truth.mask_boxes) * 10).astype(np.int64).clip(0, 9), 1)
        self.touching += int((_touched(truth.label_map(), len(truth)) | (inside[1:] > 0)).sum())


def _diameters(truth: Instances) -> Float[ndarray, " N"]:
    """Of discs with the objects' areas."""
    return np.sqrt(4 * truth.mask_areas / np.pi)


def _touched(label_map: Integer[ndarray, "H W"], count: int) -> Bool[ndarray, " N"]:
    """Which of objects 1..count share a pixel's side with another."""
    touched = np.zeros(count + 1, bool)
    for one, other in ((label_map[1:], label_map[:-1]), (label_map[:, 1:], label_map[:, :-1])):
        side = (one != other) & (one > 0) & (other > 0)
        touched[one[side]] = touched[other[side]] = True
    return touched[1:]


def nearest_iou(boxes: Num[ndarray, "N 4"]) -> Float[ndarray, " M"]:
    """For each box the greatest IoU with any other one; of very many boxes for some, evenly spread."""
    count = len(boxes)
    if count < 2:
        return np.zeros(count)
    asked = np.unique(np.linspace(0, count - 1, max(1, min(count, MOST_PAIRS // count))).astype(np.int64))
    boxes = boxes.astype(np.float64)
    low, high = np.maximum(boxes[asked, None, :2], boxes[:, :2]), np.minimum(boxes[asked, None, 2:], boxes[:, 2:])
    common = (high - low).clip(min=0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    overlap = common / np.maximum(areas[asked, None] + areas - common, 1e-9)
    overlap[np.arange(len(asked)), asked] = 0
    return overlap.max(1)
