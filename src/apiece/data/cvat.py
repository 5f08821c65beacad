"""CVAT XML, "CVAT for images 1.1": one file for all images.

    annotations.xml  images/a.jpg          open_cvat(folder) or open_cvat(file); images may also lie beside the file
                                           or, of a project, in images/PART: the images' attribute `subset`

Polygons, boxes, ellipses and masks are read; shapes of one `group_id` and label are one object. Written are a polygon
for an object of one part, one for each part in a group, and a mask where there are holes: every pixel is kept.
Attribute `ignore` = ignored, label `__ignore__` = ignored and of no class, attribute `score` = a finding's score. Tags
of whole images are no objects. Documents with a DOCTYPE are refused: nothing but it could make a parser read other
files or grow without end.
Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from numpy import ndarray

from apiece.data.annotation_files import chosen_part
from apiece.data.coco_json import image_name
from apiece.data.cvat_shapes import shape_of, shapes_of
from apiece.data.cvat_xml import CvatFile, is_cvat, parse
from apiece.data.dataset import Dataset
from apiece.data.images import read_image
from apiece.data.outlines import ANY_CLASS, Shape, distinct, drawable, objects, reading, rings_of_objects
from apiece.data.writing import Entry, place_image
from apiece.errors import InputError
from apiece.files import write_text
from apiece.instances import Instances
from apiece.masks import Size

FORMAT = "cvat"
LOOKED_FOR = "CVAT XML (annotations.xml)"
FORBIDDEN = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")
"""What XML cannot hold, and ends of lines."""


# --- reading ------------------------------------------------------------------------------------------------------


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is CVAT XML, in words; None if it is not."""
    if path.is_file():
        return "a CVAT XML file" if is_cvat(path) else None
    files = _files(path) if path.is_dir() else {}
    return f"CVAT XML ({', '.join(file.relative_to(path).as_posix() for file in files.values())})" if files else None


def parts(path: Path) -> list[str]:
    """The names of a set's parts, where there are several: folders with a file each, or the subsets of one file."""
    files = _files(path) if path.is_dir() else {"": path}
    found = sorted({image.part for image in parse(files[""]).images}) if list(files) == [""] else list(files)
    return [part for part in found if part] if len(found) > 1 else []


def open_cvat(path: str | Path, split: str | None = None) -> Dataset:
    """A CVAT set: its XML file or the folder of it. Reads no image, draws no mask.

    Args:
        split: which part (CVAT's subset, or a folder), where there are several.

    Raises:
        InputError: no such file or part, or XML that is not what CVAT's should be, naming image and shape.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    files = _files(path) if path.is_dir() else {"": path}
    if not files:
        raise InputError(f"{path}: no CVAT XML file here: looked for annotations.xml and other *.xml.")
    folder = "" if "" in files else chosen_part(path, list(files), split)
    source = parse(files[folder])
    subsets = sorted({image.part for image in source.images})
    part = chosen_part(path, subsets, None if folder else split) if subsets else ""
    return _data_set(path, source, part)


def _data_set(path: Path, source: CvatFile, part: str) -> Dataset:
    """One part of a file's images."""
    chosen = tuple(number for number, image in enumerate(source.images) if image.part == part)
    names = tuple(image_name(source.images[number].name) for number in chosen)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{source.path}: two images of the name {twice[0]}, so their results would have one too.")
    paths = tuple(_image_file(source.path, source.images[number].name, part) for number in chosen)
    return Dataset(
        path=path,
        format=FORMAT,
        classes=tuple(name for name, label in source.labels.items() if label >= 0),
        names=names,
        files=paths,
        read_image=partial(_image, paths),
        read_truth=partial(_truth, source, chosen),
        read_size=partial(_size, source, chosen),
        read_outlines=partial(_outlines, source, chosen),
        truth_files=((source.path,),) * len(names),
    )


