"""What can be wrong with an image, and with the images of a set beside each other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from apiece.checks.likeness import Likeness, likeness, pairs
from apiece.checks.objects import OBJECT_FAULTS
from apiece.checks.scene import Hit, Scene
from apiece.data.dataset import Dataset
from apiece.data.pillow import ORIENTATION
from apiece.data.soundness import Rest, Salvage
from apiece.errors import InputError
from apiece.faults import Finding
from apiece.instances import Instances
from apiece.masks import Size

QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""


class Look(NamedTuple):
    """What is kept of an image that was looked at.

    Attributes:
        name, file: of the image.
        findings: what is wrong with it and its objects.
        likeness: None where the image cannot be read, or is of one value throughout.
        labels: of its objects, ignored ones left out.
        objects: how many there are.
        subject: place of its data set among those that are looked at.
    """

    name: str
    file: str | None
    findings: list[Finding]
    likeness: Likeness | None
    labels: list[int]
    objects: int
    subject: int = 0


def look_at(salvage: Salvage, index: int, stride: int) -> Look:
    """Read an image and its objects, and look at both."""
    data = salvage.data
    name, file = data.names[index], data.files[index]
    where = {"image": name, "file": None if file is None else str(file)}
    findings: list[Finding] = []
    image = None
    try:
        image = data.image(index)
    except InputError as error:
        findings.append(Finding("unreadable image", _bare(error, file), **where))
    truth, outlines, broken = annotation(salvage, index)
    findings += [found._replace(image=name, file=found.file or where["file"]) for found in broken]
    if truth is None:
        return Look(name, where["file"], findings, _kept(image), [], 0)
    if image is not None and image.shape[:2] != truth.size:
        findings.append(Finding(*_misfit(data, index, image.shape[:2], truth.size), **where))
    if not len(truth):
        findings.append(Finding("no objects", "it has no objects", **where))
    scene = Scene(truth, outlines, data.format, stride)
    findings += [_finding(hit, scene)._replace(**where) for find in OBJECT_FAULTS for hit in find(scene)]
    labels = truth.labels[~truth.ignore & (truth.labels >= 0)].tolist()
    return Look(name, where["file"], findings, _kept(image), labels, len(truth))


def annotation(salvage: Salvage, index: int) -> Rest:
    """The objects of an image as far as they can be read."""
    try:
        return Rest(salvage.data.truth(index), salvage.data.outlines(index), [])
    except InputError as error:
        return salvage.rest(index, error)


def _kept(image: ndarray | None) -> Likeness | None:
    """What finds an image again, if there is something to be seen in it."""
    if image is None:
        return None
    kept = likeness(image)
    return kept if kept.detail.any() else None


def _bare(error: InputError, file: Path | None) -> str:
    """What an error says about a file, without the file's name."""
    return str(error).removeprefix(f"{file}: ").rstrip(".")


def _misfit(data: Dataset, index: int, size: Size, annotated: Size) -> tuple[str, str]:
    """Kind and words for an image of another size than its annotation."""
    found, wanted = (f"{height} x {width}" for height, width in (annotated, size))
    if annotated == size[::-1] and orientation(data.files[index]) in QUARTER_TURNS:
        return "EXIF turn", f"it is to be turned to {wanted}, but its annotation is of the unturned {found} pixels"
    return "another size", f"it has {wanted} pixels, but its annotation {found}"


def orientation(file: Path | None) -> int:
    """How a file's EXIF tag says that the image is to be turned; 1 = not at all."""
    from PIL import Image

    if file is None:
        return 1
    try:
        with Image.open(file) as picture:
            return picture.getexif().get(ORIENTATION, 1)
    except OSError:
        return 1


def _finding(hit: Hit, scene: Scene) -> Finding:
    """A hit with the object's name and box."""
    if hit.index < 0:
        return Finding(hit.fault, hit.words)
    x1, y1, x2, y2 = _box(scene.truth, hit.index)
    return Finding(hit.fault, hit.words, entry=scene.name(hit.index), box=(x1, y1, x2, y2), index=hit.index)


def _box(truth: Instances, index: int) -> list[float]:
    """Where an object is: its mask's box, or the given one."""
    drawn = truth.mask_boxes[index] if truth.has_masks and truth.mask_areas[index] else truth.boxes[index]
    return np.nan_to_num(drawn.astype(np.float64)).tolist()


# --- beside each other ------------------------------------------------------------------------------------------------


def copies(looks: Sequence[Look], names: Sequence[str]) -> list[Finding]:
    """Images that are one: in two sets (told of the image in the first), or twice in one set (told of the later one).

    Args:
        names: of the data sets that the looks are of.
    """
    seen = [look for look in looks if look.likeness is not None]
    found: dict[tuple[str, int], Finding] = {}
    for pair in pairs([look.likeness for look in seen if look.likeness is not None]):
        one, other = seen[pair.first], seen[pair.second]
        apart = one.subject != other.subject
        kind = "image in two sets" if apart else "image twice" if pair.exact else "images alike"
        place = pair.first if apart else pair.second
        own, twin = (one, other) if apart else (other, one)
        how = "to the last pixel" if pair.exact else f"or nearly so (correlation {pair.correlation:.3f})"
        words = f"it is {twin.file or twin.name} {f'of {names[twin.subject]} ' if apart else ''}too, {how}"
        where = {"data": names[own.subject], "image": own.name, "file": own.file}
        found.setdefault((kind, place), Finding(kind, words, **where))
    return list(found.values())


def rare_classes(counts: Mapping[str, Counter[str]], minimum: int) -> list[Finding]:
    """Classes with few objects, ignored ones not counted.

    Args:
        counts: for each data set its classes.
    """
    return [
        Finding("rare class", f"it has {count} objects" if count != 1 else "it has one object", data=data, entry=name)
        for data, of_set in counts.items()
        for name, count in of_set.items()
        if count < minimum
    ]
