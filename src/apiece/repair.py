"""A repaired copy of a data set: what `check` found is left out, cut, turned or computed anew."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from apiece.checks.images import annotation, orientation
from apiece.conversion import Writer, filled, find_writer
from apiece.data.coco import write_coco_set
from apiece.data.pillow import TURNS
from apiece.data.writing import Entry
from apiece.errors import InputError
from apiece.faults import KINDS, Finding
from apiece.inspection import Inspection, Subject
from apiece.instances import Instances
from apiece.progress import track

IMAGE_GOES = {"unreadable image", "another size", "image in two sets", "image twice"}
"""An image with one of these is left out."""
OBJECT_GOES = {"empty mask", "one pixel", "same object twice"}
"""An object with one of these is left out."""
MEASURED = {"box off its mask", "area off its mask", "out of the image"}
"""Box and area of an object with one of these are read from its mask."""


def repair(
    inspection: Inspection, out: str | Path, *, link: bool = False, overwrite: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Write a repaired copy, in its own format, of the first data set that was looked at; all its parts in `out/PART`.

    Args:
        out: the folder to make.
        link: images become symbolic links to the old ones, not copies.
        overwrite: put it in the place of such a data set that is there.
        quiet: show no progress.

    Returns:
        `images` and `objects` written, what was `done` about each kind of fault (a sentence by name), what the format
        could not hold (`lost`), and `out`.

    Raises:
        CallError: the data set's format is not one that apiece writes.
        InputError: nothing to be read, something in the way, or a file cannot be written.
    """
    out = Path(out)
    ours = [one for one in inspection.subjects if one.argument == 0]
    if not ours:
        raise InputError(f"{out}: not written: nothing of the data set can be read, so nothing can be repaired.")
    written, lost = Counter(images=0, objects=0), Counter[str]()
    with filled(out, overwrite, [Path(ours[0].source)]) as folder:
        for subject in ours:
            data, place = subject.salvage.data, folder / subject.part if len(ours) > 1 and subject.part else folder
            found = [one for one in inspection.findings if one.data == subject.name]
            lost += _writer(subject)(_mended(subject, found, written, quiet), place, data.classes, link=link)
    names = {one.name for one in ours}
    kinds = Counter(one.fault for one in inspection.findings if one.data in names)
    done = {name: f"{count:,}: {KINDS[name].remedy or 'left as it is'}" for name, count in kinds.items()}
    return {**written, "done": done, "lost": dict(lost), "format": ours[0].salvage.data.format, "out": str(out)}


def _writer(subject: Subject) -> Writer:
    """The writer of a data set's own format; COCO keeps the classes' numbers, and polygons where it had them."""
    data = subject.salvage.data
    if data.format != "coco":
        return find_writer(data.format)
    few = range(min(len(data), 100))
    drawn = any(rings for index in few for rings in annotation(subject.salvage, index).outlines)
    return partial(write_coco_set, class_ids=data.class_ids, polygons=drawn)


def _mended(subject: Subject, findings: Sequence[Finding], written: Counter[str], quiet: bool) -> Iterator[Entry]:
    """The images of the copy, counted as they pass."""
    data = subject.salvage.data
    by_image: dict[str | None, list[Finding]] = defaultdict(list)
    for found in findings:
        by_image[found.image].append(found)
    for index, name in enumerate(track(data.names, label="writing", quiet=quiet)):
        of_image = by_image[name]
        kinds = {found.fault for found in of_image}
        truth = None if kinds & IMAGE_GOES else annotation(subject.salvage, index).truth
        if truth is None:
            continue
        truth, file = mended(truth, of_image), data.files[index]
        if "EXIF turn" in kinds and file is not None:
            # As pixels: a copy would keep the tag, which not every tool obeys.
            truth, file = turned(truth, orientation(file)), None
        written.update(images=1, objects=len(truth))
        yield Entry(name, file, partial(data.image, index), truth)


def mended(truth: Instances, findings: Sequence[Finding]) -> Instances:
    """Objects without those that are to be left out, the others put right."""
    at: Mapping[str, set[int]] = defaultdict(set)
    for found in findings:
        if found.index is not None:
            at[found.fault].add(found.index)
    gone = set().union(*(at[fault] for fault in OBJECT_GOES))
    measured = sorted(set().union(*(at[fault] for fault in MEASURED)))
    ignore = truth.ignore.copy()
    ignore[sorted(at["crowd flag"])] = False
    truth = _measured(truth, np.array(measured, np.int64)).replace(ignore=ignore)
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    empty = truth.mask_areas == 0 if truth.has_masks else (sides <= 0).any(1)
    gone |= set(np.flatnonzero(empty).tolist())
    return truth[[index for index in range(len(truth)) if index not in gone]] if gone else truth


def _measured(truth: Instances, indices: ndarray) -> Instances:
    """Some objects' boxes and areas read from their masks; boxes without masks are cut at the image's border."""
    if not len(indices):
        return truth
    boxes, areas, (height, width) = truth.boxes.copy(), truth.areas.copy(), truth.size
    if truth.has_masks:
        boxes[indices], areas[indices] = truth.mask_boxes[indices], truth.mask_areas[indices]
    else:
        boxes[indices] = boxes[indices].clip(0, [width, height, width, height])
        areas[indices] = (boxes[indices, 2:] - boxes[indices, :2]).prod(1)
    return truth.replace(boxes=boxes, areas=areas)


def turned(truth: Instances, orientation: int) -> Instances:
    """Objects drawn on an unturned image, turned as its EXIF tag says."""
    return truth.with_layers(np.stack([TURNS[orientation](layer) for layer in truth.layers()]))
