"""COCO's lists of results: `[{"image_id", "category_id", "segmentation" or "bbox", "score"}, ...]`, read and written.

Format: https://cocodataset.org/#format-results
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from apiece.data import coco_json
from apiece.data.coco_entries import ImageEntries, annotations, objects_of_images
from apiece.data.coco_json import Entry, described
from apiece.data.dataset import Dataset, Sample, Together
from apiece.data.packed import Packed
from apiece.errors import InputError
from apiece.files import write_text
from apiece.instances import Instances
from apiece.masks import Size

FORMAT = "coco-results"
KEYS = ("image_id", "category_id", "segmentation", "bbox", "score")


@coco_json.uncollected()
def open_coco_results(path: str | Path, truth: Dataset | None = None) -> Dataset:
    """A list of results `{"image_id", "category_id", "segmentation" or "bbox", "score"}` as findings.

    Args:
        truth: the data set whose images and categories the ids mean; every image of it is there, those without an entry
            with no objects. Without it, run lengths say the sizes, and names are the ids.

    Raises:
        InputError: no such list, ids that the truth lacks, or broken entries, each named by its place in the list.
    """
    path = Path(path)
    entries = coco_json.load_json(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: no list of COCO results, and no COCO data set either, but {described(entries)}.")
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: result {place} is no COCO result, but {described(entry)}.")
    masked = [bool(entry.get("segmentation")) for entry in entries]
    if any(masked) and not all(masked):
        raise InputError(f"{path}: result {masked.index(False)} has no segmentation, but others have.")
    ids, class_ids, size = _truth_ids(truth) if truth is not None else _own_ids(path, entries)
    labels = {number: label for label, number in enumerate(class_ids)}
    by_image: dict[Any, list[tuple[int, Entry]]] = {number: [] for number in ids}
    for place, entry in enumerate(entries):
        coco_json.check_references(path, f"result {place}", entry, by_image, labels)
        by_image[entry["image_id"]].append((place, entry))
    results = partial(_results, path, Packed(by_image.values()), size, labels, not entries or all(masked))
    boxed = all("bbox" in entry for entry in entries)
    return Dataset(
        path=path,
        format=FORMAT,
        classes=tuple(map(str, class_ids)) if truth is None else truth.classes,
        names=tuple(map(str, ids)) if truth is None else truth.names,
        files=(None,) * len(ids),
        read_image=partial(_no_image, path),
        read_truth=Together(results),
        image_ids=ids,
        class_ids=class_ids,
        read_size=size,
        read_boxes=Together(partial(results, bare=True)) if any(masked) and boxed else None,
    )


def _truth_ids(truth: Dataset) -> tuple[tuple[int | str, ...], tuple[int, ...], Callable[[int], Size]]:
    """A data set's image ids, class ids and sizes; ids count from 1 where it has none of its own."""
    ids = truth.image_ids or tuple(range(1, len(truth) + 1))
    return ids, truth.class_ids or tuple(range(1, len(truth.classes) + 1)), truth.size


def _own_ids(path: Path, entries: list[Entry]) -> tuple[tuple[int | str, ...], tuple[int, ...], Callable[[int], Size]]:
    """The same from results alone."""
    sizes: dict[Any, Size] = {}
    for place, entry in enumerate(entries):
        runs = entry.get("segmentation")
        size = runs.get("size") if isinstance(runs, dict) else None
        if not isinstance(size, list) or len(size) != 2 or not all(coco_json.is_side(side) for side in size):
            raise InputError(f"{path}: result {place} does not say its image's size: give the truth beside it.")
        if not isinstance(entry.get("image_id"), int | str) or not isinstance(entry.get("category_id"), int):
            raise InputError(f"{path}: result {place} lacks an image_id or category_id.")
        sizes[entry["image_id"]] = (size[0], size[1])
    ids = tuple(sorted(sizes, key=lambda number: (isinstance(number, str), number)))
    return (
        ids,
        tuple(sorted({entry["category_id"] for entry in entries})),
        tuple(sizes[number] for number in ids).__getitem__,
    )


def _results(
    path: Path,
    by_image: Sequence[list[tuple[int, Entry]]],
    size: Callable[[int], Size],
    labels: Mapping[int, int],
    has_masks: bool,
    indices: Sequence[int],
    bare: bool = False,
) -> Iterator[Instances]:
    def entries(index: int) -> ImageEntries:
        placed = by_image[index]
        return ImageEntries([f"result {place}" for place, _ in placed], [entry for _, entry in placed], size(index))

    # An area in a result is nobody's measurement: it is left to the masks.
    return objects_of_images(path, map(entries, indices), labels, has_masks, scored=True, measured=False, bare=bare)


def _no_image(path: Path, index: int) -> ndarray:
    raise InputError(f"{path}: these are results without their images.")


def write_coco_results(
    found: Iterable[Sample | tuple[str, Instances]], path: str | Path, truth: Dataset, *, boxes: bool = False
) -> None:
    """Write findings as a list of results, best first within each image, scores in full precision.

    Args:
        found: samples, or pairs of the truth's name and objects.
        truth: says the ids of images and classes.
        boxes: write "bbox" beside run lengths. By default only for objects without masks: pycocotools would take the
            boxes' areas for the masks' when it splits results by size.

    Raises:
        InputError: an image that the truth lacks, or the file cannot be written.
    """
    path, (ids, class_ids, _) = Path(path), _truth_ids(truth)
    by_name = dict(zip(truth.names, ids, strict=True))
    results = []
    for name, objects_found in ((sample[0], sample[-1]) for sample in found):
        if name not in by_name:
            raise InputError(f"{path}: {truth.path} has no image {name}, so its results have no id.")
        scores = np.ones(len(objects_found)) if objects_found.scores is None else objects_found.scores
        ranked = objects_found.replace(scores=scores)[np.argsort(-scores, kind="stable")]
        left_out = "segmentation" if not ranked.has_masks else "" if boxes else "bbox"
        keys = [key for key in KEYS if key != left_out]
        for entry in annotations(path, name, ranked, by_name[name], class_ids):
            results.append({key: entry[key] for key in keys})
    write_text(path, json.dumps(results))
