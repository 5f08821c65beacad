"""Cityscapes' instance ids: label * 1000 + k for object k of a label, else the bare label. To objects and back."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt16
from numpy import ndarray

from apiece.data.cityscapes_labels import Label, classes
from apiece.data.painting import painted
from apiece.errors import InputError
from apiece.instances import Instances
from apiece.masks import label_values


def objects_of_ids(ids: Integer[ndarray, "H W"], labels: Sequence[Label], source: Path) -> Instances:
    """The objects of a map of instance ids: those of each class by number, then groups, then void.

    Raises:
        InputError: an id of no label, naming `source`.
    """
    present = np.append(label_values(ids), 0) if (ids == 0).any() else label_values(ids)
    own = np.where(present < 1000, present, present // 1000)
    if len(unknown := present[~np.isin(own, [label.number for label in labels])]):
        raise InputError(
            f"{source}: id {unknown[0]} is of label {own[present == unknown[0]][0]}, which is none of the labels: "
            "describe the set's own labels in labels.json."
        )
    number = {label.number: place for place, label in enumerate(classes(labels))}
    chosen = np.isin(own, list(number))
    objects, groups = present[chosen & (present >= 1000)], present[chosen & (present < 1000)]
    void = np.setdiff1d(present, [label.number for label in labels if not label.ignored])
    void = void[void < 1000]
    values = np.concatenate([objects, groups, void[:1]])
    # Void may have id 0, which a label map takes for background, and is one region whatever its labels.
    table = np.zeros(int(ids.max(initial=0)) + 1, np.uint16)
    table[values] = np.arange(1, len(values) + 1)
    table[void] = len(values)
    found = [*(number[one // 1000] for one in objects.tolist()), *map(number.__getitem__, groups.tolist())]
    return Instances.from_label_map(
        table[ids],
        [*found, *[-1] * len(void[:1])],
        values=np.arange(1, len(values) + 1),
        ignore=np.arange(len(values)) >= len(objects),
    )


def ids_of_objects(
    truth: Instances, numbers: Integer[ndarray, " C"], ground: int
) -> tuple[UInt16[ndarray, "H W"], Counter[str]]:
    """The map of instance ids, and how much it does not hold, by name.

    Args:
        numbers: the label of each class.
        ground: the label of pixels without an object.
    """
    label_map, lost = painted(truth)
    owner = np.append(numbers, 0)[truth.labels]  # label -1 is what nobody has labeled
    order = np.zeros(len(truth), np.int64)
    for number in numbers.tolist():
        of_class = np.flatnonzero((owner == number) & ~truth.ignore)
        order[of_class] = np.arange(len(of_class))
    told_apart = ~truth.ignore & (order < 1000)
    ids = np.where(told_apart, owner * 1000 + order, owner)
    ignored = owner[truth.ignore]
    lost["merged ignored objects"] = len(ignored) - len(np.unique(ignored))
    lost["objects beyond 1000 of a class"] = int((order >= 1000).sum())
    return np.append(ground, ids).astype(np.uint16)[label_map], +lost
