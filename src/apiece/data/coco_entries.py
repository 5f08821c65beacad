"""COCO's annotations and results, one image's at a time: entries to objects and back."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from apiece.data.coco_json import Entry
from apiece.data.coco_values import corner_boxes, read_masks, read_numbers
from apiece.errors import InputError
from apiece.forms import leaner
from apiece.instances import Instances
from apiece.masks import Size
from apiece.stores import CropStore, RunStore

BATCH = 256
"""Entries that are read at once: with more, what is being worked on no longer fits the processor's caches."""


# --- reading ----------------------------------------------------------------------------------------------------


class ImageEntries(NamedTuple):
    """The entries of one image.

    Attributes:
        names: what each entry is called in a message.
        size: height and width of the image.
    """

    names: Sequence[str]
    entries: Sequence[Entry]
    size: Size


def objects(
    path: Path, names: Sequence[str], entries: Sequence[Entry], size: Size, labels: Mapping[int, int], has_masks: bool
) -> Instances:
    """Entries of one image as objects: masks, labels, and the source's own boxes and areas where every entry has them.

    Args:
        names: what each entry is called in a message.
        labels: category id -> label.

    Raises:
        InputError: a broken entry, with file and name.
    """
    (read,) = objects_of_images(path, [ImageEntries(names, entries, size)], labels, has_masks)
    return read


def objects_of_images(
    path: Path,
    images: Iterable[ImageEntries],
    labels: Mapping[int, int],
    has_masks: bool,
    *,
    scored: bool = False,
    measured: bool = True,
    bare: bool = False,
) -> Iterator[Instances]:
    """The same for many images, which is quicker than one after another.

    Args:
        scored: entries have scores.
        measured: entries' areas count, where they have some.
        bare: masks are left out of images whose entries all have boxes and, where these count, areas.
    """
    read = partial(_objects, path, labels=labels, has_masks=has_masks, scored=scored, measured=measured, bare=bare)
    batch: list[ImageEntries] = []
    for image in images:
        batch.append(image)
        if len(batch) + sum(len(one.entries) for one in batch) >= BATCH:
            yield from read(batch)
            batch = []
    yield from read(batch)


def _objects(
    path: Path,
    images: list[ImageEntries],
    *,
    labels: Mapping[int, int],
    has_masks: bool,
    scored: bool,
    measured: bool,
    bare: bool,
) -> Iterator[Instances]:
    whole, none = [bool(image.entries) for image in images], [False] * len(images)
    boxed, with_area = ([_all_have(image, key) for image in images] for key in ("bbox", "area"))
    boxes = _column(path, images, "bbox", corner_boxes, boxed if has_masks else whole)
    areas = _column(path, images, "area", partial(read_numbers, key="area"), with_area if measured else none)
    scores = _column(path, images, "score", partial(read_numbers, key="score"), [scored] * len(images))
    enough = [bare and box and (area or not measured) for box, area in zip(boxed, with_area, strict=True)]
    masks = _masks(path, images, enough if has_masks else [True] * len(images))
    for image, *fields in zip(images, masks, boxes, areas, scores, strict=True):
        classes = [labels[entry["category_id"]] for entry in image.entries]
        given: dict[str, Any] = dict(zip(("store", "boxes", "areas", "scores"), fields, strict=True))
        if not has_masks and not image.entries:
            given["boxes"] = np.zeros((0, 4))
        yield Instances(image.size, classes, **given)


def _all_have(image: ImageEntries, key: str) -> bool:
    return bool(image.entries) and all(key in entry for entry in image.entries)


def _column(
    path: Path, images: list[ImageEntries], key: str, read: Callable[[list[Any]], ndarray], wanted: list[bool]
) -> list[ndarray | None]:
    """What the entries of each image have under a key; None for images of which it is not wanted."""
    chosen = [image for image, use in zip(images, wanted, strict=True) if use]
    values = _named(path, _names(chosen), read, [entry.get(key) for image in chosen for entry in image.entries])
    ends = iter(accumulate(len(image.entries) for image in chosen))
    return [
        values[(end := next(ends)) - len(image.entries) : end] if use else None
        for image, use in zip(images, wanted, strict=True)
    ]


def _names(images: list[ImageEntries]) -> list[str]:
    return [name for image in images for name in image.names]


def _masks(path: Path, images: list[ImageEntries], without: list[bool]) -> list[RunStore | CropStore | None]:
    """The masks of each image; None for those that are to be without."""
    wanted = [image for image, bare in zip(images, without, strict=True) if not bare]
    drawn = [(entry.get("segmentation"), image.size) for image in wanted for entry in image.entries]
    runs = _named(path, _names(wanted), read_masks, drawn)
    ends = accumulate(len(image.entries) for image in wanted)
    stores = [
        leaner(RunStore.of(runs, image.size, end - len(image.entries), end))
        for image, end in zip(wanted, ends, strict=True)
    ]
    each = iter(stores)
    return [None if bare else next(each) for bare in without]


def _named(path: Path, names: Sequence[str], read: Callable[[list[Any]], Any], values: list[Any]) -> Any:
    """Read values all at once; what is wrong is said with the file and the name of the first entry that is broken."""
    try:
        return read(values)
    except ValueError as error:
        for name, value in zip(names, values, strict=True):
            try:
                read([value])
            except ValueError as own:
                raise InputError(f"{path}: {name}: {own}.") from own
        raise InputError(f"{path}: {error}.") from error


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
    """Run lengths, or polygons where wanted and exact (of no crowd); empty lists for boxes."""
    if not found.has_masks:
        return [[]] * len(found)
    runs = found.rle()
    if not polygons:
        return runs
    outlines = found.polygons()
    exact = [bool(parts) and all(len(rings) == 1 for rings in parts) for parts in outlines]
    whole = np.array(exact, bool) & ~found.ignore
    flat = [[ring.reshape(-1).tolist() for rings in parts for ring in rings] for parts in outlines]
    return [rings if drawn else run for rings, drawn, run in zip(flat, whole.tolist(), runs, strict=True)]


def source_box(corners: list[float]) -> list[float]:
    """The entry `x y width height` from which `corner_boxes` reads these corners: exactly, if it made them."""
    x1, y1, x2, y2 = corners
    return [x1, y1, _length(x1, x2), _length(y1, y2)]


def _length(start: float, stop: float) -> float:
    """The shortest decimal with start + length == stop in floating point, which the difference need not be."""
    difference = stop - start
    rounded = (round(difference, digits) for digits in range(14))
    near = (difference, math.nextafter(difference, math.inf), math.nextafter(difference, -math.inf))
    return next((length for length in (*rounded, *near) if start + length == stop), difference)
