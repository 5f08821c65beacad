"""COCO JSON: data sets of polygons, run lengths and crowds. (Lists of results: `coco_results`.)

    annotations/instances_train2017.json  train2017/*.jpg        open_coco(folder, split="train2017") or open_coco(file)
    or any.json  images/*.jpg                                    (or the images beside the file)
    or train/any.json  train/*.jpg  valid/...                    open_coco(folder, split="train")

The source's own ids are kept: `Dataset.image_ids`, `Dataset.class_ids` and the column `id` of each image's objects; its
float boxes and areas are `Instances.boxes` and `.areas`. Crowds are ignored objects.
Format: https://cocodataset.org/#format-data
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import tee
from pathlib import Path

import numpy as np
from numpy import ndarray

from apiece.data import coco_json
from apiece.data.coco_entries import ImageEntries, annotations, objects_of_images
from apiece.data.coco_json import CocoFile
from apiece.data.dataset import Dataset, Sample, Together
from apiece.data.images import read_image
from apiece.data.writing import Entry, place_image
from apiece.errors import InputError
from apiece.files import write_text
from apiece.instances import Instances

FORMAT = "coco"
Named = Sample | tuple[str, Instances]


# --- reading ------------------------------------------------------------------------------------------------------


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is a COCO data set, in words; None if it is not."""
    if path.is_file():
        return "a COCO JSON file" if coco_json.is_coco(path) else None
    files = coco_json.coco_files(path) if path.is_dir() else {}
    return f"COCO JSON ({', '.join(files)})" if files else None


def parts(path: Path) -> list[str]:
    """The names of a folder's parts; empty where it is one set."""
    files = coco_json.coco_files(path) if path.is_dir() else {}
    return list(files) if len(files) > 1 else []


def open_coco(path: str | Path, split: str | None = None) -> Dataset:
    """A COCO data set: its JSON file, or a folder with one (or with one for each part). Reads no image, draws no mask.

    Args:
        split: which part, where there are several: "train2017" of instances_train2017.json.

    Raises:
        InputError: no such file or part, or JSON that is not what COCO's should be, naming the entry.
    """
    file = chosen_file(Path(path), split)
    return data_set(Path(path), coco_json.parse_data_set(file))


def data_set(path: Path, source: CocoFile) -> Dataset:
    """A COCO file that was read, as a data set.

    Raises:
        InputError: two images of one name.
    """
    file = source.path
    names = tuple(coco_json.image_name(image["file_name"]) for image in source.images)
    first: dict[str, str] = {}
    for name, image in zip(names, source.images, strict=True):
        other = first.setdefault(name, image["file_name"])
        if other is not image["file_name"]:
            raise InputError(f"{file}: {other} and {image['file_name']} have one name, so their results would too.")
    folder = coco_json.image_folder(file, source.images)
    paths = (
        [folder / image["file_name"].replace("\\", "/") for image in source.images] if folder else [None] * len(names)
    )
    return Dataset(
        path=path,
        format=FORMAT,
        classes=source.classes,
        names=names,
        files=tuple(paths),
        read_image=partial(_image, file, tuple(paths)),
        read_truth=Together(partial(_truths, source)),
        read_boxes=Together(partial(_truths, source, bare=True)) if source.has_masks else None,
        image_ids=tuple(image["id"] for image in source.images),
        class_ids=tuple(source.labels),
        read_size=source.size,
        read_outlines=partial(_outlines, source),
        threshold=source.threshold,
        truth_files=((file,),) * len(names),
    )


