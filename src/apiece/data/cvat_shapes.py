"""CVAT's shapes, one image's at a time: attributes of XML elements to shapes, objects to XML elements."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from apiece.data.outlines import Mask, Shape, ellipse, is_number, is_score, near, ring
from apiece.instances import Instances
from apiece.masks import Size

KINDS = ("polygon", "box", "ellipse", "mask")


# --- reading ------------------------------------------------------------------------------------------------------


def shape_of(
    kind: str, said: Mapping[str, str], attributes: Mapping[str, str], labels: Mapping[str, int], size: Size
) -> Shape:
    """One shape.

    Args:
        said: the element's XML attributes.
        attributes: those that CVAT's user gives.

    Raises:
        ValueError: how it is broken.
    """
    if kind not in KINDS:
        raise ValueError(f"this outlines no object: apiece reads {', '.join(KINDS)}")
    label = labels[said["label"]]
    score = attributes.get("score")
    words: dict[str, Any] = {
        "ignore": label < 0 or attributes.get("ignore", "").lower() in ("true", "1"),
        "score": float(score) if score and is_score(score) else None,
        "group": said.get("group_id") if said.get("group_id") not in (None, "", "0") else None,
    }
    if kind == "polygon":
        return Shape(label, [_points(said.get("points", ""), size)], **words)
    if kind == "box":
        return Shape(label, [_corners(said, size)], **words)
    if kind == "ellipse":
        center, radii = _numbers(said, "cx", "cy"), _numbers(said, "rx", "ry")
        turn = _number(said.get("rotation", "0"), "rotation")
        return Shape(label, mask=ellipse((center[0], center[1]), (radii[0], radii[1]), size, turn), **words)
    return Shape(label, mask=_mask(said, size), **words)


def _number(text: str | None, name: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not is_number(value):
        raise ValueError(f"its {name} is no number: {str(text)[:40]!r}")
    return value


def _numbers(said: Mapping[str, str], *names: str) -> list[float]:
    return [_number(said.get(name), name) for name in names]


def _points(text: str, size: Size) -> Float[ndarray, "_ 2"]:
    """Points written as `x,y;x,y`."""
    pairs = [pair.split(",") for pair in text.split(";") if pair.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("its points are not pairs x,y;x,y")
    return ring([[_number(word, "point") for word in pair] for pair in pairs], size)


def _corners(said: Mapping[str, str], size: Size) -> Float[ndarray, "4 2"]:
    """The corners of a box, turned clockwise on the screen round its middle."""
    x1, y1, x2, y2 = _numbers(said, "xtl", "ytl", "xbr", "ybr")
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    turn = math.radians(_number(said.get("rotation", "0"), "rotation"))
    if turn:
        middle, (cosine, sine) = corners.mean(0), (math.cos(turn), math.sin(turn))
        corners = (corners - middle) @ np.array([(cosine, sine), (-sine, cosine)]) + middle
    return near(corners, size)


def _mask(said: Mapping[str, str], size: Size) -> Mask:
    """A mask given by run lengths, row by row inside its box, zeros first."""
    left, top, width, height = (int(number) for number in _numbers(said, "left", "top", "width", "height"))
    if min(left, top, width, height) < 0 or left + width > size[1] or top + height > size[0]:
        raise ValueError(f"its mask reaches out of the image: {height} x {width} at ({left}, {top})")
    words = said.get("rle", "").split(",")
    if not all(word.strip().isascii() and word.strip().isdigit() and len(word) < 16 for word in words):
        raise ValueError("its run lengths are not whole numbers from 0")
    runs = np.array([int(word) for word in words])
    # Each run is looked at by itself too: a sum of huge ones could come round to the right figure.
    if runs.sum() != width * height or runs.max() > width * height:
        raise ValueError(f"its run lengths do not fill its box of {height} x {width} = {width * height} pixels")
    crop = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return crop, (left, top, left + width, top + height)


# --- writing ------------------------------------------------------------------------------------------------------


def shapes_of(truth: Instances, names: Sequence[str]) -> Iterator[str]:
    """Objects as elements: polygons, or a mask where there are holes.

    Args:
        names: of the labels, that of no class last.
    """
    for index, parts in enumerate(truth.polygons()):
        said = f'label={quoteattr(names[int(truth.labels[index])])} source="manual" occluded="0"'
        whole = all(len(rings) == 1 for rings in parts)
        group = f' group_id="{index + 1}"' if whole and len(parts) > 1 else ""
        end = f' z_order="0"{group}>{_attributes(truth, index)}'
        if whole:
            yield from (f'<polygon {said} points="{_written(rings[0])}"{end}</polygon>' for rings in parts)
        else:
            x1, y1, x2, y2 = truth.mask_boxes[index].tolist()
            box = f'left="{x1}" top="{y1}" width="{x2 - x1}" height="{y2 - y1}"'
            yield f'<mask {said} rle="{_runs(truth.crop(index))}" {box}{end}</mask>'


def _attributes(truth: Instances, index: int) -> str:
    ignore = '<attribute name="ignore">true</attribute>' if truth.ignore[index] and truth.labels[index] >= 0 else ""
    if truth.scores is None:
        return ignore
    return f'{ignore}<attribute name="score">{float(truth.scores[index])!r}</attribute>'


def _written(points: Shaped[ndarray, "_ 2"]) -> str:
    return ";".join(f"{x},{y}" for x, y in points.tolist())


def _runs(crop: Bool[ndarray, "h w"]) -> str:
    """Run lengths row by row, zeros first."""
    pixels = crop.reshape(-1)
    edges = np.flatnonzero(np.diff(pixels, prepend=False))
    return ", ".join(map(str, np.diff(np.concatenate([[0], edges, [len(pixels)]])).tolist()))