def _files(folder: Path) -> dict[str, Path]:
    """The CVAT files of a folder by the name of their part: one in it, else one in each part's folder."""
    here = _xml_files(folder)
    if here:
        return {"": here[0]} if len(here) == 1 else {file.stem: file for file in here}
    inside = {child.name: _xml_files(child) for child in sorted(folder.iterdir()) if child.is_dir()}
    return {name: files[0] for name, files in inside.items() if len(files) == 1}


def _xml_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.xml")) if not file.name.startswith(".") and is_cvat(file)]


def _image_file(file: Path, name: str, part: str) -> Path:
    """Where an image lies; where it would lie if it is nowhere."""
    name = name.replace("\\", "/")
    folders = [file.parent / "images" / part, file.parent / "images", file.parent]
    places = [folder / way for way in (name, name.rsplit("/", 1)[-1]) for folder in folders]
    return next(filter(Path.is_file, places), places[1])


def _image(paths: tuple[Path, ...], index: int) -> ndarray:
    return read_image(paths[index])


def _size(source: CvatFile, chosen: tuple[int, ...], index: int) -> Size:
    return source.images[chosen[index]].size


def _shapes(source: CvatFile, image: int) -> Iterator[Shape]:
    name, size = source.images[image].name, source.images[image].size
    for number, (kind, said, attributes) in enumerate(source.shapes[image], start=1):
        with reading(source.path, f"image {name}, shape {number} ({kind})"):
            yield shape_of(kind, said, attributes, source.labels, size)


def _truth(source: CvatFile, chosen: tuple[int, ...], index: int) -> Instances:
    image = chosen[index]
    return objects(_shapes(source, image), source.images[image].size, source.scored)


def _outlines(source: CvatFile, chosen: tuple[int, ...], index: int) -> list[list[ndarray]]:
    return rings_of_objects(_shapes(source, chosen[index]))


# --- writing ------------------------------------------------------------------------------------------------------


def write_cvat(entries: Iterable[Entry], folder: Path, classes: Sequence[str], *, link: bool = False) -> Counter[str]:
    """Write a data set as `annotations.xml` and `images/`; see `writing`. Only columns are lost.

    Raises:
        InputError: objects without masks, names that XML cannot hold, two classes of one name, or a file cannot be
            written.
    """
    distinct(folder, [*classes, ANY_CLASS])
    lost: Counter[str] = Counter()
    path, images, names = folder / "annotations.xml", [], [*classes, ANY_CLASS]
    for number, entry in enumerate(entries):
        truth, without = drawable(folder, entry.name, entry.truth, ignored=True, scores=True)
        lost += without
        file = place_image(entry, folder.joinpath("images", *entry.name.split("/")), (), link)
        name = _checked(path, file.relative_to(folder / "images").as_posix())
        height, width = truth.size
        images += [f'<image id="{number}" name={quoteattr(name)} width="{width}" height="{height}">']
        images += shapes_of(truth, names)
        images += ["</image>"]
    labels = [_label(_checked(path, name)) for name in classes] + [_label(ANY_CLASS)]
    meta = ["<task>", "<mode>annotation</mode>", "<labels>", *labels, "</labels>", "</task>"]
    head = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "<version>1.1</version>", "<meta>", *meta]
    write_text(path, "\n".join([*head, "</meta>", *images, "</annotations>", ""]))
    return lost


def _label(name: str) -> str:
    """A label's declaration, with the attributes that the shapes may have."""
    kinds = (("ignore", "checkbox", "false"), ("score", "text", ""))
    attributes = "".join(
        f"<attribute><name>{said}</name><mutable>False</mutable><input_type>{kind}</input_type>"
        f"<default_value>{default}</default_value><values>{default}</values></attribute>"
        for said, kind, default in kinds
    )
    return f"<label><name>{escape(name)}</name><attributes>{attributes}</attributes></label>"


def _checked(path: Path, name: str) -> str:
    if FORBIDDEN.search(name):
        raise InputError(f"{path}: the name {name!r} holds characters that XML cannot: rename it.")
    return name
