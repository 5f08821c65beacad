"""Cityscapes: what each pixel is, and the number of its object.

    leftImg8bit/<split>/<city>/<name>_leftImg8bit.png
    gtFine/<split>/<city>/<name>_gtFine_instanceIds.png     16 bits: label * 1000 + k of an object, else the bare label
    gtFine/<split>/<city>/<name>_gtFine_labelIds.png        8 bits: the label
    gtFine/<split>/<city>/<name>_gtFine_polygons.json       painted one over another where there are no instanceIds
    labels.json                                             the labels, where they are not Cityscapes' own

Objects are the eight classes that Cityscapes evaluates. The bare label of a class is a group of them, read as one
ignored object of the class; void (labels without a say in the evaluation) is one ignored object of label -1. Objects of
caravan and trailer are background, as they are to cityscapesScripts. With `disparity/` and `camera/` beside `gtFine/`
objects have a column `distance`. Without `leftImg8bit/` there is the truth alone.

Layout: https://github.com/mcordts/cityscapesScripts
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy import ndarray

from apiece.data.cityscapes_distance import distances
from apiece.data.cityscapes_ids import ids_of_objects, objects_of_ids
from apiece.data.cityscapes_labels import LABELS_FILE, Label, classes, ground_of, labels_for, read_labels, write_labels
from apiece.data.cityscapes_polygons import polygon_size, read_polygons, write_polygons
from apiece.data.dataset import Dataset
from apiece.data.image_heads import image_size
from apiece.data.images import read_image
from apiece.data.label_images import read_label_map
from apiece.data.painting import demand_masks, fields_lost
from apiece.data.writing import Entry, place_image
from apiece.errors import InputError
from apiece.instances import Instances
from apiece.masks import Size
from apiece.png import write_png

FORMAT = "cityscapes"
LOOKED_FOR = "gtFine/<split>/<city>/*_gtFine_instanceIds.png or *_polygons.json"
IMAGE, IDS, LABELS, POLYGONS = (
    "_leftImg8bit.png",
    "_gtFine_instanceIds.png",
    "_gtFine_labelIds.png",
    "_gtFine_polygons.json",
)
ANY_CITY = "images"
"""The city of images whose names say none."""


# --- reading ------------------------------------------------------------------------------------------------------


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is a set in Cityscapes' layout, in words; None if it is not."""
    splits = _splits(path)
    return f"gtFine/ with {', '.join(splits)}" if splits else None


def open_cityscapes(path: str | Path, split: str | None = None) -> Dataset:
    """A set in Cityscapes' layout. Reads no image and no mask.

    Names are those of the files, with the city before them where they do not begin with it.

    Raises:
        InputError: no such layout or part, an image without annotation or the other way round, a broken `labels.json`.
    """
    path = Path(path)
    splits = _splits(path)
    if not splits:
        raise InputError(f"{path}: no data in Cityscapes' layout here: looked for {LOOKED_FOR}.")
    if split is None and len(splits) == 1:
        split = splits[0]
    if split not in splits:
        which = "choose one" if split is None else f"there is no {split!r}, choose another"
        raise InputError(f"{path}: a set of the parts {', '.join(splits)}: {which} (--split {splits[0]}).")
    annotations = _files(path / "gtFine" / split, POLYGONS) | _files(path / "gtFine" / split, IDS)
    annotations = dict(sorted(annotations.items()))
    images = _images(path / "leftImg8bit" / split, annotations)
    labels, table = read_labels(path), path / LABELS_FILE
    return Dataset(
        path=path,
        format=FORMAT,
        classes=tuple(label.name for label in classes(labels)),
        names=tuple(annotations),
        files=images,
        read_image=partial(_image, path, images),
        read_truth=partial(_truth, tuple(annotations.values()), labels),
        class_ids=tuple(label.number for label in classes(labels)),
        read_size=partial(_size, tuple(annotations.values())),
        truth_files=tuple((file, table) for file in annotations.values()),
    )


def parts(path: Path) -> list[str]:
    """The names of a set's parts, where there are several."""
    splits = _splits(path)
    return splits if len(splits) > 1 else []


def _splits(path: Path) -> list[str]:
    """The parts that have annotations."""
    folders = sorted(path.glob("gtFine/*/")) if path.is_dir() else []
    return [one.name for one in folders if any(next(one.glob(f"*/[!.]*{end}"), None) for end in (IDS, POLYGONS))]


