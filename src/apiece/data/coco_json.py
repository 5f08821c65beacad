"""COCO's JSON files: found, read, checked against themselves. `coco_entries` makes objects of their entries."""

import gc
import json
import math
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from apiece.data.images import IMAGE_SUFFIXES
from apiece.data.packed import Packed
from apiece.errors import InputError
from apiece.masks import Size

Entry = dict[str, Any]
KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class CocoFile:
    """A COCO data set, read.

    Attributes:
        images: entries of "images", with id, file_name, height and width.
        annotations: the entries of "annotations" that belong to each image.
        labels: category id -> label.
        has_masks: False where no annotation has a segmentation.
        scored: does every annotation have a score?
        threshold: the score from which on findings count, where "info" says it.
    """

    path: Path
    images: tuple[Entry, ...]
    annotations: Sequence[Sequence[Entry]]
    labels: dict[int, int]
    classes: tuple[str, ...]
    has_masks: bool
    scored: bool
    threshold: float | None = None

    def size(self, index: int) -> Size:
        """Height and width of an image."""
        return self.images[index]["height"], self.images[index]["width"]


# --- finding ------------------------------------------------------------------------------------------------------


def is_coco(path: Path) -> bool:
    """Does a file look like a COCO data set? Its text is searched, not parsed."""
    if path.suffix.lower() != ".json" or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        start = text[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
        return start.startswith(b"{") and all(text.find(f'"{key}"'.encode()) >= 0 for key in KEYS)


def coco_files(folder: Path) -> dict[str, Path]:
    """The COCO files of a folder by the name of their part: in it, in annotations/, or one in each part's folder."""
    here = [*_json_files(folder), *_json_files(folder / "annotations")]
    # Beside instances_*.json COCO has captions and keypoints of the same images.
    files = [path for path in here if path.stem.startswith("instances_")] or here
    if files:
        return {path.stem.removeprefix("instances_"): path for path in files}
    parts = {child.name: list(_json_files(child)) for child in sorted(folder.iterdir()) if child.is_dir()}
    return {name: files[0] for name, files in parts.items() if len(files) == 1}


def _json_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*.json")) if is_coco(path) and not path.name.startswith("."))


def image_folder(path: Path, images: tuple[Entry, ...]) -> Path | None:
    """The folder, near the JSON file, that the images' file names start from; None where there is none."""
    part, near, above = path.stem.removeprefix("instances_"), path.parent, path.parent.parent
    places = [near / "images" / part, near / "images", near / part, near]
    places += [above / part, above / "images" / part, above / "images", above]
    few = [image["file_name"].replace("\\", "/") for image in images[:10]]
    return next((place for place in places for name in few if (place / name).is_file()), None)


def image_name(file_name: str) -> str:
    """The name of an image's outputs: its path without suffix and without ways out of the folder."""
    path = PurePosixPath(file_name.replace("\\", "/"))
    parts = [part for part in path.parts if part not in ("/", "..") and not part.endswith(":")]
    name = "/".join(parts)
    return name[: -len(path.suffix)] if path.suffix.lower() in IMAGE_SUFFIXES else name


# --- reading ------------------------------------------------------------------------------------------------------


@contextmanager
def uncollected() -> Iterator[None]:
    """Without looking for garbage: it would go through millions of new objects again and again, all of them in use."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@uncollected()
def load_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises:
        InputError: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}): make or copy it again.") from error


@uncollected()
def parse_data_set(path: Path) -> CocoFile:
    """Read and check a data set; no mask is made yet.

    Raises:
        InputError: naming the entry that is wrong and how.
    """
    return checked(path, load_json(path))


def checked(path: Path, content: Any) -> CocoFile:
    """The contents of a data set's file, checked.

    Raises:
        InputError: naming the entry that is wrong and how.
    """
    missing = [key for key in KEYS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise InputError(f"{path}: no COCO data set: the list {missing[0]!r} is missing.")
    categories = _by_id(path, content, "categories")
    images = _by_id(path, content, "images")
    for number, image in images.items():
        if not isinstance(image.get("file_name"), str) or not all(
            is_side(image.get(side)) for side in ("height", "width")
        ):
            raise InputError(f"{path}: image {number} lacks a file_name, or height and width, whole numbers from 1.")
    labels = {number: label for label, number in enumerate(sorted(categories))}
    annotations = _annotations_by_image(path, content["annotations"], images, labels)
    return CocoFile(
        path=path,
        images=tuple(images.values()),
        annotations=Packed(annotations[number] for number in images),
        labels=labels,
        classes=tuple(str(categories[number].get("name", number)) for number in labels),
        has_masks=not content["annotations"] or any(one.get("segmentation") for one in content["annotations"]),
        scored=bool(content["annotations"]) and all("score" in one for one in content["annotations"]),
        threshold=_threshold(content.get("info")),
    )


def _threshold(info: Any) -> float | None:
    """The operating point that apiece writes beside findings; "info" is free text, so what else is there is ignored."""
    value = info.get("threshold") if isinstance(info, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def described(value: Any) -> str:
    """What stands in a JSON file, in a few words."""
    if isinstance(value, dict):
        return f"an object of {', '.join(map(repr, list(value)[:5])) or 'nothing'}"
    return "a list" if isinstance(value, list) else repr(value)[:40]


def is_side(side: Any) -> bool:
    """Can this be an image's height or width?"""
    return type(side) is int and 0 < side < 1 << 24


def _by_id(path: Path, content: Entry, key: str) -> dict[Any, Entry]:
    """The entries of a list by their ids."""
    entries: dict[Any, Entry] = {}
    for entry in content[key]:
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, int | str) or (key == "categories" and not isinstance(number, int)):
            raise InputError(f"{path}: an entry of {key!r} has no id.")
        if number in entries:
            raise InputError(f"{path}: two entries of {key!r} have the id {number}.")
        entries[number] = entry
    return entries


def _annotations_by_image(path: Path, entries: list[Any], images: dict[Any, Entry], labels: dict[int, int]):
    by_image: dict[Any, list[Entry]] = {number: [] for number in images}
    ids: set[int | str] = set()
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: entry {place} of 'annotations' is no object.")
        number = entry.get("id")
        if isinstance(number, int | str):
            if number in ids:
                remedy = "`apiece check` lists all such and writes a copy with new ones (--fix --out DIR)"
                raise InputError(f"{path}: two entries of 'annotations' have the id {number}: {remedy}.")
            ids.add(number)
        check_references(path, f"annotation {entry.get('id', place)}", entry, by_image, labels)
        by_image[entry["image_id"]].append(entry)
    return by_image


def check_references(path: Path, what: str, entry: Entry, images: Any, labels: dict[int, int]) -> None:
    """Do the image and the category that an annotation or result names exist?

    Raises:
        InputError: naming `what`.
    """
    number, category = entry.get("image_id"), entry.get("category_id")
    if type(number) not in (int, str) or number not in images:
        raise InputError(f"{path}: {what} names image {number}, which is not among the images.")
    if type(category) is not int or category not in labels:
        known = ", ".join(map(str, sorted(labels)[:20]))
        raise InputError(f"{path}: {what} names category {category}, but 'categories' lists only {known}.")
