"""PASCAL VOC's segmentation: for each image a map of objects and a map of classes, in 8 bits with a palette.

    JPEGImages/<name>.jpg
    SegmentationObject/<name>.png           0 background, 1 to 254 an object each, 255 void
    SegmentationClass/<name>.png            the same with the class from 1
    ImageSets/Segmentation/<split>.txt      the names of a part, a line each; without any, all of SegmentationObject/
    labelmap.txt                            the classes where they are not VOC's own, see `voc_colors`

Void, a rim around every object in VOC's own files, is read as one ignored object of label -1. Images in colors instead
of a palette are read by VOC's palette. Without `JPEGImages/` there is the truth alone.

Layout: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from apiece.data.dataset import Dataset
from apiece.data.image_heads import image_size
from apiece.data.images import folder_images, read_image
from apiece.data.painting import demand_masks, fields_lost, painted
from apiece.data.voc_colors import LABEL_MAP, VOID, read_label_map, read_numbers, write_label_map, write_numbers
from apiece.data.writing import Entry, place_image
from apiece.errors import InputError
from apiece.files import write_text
from apiece.instances import Instances
from apiece.masks import Size, label_values

FORMAT = "voc"
LOOKED_FOR = "folders SegmentationObject/ and SegmentationClass/"
OBJECTS, CLASSES, IMAGES = "SegmentationObject", "SegmentationClass", "JPEGImages"
MOST = VOID - 1
"""Objects that an image can hold."""


# --- reading ------------------------------------------------------------------------------------------------------


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is a set in PASCAL VOC's layout, in words; None if it is not."""
    seen = (path / OBJECTS).is_dir() and (path / CLASSES).is_dir()
    return f"folders {OBJECTS}/ and {CLASSES}/" if seen else None


def open_voc(path: str | Path, split: str | None = None) -> Dataset:
    """A set in PASCAL VOC's layout. Reads no image and no map.

    Raises:
        InputError: no such layout or part, a name without image or maps, a broken `labelmap.txt`.
    """
    path = Path(path)
    if not recognize(path):
        raise InputError(f"{path}: no segmentation in PASCAL VOC's layout here: looked for {LOOKED_FOR}.")
    names = _names(path, split)
    for kind in (OBJECTS, CLASSES):
        if lacking := next((name for name in names if not (path / kind / f"{name}.png").is_file()), None):
            raise InputError(f"{path / kind / lacking}.png: there is no such file, though the set has this image.")
    images = {file.stem: file for file in folder_images(path / IMAGES)} if (path / IMAGES).is_dir() else None
    if images is not None and (lacking := next((name for name in names if name not in images), None)):
        raise InputError(f"{path / IMAGES}: the image {lacking} is missing.")
    files = tuple(None if images is None else images[name] for name in names)
    classes, colors = read_label_map(path)
    maps, listed = (path / OBJECTS, path / CLASSES), path / LABEL_MAP
    return Dataset(
        path=path,
        format=FORMAT,
        classes=classes,
        names=names,
        files=files,
        read_image=partial(_image, path, files),
        read_truth=partial(_truth, path, names, classes, colors),
        read_size=partial(_size, path, names),
        truth_files=tuple((*(folder / f"{name}.png" for folder in maps), listed) for name in names),
    )


def parts(path: Path) -> list[str]:
    """The names of a set's parts, where there are several."""
    lists = _lists(path)
    return list(lists) if len(lists) > 1 else []


def _lists(path: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted((path / "ImageSets" / "Segmentation").glob("[!.]*.txt"))}


def _names(path: Path, split: str | None) -> tuple[str, ...]:
    """The images of a part."""
    lists = _lists(path)
    if not lists and split is None:
        names = tuple(file.stem for file in folder_images(path / OBJECTS))
        if not names:
            raise InputError(f"{path / OBJECTS}: no images in this folder.")
        return names
    if split is None and len(lists) == 1:
        split = next(iter(lists))
    if split not in lists:
        which = "choose one" if split is None else f"there is no {split!r}, choose another"
        there = ", ".join(lists) or "none (ImageSets/Segmentation/ has no lists)"
        raise InputError(f"{path}: a set of the parts {there}: {which} (--split {next(iter(lists), 'train')}).")
    names = lists[split].read_text(encoding="utf-8", errors="replace").splitlines()
    names = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not names:
        raise InputError(f"{lists[split]}: no names of images in this list.")
    return names


