"""What `check` found as one self-contained HTML page, with a crop of each fault."""

from pathlib import Path

import numpy as np

from apiece.checks.images import annotation
from apiece.contact_sheets import fitted
from apiece.draw import overlay
from apiece.errors import InputError
from apiece.faults import KINDS, Finding
from apiece.inspection import Inspection, Subject
from apiece.instances import Instances
from apiece.page import Page, Picture

CROPS = 24
"""Pictures of one kind of fault."""
LINES = 200
"""Findings of one kind that are listed."""
SIDE = 320
"""Longest side of a picture."""
MARGIN = 24
"""Pixels around an object, or half of its own size where that is more."""


def write_inspection_page(inspection: Inspection, path: Path) -> None:
    """Write the page: counts, and for each kind of fault crops of the first ones and a list.

    Raises:
        InputError: it cannot be written.
    """
    page = Page(f"Faults of {', '.join(subject.name for subject in inspection.subjects)}")
    page.text(inspection.summary() + ".")
    kinds = inspection.by_kind()
    rows = [[KINDS[name].severity, name, len(found), KINDS[name].remedy] for name, found in kinds.items()]
    if rows:
        page.table(rows, ["", "kind", "count", "in a repaired copy"])
    by_name = {subject.name: subject for subject in inspection.subjects}
    for name, found in kinds.items():
        page.heading(f"{name}: {len(found)}")
        shown = [(crop_of(by_name[one.data], one), one) for one in found[:CROPS] if one.data in by_name and one.image]
        pictures = [(picture, f"{_place(one)}: {one.words}") for picture, one in shown if picture is not None]
        if pictures:
            page.figures(iter(pictures))
        lines = [[one.data, one.image or "", one.entry or "", one.words] for one in found[:LINES]]
        head = ["set", "image", "entry", "what"]
        page.table(lines, head, folded=f"the list of {len(found)}" if pictures else "")
        if len(found) > LINES:
            page.text(f"and {len(found) - LINES} more, which stand in the JSON")
    page.write(path)


def _place(found: Finding) -> str:
    return ": ".join(part for part in (found.image, found.entry) if part)


def crop_of(subject: Subject, found: Finding) -> Picture | None:
    """The part of the image where a fault is, with the object; None where the image cannot be read."""
    data = subject.salvage.data
    index = data.names.index(found.image) if found.image in data.names else None
    if index is None:
        return None
    try:
        image = data.image(index)
    except InputError:
        return None
    if found.box is None or not image.size:
        return fitted(image, SIDE) if image.size else None
    truth = annotation(subject.salvage, index).truth
    window = around(found.box, (image.shape[0], image.shape[1]))
    picture = image[window]
    if truth is None or found.index is None or truth.size != image.shape[:2]:
        return fitted(picture, SIDE)
    return fitted(overlay(picture, within(truth[found.index : found.index + 1], window)), SIDE)


def around(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of an image around a box, which may lie outside it."""
    x1, y1, x2, y2 = box
    margin = max(MARGIN, (x2 - x1) / 2, (y2 - y1) / 2)
    slices = []
    for low, high, side in ((y1, y2, size[0]), (x1, x2, size[1])):
        first = min(max(int(low - margin), 0), max(side - 2 * MARGIN, 0))
        slices.append(slice(first, max(min(int(high + margin) + 1, side), min(first + 2 * MARGIN, side))))
    return slices[0], slices[1]


def within(truth: Instances, window: tuple[slice, slice]) -> Instances:
    """Objects as they lie in a part of their image."""
    rows, columns = window
    size = rows.stop - rows.start, columns.stop - columns.start
    corner = np.array([columns.start, rows.start])
    if not truth.has_masks:
        return Instances.from_boxes(truth.boxes - np.tile(corner, 2), size, truth.labels, ignore=truth.ignore)
    crops, boxes = [], []
    for crop, (x1, y1, x2, y2) in zip(truth.crops(), truth.mask_boxes.tolist(), strict=True):
        left, top = max(x1, columns.start), max(y1, rows.start)
        right, bottom = max(min(x2, columns.stop), left), max(min(y2, rows.stop), top)
        crops.append(crop[top - y1 : bottom - y1, left - x1 : right - x1])
        boxes.append((*(np.array([left, top]) - corner).tolist(), *(np.array([right, bottom]) - corner).tolist()))
    return Instances.from_crops(crops, boxes, size, truth.labels, ignore=truth.ignore)
