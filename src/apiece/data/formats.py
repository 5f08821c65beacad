"""Which format is it? Opening truth and findings of any format that apiece reads.

A format is a module with `FORMAT`, `recognize(path) -> str | None` (what it saw, in words) and an opening function.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from apiece.data import (
    binary_masks,
    cityscapes,
    cityscapes_results,
    coco,
    cvat,
    geojson,
    label_images,
    label_layout,
    labelme,
    voc,
    yolo,
)
from apiece.data.coco_json import load_json
from apiece.data.coco_results import open_coco_results
from apiece.data.dataset import Dataset, Together
from apiece.errors import CallError, InputError
from apiece.instances import Instances


class Format(NamedTuple):
    """A format of data sets.

    Attributes:
        name: as `--format` takes it.
        looked_for: what it is recognized by, in words.
        recognize: what is seen at a path if it is of this format, in words; None if it is not.
        open: path and split -> the data set.
        write: writes a data set (see `writing`); None where apiece only reads.
        parts: the names of the parts (train, val, ...) that a path is divided into, as `--split` takes them; empty if
            it is one set.
    """

    name: str
    looked_for: str
    recognize: Callable[[Path], str | None]
    open: Callable[[Path, str | None], Dataset]
    write: Callable[..., Counter[str]] | None = None
    parts: Callable[[Path], Sequence[str]] | None = None


FORMATS = (
    Format(
        name=label_images.FORMAT,
        looked_for=label_layout.LAYOUTS,
        recognize=label_layout.recognize,
        open=label_images.open_label_images,
        write=label_images.write_label_images,
        parts=label_layout.parts,
    ),
    Format(
        name=coco.FORMAT,
        looked_for="COCO JSON (a file, or in the folder or its annotations/)",
        recognize=coco.recognize,
        open=coco.open_coco,
        write=coco.write_coco_set,
        parts=coco.parts,
    ),
    Format(
        name=cityscapes.FORMAT,
        looked_for=cityscapes.LOOKED_FOR,
        recognize=cityscapes.recognize,
        open=cityscapes.open_cityscapes,
        write=cityscapes.write_cityscapes,
        parts=cityscapes.parts,
    ),
    Format(voc.FORMAT, voc.LOOKED_FOR, voc.recognize, voc.open_voc, write=voc.write_voc, parts=voc.parts),
    Format(
        name=binary_masks.FORMAT,
        looked_for=binary_masks.LOOKED_FOR,
        recognize=binary_masks.recognize,
        open=binary_masks.open_binary_masks,
        write=binary_masks.write_binary_masks,
        parts=binary_masks.parts,
    ),
    Format(yolo.FORMAT, yolo.LOOKED_FOR, yolo.recognize, yolo.open_yolo, write=yolo.write_yolo, parts=yolo.parts),
    Format(
        name=labelme.FORMAT,
        looked_for=labelme.LOOKED_FOR,
        recognize=labelme.recognize,
        open=labelme.open_labelme,
        write=labelme.write_labelme,
        parts=labelme.parts,
    ),
    Format(cvat.FORMAT, cvat.LOOKED_FOR, cvat.recognize, cvat.open_cvat, write=cvat.write_cvat, parts=cvat.parts),
    Format(
        name=geojson.FORMAT,
        looked_for=geojson.LOOKED_FOR,
        recognize=geojson.recognize,
        open=geojson.open_geojson,
        write=geojson.write_geojson,
        parts=geojson.parts,
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
        if path.suffix.lower() == ".json" and path.is_file():
            load_json(path)  # says it where the file is cut off or damaged
        wanted = "; ".join(one.looked_for for one in FORMATS)
        raise InputError(f"{path}: {_contents(path)}, no data set that apiece knows: looked for {wanted}.")
    if len(seen) > 1:
        both = "; ".join(f"{words} ({name})" for name, words in seen.items())
        raise InputError(f"{path}: more than one data set: {both}: choose one (--format {next(iter(seen))}).")
    return by_name[next(iter(seen))].open(path, split)


def part_names(path: Path, format: str | None = None) -> list[str]:
    """The parts that a data set is divided into; empty if it is one set, or none that is known.

    Args:
        format: as for `open_dataset`.
    """
    seen = recognize(path) if format is None else [format]
    known = [one.parts for one in FORMATS if one.name in seen]
    return list(known[0](path)) if len(known) == 1 and known[0] is not None else []


def _contents(path: Path) -> str:
    """What is at a path, in words."""
    if not path.is_dir():
        return f"a {path.suffix or 'nameless'} file"
    names = sorted(child.name + "/" * child.is_dir() for child in path.iterdir() if not child.name.startswith("."))
    if not names:
        return "an empty folder"
    return f"a folder of {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def open_found(path: str | Path, truth: Dataset, *, split: str | None = None, format: str | None = None) -> Dataset:
    """Findings: label images (NAME.tif or NAME.png), COCO's or Cityscapes' results, data sets, or what `predict` wrote.

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
    if cityscapes_results.recognize(path):
        return cityscapes_results.open_cityscapes_results(path, truth)
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


def of_classes(other: Dataset, data: Dataset) -> Dataset:
    """A validation or test set with the training set's classes; of one class each, whatever its name is.

    Raises:
        CallError: it has classes that the training set lacks.
    """
    if other.classes == data.classes:
        return other
    if len(other.classes) == len(data.classes) == 1:
        return replace(other, classes=data.classes)
    unknown = [name for name in other.classes if name not in data.classes]
    if unknown:
        raise CallError(f"{other.path}: has classes that {data.path} lacks: {', '.join(unknown)}.")
    labels = np.array([*(data.classes.index(name) for name in other.classes), -1])
    read = other.read_truth
    several = read.read if isinstance(read, Together) else partial(map, read)
    truth = Together(partial(_renumbered, several, labels))
    return replace(other, classes=data.classes, read_truth=truth, read_boxes=None, class_ids=None)


def cut(data: Dataset | Path | str, validation: Dataset | Path | str | float | None) -> tuple[Dataset, Dataset | None]:
    """Training and validation set: the latter given, or a share of the former, or none.

    Raises:
        CallError: the validation set has classes that the training set lacks.
    """
    data = data if isinstance(data, Dataset) else open_dataset(data)
    if isinstance(validation, str | Path):
        validation = open_dataset(validation)
    if isinstance(validation, Dataset):
        return data, of_classes(validation, data)
    return data.split(validation) if validation and len(data) > 1 else (data, None)


def _renumbered(
    read: Callable[[Sequence[int]], Iterator[Instances]], labels: ndarray, indices: Sequence[int]
) -> Iterator[Instances]:
    return (truth.replace(labels=labels[truth.labels]) for truth in read(indices))
