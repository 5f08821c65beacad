"""LabelMe JSON: one file an image, the shapes drawn on it.

    a.jpg  a.json                                   beside each other, in folders within folders as one likes
    or images/a.jpg  annotations/a.json             or wherever "imagePath" leads; the image may also be in "imageData"
    or train/a.jpg  train/a.json  val/...           folders named train, val, ... are parts

Polygons, rectangles, circles and masks are read; shapes of one `group_id` and label are one object. An image without a
JSON file is not annotated yet, and left out. `labels.txt` (one class a line) names the classes and their order; without
it they are those that occur. Written are a polygon for an object of one part, one for each part in a group, and a mask
where there are holes: every pixel is kept. Flag `ignore` = ignored, label `__ignore__` = ignored and of no class, key
`score` = a finding's score.
Format: https://github.com/wkentaro/labelme
"""

import base64
import json
import mmap
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy import ndarray

from apiece.data.annotation_files import Pictures, find, first_file, part_names
from apiece.data.coco_json import is_side, load_json
from apiece.data.dataset import Dataset
from apiece.data.image_heads import image_size
from apiece.data.images import IMAGE_SUFFIXES, read_image
from apiece.data.labelme_shapes import shape_of, shapes_of
from apiece.data.outlines import ANY_CLASS, Shape, distinct, drawable, is_number, objects, reading, rings_of_objects
from apiece.data.pillow import MOST_PIXELS
from apiece.data.writing import Entry, place_image
from apiece.data.yolo_yaml import read_lines
from apiece.errors import InputError
from apiece.files import write_text
from apiece.instances import Instances
from apiece.masks import Size

FORMAT = "labelme"
LOOKED_FOR = "LabelMe JSON files"
CLASSES_FILE = "labels.txt"
NO_CLASSES = (ANY_CLASS, "_background_")
"""Lines of labels.txt that are no classes."""


@dataclass(frozen=True)
class LabelMeFiles:
    """The files of a set, looked through: paths, images (None: in the JSON), sizes where the files say them."""

    paths: tuple[Path, ...]
    images: tuple[Path | None, ...]
    sizes: tuple[Size | None, ...]
    labels: dict[str, int]
    scored: bool

    def size(self, index: int) -> Size:
        """Height and width, from the image's head where the JSON does not say them."""
        image = self.images[index]
        return self.sizes[index] or (image_size(image) if image else self.image(index).shape[:2])

    def image(self, index: int) -> ndarray:
        """The image, from its file or from the JSON."""
        path, image = self.paths[index], self.images[index]
        return read_image(image) if image else _embedded(path, load_json(path).get("imageData"))

    def shapes(self, index: int) -> list[Shape]:
        """The image's shapes, read from its file."""
        path, size, shapes = self.paths[index], self.size(index), []
        for number, shape in enumerate(_content(self.paths[index])["shapes"], start=1):
            with reading(path, f"shape {number}"):
                shapes.append(shape_of(shape, size, self.labels))
        return shapes


# --- reading ------------------------------------------------------------------------------------------------------


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is LabelMe JSON, in words; None if it is not."""
    file = first_file(path, "*.json", _is_labelme)
    return file and f"LabelMe JSON ({file.name})"


def parts(path: Path) -> list[str]:
    """The names of a set's parts, where there are several."""
    return part_names(path, "*.json", _is_annotation, CLASSES_FILE)


def open_labelme(path: str | Path, split: str | None = None) -> Dataset:
    """A set of LabelMe files, or one of them. Each is parsed, but no image is read and no mask drawn.

    Args:
        split: which part, where there are folders train, val, ...

    Raises:
        InputError: no such files or part, or JSON that is not what LabelMe's should be, naming file and shape.
    """
    path = Path(path)
    there = find(path, split, "*.json", _is_annotation, CLASSES_FILE)
    listed = _listed_classes(there.class_file) if there.class_file else None
    found: dict[str, None] = {}
    pictures, images, sizes, scores = Pictures(), [], [], []
    for _, file in there.files:
        content = _content(file)
        found |= dict.fromkeys(_labels(file, content["shapes"], listed))
        scores += [is_number(shape.get("score")) for shape in content["shapes"]]
        images.append(_image_file(file, content, pictures))
        sizes.append(_said_size(content))
    for file in [] if listed else there.others:
        found |= dict.fromkeys(_labels(file, _content(file)["shapes"], None))
    classes = listed or tuple(sorted(set(found) - {ANY_CLASS}))
    source = LabelMeFiles(
        paths=tuple(file.path for file in there.files),
        images=tuple(images),
        sizes=tuple(sizes),
        labels={name: label for label, name in enumerate(classes)} | {ANY_CLASS: -1},
        scored=bool(scores) and all(scores),
    )
    return Dataset(
        path=path,
        format=FORMAT,
        classes=classes,
        names=tuple(file.name for file in there.files),
        files=source.images,
        read_image=source.image,
        read_truth=partial(_truth, source),
        read_size=source.size,
        read_outlines=partial(_outlines, source),
        truth_files=tuple((file.path,) for file in there.files),
    )