def _image(path: Path, files: tuple[Path | None, ...], index: int) -> ndarray:
    file = files[index]
    if file is None:
        raise InputError(f"{path}: there are annotations without their images ({IMAGES}/).")
    return read_image(file)


def _size(path: Path, names: tuple[str, ...], index: int) -> Size:
    return image_size(path / OBJECTS / f"{names[index]}.png")


def _truth(
    path: Path, names: tuple[str, ...], classes: tuple[str, ...], colors: Mapping[int, int], index: int
) -> Instances:
    files = [path / kind / f"{names[index]}.png" for kind in (OBJECTS, CLASSES)]
    objects, of_class = read_numbers(files[0]), read_numbers(files[1], colors)
    if objects.shape != of_class.shape:
        found, wanted = (f"{one.shape[0]} x {one.shape[1]}" for one in (of_class, objects))
        raise InputError(f"{files[1]}: {found} pixels, but {files[0]} has {wanted}.")
    objects = np.where((objects == 0) & (of_class == VOID), np.uint8(VOID), objects)
    values = label_values(objects)
    numbers = _class_numbers(objects, of_class)[values]
    numbers[values == VOID] = 0
    for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
        if value != VOID and not 0 < number <= len(classes):
            what = "no class" if not number else f"class {number} of {len(classes)}"
            raise InputError(f"{files[1]}: object {value} of {files[0].name} has {what} here.")
    return Instances.from_label_map(objects, numbers - 1, values=values, ignore=values == VOID)


def _class_numbers(objects: Integer[ndarray, "H W"], of_class: Integer[ndarray, "H W"]) -> Integer[ndarray, " 256"]:
    """The class that most pixels of each object have, 0 where none has one."""
    pairs = np.bincount((objects.astype(np.int64) * 256 + of_class).ravel(), minlength=1 << 16).reshape(256, 256)
    pairs[:, [0, VOID]] = 0
    return pairs.argmax(1)


# --- writing ------------------------------------------------------------------------------------------------------


def write_voc(
    entries: Iterable[Entry], folder: Path, classes: Sequence[str], *, link: bool = False, split: str = "train"
) -> Counter[str]:
    """Write a data set in PASCAL VOC's layout, images as they are; see `writing`.

    Ignored objects become void, and so do objects beyond 254 in an image, the smallest of them. Lost are further
    overlaps, objects covered or without a pixel, scores and columns.

    Args:
        split: the part that the images become; other parts may be in the folder already.

    Raises:
        InputError: more classes than 8 bits hold, two images of one name, a file that cannot be written.
    """
    lost: Counter[str] = Counter()
    names: dict[str, None] = {}
    write_label_map(classes, folder)
    for entry in entries:
        name = entry.name.replace("/", "_")
        if name in names or (folder / OBJECTS / f"{name}.png").exists():  # perhaps in another part
            raise InputError(f"{folder}: two images of the name {name}: rename one of them.")
        names[name] = None
        demand_masks(folder, entry.name, entry.truth)
        place_image(entry, folder / IMAGES / name, (), link)
        label_map, lost_here = painted(entry.truth)
        numbers, lost_as_void = _numbers(entry.truth, label_map)
        lost.update(lost_here + fields_lost(entry.truth) + lost_as_void)
        of_class = np.where(numbers == VOID, VOID, entry.truth.labels + 1)
        for kind, table in ((OBJECTS, numbers), (CLASSES, of_class)):
            write_numbers(np.append(0, table).astype(np.uint8)[label_map], folder / kind / f"{name}.png")
    write_text(folder / "ImageSets" / "Segmentation" / f"{split}.txt", "".join(f"{name}\n" for name in names))
    return lost


def _numbers(truth: Instances, label_map: Integer[ndarray, "H W"]) -> tuple[Integer[ndarray, " N"], Counter[str]]:
    """The number of each object, and what is lost of those that become void: ignored ones, and the smallest of many."""
    seen = np.isin(np.arange(1, len(truth) + 1), label_values(label_map)) & ~truth.ignore
    ranked = np.flatnonzero(seen)[np.argsort(-truth.mask_areas[seen], kind="stable")]
    numbers = np.full(len(truth), VOID)
    numbers[np.sort(ranked[:MOST])] = np.arange(1, min(len(ranked), MOST) + 1)
    lost = {
        "classes of ignored objects": int((truth.ignore & (truth.labels >= 0)).sum()),
        "merged ignored objects": int(truth.ignore.sum()) - 1,
        "objects beyond 254 in an image": len(ranked) - MOST,
    }
    return numbers, +Counter(lost)
