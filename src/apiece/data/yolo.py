"""YOLO segmentation, as Ultralytics reads it: one text file an image, one line an object.

    data.yaml  images/a.jpg  labels/a.txt              (names: ..., train: images)
    or with parts         images/train/a.jpg  labels/train/a.txt     or    train/images/a.jpg  train/labels/a.txt
    or without data.yaml  any of these, or a flat folder: a.jpg  a.txt     (names in classes.txt, else numbers)

    0 0.125 0.25 0.5 0.25 0.5 0.75        class x1 y1 x2 y2 ..., parts of the image's width and height

An image without a text file has no objects. One polygon holds an object of many parts and holes all the same, exactly:
bridges of no width join their outlines, as Ultralytics joins parts, and COCO's rasterization, by which apiece reads,
gives the same pixels back (other programs may draw the bridges one pixel wide). Lost are ignored objects and scores.
Format: https://docs.ultralytics.com/datasets/segment/
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from apiece.data import yolo_layout
from apiece.data.dataset import Dataset
from apiece.data.image_heads import image_size
from apiece.data.images import read_image
from apiece.data.outlines import Shape, drawable, keyhole, objects, reading, rings_of_objects
from apiece.data.writing import Entry, place_image
from apiece.data.yolo_layout import LOOKED_FOR, MOST_CLASSES, label_path, parts, recognize
from apiece.data.yolo_yaml import read_lines
from apiece.files import write_text
from apiece.instances import Instances
from apiece.masks import Size

__all__ = ["FORMAT", "LOOKED_FOR", "open_yolo", "parts", "recognize", "write_yolo"]

FORMAT = "yolo"
SLACK = 1e-6
"""So much may rounding carry a coordinate out of the image."""


# --- reading ------------------------------------------------------------------------------------------------------


def open_yolo(path: str | Path, split: str | None = None) -> Dataset:
    """A YOLO segmentation set: its folder or its data.yaml. Reads no image, and no label file where classes are named.

    Args:
        split: which part, where there are several: "train", "val", "test".

    Raises:
        InputError: no such layout or part, a broken data.yaml, an image that is listed but not there, or a label file
            without its image.
    """
    path = Path(path)
    layout = yolo_layout.find(path, split)
    classes = layout.classes if layout.classes is not None else _numbered(layout.labels)
    return Dataset(
        path=path,
        format=FORMAT,
        classes=classes,
        names=layout.names,
        files=layout.images,
        read_image=partial(_image, layout.images),
        read_truth=partial(_truth, layout.images, layout.labels, len(classes)),
        read_size=partial(_size, layout.images),
        read_outlines=partial(_outlines, layout.images, layout.labels, len(classes)),
        truth_files=tuple((file,) for file in layout.labels),
    )


def _image(files: tuple[Path, ...], index: int) -> ndarray:
    return read_image(files[index])


def _size(files: tuple[Path, ...], index: int) -> Size:
    return image_size(files[index])


def _truth(files: tuple[Path, ...], labels: tuple[Path, ...], classes: int, index: int) -> Instances:
    size = image_size(files[index])
    return objects(_shapes(labels[index], classes, size), size)


def _outlines(files: tuple[Path, ...], labels: tuple[Path, ...], classes: int, index: int) -> list[list[ndarray]]:
    return rings_of_objects(_shapes(labels[index], classes, image_size(files[index])))


def _numbered(labels: Iterable[Path]) -> tuple[str, ...]:
    """Classes that no file names, called by their numbers, up to the highest that occurs."""
    highest = 0
    for path in labels:
        for number, line in _lines(path):
            with reading(path, f"line {number}"):
                highest = max(highest, _class(line.split()[0]))
                if highest >= MOST_CLASSES:
                    raise ValueError(f"class {highest} is more than apiece counts up to: name the classes in data.yaml")
    return tuple(str(number) for number in range(highest + 1))


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a label file that are not blank, with their numbers from 1; none of a file that is not there."""
    lines = read_lines(path) if path.exists() else []
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _shapes(path: Path, classes: int, size: Size) -> list[Shape]:
    """The objects of a label file.

    Raises:
        InputError: a broken line, with its number.
    """
    shapes = []
    for number, line in _lines(path):
        with reading(path, f"line {number}"):
            first, *rest = line.split()
            label = _class(first)
            if label >= classes:
                raise ValueError(f"class {label}, but there are only {classes}, numbered from 0")
            shapes.append(Shape(label, [_points(rest) * (size[1], size[0])]))
    return shapes


def _class(word: str) -> int:
    """The number of a class; some tools write 3 as 3.0."""
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1 << 31 or value != int(value):
        raise ValueError(f"its class is {word[:20]!r}, not a whole number from 0")
    return int(value)


def _points(words: list[str]) -> Float[ndarray, "_ 2"]:
    """The points of a line, in parts of the image's sides."""
    if len(words) % 2:
        raise ValueError(f"{len(words)} coordinates, but points are pairs of them")
    if len(words) == 4:
        raise ValueError("4 coordinates are a box or two points, but an outline needs three points or more")
    if len(words) < 6:
        raise ValueError(f"{len(words)} coordinates, but an outline needs three points or more")
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise ValueError(f"a coordinate is no number ({error})") from error
    outside = ~((values >= -SLACK) & (values <= 1 + SLACK))
    if outside.any():
        word = words[int(outside.argmax())][:20]
        raise ValueError(f"the coordinate {word} is not between 0 and 1, parts of the image's width and height")
    return values.reshape(-1, 2)


# --- writing ------------------------------------------------------------------------------------------------------


def write_yolo(entries: Iterable[Entry], folder: Path, classes: Sequence[str], *, link: bool = False) -> Counter[str]:
    """Write a data set as `data.yaml`, `images/` and `labels/`; see `writing` and the top of this file.

    Raises:
        InputError: objects without masks or class, or a file cannot be written.
    """
    import yaml

    lost: Counter[str] = Counter()
    for entry in entries:
        truth, without = drawable(folder, entry.name, entry.truth, ignored=False, scores=False)
        lost += without
        image = place_image(entry, folder.joinpath("images", *entry.name.split("/")), (), link)
        rings = (keyhole([ring for part in parts for ring in part]) for parts in truth.polygons())
        lines = [_line(label, ring, truth.size) for label, ring in zip(truth.labels.tolist(), rings, strict=True)]
        write_text(label_path(image, folder), "".join(lines))
    facts = {"path": ".", "train": "images", "names": dict(enumerate(classes))}
    write_text(folder / "data.yaml", yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=1 << 20))
    return lost


def _line(label: int, ring: Shaped[ndarray, "_ 2"], size: Size) -> str:
    """An object's line, with digits enough that each coordinate comes back to a hundredth of a pixel."""
    digits = max(6, len(str(max(size))) + 2)
    parts = (ring / (size[1], size[0])).reshape(-1).tolist()
    words = (f"{part:.{digits}f}".rstrip("0").rstrip(".") for part in parts)
    return f"{label} {' '.join(words)}\n"