def _is_labelme(path: Path) -> bool:
    """Does a file look like LabelMe's? Its text is searched, not parsed."""
    if path.suffix.lower() != ".json" or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(key) >= 0 for key in (b'"shapes"', b'"imagePath"'))


def _is_annotation(path: Path) -> bool:
    """LabelMe's, or a file beside an image of its name: one that is damaged must not be passed over."""
    return _is_labelme(path) or any(path.with_suffix(suffix).exists() for suffix in IMAGE_SUFFIXES)


def _content(path: Path) -> dict[str, Any]:
    content = load_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise InputError(f"{path}: no LabelMe file: the list 'shapes' is missing.")
    return content


def _listed_classes(path: Path) -> tuple[str, ...]:
    lines = [line.strip() for line in read_lines(path)]
    classes = tuple(line for line in lines if line and line not in NO_CLASSES)
    distinct(path, classes)
    return classes


def _labels(path: Path, shapes: Sequence[Any], listed: Sequence[str] | None) -> Iterator[str]:
    """The label of each shape, checked."""
    for number, shape in enumerate(shapes, start=1):
        label = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(label, str):
            raise InputError(f"{path}: shape {number} has no label.")
        if listed and label not in listed and label != ANY_CLASS:
            raise InputError(f"{path}: shape {number}: its label {label[:60]!r} is not among those of {CLASSES_FILE}.")
        yield label


def _image_file(path: Path, content: Mapping[str, Any], pictures: Pictures) -> Path | None:
    """The image's file; None where the image lies in the JSON."""
    said = content.get("imagePath")
    image = pictures.of(path, said if isinstance(said, str) else "")
    if image is None and not content.get("imageData"):
        raise InputError(f"{path}: its image {str(said)[:100]} is not there: put it beside the JSON file.")
    return image


def _said_size(content: Mapping[str, Any]) -> Size | None:
    """Height and width as the JSON says; None where it says nothing that can be."""
    sides: list[Any] = [content.get("imageHeight"), content.get("imageWidth")]
    return (sides[0], sides[1]) if all(map(is_side, sides)) and sides[0] * sides[1] <= MOST_PIXELS else None


def _truth(source: LabelMeFiles, index: int) -> Instances:
    return objects(source.shapes(index), source.size(index), source.scored)


def _outlines(source: LabelMeFiles, index: int) -> list[list[ndarray]]:
    return rings_of_objects(source.shapes(index))


def _embedded(path: Path, text: Any) -> ndarray:
    """The image that lies in the JSON file."""
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: its imageData is not base64 ({error}): save it again.") from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image"
        file.write_bytes(data)
        try:
            return read_image(file)
        except InputError as error:
            raise InputError(str(error).replace(str(file), f"{path}: its imageData")) from error


# --- writing ------------------------------------------------------------------------------------------------------


def write_labelme(
    entries: Iterable[Entry], folder: Path, classes: Sequence[str], *, link: bool = False
) -> Counter[str]:
    """Write a data set as images and JSON files beside them, and `labels.txt`; see `writing`. Only columns are lost.

    Raises:
        InputError: objects without masks, classes that labels.txt cannot tell apart, or a file cannot be written.
    """
    distinct(folder, classes)
    unclear = [name for name in classes if name != name.strip() or len(name.splitlines()) != 1 or name in NO_CLASSES]
    if unclear:
        raise InputError(f"{folder}: the class {unclear[0]!r} cannot be a line of {CLASSES_FILE}: rename it.")
    lost: Counter[str] = Counter()
    for entry in entries:
        truth, without = drawable(folder, entry.name, entry.truth, ignored=True, scores=True)
        lost += without
        image = place_image(entry, folder.joinpath(*entry.name.split("/")), (), link)
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes_of(truth, classes),
            "imagePath": image.name,
            "imageData": None,
            "imageHeight": truth.size[0],
            "imageWidth": truth.size[1],
        }
        write_text(image.with_name(f"{entry.name.split('/')[-1]}.json"), json.dumps(content, ensure_ascii=False))
    write_text(folder / CLASSES_FILE, "".join(f"{name}\n" for name in [ANY_CLASS, *classes]))
    return lost
