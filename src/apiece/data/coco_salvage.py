"""A damaged COCO data set, opened without the entries that cannot be read; each of them is named."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from apiece.data.coco import chosen_file, data_set
from apiece.data.coco_json import KEYS, CocoFile, Entry, checked, image_name, is_side, load_json
from apiece.data.dataset import Dataset
from apiece.data.soundness import Rest, Salvage
from apiece.errors import InputError
from apiece.faults import Finding

Lost = Callable[..., None]


def salvage_coco(path: Path, split: str | None = None) -> Salvage:
    """A COCO data set without what cannot be read of it.

    Raises:
        InputError: nothing can be read: no such file or part, no JSON, or the lists are missing.
    """
    file = chosen_file(path, split)
    content = load_json(file)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in KEYS):
        checked(file, content)
    found: list[Finding] = []

    def lost(fault: str, words: str, **where: Any) -> None:
        found.append(Finding(fault, words, file=str(file), **where))

    categories = _unique(content["categories"], int, "category", lost)
    images = _named(_unique(content["images"], int | str, "image", lost), lost)
    annotations = _numbered(list(_known(content["annotations"], images, categories, lost)), images, lost)
    source = checked(
        file,
        {"images": list(images.values()), "annotations": annotations, "categories": list(categories.values())},
    )
    return Salvage(data_set(path, source), found, partial(_rest, path, source))


def _unique(entries: list[Any], kinds: Any, what: str, lost: Lost) -> dict[Any, Entry]:
    """Entries by their ids, the first of each."""
    unique: dict[Any, Entry] = {}
    for place, entry in enumerate(entries):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, kinds):
            lost("unreadable annotation", "it has no id", entry=f"{what} entry {place}")
        elif number in unique:
            lost("unreadable annotation", "there are two of this id", entry=f"{what} {number}")
        else:
            unique[number] = entry
    return unique


def _named(images: dict[Any, Entry], lost: Lost) -> dict[Any, Entry]:
    """The images that have a file and a size, and a name of their own."""
    names: dict[str, Any] = {}
    for number, image in images.items():
        sides = [image.get(side) for side in ("height", "width")]
        if not isinstance(image.get("file_name"), str) or not all(map(is_side, sides)):
            lost("unreadable annotation", "it lacks a file_name, height or width", entry=f"image {number}")
        elif names.setdefault(image_name(image["file_name"]), number) != number:
            words = f"{image['file_name']} is named by another image too"
            lost("unreadable annotation", words, entry=f"image {number}")
    return {number: images[number] for number in names.values()}


def _known(entries: list[Any], images: dict[Any, Entry], categories: dict[Any, Entry], lost: Lost) -> Iterator[Entry]:
    """The annotations whose image and category there are."""
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            lost("unreadable annotation", "it is no object", entry=f"annotation entry {place}")
            continue
        number, category = entry.get("image_id"), entry.get("category_id")
        image = images.get(number) if isinstance(number, int | str) else None
        where: dict[str, Any] = {"entry": f"annotation {entry.get('id', place)}", "box": _box(entry)}
        if image is None:
            lost("unknown image", f"it names image {number}, which is not among the images", **where)
        elif not isinstance(category, int) or category not in categories:
            words = f"it names category {category}, which is not among the categories"
            lost("unknown category", words, image=image_name(image["file_name"]), **where)
        else:
            yield entry


def _numbered(entries: list[Entry], images: dict[Any, Entry], lost: Lost) -> list[Entry]:
    """The annotations, those with an earlier one's id under a number that is free."""
    ids = [entry.get("id") for entry in entries]
    free = max((number for number in ids if isinstance(number, int)), default=0) + 1
    known: set[Any] = set()
    numbered = []
    for entry, number in zip(entries, ids, strict=True):
        if isinstance(number, int | str) and number in known:
            name, words = image_name(images[entry["image_id"]]["file_name"]), "an annotation before it has this id too"
            lost("id twice", words, entry=f"annotation {number}", image=name, box=_box(entry))
            entry, free = {**entry, "id": free}, free + 1
        elif isinstance(number, int | str):
            known.add(number)
        numbered.append(entry)
    return numbered


def _box(entry: Entry) -> tuple[float, float, float, float] | None:
    """`x1 y1 x2 y2`, if they can be read."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) in (int, float) for side in box):
        return None
    x, y, width, height = box
    return (x, y, x + width, y + height) if all(map(math.isfinite, box)) else None


def _rest(path: Path, source: CocoFile, index: int, error: InputError) -> Rest:
    """What can be read of an image that cannot be read whole."""
    kept, found = [], []
    for entry in source.annotations[index]:
        words = _unread(path, source, index, entry)
        if words and source.has_masks:
            bare = {name: value for name, value in entry.items() if name not in ("bbox", "area", "score")}
            # A wrong number does not spoil the mask.
            entry, readable = bare, not _unread(path, source, index, bare)
        else:
            readable = not words
        kept += [entry] * readable
        if words:
            name = f"annotation {entry.get('id')}"
            found.append(Finding("unreadable annotation", words, file=str(source.path), entry=name, box=_box(entry)))
    mended = _alone(path, source, index, kept)
    return Rest(mended.truth(0), mended.outlines(0), found)


def _unread(path: Path, source: CocoFile, index: int, entry: Entry) -> str | None:
    """Why an annotation cannot be read, in words."""
    try:
        _alone(path, source, index, [entry]).truth(0)
    except InputError as error:
        return str(error).removeprefix(f"{source.path}: annotation {entry.get('id')}: ").rstrip(".")
    return None


def _alone(path: Path, source: CocoFile, index: int, entries: list[Entry]) -> Dataset:
    """A data set of one image with some annotations."""
    images = source.images[index : index + 1]
    return data_set(path, replace(source, images=images, annotations=(tuple(entries),), scored=False))
