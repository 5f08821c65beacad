"""Contact sheets: images of a data set with outlines, classes and numbers of their objects."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Num, UInt8
from numpy import ndarray

from apiece.colors import object_colors
from apiece.data.dataset import Sample
from apiece.draw import contact_sheet, overlay
from apiece.instances import Instances
from apiece.masks import strips
from apiece.png import write_png
from apiece.views import viewable, written

SIDE = 512
"""Longest side of a picture."""
COLUMNS, ROWS = 4, 3
"""Pictures side by side and one below another on one sheet."""
DIGITS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71122", "75757", "75717")
"""0 to 9, three pixels wide: of each row from the top the bits of an octal digit."""


def thumbnail(sample: Sample, classes: Sequence[str], side: int = SIDE) -> UInt8[ndarray, "h w 3"]:
    """An image with its objects, at most `side` pixels long.

    Each object has its number, from 1 in the order of the annotation, where there is room for it; and its class if
    there are several. Objects of one class have one color then, else each its own.
    """
    picture = fitted(sample.image, side)
    numbered = with_masks(sample.truth).replace(columns={"number": np.arange(1, len(sample.truth) + 1)})
    objects = numbered.resized((picture.shape[0], picture.shape[1]))
    captions = [""] * len(objects)
    if len(classes) > 1:
        captions = [_caption(*of_object, classes) for of_object in zip(*_facts(objects), strict=True)]
    colors = object_colors(objects.labels) if len(classes) > 1 else "object"
    shown = objects.replace(labels=np.arange(len(objects)))
    picture = overlay(picture, shown, colors=colors, classes=captions)
    for index, caption in enumerate(captions):
        if not caption:
            _write_number(picture, objects, index)
    return picture


def _facts(objects: Instances) -> tuple[list[int], list[int], list[int]]:
    """Number, label and width of each object."""
    boxes = objects.mask_boxes
    return objects.columns["number"].tolist(), objects.labels.tolist(), (boxes[:, 2] - boxes[:, 0]).tolist()


def _caption(number: int, label: int, room: int, classes: Sequence[str]) -> str:
    """Number and class of an object; nothing where there is no room for both."""
    both = f"{number} {classes[label]}" if 0 <= label < len(classes) else ""
    return both if both and written(both).shape[1] <= room else ""


def _write_number(picture: UInt8[ndarray, "H W 3"], objects: Instances, index: int) -> None:
    """An object's number amid its pixels, white with a dark rim, in place; nothing where it is too small for that."""
    x1, y1, x2, y2 = objects.mask_boxes[index].tolist()
    ink = digits(int(objects.columns["number"][index]))
    factor = min((y2 - y1) // (3 * ink.shape[0]), (x2 - x1) // (2 * ink.shape[1]), 2)
    ink = np.pad(ink.repeat(max(factor, 1), 0).repeat(max(factor, 1), 1), 1)
    height, width = ink.shape
    if height > y2 - y1 + 2 or width > x2 - x1 + 2 or height > picture.shape[0] or width > picture.shape[1]:
        return
    rows, columns = np.nonzero(objects.crop(index))
    # The middle of the middle row's pixels: the box's center may lie outside of the object.
    inside = columns[rows == rows[len(rows) // 2]]
    y, x = y1 + int(rows[len(rows) // 2]) - height // 2, x1 + int(inside[len(inside) // 2]) - width // 2
    y, x = min(max(y, 0), picture.shape[0] - height), min(max(x, 0), picture.shape[1] - width)
    window = picture[y : y + height, x : x + width]
    rim = ink.copy()
    for step in (-1, 1):
        rim |= np.roll(ink, step, 0) | np.roll(ink, step, 1)
    window[rim] = window[rim] // 4
    window[ink] = 255


def digits(number: int) -> Bool[ndarray, "5 w"]:
    """A number in small digits."""
    columns = []
    for digit in str(number):
        bits = np.array([[int(row) >> place & 1 for place in (2, 1, 0)] for row in DIGITS[int(digit)]], bool)
        columns += [bits, np.zeros((5, 1), bool)]
    return np.hstack(columns[:-1])


def fitted(image: Num[ndarray, "H W C"] | Bool[ndarray, "H W C"], side: int) -> UInt8[ndarray, "h w 3"]:
    """An image in 8 bits, shrunk to `side`, or enlarged by a whole number as far as it does not exceed it."""
    from PIL import Image

    view = viewable(image)
    longest = max(image.shape[:2])
    if longest <= side:
        factor = max(1, side // max(longest, 1))
        return view(image).repeat(factor, 0).repeat(factor, 1)
    # Of huge images first every n-th pixel only.
    every = max(1, longest // (4 * side))
    picture = view(image[::every, ::every])
    height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0))


def with_masks(truth: Instances) -> Instances:
    """The same objects; boxes without masks become rectangles, as far as they lie in the image."""
    if truth.has_masks:
        return truth
    height, width = truth.size
    boxes = np.round(truth.boxes).clip(0, (width, height, width, height)).astype(np.int64)
    crops = [np.ones((max(y2 - y1, 0), max(x2 - x1, 0)), bool) for x1, y1, x2, y2 in boxes.tolist()]
    return Instances.from_crops(crops, boxes, truth.size, truth.labels, ignore=truth.ignore)


def write_sheets(pictures: Sequence[UInt8[ndarray, "_ _ 3"]], captions: Sequence[str], folder: Path) -> list[Path]:
    """Write pictures twelve by twelve as `sheet-1.png`, `sheet-2.png`, ...

    Raises:
        InputError: a file cannot be written.
    """
    each, files = COLUMNS * ROWS, []
    for number, first in enumerate(range(0, len(pictures), each), start=1):
        some = slice(first, first + each)
        sheet = contact_sheet(pictures[some], columns=COLUMNS, captions=list(captions[some]))
        size = sheet.shape[0], sheet.shape[1]
        files.append(folder / f"sheet-{number}.png")
        write_png(files[-1], (sheet[part] for part in strips(size)), size)
    return files
