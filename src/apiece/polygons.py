"""Polygons to masks as COCO rasterizes them, and masks to polygons along their pixels' edges."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from apiece.masks import Size
from apiece.run_lengths import compress_counts


def polygons_to_texts(outlines: Sequence[Sequence[Float[ndarray, "_ 2"]]], size: Size) -> list[bytes]:
    """The compressed run lengths of objects, each the union of closed rings, as COCO rasterizes them.

    Rings of fewer than three points cover nothing.
    """
    from pycocotools import mask as coco_mask

    drawn = [[ring.reshape(-1) for ring in rings if len(ring) >= 3] for rings in outlines]
    flat: Any = [ring for rings in drawn for ring in rings]
    painted: Any = iter(coco_mask.frPyObjects(flat, *size) if flat and size[0] and size[1] else ())
    several = [[runs for _, runs in zip(rings, painted, strict=False)] for rings in drawn]
    return [_union(runs) if runs else compress_counts([size[0] * size[1]], size).encode() for runs in several]


def _union(runs: list[Any]) -> bytes:
    """The compressed run lengths of the union of some."""
    from pycocotools import mask as coco_mask

    merged: Any = coco_mask.merge(runs) if len(runs) > 1 else runs[0]
    return merged["counts"]


def crop_to_polygons(crop: Bool[ndarray, "h w"], corner: tuple[int, int]) -> list[list[Integer[ndarray, "_ 2"]]]:
    """The outlines of a mask along its pixels' edges: for each part the outer ring, then its holes.

    Points are `x y` in image coordinates, pixel (row, column) covering [column, column + 1] x [row, row + 1]; outer
    rings run clockwise on the screen, holes the other way. Parts are 4-connected, holes 8-connected. Rasterizing the
    outer rings with COCO's rule and taking the holes away gives the mask back exactly.
    """
    from scipy.ndimage import label

    rings = _trace(crop)
    labeled: Any = label(crop)
    components, count = labeled
    parts: list[list[ndarray]] = [[] for _ in range(count)]
    # Outer rings first, so that each part begins with its own.
    for ring in sorted(rings, key=_signed_area, reverse=True):
        x, y = ring[np.lexsort((ring[:, 0], ring[:, 1]))[0]]
        # Below an outer ring's topmost corner lies a pixel of its part; of a hole's ring, the one to the left of that.
        owner = components[y, x] if _signed_area(ring) > 0 else components[y, x - 1]
        parts[owner - 1].append(ring + np.asarray(corner, ring.dtype))
    return parts


def _signed_area(ring: Integer[ndarray, "_ 2"]) -> float:
    """Twice the area inside a ring, positive if it runs clockwise on the screen."""
    x, y = ring.T.astype(np.int64)
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def _trace(crop: Bool[ndarray, "h w"]) -> list[Integer[ndarray, "_ 2"]]:
    """Closed rings of the corners of a mask's outline, the mask always on the right hand."""
    height, width = crop.shape
    ink = np.zeros((height + 2, width + 2), np.int8)
    ink[1:-1, 1:-1] = crop
    across, down = np.diff(ink[:, 1:-1], axis=0), np.diff(ink[1:-1], axis=1)  # h+1 w and h w+1
    leaving = np.zeros((height + 1, width + 1, 4), bool)  # does an edge leave this corner to the right, down, left, up?
    leaving[:, :-1, 0] = across == 1
    leaving[:-1, :, 1] = down == -1
    leaving[:, 1:, 2] = across == -1
    leaving[1:, :, 3] = down == 1

    edges = np.flatnonzero(leaving)
    corner, direction = edges // 4, edges % 4
    end = corner + np.array([1, width + 1, -1, -width - 1])[direction]
    # Right before straight on before left: two pixels that touch at a corner only stay apart.
    turns = np.stack([(direction + turn) % 4 for turn in (1, 0, 3)])
    open_ways = leaving.reshape(-1, 4)[end, turns]
    following = turns[open_ways.argmax(0), np.arange(len(edges))]
    place = np.zeros(leaving.size, np.int64)
    place[edges] = np.arange(len(edges))
    successor = place[end * 4 + following].tolist()
    corners = np.stack([end % (width + 1), end // (width + 1)], 1)
    return [corners[ring] for ring in _cycles(successor, (following != direction).tolist())]


def _cycles(successor: list[int], bends: list[bool]) -> list[list[int]]:
    """The closed walks of a permutation, each as the steps after which it bends."""
    seen = bytearray(len(successor))
    walks = []
    for start in range(len(successor)):
        walk, step = [], start
        while not seen[step]:
            seen[step] = 1
            if bends[step]:
                walk.append(step)
            step = successor[step]
        if walk:
            walks.append(walk)
    return walks
