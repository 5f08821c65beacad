"""CVAT's XML files: read and checked against themselves. `cvat_shapes` makes shapes of their entries."""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from apiece.data.coco_json import is_side
from apiece.data.outlines import ANY_CLASS, distinct, is_score
from apiece.data.packed import Packed
from apiece.data.pillow import MOST_PIXELS
from apiece.errors import InputError
from apiece.masks import Size

OTHERS = ("tag",)
"""Children of an image that are no shapes."""
SIDES = ("height", "width")


class CvatImage(NamedTuple):
    """An image as the file tells of it; `part` is its subset, empty without."""

    name: str
    size: Size
    part: str


@dataclass(frozen=True)
class CvatFile:
    """A CVAT file, read.

    Attributes:
        shapes: for each image its shapes: kind, XML attributes, and the attributes given by CVAT's user.
        labels: name -> label; that of no class is -1.
        scored: does every shape have a score?
    """

    path: Path
    images: tuple[CvatImage, ...]
    shapes: Sequence[list[tuple[str, dict[str, str], dict[str, str]]]]
    labels: dict[str, int]
    scored: bool


def is_cvat(path: Path) -> bool:
    """Does a file look like CVAT's? Its beginning is looked at, not parsed."""
    if path.suffix.lower() != ".xml":
        return False
    with path.open("rb") as file:
        head = file.read(4096)
    return b"<annotations" in head


def parse(path: Path) -> CvatFile:
    """Read and check a file; no mask is drawn yet.

    Raises:
        InputError: naming the image and shape that is wrong and how.
    """
    _refuse_definitions(path)
    images, shapes, declared = [], [], []
    for element in _elements(path):
        if element.tag == "image":
            images.append(_image(path, element))
            shapes.append(_shapes(path, images[-1], element))
        elif element.tag == "label" and element.find("parent") is None:
            declared.append(element.findtext("name") or "")
    found = {said.get("label", "") for of_image in shapes for _, said, _ in of_image}
    names = [name for name in declared or sorted(found) if name != ANY_CLASS]
    distinct(path, names)
    labels = {name: label for label, name in enumerate(names)} | {ANY_CLASS: -1}
    for image, of_image in zip(images, shapes, strict=True):
        for number, (kind, said, _) in enumerate(of_image, start=1):
            if said.get("label") not in labels:
                words = f"its label {said.get('label', '')[:60]!r} is not among those of the file's <meta>"
                raise InputError(f"{path}: image {image.name}, shape {number} ({kind}): {words}.")
    scores = [is_score(own.get("score")) for of_image in shapes for _, _, own in of_image]
    return CvatFile(path, tuple(images), Packed(shapes), labels, bool(scores) and all(scores))


def _refuse_definitions(path: Path) -> None:
    """No DOCTYPE, so that no entity can be defined; searched for in the bytes, so they must be UTF-8."""
    try:
        if not path.stat().st_size:
            raise InputError(f"{path}: the file is empty: make or copy it again.")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if b"\0" in text[:4] or text[:2] in (b"\xfe\xff", b"\xff\xfe"):
                raise InputError(f"{path}: the XML is not written in UTF-8: save it so.")
            if text.find(b"<!DOCTYPE") >= 0 or text.find(b"<!ENTITY") >= 0:
                raise InputError(f"{path}: the XML has a DOCTYPE, which CVAT does not write: it is not read.")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _elements(path: Path) -> Iterator[Any]:
    """The elements as they end; images are emptied when they were seen."""
    try:
        with path.open("rb") as file:
            steps = ElementTree.iterparse(file, ("start", "end"))
            _, root = next(steps)
            if root.tag != "annotations":
                raise InputError(f"{path}: no CVAT file: it begins with <{root.tag[:60]}>, not <annotations>.")
            for event, element in steps:
                if element.tag == "track":
                    raise InputError(f'{path}: tracks through a video: export it as "CVAT for images 1.1" instead.')
                if event == "end":
                    yield element
                    if element.tag == "image":
                        root.clear()
    except InputError:
        raise
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError) as error:
        raise InputError(f"{path}: not valid XML ({error}): make or copy it again.") from error


def _image(path: Path, element: Any) -> CvatImage:
    name = element.get("name") or ""
    sides = [int(side) if side.isascii() and side.isdigit() else 0 for side in map(str, map(element.get, SIDES))]
    if not name or not all(map(is_side, sides)):
        raise InputError(f"{path}: image {name or element.get('id')} lacks a name, width or height.")
    if sides[0] * sides[1] > MOST_PIXELS:
        raise InputError(f"{path}: image {name}: {sides[0]} x {sides[1]} pixels are more than can be read.")
    return CvatImage(name, (sides[0], sides[1]), element.get("subset") or "")


def _shapes(path: Path, image: CvatImage, element: Any) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """The children of an image that are shapes, as plain text."""
    return [
        (
            child.tag,
            dict(child.attrib),
            {own.get("name") or "": own.text or "" for own in child if own.tag == "attribute"},
        )
        for child in element
        if child.tag not in OTHERS
    ]
