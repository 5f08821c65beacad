"""Cityscapes' `*_gtFine_polygons.json`: objects as polygons that are painted one over another, read and written.

    {"imgHeight": 1024, "imgWidth": 2048, "objects": [{"label": "car", "polygon": [[x, y], ...]}, ...]}

A later polygon lies on top; `cargroup` is a group of cars; an object marked `"deleted"` is none. Points are centers of
pixels, and pixels on the outline belong to the object, as cityscapesScripts paints them with Pillow.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from apiece.data.cityscapes_labels import Label
from apiece.data.coco_json import is_side, load_json
from apiece.errors import InputError
from apiece.files import write_text
from apiece.masks import Size, label_boxes, label_values
from apiece.polygons import crop_to_polygons

Ring = Integer[ndarray, "_ 2"]


def read_polygons(path: Path, labels: Sequence[Label]) -> Integer[ndarray, "H W"]:
    """The instance ids that the polygons paint: label * 1000 + k, or the bare label of groups and of stuff.

    Raises:
        InputError: not such a file, or what is wrong with which object.
    """
    from PIL import Image, ImageDraw

    content = _content(path)
    image = Image.new("I", (content["imgWidth"], content["imgHeight"]), 0)
    drawer, by_name, counted = ImageDraw.Draw(image), {label.name: label for label in labels}, Counter()
    for place, entry in enumerate(content["objects"]):
        if isinstance(entry, dict) and entry.get("deleted"):
            continue
        points = _points(path, place, entry)
        number = _number(path, place, str(entry.get("label")), by_name, counted)
        if number >= 0:
            drawer.polygon(points, fill=number)
    return np.array(image)


def polygon_size(path: Path) -> Size:
    """Height and width of the image that a file of polygons is for."""
    content = _content(path)
    return content["imgHeight"], content["imgWidth"]


def _content(path: Path) -> dict[str, Any]:
    content = load_json(path)
    sized = isinstance(content, dict) and all(is_side(content.get(key)) for key in ("imgHeight", "imgWidth"))
    if not sized or not isinstance(content.get("objects"), list):
        raise InputError(f"{path}: no polygons of Cityscapes: imgHeight, imgWidth or the list 'objects' is missing.")
    return content


def _points(path: Path, place: int, entry: Any) -> list[tuple[float, float]]:
    """The corners of an object."""
    polygon = entry.get("polygon") if isinstance(entry, dict) else None
    try:
        points = [(float(x), float(y)) for x, y in polygon or []]
    except (TypeError, ValueError):
        points = []
    if len(points) < 2 or not all(abs(value) < 1 << 24 for point in points for value in point):
        raise InputError(f"{path}: object {place} has no polygon of two points [x, y] or more.")
    return points


def _number(path: Path, place: int, name: str, by_name: Mapping[str, Label], counted: Counter[str]) -> int:
    """The instance id of an object, the next one of its label."""
    label, group = by_name.get(name), False
    if label is None:
        label, group = by_name.get(name.removesuffix("group")), name.endswith("group")
    if label is None:
        raise InputError(
            f"{path}: object {place} is a {name!r}, which is none of the labels {', '.join(by_name)}: "
            "describe the set's own labels in labels.json."
        )
    if not label.has_instances or group:
        return label.number
    counted[label.name] += 1
    if counted[label.name] > 1000:
        raise InputError(f"{path}: object {place} is the 1,001st {name}, but instance ids hold 1,000 of a label.")
    return label.number * 1000 + counted[label.name] - 1


def write_polygons(ids: Integer[ndarray, "H W"], labels: Sequence[Label], ground: Label, path: Path) -> None:
    """Write instance ids as polygons, which paint just their labels again.

    Each part of an object is a polygon of its own, a hole a polygon of the ground; what lies in a hole comes later.

    Args:
        ground: the label of pixels without an object; a first polygon of the whole image has it.
    """
    height, width = ids.shape
    by_number = {label.number: label for label in labels}
    parts: list[tuple[int, list[dict[str, Any]]]] = []
    for name, mask, corner in _regions(ids, by_number, ground.number):
        for outer, *holes in crop_to_polygons(mask, corner):
            rings = [_entry(name, outer), *(_entry(ground.name, ring[::-1]) for ring in holes)]
            parts.append((_area(outer), rings))
    whole = {"label": ground.name, "polygon": [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]}
    # What lies in a part's hole is smaller than the part with its holes.
    objects = [whole, *(entry for _, rings in sorted(parts, key=lambda part: -part[0]) for entry in rings)]
    write_text(path, json.dumps({"imgHeight": height, "imgWidth": width, "objects": objects}))


def _regions(ids: Integer[ndarray, "H W"], by_number: Mapping[int, Label], ground: int):
    """The name, mask inside its box, and corner of what has each instance id, except the ground."""
    shifted = ids.astype(np.int32) + 1  # what nobody has labeled has id 0
    values = label_values(shifted)
    for value, (x1, y1, x2, y2) in zip(values.tolist(), label_boxes(shifted, values).tolist(), strict=True):
        number = value - 1
        label = by_number[number // 1000 if number >= 1000 else number]
        if number != ground:
            group = "group" if label.has_instances and number < 1000 else ""
            yield label.name + group, shifted[y1:y2, x1:x2] == value, (x1, y1)


def _area(ring: Ring) -> int:
    """Twice the area inside an outer ring."""
    x, y = ring.T.astype(np.int64)
    return int((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def _entry(name: str, ring: Ring) -> dict[str, Any]:
    points = pixel_ring(ring).tolist()
    # Pillow draws no polygon of one point.
    return {"label": name, "polygon": points * 2 if len(points) == 1 else points}


def pixel_ring(ring: Ring) -> Ring:
    """From a ring along the edges of pixels, clockwise, to the one through the centers of the pixels inside it."""
    following = np.roll(ring, -1, axis=0)
    dx, dy = (following - ring).T
    # On the right of an edge that runs right, down, left, up lie pixels below, to the left, above, to the right of it.
    starts = ring - np.stack([(dy > 0) | (dx < 0), (dx < 0) | (dy < 0)], 1)
    ends = following - np.stack([(dx > 0) | (dy > 0), (dy > 0) | (dx < 0)], 1)
    points = np.stack([starts, ends], 1).reshape(-1, 2)
    kept = (points != np.roll(points, 1, axis=0)).any(1)
    return points[kept] if kept.any() else points[:1]
