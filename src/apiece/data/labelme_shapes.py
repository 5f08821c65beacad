"""LabelMe's shapes, one image's at a time: JSON to shapes, objects to JSON."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from apiece.data.outlines import ANY_CLASS, Mask, Shape, ellipse, ring
from apiece.instances import Instances
from apiece.masks import Size

POLYGONS = ("polygon", "oriented_rectangle", "rotation")
KINDS = (*POLYGONS, "rectangle", "circle", "mask")
MOST_PIXELS = 1 << 28
"""A mask of more is refused before memory is taken for it."""


# --- reading ------------------------------------------------------------------------------------------------------


def shape_of(shape: Mapping[str, Any], size: Size, labels: Mapping[str, int]) -> Shape:
    """One shape.

    Raises:
        ValueError: how it is broken.
    """
    kind, points, group = shape.get("shape_type") or "polygon", shape.get("points"), shape.get("group_id")
    flags, label = shape.get("flags"), labels[shape["label"]]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"a {str(kind)[:40]!r} outlines no object: apiece reads {', '.join(KINDS)}")
    if not isinstance(group, int | str | None):
        raise ValueError("its group_id is no number")
    said: dict[str, Any] = {
        "ignore": label < 0 or (isinstance(flags, dict) and flags.get("ignore") is True),
        "score": shape.get("score"),
        "group": group,
    }
    if kind in POLYGONS or (kind == "rectangle" and isinstance(points, list) and len(points) == 4):
        return Shape(label, [ring(points, size)], **said)
    if not isinstance(points, list) or len(points) != 2:
        raise ValueError(f"a {kind} needs two points")
    (x1, y1), (x2, y2) = ring([*points, points[0]], size)[:2].tolist()
    if kind == "rectangle":
        return Shape(label, [np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])], **said)
    if kind == "circle":
        radius = math.hypot(x2 - x1, y2 - y1)
        return Shape(label, mask=ellipse((x1, y1), (radius, radius), size), **said)
    return Shape(label, mask=_placed(_decoded(shape.get("mask")), int(x1), int(y1), size), **said)


def _decoded(text: Any) -> Bool[ndarray, "h w"]:
    """A mask's PNG in base64."""
    from PIL import PngImagePlugin

    try:
        picture = PngImagePlugin.PngImageFile(io.BytesIO(base64.b64decode(text, validate=True)))
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError("too large")
        return np.asarray(picture.convert("L")) > 0
    # A foreign parser meets damaged bytes: it may raise anything, and whatever it is, the file is to blame.
    except Exception as error:
        raise ValueError(f"its mask is no PNG image in base64 ({str(error)[:60]})") from error


def _placed(crop: Bool[ndarray, "h w"], x: int, y: int, size: Size) -> Mask:
    """A mask at its first point, in the image."""
    box = (x, y, x + crop.shape[1], y + crop.shape[0])
    if min(x, y) < 0 or box[2] > size[1] or box[3] > size[0]:
        raise ValueError(f"its mask reaches out of the image: {crop.shape[0]} x {crop.shape[1]} at ({x}, {y})")
    return crop, box


# --- writing ------------------------------------------------------------------------------------------------------


def shapes_of(truth: Instances, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Objects as LabelMe's shapes: polygons, or a mask where there are holes."""
    shapes = []
    for index, parts in enumerate(truth.polygons()):
        label = int(truth.labels[index])
        said: dict[str, Any] = {
            "label": classes[label] if label >= 0 else ANY_CLASS,
            "group_id": index + 1 if len(parts) > 1 else None,
            "description": "",
            "flags": {"ignore": True} if truth.ignore[index] and label >= 0 else {},
        }
        if truth.scores is not None:
            said["score"] = float(truth.scores[index])
        if all(len(rings) == 1 for rings in parts):
            drawn = [{"points": rings[0].tolist(), "shape_type": "polygon", "mask": None} for rings in parts]
        else:
            x1, y1, x2, y2 = truth.mask_boxes[index].tolist()
            corners = [[x1, y1], [x2 - 1, y2 - 1]]
            drawn = [{"points": corners, "shape_type": "mask", "mask": _encoded(truth.crop(index))}]
            said["group_id"] = None
        shapes += [said | shape for shape in drawn]
    return shapes


def _encoded(crop: Bool[ndarray, "h w"]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
