"""GeoJSON, as QuPath writes it: one file an image, one feature an object, coordinates in pixels.

    a.tif  a.geojson                                beside each other, in folders within folders as one likes
    or images/a.tif  annotations/a.geojson
    or train/a.tif  train/a.geojson  val/...        folders named train, val, ... are parts

Polygons with holes and MultiPolygons hold every mask exactly. The class of a feature is properties.classification.name,
else properties.class, else properties.name, else "object". `classes.json` beside the files names the classes and their
order ({"classes": [...]}); without it they are those that occur. An image without a GeoJSON file is not annotated yet,
and left out. Class `Ignore*` (QuPath's own name) = ignored and of no class, metadata `ignore` = ignored, measurement
`score` = a finding's score.
Format: https://www.rfc-editor.org/rfc/rfc7946 and https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy import ndarray

from apiece.data.annotation_files import Pictures, find, first_file, part_names
from apiece.data.dataset import Dataset
from apiece.data.geojson_features import IGNORED, UNNAMED, class_of, features, features_of, score_of, shape_of
from apiece.data.image_heads import image_size
from apiece.data.images import read_image
from apiece.data.outlines import Shape, distinct, drawable, is_number, objects, reading, rings_of_objects
from apiece.data.sidecar import SIDECAR, read_sidecar, write_sidecar
from apiece.data.writing import Entry, place_image
from apiece.errors import InputError
from apiece.files import write_text
from apiece.instances import Instances
from apiece.masks import Size

FORMAT = "geojson"
LOOKED_FOR = "files *.geojson"


@dataclass(frozen=True)
class GeoFiles:
    """The files of a set, looked through."""

    paths: tuple[Path, ...]
    images: tuple[Path, ...]
    labels: dict[str, int]
    scored: bool

    def size(self, index: int) -> Size:
        """Height and width, from the image's head."""
        return image_size(self.images[index])

    def image(self, index: int) -> ndarray:
        """The image."""
        return read_image(self.images[index])

    def shapes(self, index: int) -> list[Shape]:
        """The image's objects, read from its file."""
        path, size, shapes = self.paths[index], self.size(index), []
        for number, feature in enumerate(features(path), start=1):
            with reading(path, f"feature {number}"):
                shapes.append(shape_of(feature, size, self.labels))
        return shapes


# --- reading ------------------------------------------------------------------------------------------------------


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is GeoJSON, in words; None if it is not."""
    file = first_file(path, "*.geojson", _is_geojson)
    return file and f"GeoJSON ({file.name})"


def parts(path: Path) -> list[str]:
    """The names of a set's parts, where there are several."""
    return part_names(path, "*.geojson", _is_geojson, SIDECAR)


def open_geojson(path: str | Path, split: str | None = None) -> Dataset:
    """A set of GeoJSON files, or one of them. Each is parsed, but no image is read and no mask drawn.

    Args:
        split: which part, where there are folders train, val, ...

    Raises:
        InputError: no such files or part, an image that is missing, or JSON that is not what it should be, naming file
            and feature.
    """
    path = Path(path)
    there = find(path, split, "*.geojson", _is_geojson, SIDECAR)
    listed = _listed_classes(there.class_file) if there.class_file else None
    found: dict[str, None] = {}
    pictures, images, scores = Pictures(), [], []
    for _, file in there.files:
        told = features(file)
        found |= dict.fromkeys(_classes(file, told, listed))
        scores += [is_number(score_of(feature)) for feature in told]
        image = pictures.of(file)
        if image is None:
            raise InputError(f"{file}: its image is not there: put it, named {file.stem}, beside the file.")
        images.append(image)
    for file in [] if listed else there.others:
        found |= dict.fromkeys(_classes(file, features(file), None))
    classes = listed or tuple(sorted(set(found) - {IGNORED})) or (UNNAMED,)
    source = GeoFiles(
        paths=tuple(file.path for file in there.files),
        images=tuple(images),
        labels={name: label for label, name in enumerate(classes)} | {IGNORED: -1},
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


def _is_geojson(path: Path) -> bool:
    """By its suffix, or by the beginning of a file that is given as such."""
    if path.suffix.lower() == ".geojson":
        return True
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        head = file.read(4096)
    return b'"FeatureCollection"' in head or (b'"Feature"' in head and b'"geometry"' in head)


def _truth(source: GeoFiles, index: int) -> Instances:
    return objects(source.shapes(index), source.size(index), source.scored)


def _outlines(source: GeoFiles, index: int) -> list[list[ndarray]]:
    return rings_of_objects(source.shapes(index))


def _listed_classes(path: Path) -> tuple[str, ...]:
    classes, _ = read_sidecar(path.parent)
    distinct(path, classes)
    return classes


def _classes(path: Path, told: Sequence[Mapping[str, Any]], listed: Sequence[str] | None) -> Iterator[str]:
    """The class of each feature, checked."""
    for number, feature in enumerate(told, start=1):
        name = class_of(feature)
        if listed and name not in listed and name != IGNORED:
            words = f"its class {name[:60]!r} is not among those of {SIDECAR}"
            raise InputError(f"{path}: feature {number}: {words}.")
        yield name


# --- writing ------------------------------------------------------------------------------------------------------


def write_geojson(
    entries: Iterable[Entry], folder: Path, classes: Sequence[str], *, link: bool = False
) -> Counter[str]:
    """Write a data set as images, GeoJSON files beside them and `classes.json`; see `writing`. Only columns are lost.

    Raises:
        InputError: objects without masks, two classes of one name or one called `Ignore*`, or a file cannot be written.
    """
    distinct(folder, [*classes, IGNORED])
    lost: Counter[str] = Counter()
    for entry in entries:
        truth, without = drawable(folder, entry.name, entry.truth, ignored=True, scores=True)
        lost += without
        image = place_image(entry, folder.joinpath(*entry.name.split("/")), (), link)
        lines = ",\n".join(json.dumps(feature, ensure_ascii=False) for feature in features_of(truth, classes))
        text = f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n'
        write_text(image.with_name(f"{entry.name.split('/')[-1]}.geojson"), text)
    write_sidecar(folder, classes, {})
    return lost
