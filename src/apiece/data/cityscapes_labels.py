"""The labels of Cityscapes: its own table, or that of a set with other classes, in `labels.json` beside `gtFine/`.

    {"labels": [{"name": "date", "id": 34, "hasInstances": true, "ignoreInEval": false}, ...]}

with the names that cityscapesScripts has for these facts (helpers/labels.py). The classes are the labels that have
instances and are not ignored, in the table's order. Label 0 is what nobody has labeled.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from apiece.data.coco_json import load_json
from apiece.data.dataset import Dataset
from apiece.errors import InputError
from apiece.files import write_text

LABELS_FILE = "labels.json"


class Label(NamedTuple):
    """A label.

    Attributes:
        number: what pixels of it hold.
        has_instances: are its objects told apart?
        ignored: is it left out of every figure (void)?
    """

    name: str
    number: int
    has_instances: bool
    ignored: bool


_NAMES = """unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, sidewalk, parking,
rail track, building, wall, fence, guard rail, bridge, tunnel, pole, polegroup, traffic light, traffic sign, vegetation,
terrain, sky, person, rider, car, truck, bus, caravan, trailer, train, motorcycle, bicycle"""
_IGNORED = {*range(7), 9, 10, 14, 15, 16, 18, 29, 30}
STANDARD = (
    *(
        Label(" ".join(name.split()), number, has_instances=number >= 24, ignored=number in _IGNORED)
        for number, name in enumerate(_NAMES.split(","))
    ),
    Label("license plate", -1, has_instances=False, ignored=True),
)
BUILDING, BACKGROUND = 11, 65
"""The label of pixels without an object in sets that apiece writes: with Cityscapes' own classes, and with others."""
LARGEST = 64
"""16 bits hold label * 1000 + 999 up to this label."""


def classes(labels: Sequence[Label]) -> tuple[Label, ...]:
    """The labels whose objects are looked for."""
    return tuple(label for label in labels if label.has_instances and not label.ignored)


def read_labels(root: Path) -> tuple[Label, ...]:
    """The labels of a set: `labels.json` in its folder, or Cityscapes' own where there is none.

    Raises:
        InputError: the file is no table of labels, or two have one number or name.
    """
    path = root / LABELS_FILE
    if not path.is_file():
        return STANDARD
    content = load_json(path)
    rows = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise InputError(f'{path}: no table of labels: it should hold {{"labels": [{{"name", "id", ...}}, ...]}}.')
    labels = tuple(_label(path, place, row) for place, row in enumerate(rows))
    counted = Counter(value for label in labels for value in (label.number, label.name))
    if twice := [value for value, count in counted.items() if count > 1]:
        raise InputError(f"{path}: two labels have the name or id {twice[0]!r}.")
    if not classes(labels):
        raise InputError(f"{path}: no label has instances (hasInstances, not ignoreInEval), so there is no class.")
    return labels


def _label(path: Path, place: int, row: object) -> Label:
    """A row of the table, checked."""
    if isinstance(row, dict) and isinstance(row.get("name"), str) and type(row.get("id")) is int:
        things, ignored = row.get("hasInstances", True), row.get("ignoreInEval", False)
        if isinstance(things, bool) and isinstance(ignored, bool) and row["id"] <= (LARGEST if things else 999):
            return Label(row["name"], row["id"], things, ignored)
    raise InputError(
        f"{path}: label {place} is not understood: it needs a name, an id (at most {LARGEST} if it has instances) "
        "and, true or false, hasInstances and ignoreInEval."
    )


def write_labels(labels: Sequence[Label], root: Path) -> None:
    """Write `labels.json`, unless the labels are Cityscapes' own."""
    if labels == STANDARD:
        return
    keys = ("name", "id", "hasInstances", "ignoreInEval")
    rows = ",\n".join(f"  {json.dumps(dict(zip(keys, label, strict=True)))}" for label in labels)
    write_text(root / LABELS_FILE, f'{{"labels": [\n{rows}\n]}}\n')


def labels_for(names: Sequence[str], root: Path) -> tuple[Label, ...]:
    """A table of labels with these classes: Cityscapes' own where it has just these in this order.

    Cityscapes' classes keep their numbers in other tables too; further ones follow them from 34.

    Args:
        root: where they will be written, for the error.

    Raises:
        InputError: more classes than 16-bit instance ids hold.
    """
    if tuple(names) == tuple(label.name for label in classes(STANDARD)):
        return STANDARD
    known = {label.name: label.number for label in classes(STANDARD)}
    taken = {known[name] for name in names if name in known}
    free = [number for number in (*range(34, LARGEST + 1), *range(1, 34)) if number not in taken]
    others = [name for name in names if name not in known]
    if len(others) > len(free):
        raise InputError(
            f"{root}: {len(names)} classes, but Cityscapes' ids have 16 bits and hold {LARGEST}: choose another format."
        )
    numbers = known | dict(zip(others, free, strict=False))
    things = [Label(name, numbers[name], has_instances=True, ignored=False) for name in names]
    unlabeled, background = (_unused(name, names) for name in ("unlabeled", "background"))
    return (Label(unlabeled, 0, False, True), Label(background, BACKGROUND, False, False), *things)


def ground_of(labels: Sequence[Label]) -> Label:
    """The label, of a table made by `labels_for`, of pixels without an object."""
    return next(label for label in labels if label.number == (BUILDING if labels == STANDARD else BACKGROUND))


def _unused(name: str, names: Sequence[str]) -> str:
    """A name that no class has."""
    return _unused(f"other {name}", names) if name in names else name


def numbers_of(data: Dataset) -> tuple[int, ...]:
    """The label of each class of a data set: its own ids where it has some, else as `labels_for` gives them."""
    return data.class_ids or tuple(label.number for label in classes(labels_for(data.classes, data.path)))
