"""Instances on an image, translucent with crisp outlines, strip by strip; and pictures of what a network says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8
from numpy import ndarray

from apiece.colors import GREY, heat_table, hue_table, lightness, neighbor_colors, object_colors
from apiece.instances import Instances
from apiece.masks import Size, strips
from apiece.png import write_png
from apiece.views import viewable, written

Colors = Literal["object", "class"] | UInt8[ndarray, "N 3"]

FILL, HATCH = 0.3, 0.6
"""How much of a pixel inside an object is the object's color; of one on a line across an ignored object."""
WIDE = 48
"""Objects with both sides this long or longer get an outline of two pixels, seen in a reduced view too; others one."""

# --- overlays ---------------------------------------------------------------------------------------------------------


def overlay(
    image: Num[ndarray, "H W *C"] | Bool[ndarray, "H W *C"],
    instances: Instances,
    *,
    rows: slice | None = None,
    colors: Colors = "object",
    classes: Sequence[str] | None = None,
) -> UInt8[ndarray, "h W 3"]:
    """The image in 8 bits, stretched for viewing, with every object on it.

    An outline lies on the object's own border pixels. Smaller objects are drawn over larger ones; ignored ones are grey
    and hatched. Objects without masks are drawn as boxes.

    Args:
        image: of any number type and any number of channels (see `viewable`).
        rows: only these rows of the image.
        colors: "object" (each its own, unlike its neighbors'), "class" (one for each label), or N RGB colors.
        classes: names of the classes; given, name and score are written on objects that are wide enough.
    """
    drawing = _Drawing(image, instances, colors, classes)
    first, last, _ = (rows or slice(None)).indices(instances.size[0])
    return drawing.rows(first, max(first, last))


def write_overlay(
    image: Num[ndarray, "H W *C"] | Bool[ndarray, "H W *C"],
    instances: Instances,
    path: Path,
    *,
    colors: Colors = "object",
    classes: Sequence[str] | None = None,
) -> None:
    """Write `overlay` as PNG, strip by strip: memory does not grow with the image or the number of objects.

    Raises:
        InputError: the image has no pixels, or the file cannot be written.
    """
    drawing = _Drawing(image, instances, colors, classes)
    parts = strips(instances.size, 1 << 20)
    write_png(path, (drawing.rows(part.start, part.stop) for part in parts), instances.size)


class _Drawing:
    """One image and its objects, ready to be drawn in strips of rows."""

    def __init__(self, image: ndarray, instances: Instances, colors: Colors, classes: Sequence[str] | None):
        self.image, self.instances, self.view = image, instances, viewable(image)
        self.classes = classes
        height, width = instances.size
        limit = np.array([width, height, width, height])
        boxes = instances.mask_boxes if instances.has_masks else np.round(instances.boxes).clip(0, limit).astype(int)
        self.boxes = np.maximum(boxes, np.tile(boxes[:, :2], 2))
        if isinstance(colors, str):
            colors = object_colors(instances.labels) if colors == "class" else neighbor_colors(self.boxes)
        self.colors = np.where(instances.ignore[:, None], GREY, colors).astype(np.uint8)
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        self.order = np.argsort(-sides.prod(1), kind="stable")
        self.widths = np.where((sides >= WIDE).all(1), 2, 1)

    def rows(self, first: int, last: int) -> UInt8[ndarray, "h W 3"]:
        """Rows `first` up to `last` of the drawing."""
        picture = self.view(self.image[first:last])
        touching = self.order[(self.boxes[self.order, 1] < last) & (self.boxes[self.order, 3] > first)].tolist()
        # All outlines after all fills: no object's outline is tinted by another.
        for index in touching:
            self._fill(picture, index, first, last)
        for index in touching:
            window, mask = self._cut(index, first, last, outline=True)
            picture[window][mask] = self.colors[index]
        if self.classes is not None:
            for index in touching:
                self._write_caption(picture, index, first, self.classes)
        return picture

    def _fill(self, picture: ndarray, index: int, first: int, last: int) -> None:
        if not self.instances.has_masks:
            return
        window, mask = self._cut(index, first, last)
        if self.instances.ignore[index]:
            height, width = mask.shape
            place = np.arange(height)[:, None] + np.arange(width) + (first + window[0].start + window[1].start)
            mask = mask & (place % 8 < 3)
        pixels = picture[window][mask].astype(np.float32)
        share = HATCH if self.instances.ignore[index] else FILL
        picture[window][mask] = pixels + (self.colors[index] - pixels) * share

    def _cut(self, index: int, first: int, last: int, outline: bool = False) -> tuple[tuple[slice, slice], ndarray]:
        """An object's mask or outline within a strip, and its place there."""
        x1, y1, x2, y2 = self.boxes[index].tolist()
        top, bottom = max(y1, first), min(y2, last)
        window = slice(top - first, bottom - first), slice(x1, x2)
        # Rows beyond the strip say where the outline goes on.
        margin = int(self.widths[index]) if outline else 0
        above, below = max(y1, top - margin), min(y2, bottom + margin)
        if self.instances.has_masks:
            crop = self.instances.crop(index, slice(above - y1, below - y1))
        else:
            crop = np.ones((below - above, x2 - x1), bool)
        if outline:
            crop = outline_of(crop, margin)[top - above :][: bottom - top]
        return window, crop

    def _write_caption(self, picture: ndarray, index: int, first: int, classes: Sequence[str]) -> None:
        """Name and score at the top of an object's box, if it is wide enough for them."""
        label, scores = int(self.instances.labels[index]), self.instances.scores
        name = classes[label] if 0 <= label < len(classes) else ""
        text = name if scores is None else f"{name} {scores[index]:.2f}".strip()
        letters = written(text)
        (height, width), (x1, y1, x2, y2) = letters.shape, self.boxes[index].tolist()
        if not text or width > x2 - x1 or height > y2 - y1:
            return
        top, bottom = max(y1 - first, 0), min(y1 + height - first, len(picture))
        if top < bottom:
            color = self.colors[index]
            ink = 0.0 if lightness(color[None])[0] > 0.5 else 255.0
            shade = letters[top + first - y1 : bottom + first - y1, :, None]
            picture[top:bottom, x1 : x1 + width] = color + (ink - color) * shade


