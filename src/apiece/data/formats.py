"""Which format is it? Opening truth and findings of any format that apiece reads.

A format is a module with `FORMAT`, `recognize(path) -> str | None` (what it saw, in words) and an opening function.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from apiece.data import coco, label_images, label_layout
from apiece.data.coco_results import open_coco_results
from apiece.data.dataset import Dataset
from apiece.errors import CallError, InputError


class Format(NamedTuple):
    """A format of data sets.

    Attributes:
        name: as `--format` takes it.
        looked_for: what it is recognized by, in words.
        recognize: what is seen at a path if it is of this format, in words; None if it is not.
        open: path and split -> the data set.
    """

    name: str
    looked_for: str
    recognize: Callable[[Path], str | None]
    open: Callable[[Path, str | None], Dataset]


FORMATS = (
    Format(
        name=label_images.FORMAT,
        looked_for=label_layout.LAYOUTS,
        recognize=label_layout.recognize,
        open=label_images.open_label_images,
    ),
    Format(
        name=coco.FORMAT,
        looked_for="COCO JSON (a file, or in the folder or its annotations/)",
        recognize=coco.recognize,
        open=coco.open_coco,
    ),
)
FOUND_FILE = "found.json"
"""The COCO JSON in a folder of findings."""


def recognize(path: Path) -> dict[str, str]:
    """The formats that `path` can be read as, each with what was seen, in words."""
    seen = {one.name: one.recognize(path) for one in FORMATS}
    return {name: words for name, words in seen.items() if words}


def open_dataset(path: str | Path, *, split: str | None = None, format: str | None = None) -> Dataset:
    """A data set of any format. Reads no image and no mask.

    Args:
        path: a folder or file.
        split: which part of a set that is divided (train, val, ...).
        format: the format's name; by default it is found out, `Dataset.format` says which it is.

    Raises:
        InputError: nothing there, no known format or several, or what is wrong with it.
        CallError: there is no format of that name.
    """
    path = Path(path)
    by_name = {one.name: one for one in FORMATS}
    if format is not None and format not in by_name:
        raise CallError(f"there is no format {format!r}: choose {' or '.join(by_name)}.")
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    if format is not None:
        return by_name[format].open(path, split)
    seen = recognize(path)
    if not seen:
        wanted = "; ".join(one.looked_for for one in FORMATS)
        raise InputError(f"{path}: {_contents(path)}, no data set that apiece knows: looked for {wanted}.")
    if len(seen) > 1:
        both = "; ".join(f"{words} ({name})" for name, words in seen.items())
        raise InputError(f"{path}: more than one data set: {both}: choose one (--format {next(iter(seen))}).")
    return by_name[next(iter(seen))].open(path, split)


def _contents(path: Path) -> str:
    """What is at a path, in words."""
    if not path.is_dir():
        return f"a {path.suffix or 'nameless'} file"
    names = sorted(child.name + "/" * child.is_dir() for child in path.iterdir() if not child.name.startswith("."))
    if not names:
        return "an empty folder"
    return f"a folder of {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def open_found(path: str | Path, truth: Dataset, *, split: str | None = None, format: str | None = None) -> Dataset:
    """Findings: label images (NAME.tif or NAME.png), COCO results or data sets, or a folder that `predict` wrote.

    Args:
        truth: what the findings will be compared with: says the names of the images, and COCO's ids.
        format, split: as for `open_dataset`.

    Raises:
        InputError: there is nothing of the kind, or what is wrong with it.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    if path.is_dir() and (path / FOUND_FILE).is_file() and format is None:
        path = path / FOUND_FILE
    if path.is_file() and path.suffix.lower() == ".json" and not coco.recognize(path):
        return open_coco_results(path, truth)
    if format is not None or recognize(path):
        return open_dataset(path, split=split, format=format)
    if not path.is_dir():
        raise InputError(f"{path}: {_contents(path)}, but findings are label images in a folder, or COCO JSON.")
    inner = next((path / name for name in ("labels", "masks") if (path / name).is_dir()), path)
    there = label_images.open_label_folder(inner)
    return there if set(there.names) & set(truth.names) else _by_last_part(there, truth)


def _by_last_part(found: Dataset, truth: Dataset) -> Dataset:
    """Only those that are named by the last part of a truth's name; all where none is."""
    wanted = {name.rsplit("/", 1)[-1] for name in truth.names}
    kept = [index for index, name in enumerate(found.names) if name in wanted]
    return found.subset(kept) if kept else found


def match_names(found: Dataset, truth: Dataset) -> list[tuple[int, int]]:
    """Pairs of indices (in found, in truth) of the same images, in truth's order; other findings are left out.

    Names are compared whole, and by their last part where that is unambiguous.

    Raises:
        InputError: an image of the truth has no findings (an image without objects needs an empty one).
    """
    places = {name: index for index, name in enumerate(found.names)}
    short: dict[str, int | None] = {}
    for name, index in places.items():
        last = name.rsplit("/", 1)[-1]
        short[last] = None if last in short else index
    pairs, missing = [], []
    for index, name in enumerate(truth.names):
        place = places.get(name, short.get(name.rsplit("/", 1)[-1]))
        pairs.append((place, index))
        missing += [name] * (place is None)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{found.path}: nothing was found for {missing[0]}{more} of the {len(truth)} images of {truth.path}."
        )
    return pairs


def cut(data: Dataset | Path | str, validation: Dataset | Path | str | float | None) -> tuple[Dataset, Dataset | None]:
    """Training and validation set: the latter given, or a share of the former, or none.

    Raises:
        CallError: the validation set has classes that the training set lacks.
    """
    data = data if isinstance(data, Dataset) else open_dataset(data)
    if isinstance(validation, str | Path):
        validation = open_dataset(validation)
    if isinstance(validation, Dataset):
        if unknown := set(validation.classes) - set(data.classes):
            raise CallError(f"{validation.path}: has classes that {data.path} lacks: {', '.join(sorted(unknown))}.")
        return data, validation
    return data.split(validation) if validation and len(data) > 1 else (data, None)
