"""Label images: one number a pixel, 0 for background, each object its own number.

    a folder            images/a.png  masks/a.tif          (or labels/ for masks/; PNG or TIFF; 8, 16 or 32 bits)
    or a flat one       a_rgb.png     a_label.png
    with splits         train/images/a.png  train/masks/a.tif  val/...    or    images/train/a.png  masks/train/a.tif

Classes and ignored objects, which a label image cannot hold, stand in `classes.json` beside these folders or flat
files; without it every object is of the one class "object". `labels[v - 1]` is the class of the object with number v,
`ignore` lists numbers:

    {"classes": ["date", "fig"], "objects": {"a": {"labels": [0, 0, 1], "ignore": [3]}}}
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from apiece.data import label_layout
from apiece.data.dataset import Dataset
from apiece.data.images import read_image
from apiece.data.tif import write_tif
from apiece.data.writing import Entry, place_image
from apiece.errors import InputError
from apiece.files import write_text
from apiece.instances import Instances
from apiece.masks import label_type, label_values, strips
from apiece.png import write_png

FORMAT = "label-images"
SIDECAR = "classes.json"


# --- one file ------------------------------------------------------------------------------------------------


def read_label_map(path: str | Path) -> Integer[ndarray, "H W"]:
    """The numbers of a label image as they stand in the file; of a palette image its indices.

    Raises:
        InputError: the file cannot be read, has several channels, or no whole numbers.
    """
    values = read_image(path, indices=True)
    if values.shape[2] != 1:
        raise InputError(
            f"{path}: {values.shape[2]} channels, but a label image has one whole number a pixel: "
            "save the objects' numbers as one channel of 8, 16 or 32 bits."
        )
    if values.dtype.kind not in "ui":
        raise InputError(
            f"{path}: pixels of type {values.dtype}, but a label image has whole numbers: save it as uint16."
        )
    return values[:, :, 0]


def read_label_image(path: str | Path, labels: Any = None, ignored: Iterable[int] = ()) -> Instances:
    """The objects of a label image in the order of their numbers.

    Args:
        labels: class of the object with number 1, 2, ...; all 0 by default.
        ignored: numbers of the objects that are neither right nor wrong.

    Raises:
        InputError: the file cannot be read as a label image, or there are more objects than labels.
    """
    label_map = read_label_map(path)
    values = label_values(label_map)
    if labels is not None and len(values) and values[-1] > len(labels):
        raise InputError(
            f"{path}: an object has number {values[-1]}, but {SIDECAR} gives {len(labels)} labels for this image."
        )
    return Instances.from_label_map(
        label_map,
        labels=np.zeros(len(values)) if labels is None else np.asarray(labels, np.int64)[values - 1],
        values=values,
        ignore=np.isin(values, list(ignored)),
    )


def write_label_image(instances: Instances, path: str | Path) -> None:
    """Write the objects of one image as a label image, object i with number i + 1: `.tif` (strip by strip) or `.png`.

    A label image cannot hold overlap: there the smallest object is seen, as `Instances.label_map` paints them. Numbers
    have 16 bits, in TIFF 32 where there are more than 65,535 objects.

    Raises:
        InputError: the suffix is another, PNG cannot hold so many objects, or the file cannot be written.
    """
    path, kind = Path(path), label_type(len(instances))
    # A map painted from crops walks through all objects for each strip: few strips where there are many objects.
    rows = (instances.label_map(part) for part in strips(instances.size))
    if path.suffix.lower() in (".tif", ".tiff"):
        write_tif(path, rows, instances.size, kind)
    elif path.suffix.lower() != ".png":
        raise InputError(f"{path}: label images are written as .tif or .png.")
    elif kind is not np.uint16:
        raise InputError(f"{path}: PNG holds 65,535 objects, but there are {len(instances):,}: write .tif.")
    else:
        write_png(path, rows, instances.size)


# --- a data set ----------------------------------------------------------------------------------------------


def open_label_images(path: str | Path, split: str | None = None) -> Dataset:
    """A set of label images; see the top of this file for its layouts. Reads no image and no label image.

    Args:
        split: which part of a set that is divided into train, val, ...

    Raises:
        InputError: no such layout or part, an image without label image or the other way round, two files of one name.
    """
    path = Path(path)
    folder, files, masks = label_layout.matched(path, split)
    names = tuple(files)
    sidecar = folder / SIDECAR
    classes, objects = _read_sidecar(sidecar)
    return Dataset(
        path=path,
        format=FORMAT,
        classes=classes,
        names=names,
        files=tuple(files.values()),
        read_image=partial(_image, tuple(files.values())),
        read_truth=partial(_truth, tuple(masks[name] for name in names), names, objects),
        truth_files=tuple((masks[name], sidecar) for name in names),
    )


def open_label_folder(path: Path, names: Iterable[str] | None = None) -> Dataset:
    """Label images without their images: findings. TIFF before PNG (which may be a picture of the result).

    Args:
        names: the images wanted, those missing are left out; by default all.

    Raises:
        InputError: there is none.
    """
    found = label_layout.label_files(path, names)
    if not found:
        raise InputError(f"{path}: no label images in this folder: looked for NAME.tif and NAME.png.")
    classes, objects = _read_sidecar(path / SIDECAR)
    return Dataset(
        path=path,
        format=FORMAT,
        classes=classes,
        names=tuple(found),
        files=(None,) * len(found),
        read_image=partial(_no_image, path),
        read_truth=partial(_truth, tuple(found.values()), tuple(found), objects),
    )


def write_label_images(
    entries: Iterable[Entry], folder: str | Path, classes: Iterable[str], *, link: bool = False
) -> Counter[str]:
    """Write a data set as `images/`, `masks/NAME.tif` and `classes.json`; see `writing`.

    Lost are overlaps (objects of which a part lies under a smaller one, see `write_label_image`), objects covered
    wholly or without a pixel, scores, and columns other than `id`.

    Raises:
        InputError: a file cannot be written, or two names differ in their folders only.
    """
    folder, objects, lost = Path(folder), {}, Counter()
    for entry in entries:
        name, truth = entry.name.replace("/", "_"), entry.truth
        if name in objects:
            raise InputError(f"{folder}: two images of the name {name}: rename one of them.")
        place_image(entry, folder / "images" / name, (), link)
        write_label_image(truth, folder / "masks" / f"{name}.tif")
        objects[name] = {"labels": truth.labels.tolist(), "ignore": (np.flatnonzero(truth.ignore) + 1).tolist()}
        lost.update(_lost(truth))
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in objects.items())
    write_text(folder / SIDECAR, f'{{"classes": {json.dumps(list(classes))},\n "objects": {{\n{lines}\n}}}}\n')
    return +lost


def _lost(truth: Instances) -> dict[str, int]:
    """What a label image does not hold of these objects."""
    columns = {f"values of {name}": len(truth) for name in truth.columns if name != "id"}
    scores = {} if truth.scores is None else {"scores": len(truth)}
    areas, seen = truth.mask_areas, np.zeros(len(truth) + 1, np.int64)
    for rows in strips(truth.size):
        seen += np.bincount(truth.label_map(rows).ravel(), minlength=len(truth) + 1)
    cut, gone = seen[1:] < areas, (seen[1:] == 0) & (areas > 0)
    return {
        "overlaps": int((cut & ~gone).sum()),
        "covered objects": int(gone.sum()),
        "objects without a pixel": int((areas == 0).sum()),
        **scores,
        **columns,
    }


# --- reading -------------------------------------------------------------------------------------------------


def _read_sidecar(path: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Classes, and for each image its objects' labels and ignored numbers."""
    if not path.exists():
        return ("object",), {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        classes, objects = tuple(map(str, content["classes"])), dict(content.get("objects", {}))
        for name, entry in objects.items():
            labels = np.asarray(entry.get("labels", []), np.int64)
            if labels.ndim != 1 or (labels < -1).any() or (labels >= len(classes)).any():
                raise InputError(
                    f"{path}: the labels of {name} are not numbers below {len(classes)}, the count of classes."
                )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(
            f'{path}: not understood ({error}): it should hold {{"classes": [...], "objects": {{...}}}}.'
        ) from error
    return classes, objects


def _image(files: tuple[Path, ...], index: int) -> ndarray:
    return read_image(files[index])


def _no_image(path: Path, index: int) -> ndarray:
    raise InputError(f"{path}: these are findings without their images.")


def _truth(masks: tuple[Path, ...], names: tuple[str, ...], objects: Mapping[str, Any], index: int) -> Instances:
    entry = objects.get(names[index], {})
    return read_label_image(masks[index], entry.get("labels"), entry.get("ignore", ()))
