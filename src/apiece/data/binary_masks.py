"""A folder for each image, and in it a mask for each object, as the 2018 Data Science Bowl has them.

    <name>/images/<name>.png
    <name>/masks/*.png          one object each, 0 outside; they may overlap

Parts of a set (stage1_train, ...) are folders of such folders. Objects are in the order of their files' names. Classes
and ignored objects stand in `classes.json` beside the images' folders (see `sidecar`); without it every object is of
the one class "object".

Source: https://bbbc.broadinstitute.org/BBBC038
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from apiece.data.dataset import Dataset
from apiece.data.image_heads import image_size
from apiece.data.images import IMAGE_SUFFIXES, folder_images, read_image
from apiece.data.painting import demand_masks, fields_lost
from apiece.data.sidecar import SIDECAR, read_sidecar, sidecar_entry, write_sidecar
from apiece.data.writing import Entry, place_image
from apiece.errors import InputError
from apiece.instances import Instances
from apiece.masks import Size, bounding_box
from apiece.png import write_png

FORMAT = "binary-masks"
LOOKED_FOR = "folders NAME/images/NAME.png with NAME/masks/"


# --- reading ------------------------------------------------------------------------------------------------------


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is a set of one folder for each image, in words; None if it is not."""
    if not path.is_dir():
        return None
    one = next(filter(is_image_folder, _folders(path)), None)
    if one is not None:
        return f"a folder for each image ({one.name}/masks/, ...)"
    divided = parts(path)
    return f"a folder for each image in the parts {', '.join(divided)}" if divided else None


def is_image_folder(path: Path) -> bool:
    """Is this the folder of one image: images/NAME.png in a folder NAME, and masks/?"""
    names = (f"{path.name}{suffix}" for suffix in IMAGE_SUFFIXES)
    return (path / "masks").is_dir() and any((path / "images" / name).is_file() for name in names)


def _folders(path: Path) -> Iterable[Path]:
    return (child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def parts(path: Path) -> list[str]:
    """The names of a folder's parts; empty where it is one set."""
    if not path.is_dir() or any(map(is_image_folder, _folders(path))):
        return []
    return sorted(child.name for child in _folders(path) if any(map(is_image_folder, _folders(child))))


def open_binary_masks(path: str | Path, split: str | None = None) -> Dataset:
    """A set of one folder for each image. Reads no image and no mask.

    Raises:
        InputError: no such folders or part, an image without masks/ or masks/ without an image.
    """
    path = Path(path)
    folder = path if split is None else path / split
    if not folder.is_dir() or not any(map(is_image_folder, _folders(folder))):
        divided = parts(path)
        if divided:
            which = "choose one" if split is None else f"there is no {split!r}, choose another"
            raise InputError(f"{path}: a set of the parts {', '.join(divided)}: {which} (--split {divided[0]}).")
        raise InputError(f"{folder}: no folders of images and masks here: looked for {LOOKED_FOR}.")
    places = sorted(child for child in _folders(folder) if (child / "images").is_dir() or (child / "masks").is_dir())
    files = tuple(map(_image_file, places))
    sidecar = folder / SIDECAR
    classes, objects = read_sidecar(folder)
    return Dataset(
        path=path,
        format=FORMAT,
        classes=classes,
        names=tuple(place.name for place in places),
        files=files,
        read_image=partial(_image, files),
        read_truth=partial(_truth, tuple(places), files, objects, sidecar),
        read_size=partial(_size, files),
        truth_files=tuple((*folder_images(place / "masks"), sidecar) for place in places),
    )


def _image_file(folder: Path) -> Path:
    """The image of a folder: named as it, or the only one."""
    images = folder_images(folder / "images") if (folder / "images").is_dir() else []
    named = [file for file in images if file.stem == folder.name] or images
    if len(named) != 1:
        count = "no image" if not named else f"{len(named)} images"
        raise InputError(f"{folder}: {count} in images/, but there should be one, named {folder.name}.")
    if not (folder / "masks").is_dir():
        raise InputError(f"{folder}: masks/ is missing: add it, empty where the image has no object.")
    return named[0]


def _image(files: tuple[Path, ...], index: int) -> ndarray:
    return read_image(files[index])


def _size(files: tuple[Path, ...], index: int) -> Size:
    return image_size(files[index])


def _truth(
    places: tuple[Path, ...], files: tuple[Path, ...], objects: Mapping[str, Any], sidecar: Path, index: int
) -> Instances:
    name, masks = places[index].name, folder_images(places[index] / "masks")
    said = objects.get(name, {})
    labels = said.get("labels", [0] * len(masks))
    if len(labels) != len(masks):
        raise InputError(f"{sidecar}: {len(labels)} labels for {name}, but there are {len(masks)} masks.")
    size, crops, boxes = None, [], []
    for file in masks:
        mask = read_mask(file)
        if mask.shape != (size := size or mask.shape):
            found, wanted = (f"{height} x {width}" for height, width in (mask.shape, size))
            raise InputError(f"{file}: a mask of {found} pixels, but {masks[0].name} has {wanted}.")
        x1, y1, x2, y2 = box = bounding_box(mask)
        crops.append(mask[y1:y2, x1:x2].copy())
        boxes.append(box)
    ignore = np.isin(np.arange(1, len(masks) + 1), said.get("ignore", []))
    size = size or image_size(files[index])
    return Instances.from_crops(crops, np.array(boxes, np.int64).reshape(-1, 4), size, labels, ignore=ignore)


def read_mask(path: Path) -> Bool[ndarray, "H W"]:
    """The mask of one object: the pixels that are not 0.

    Raises:
        InputError: the file cannot be read, or holds more than two values.
    """
    image = read_image(path, indices=True)
    channels = image.shape[2]
    ink = image[:, :, : {2: 1, 4: 3}.get(channels, channels)].max(2)  # opacity says nothing
    highest = ink.max(initial=0)
    if not ((ink == 0) | (ink == highest)).all():
        values = ", ".join(map(str, np.unique(ink)[:4].tolist()))
        raise InputError(
            f"{path}: a mask of one object has 0 and one other value, but here are {values} and perhaps more: "
            "is it a label image (images/ and masks/ side by side), or a soft mask to be cut at a threshold?"
        )
    return ink > 0


# --- writing ------------------------------------------------------------------------------------------------------


def write_binary_masks(
    entries: Iterable[Entry], folder: Path, classes: Sequence[str], *, link: bool = False
) -> Counter[str]:
    """Write a data set as one folder for each image, and `classes.json`; see `writing`. Lost are scores and columns.

    Raises:
        InputError: a file cannot be written, or two names differ in their folders only.
    """
    objects: dict[str, dict[str, list[int]]] = {}
    lost: Counter[str] = Counter()
    for entry in entries:
        name, truth = entry.name.replace("/", "_"), entry.truth
        if name in objects:
            raise InputError(f"{folder}: two images of the name {name}: rename one of them.")
        demand_masks(folder, entry.name, truth)
        place_image(entry, folder / name / "images" / name, (".png", ".tif", ".tiff"), link)
        (folder / name / "masks").mkdir(parents=True, exist_ok=True)
        digits = max(4, len(str(len(truth))))
        for index, (x1, y1, x2, y2) in enumerate(truth.mask_boxes.tolist()):
            mask = np.zeros(truth.size, np.uint8)
            mask[y1:y2, x1:x2] = truth.crop(index) * np.uint8(255)
            write_png(folder / name / "masks" / f"{index + 1:0{digits}d}.png", [mask], truth.size)
        objects[name] = sidecar_entry(truth)
        lost.update(fields_lost(truth))
    write_sidecar(folder, classes, objects)
    return lost