def _files(folder: Path, end: str) -> dict[str, Path]:
    """The files of a split by name."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob(f"*/[!.]*{end}")):
        city, stem = file.parent.name, file.name.removesuffix(end)
        name = stem if city == ANY_CITY or stem.startswith(f"{city}_") else f"{city}/{stem}"
        if name in found:
            raise InputError(f"{found[name]} and {file} have one name, so their results would too: rename one of them.")
        found[name] = file
    return found


def _images(folder: Path, annotations: dict[str, Path]) -> tuple[Path | None, ...]:
    """The image of each annotation; None for all where there are no images at all."""
    if not folder.is_dir():
        return (None,) * len(annotations)
    images = _files(folder, IMAGE)
    for name, file in annotations.items():
        if name not in images:
            raise InputError(f"{file}: its image is missing: looked for {name}{IMAGE} in {folder}.")
    for name, file in images.items():
        if name not in annotations:
            raise InputError(f"{file}: this image has no annotation: add it, or move the image away.")
    return tuple(images[name] for name in annotations)


def _image(path: Path, images: tuple[Path | None, ...], index: int) -> ndarray:
    file = images[index]
    if file is None:
        raise InputError(f"{path}: there are annotations without their images (leftImg8bit/).")
    return read_image(file)


def _size(files: tuple[Path, ...], index: int) -> Size:
    file = files[index]
    return image_size(file) if file.name.endswith(IDS) else polygon_size(file)


def _truth(files: tuple[Path, ...], labels: tuple[Label, ...], index: int) -> Instances:
    file = files[index]
    ids = read_label_map(file) if file.name.endswith(IDS) else read_polygons(file, labels)
    truth = objects_of_ids(ids, labels, file)
    split, city = file.parts[-3:-1]
    name = file.name.removesuffix(IDS).removesuffix(POLYGONS)
    measured = distances(truth, *(file.parents[3] / kind / split / city / name for kind in ("disparity", "camera")))
    return truth if measured is None else truth.replace(columns={"distance": measured})


# --- writing ------------------------------------------------------------------------------------------------------


def write_cityscapes(
    entries: Iterable[Entry], folder: Path, names: Sequence[str], *, link: bool = False, split: str = "train"
) -> Counter[str]:
    """Write a data set in Cityscapes' layout; see `writing`.

    Pixels without an object are `building` with Cityscapes' own classes, and else `background`. Of several ignored
    objects of a class one group is left, of several without a class one void; objects of a class beyond 1000 in an
    image are in the group too. Lost are further overlaps, objects covered or without a pixel, scores and columns.

    Args:
        split: the part that the images become; other parts may be in the folder already.

    Raises:
        InputError: more classes than instance ids hold, two images of one name, a file that cannot be written.
    """
    labels, lost, places = labels_for(names, folder), Counter(), set()
    write_labels(labels, folder)
    ground = ground_of(labels)
    numbers = np.array([label.number for label in classes(labels)], np.int64)
    for entry in entries:
        city, stem = place = city_and_stem(entry.name)
        if place in places:
            raise InputError(f"{folder}: two images of the name {city}/{stem}: rename one of them.")
        places.add(place)
        demand_masks(folder, entry.name, entry.truth)
        image = folder / "leftImg8bit" / split / city / f"{stem}{IMAGE}"
        place_image(entry, image.with_suffix(""), (".png",), link)
        ids, lost_here = ids_of_objects(entry.truth, numbers, ground.number)
        lost.update(lost_here + fields_lost(entry.truth))
        target, size = folder / "gtFine" / split / city, entry.truth.size
        write_png(target / f"{stem}{IDS}", [ids], size)
        write_png(target / f"{stem}{LABELS}", [np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)], size)
        write_polygons(ids, labels, ground, target / f"{stem}{POLYGONS}")
    return lost


def city_and_stem(name: str) -> tuple[str, str]:
    """Folder and file of an image: its own folder, the city that Cityscapes' names begin with, or `images`."""
    city, _, stem = name.partition("/")
    if stem:
        return city, stem.replace("/", "_")
    parts = name.split("_")
    own = len(parts) == 3 and parts[0] and all(part.isdigit() for part in parts[1:])
    return (parts[0] if own else ANY_CITY), name