def outline_of(mask: Bool[ndarray, "h w"], width: int = 1) -> Bool[ndarray, "h w"]:
    """The pixels of a mask that lie less than `width` steps from its outside; beyond the array is outside."""
    height, length = mask.shape
    padded = np.zeros((height + 2, length + 2), bool)
    inside = padded[1:-1, 1:-1]
    inside[:] = mask
    for _ in range(width):
        inside[:] = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


# --- what a network says ----------------------------------------------------------------------------------------------


def color_of_angle(vectors: Float[ndarray, "2 H W"], longest: float | None = None) -> UInt8[ndarray, "H W 3"]:
    """Vectors (x to the right, y down) as colors: the hue is the angle, the brightness the length. Zero is black.

    Args:
        longest: the length of full brightness; by default the 99th percentile of those that are not zero.
    """
    x, y = np.nan_to_num(vectors.astype(np.float32), posinf=0.0, neginf=0.0)
    length = np.hypot(x, y)
    if longest is None:
        longest = float(np.percentile(length[length > 0], 99)) if (length > 0).any() else 1.0
    hue = hue_table()[np.rad2deg(np.arctan2(y, x)).astype(np.int64) % 360]
    # The root: small objects' offsets are seen beside large ones'.
    return (hue * (length / longest).clip(0, 1)[:, :, None] ** 0.5).astype(np.uint8)


def heat(values: Num[ndarray, "H W"], low: float | None = None, high: float | None = None) -> UInt8[ndarray, "H W 3"]:
    """Values as colors from dark violet (`low`, the least) to light yellow (`high`, the greatest); NaN is grey."""
    values = values.astype(np.float32)
    finite = np.isfinite(values)
    low = (float(values[finite].min()) if finite.any() else 0.0) if low is None else low
    high = (float(values[finite].max()) if finite.any() else 1.0) if high is None else high
    place = (values - low) / (high - low) if high > low else np.zeros_like(values)
    place = np.nan_to_num(place, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    picture = heat_table()[np.round(place * 255).astype(np.uint8)]
    picture[np.isnan(values)] = GREY
    return picture


def pile(
    points: Float[ndarray, "P 2"], size: Size, colors: UInt8[ndarray, "P 3"] | None = None
) -> UInt8[ndarray, "H W 3"]:
    """Displaced pixels: how many points `x y` lie on each pixel, on black, brighter where more do.

    Args:
        points: in image coordinates, pixel (row, column) covering [column, column + 1) x [row, row + 1);
            those outside are left out.
        colors: of the points (a pixel gets their mean); by default the density is drawn as `heat`.
    """
    column, row = np.floor(np.nan_to_num(points, nan=-1.0)).astype(np.int64).T
    inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    place, pixels = row[inside] * size[1] + column[inside], size[0] * size[1]
    count = np.bincount(place, minlength=pixels)
    # Densities range over decades: their logarithm is shown, and one point alone is seen too.
    density = 0.5 + 0.5 * np.log(np.maximum(count, 1)) / max(np.log(count.max(initial=1)), 1e-9)
    if colors is None:
        mean = heat_table()[np.round(density * 255).astype(np.uint8)].astype(np.float64)
    else:
        sums = [np.bincount(place, of[inside], minlength=pixels) for of in colors.T]
        mean = np.stack(sums, 1) / np.maximum(count, 1)[:, None] * density[:, None]
    mean[count == 0] = 0
    return mean.astype(np.uint8).reshape(*size, 3)


def contact_sheet(
    pictures: Sequence[UInt8[ndarray, "_ _ 3"]], columns: int = 3, gap: int = 8, captions: Sequence[str] | None = None
) -> UInt8[ndarray, "_ _ 3"]:
    """Pictures row by row on white, each in the middle of its cell, captions beneath."""
    columns = max(1, min(columns, len(pictures)))
    lines = [list(range(first, min(first + columns, len(pictures)))) for first in range(0, len(pictures), columns)]
    width = max((picture.shape[1] for picture in pictures), default=0)
    heights = [max(pictures[number].shape[0] for number in line) for line in lines]
    below = gap if captions is None else gap + 17
    sheet = np.full((gap + sum(heights) + below * len(lines), gap + columns * (width + gap), 3), 255, np.uint8)
    y = gap
    for line, height in zip(lines, heights, strict=True):
        for place, number in enumerate(line):
            picture, x = pictures[number], gap + place * (width + gap)
            top, left = y + (height - picture.shape[0]) // 2, x + (width - picture.shape[1]) // 2
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            if captions is not None and captions[number]:
                letters = written(captions[number])[:, :width, None]
                sheet[y + height + 2 :, x:][: letters.shape[0], : letters.shape[1]] = 255 * (1 - letters)
        y += height + below
    return sheet