def chosen_file(path: Path, split: str | None) -> Path:
    """The JSON file meant by a path and the name of a part."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    if not path.is_dir():
        if split not in (None, path.stem, path.stem.removeprefix("instances_")):
            raise InputError(f"{path}: one file has no part {split!r}: give the folder instead.")
        return path
    files = coco_json.coco_files(path)
    if not files:
        raise InputError(f"{path}: no COCO JSON here: looked for data sets in *.json and annotations/*.json.")
    if split is None and len(files) == 1:
        return next(iter(files.values()))
    if split not in files:
        which = "choose one" if split is None else f"there is no {split!r}, choose another"
        raise InputError(f"{path}: a set of the parts {', '.join(files)}: {which} (--split {next(iter(files))}).")
    return files[split]


def _image(file: Path, paths: tuple[Path | None, ...], index: int) -> ndarray:
    path = paths[index]
    if path is None:
        raise InputError(f"{file}: its images were not found: put them beside it or into a folder images/.")
    return read_image(path)


def _truths(source: CocoFile, indices: Sequence[int], bare: bool = False) -> Iterator[Instances]:
    of_images = (_entries(source, index) for index in indices)
    ours, theirs = tee(of_images)
    drawn = objects_of_images(source.path, ours, source.labels, source.has_masks, scored=source.scored, bare=bare)
    for found, (_, entries, _) in zip(drawn, theirs, strict=True):
        yield found.replace(
            ignore=np.array([bool(entry.get("iscrowd")) for entry in entries], bool),
            columns={"id": np.array([entry.get("id", -1) for entry in entries], None if entries else np.int64)},
        )


def _entries(source: CocoFile, index: int) -> ImageEntries:
    entries = source.annotations[index]
    return ImageEntries([f"annotation {entry.get('id')}" for entry in entries], entries, source.size(index))


def _outlines(source: CocoFile, index: int) -> list[list[ndarray]]:
    drawn = (entry.get("segmentation") for entry in source.annotations[index])
    return [
        [np.array(ring, float).reshape(-1, 2) for ring in rings] if isinstance(rings, list) else [] for rings in drawn
    ]


# --- writing ------------------------------------------------------------------------------------------------------


def write_coco(
    samples: Iterable[Named],
    path: str | Path,
    classes: Sequence[str],
    *,
    class_ids: Sequence[int] | None = None,
    image_ids: Mapping[str, int | str] | None = None,
    file_names: Mapping[str, str] | None = None,
    polygons: bool = False,
    threshold: float | None = None,
) -> None:
    """Write a data set (or findings: with `score`) as one COCO JSON file. Images are not written.

    Args:
        samples: samples, or pairs of name and objects. A column `id` gives the annotations' ids where all are unique.
        class_ids: category id of each class; 1, 2, ... by default.
        image_ids: name -> image id; 1, 2, ... by default.
        file_names: name -> "file_name"; by default the name with `.png`.
        polygons: in place of run lengths, where they hold the mask exactly, that is, where it has no hole; crowds have
            run lengths.
        threshold: the score from which on findings count where a decision is needed; kept in "info".

    Raises:
        InputError: objects without a class, or the file cannot be written.
    """
    path, category_ids = Path(path), class_ids or range(1, len(classes) + 1)
    images, entries = [], []
    for place, (name, found) in enumerate(((sample[0], sample[-1]) for sample in samples), start=1):
        number = place if image_ids is None else image_ids[name]
        file_name = f"{name}.png" if file_names is None else file_names[name]
        images.append({"id": number, "file_name": file_name, "height": found.size[0], "width": found.size[1]})
        entries += annotations(path, name, found, number, category_ids, polygons)
    ids = [entry["id"] for entry in entries]
    if len({number for number in ids if isinstance(number, int) and number > 0}) < len(ids):
        entries = [entry | {"id": number} for number, entry in enumerate(entries, start=1)]
    categories = [{"id": number, "name": name} for number, name in zip(category_ids, classes, strict=True)]
    info = {} if threshold is None else {"info": {"threshold": threshold}}
    write_text(path, json.dumps({**info, "images": images, "annotations": entries, "categories": categories}))


def write_coco_set(
    entries: Iterable[Entry],
    folder: Path,
    classes: Sequence[str],
    *,
    link: bool = False,
    class_ids: Sequence[int] | None = None,
    polygons: bool = False,
) -> Counter[str]:
    """Write a data set as `annotations.json` and `images/`; see `writing`.

    Lost are objects without a class, and columns other than `id`.

    Args:
        class_ids, polygons: as for `write_coco`.
    """
    lost: Counter[str] = Counter()
    files: dict[str, str] = {}

    def placed() -> Iterator[Named]:
        for entry in entries:
            images = folder / "images"
            file = place_image(entry, images.joinpath(*entry.name.split("/")), (), link)
            files[entry.name] = file.relative_to(images).as_posix()
            named = entry.truth.labels >= 0
            lost["objects without a class"] += int((~named).sum())
            lost.update({f"values of {name}": len(entry.truth) for name in entry.truth.columns if name != "id"})
            yield entry.name, entry.truth[named]

    file = folder / "annotations.json"
    write_coco(placed(), file, classes, class_ids=class_ids, file_names=files, polygons=polygons)
    return +lost
