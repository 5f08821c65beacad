"""COCO's annotations and results, one image's at a time: entries to objects and back."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from apiece.data.coco_json import Entry
from apiece.errors import InputError
from apiece.instances import Instances
from apiece.masks import Box, Size, counts_to_crop, expand_counts
from apiece.polygons import polygons_to_crop

FAR = 4
"""A polygon's point further out than this many image sides is a mistake (and would take ages to draw)."""


# --- reading ----------------------------------------------------------------------------------------------------


def objects(
    path: Path, names: list[str], entries: Sequence[Entry], size: Size, labels: Mapping[int, int], has_masks: bool
) -> Instances:
    """Entries as objects: masks, labels, and the source's own boxes and areas where every entry has them.

    Args:
        names: what each entry is called in a message.
        labels: category id -> label.

    Raises:
        InputError: a broken entry, with file and name.
    """
    classes = [labels[entry["category_id"]] for entry in entries]
    boxes = areas = None
    if entries and (not has_masks or all("bbox" in entry for entry in entries)):
        boxes = [
            _named(path, name, corner_box, {"bbox": None} | entry) for name, entry in zip(names, entries, strict=True)
        ]
    if entries and all("area" in entry for entry in entries):
        areas = numbers(path, names, entries, "area")
    if not has_masks:
        return Instances.from_boxes(boxes or [], size, classes).replace(areas=areas)
    masks = [
        _named(path, name, partial(segmentation_crop, size=size), entry.get("segmentation"))
        for name, entry in zip(names, entries, strict=True)
    ]
    drawn = Instances.from_crops([crop for crop, _ in masks], [box for _, box in masks], size, classes)
    return drawn.replace(boxes=boxes, areas=areas)


def _named(path: Path, name: str, read: Callable[[Any], Any], value: Any) -> Any:
    """Read a value; what is wrong with it is said with the file and the entry's name."""
    try:
        return read(value)
    except ValueError as error:
        raise InputError(f"{path}: {name}: {error}.") from error


def numbers(path: Path, names: list[str], entries: Sequence[Entry], key: str) -> ndarray:
    """A number of each entry, float64."""
    values = [entry[key] for entry in entries]
    for name, value in zip(names, values, strict=True):
        if type(value) not in (int, float) or value != value:
            raise InputError(f"{path}: {name}: its {key} is no number: {str(value)[:60]}.")
    return np.array(values, np.float64)


def segmentation_crop(segmentation: Any, size: Size) -> tuple[Bool[ndarray, "h w"], Box]:
    """The mask of polygons or run lengths as COCO draws it.

    Raises:
        ValueError: they are broken; the message says how.
    """
    if isinstance(segmentation, dict):
        counts, wanted = segmentation.get("counts"), segmentation.get("size")
        if wanted != list(size):
            raise ValueError(f"run lengths for an image of {wanted}, but the image is {list(size)}")
        if isinstance(counts, str):
            return counts_to_crop(expand_counts(counts), size)
        if not isinstance(counts, list) or not all(type(count) is int and 0 <= count < 1 << 48 for count in counts):
            raise ValueError("its run lengths are not whole numbers from 0")
        return counts_to_crop(counts, size)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("it has no segmentation")
    return polygons_to_crop([_ring(ring, size) for ring in segmentation], size)


def _ring(ring: Any, size: Size) -> Float[ndarray, "_ 2"]:
    """One polygon, checked."""
    if not isinstance(ring, list) or not all(type(number) in (int, float) and math.isfinite(number) for number in ring):
        raise ValueError("a polygon is not a list of numbers")
    if len(ring) % 2 or len(ring) < 6:
        raise ValueError(f"a polygon has {len(ring)} numbers, but needs an even count of at least 6 (three points)")
    points = np.array(ring, float).reshape(-1, 2)
    if np.abs(points).max() > FAR * max(size) + 100:
        raise ValueError(f"a polygon's point lies far outside the image, at {points.flat[np.abs(points).argmax()]:g}")
    return points


def corner_box(entry: Entry) -> tuple[float, float, float, float]:
    """The box `x1 y1 x2 y2` of an annotation that has one.

    Raises:
        ValueError: it is not four numbers.
    """
    box = entry["bbox"]
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(type(side) in (int, float) and math.isfinite(side) for side in box)
    ):
        raise ValueError(f"its bbox is not four numbers: {str(box)[:60]}")
    x, y, width, height = map(float, box)
    return x, y, x + width, y + height


# --- writing ----------------------------------------------------------------------------------------------------


def annotations(
    path: Path, name: str, found: Instances, image_id: int | str, class_ids: Sequence[int], polygons: bool = False
) -> list[Entry]:
    """Objects as entries of "annotations".

    Args:
        name: the image's.
        polygons: instead of run lengths, where they hold the mask exactly.

    Raises:
        InputError: an object without a class.
    """
    if (found.labels < 0).any():
        raise InputError(f"{path}: {name} has an object without a class, which COCO cannot hold.")
    ids = found.columns.get("id", np.zeros(len(found), np.int64)).tolist()
    scores = [{}] * len(found) if found.scores is None else [{"score": score} for score in found.scores.tolist()]
    return [
        {
            "id": number,
            "image_id": image_id,
            "category_id": class_ids[label],
            "segmentation": segmentation,
            "area": area,
            "bbox": source_box(box),
            "iscrowd": int(ignored),
            **score,
        }
        for number, label, segmentation, area, box, ignored, score in zip(
            ids,
            found.labels.tolist(),
            _segmentations(found, polygons),
            found.areas.tolist(),
            found.boxes.tolist(),
            found.ignore.tolist(),
            scores,
            strict=True,
        )
    ]


def _segmentations(found: Instances, polygons: bool) -> Sequence[Any]:
    """Run lengths, or polygons where wanted and exact; empty lists for boxes."""
    if not found.has_masks:
        return [[]] * len(found)
    runs = found.rle()
    if not polygons:
        return runs
    outlines = found.polygons()
    whole = [bool(parts) and all(len(rings) == 1 for rings in parts) for parts in outlines]
    flat = [[ring.reshape(-1).tolist() for rings in parts for ring in rings] for parts in outlines]
    return [rings if exact else run for rings, exact, run in zip(flat, whole, runs, strict=True)]


def source_box(corners: list[float]) -> list[float]:
    """The entry `x y width height` from which `corner_box` reads these corners: exactly, if it made them."""
    x1, y1, x2, y2 = corners
    return [x1, y1, _length(x1, x2), _length(y1, y2)]


def _length(start: float, stop: float) -> float:
    """The shortest decimal with start + length == stop in floating point, which the difference need not be."""
    difference = stop - start
    rounded = (round(difference, digits) for digits in range(14))
    near = (difference, math.nextafter(difference, math.inf), math.nextafter(difference, -math.inf))
    return next((length for length in (*rounded, *near) if start + length == stop), difference)
