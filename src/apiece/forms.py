"""The forms in which the masks of an image come and go: each maker returns their store, the others read one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer
from numpy import ndarray

from apiece import masks, polygons
from apiece.masks import Size
from apiece.run_lengths import compress_counts, crop_to_counts, edges_to_counts, read_texts
from apiece.stores import CropStore, LayerStore, RunStore, Store


def from_crops(crops: Sequence[Bool[ndarray, "_ _"]], boxes: Any, size: Size) -> CropStore:
    """From masks cut to boxes in the image, of which the corners count; empty borders of crops are cut away."""
    corners = np.asarray(boxes, np.int64).reshape(-1, 4)[:, :2].tolist()
    tight = [masks.tighten(crop, (x, y)) for crop, (x, y) in zip(crops, corners, strict=True)]
    boxes = np.array([box for _, box in tight], np.int64).reshape(-1, 4)
    return CropStore.pack([crop for crop, _ in tight], boxes, size)


def from_dense(stack: Bool[ndarray, "N H W"]) -> CropStore:
    """From one full-size mask for each object."""
    return from_crops(list(stack), [(0, 0, 0, 0)] * len(stack), stack.shape[1:])


def from_label_map(label_map: Integer[ndarray, "H W"], values: Any = None) -> LayerStore:
    """From a label map, uncopied; by default every positive value that occurs is an object, ascending."""
    values = masks.label_values(label_map) if values is None else np.asarray(values, np.int64)
    return LayerStore(label_map[None], np.zeros(len(values), np.int64), values)


def from_layers(layers: Integer[ndarray, "L H W"]) -> LayerStore:
    """From label layers, uncopied: every positive value is an object, ascending.

    Raises:
        ValueError: a value occurs on two layers.
    """
    found = [masks.label_values(layer) for layer in layers]
    values = np.concatenate([np.zeros(0, np.int64), *found])
    layer = np.repeat(np.arange(len(found)), [len(of_layer) for of_layer in found])
    order = np.argsort(values, kind="stable")
    layer, values = layer[order], values[order]
    if (values[1:] == values[:-1]).any():
        raise ValueError("a label occurs on two layers: each object must lie on one layer.")
    return LayerStore(layers, layer, values)


def from_rle(runs: Iterable[Mapping[str, Any]], size: Size) -> RunStore | CropStore:
    """From COCO's run lengths, compressed or not.

    Raises:
        ValueError: runs that are damaged or made for another size.
    """
    texts = []
    for run in runs:
        if tuple(run["size"]) != tuple(size):
            raise ValueError(f"run lengths for an image of {run['size']}, but the image is {list(size)}")
        counts = run["counts"]
        texts.append(counts if isinstance(counts, str | bytes) else compress_counts(counts, size))
    return from_texts(texts, size)


def from_polygons(outlines: Iterable[Sequence], size: Size) -> RunStore | CropStore:
    """From the rings whose union each object is, by COCO's rule."""
    rings = [[np.asarray(ring, float).reshape(-1, 2) for ring in of_object] for of_object in outlines]
    return from_texts(polygons.polygons_to_texts(rings, size), size)


def from_texts(texts: Sequence[str | bytes], size: Size) -> RunStore | CropStore:
    """From COCO's compressed run lengths.

    Raises:
        ValueError: one of them is damaged, or does not fill the image.
    """
    runs = read_texts(texts, np.full(len(texts), size[0] * size[1]))
    return leaner(RunStore.of(runs, size, 0, len(texts)))


def leaner(store: RunStore) -> RunStore | CropStore:
    """The same masks, never in more room than a byte for each pixel of their boxes."""
    used, pixels = store.start.nbytes + store.stop.nbytes, int((store.stop - store.start).sum())
    # Boxes are no smaller than masks: mostly there is no need to look at them.
    if used <= pixels or used <= (store.boxes[:, 2:] - store.boxes[:, :2]).prod(1).sum():
        return store
    return store.packed()


def crops(store: Store) -> Iterator[Bool[ndarray, "_ _"]]:
    """Each mask inside its box, one at a time."""
    return (store.crop(index) for index in range(len(store)))


def same(one: Store, other: Store) -> bool:
    """The same masks in the same order, to the last pixel?"""
    if not np.array_equal(one.boxes, other.boxes):
        return False
    return all(np.array_equal(mine, yours) for mine, yours in zip(crops(one), crops(other), strict=True))


def dense(store: Store) -> Bool[ndarray, "N H W"]:
    """One full-size mask for each object."""
    stack = np.zeros((len(store), *store.size), bool)
    for plane, crop, (x1, y1, x2, y2) in zip(stack, crops(store), store.boxes.tolist(), strict=True):
        plane[y1:y2, x1:x2] = crop
    return stack


def label_map(store: Store, rows: slice = slice(None)) -> Integer[ndarray, "h W"]:
    """Rows of one map of all objects, numbered from 1; the smallest is seen, of equal ones the first."""
    if isinstance(store, LayerStore) and len(store.planes) == 1:
        return store.renumbered(0, rows)
    top, bottom, _ = rows.indices(store.size[0])
    painted = np.zeros((max(bottom - top, 0), store.size[1]), masks.label_type(len(store)))
    boxes = store.boxes
    for index in np.lexsort((-np.arange(len(store)), -store.areas)).tolist():
        x1, y1, x2, y2 = boxes[index].tolist()
        first, last = max(y1, top), min(y2, bottom)
        if first < last:
            crop = store.crop(index, slice(first - y1, last - y1))
            painted[first - top : last - top, x1:x2][crop] = index + 1
    return painted


def resized(layers: Integer[ndarray, "L H W"], size: Size) -> Integer[ndarray, "L h w"]:
    """Label layers at another size: each pixel takes the value in which its center lies."""
    if not layers.size:
        return np.zeros((1, *size), np.uint16)
    # The exact floor of (i + 1/2) * old / new.
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, layers.shape[1:], strict=True)
    )
    return layers[:, rows[:, None], columns]


def rle(store: Store) -> list[dict[str, Any]]:
    """COCO's compressed run lengths of each object."""
    size = store.size
    if isinstance(store, RunStore):
        edges = np.stack([store.start, store.stop], 1).reshape(-1).astype(np.int64)
        counts = (edges_to_counts(of_object, size) for of_object in np.split(edges, 2 * store.offsets[1:-1]))
        counts = list(counts)[: len(store)]
    else:
        boxes = map(tuple, store.boxes.tolist())
        counts = (crop_to_counts(crop, box, size) for crop, box in zip(crops(store), boxes, strict=True))
    return [{"size": list(size), "counts": compress_counts(runs, size)} for runs in counts]


def outlines(store: Store) -> list[list[list[Integer[ndarray, "_ 2"]]]]:
    """For each object its parts, for each part the outer ring and the holes' rings."""
    corners = store.boxes[:, :2].tolist()
    return [polygons.crop_to_polygons(crop, (x, y)) for crop, (x, y) in zip(crops(store), corners, strict=True)]
