"""Found objects against truth: every community's figures from one comparison of each image. Never imports torch."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apiece.data.dataset import Dataset
from apiece.errors import CallError, InputError
from apiece.instances import Instances
from apiece.metrics.operating_point import best_threshold
from apiece.metrics.report import Report
from apiece.metrics.scorer import METRICS, Scorer, compare

__all__ = ["METRICS", "Report", "Scorer", "best_threshold", "compare", "score"]

Opened = Dataset | Sequence[Instances]
Found = Opened | str | Path


def score(
    found: Found,
    truth: Found,
    metrics: Sequence[str] = ("matching", "coco"),
    *,
    threshold: float | None = None,
    classes: Sequence[str] | None = None,
    class_agnostic: bool = False,
    allow_missing: bool = False,
    split: str | None = None,
    intervals: bool = False,
    against: Found | None = None,
    coco_options: dict[str, Any] | None = None,
) -> Report:
    """Score anybody's found objects against truth.

    Args:
        found: a data set of results, its path, or one `Instances` for each image of `truth`.
        truth: a data set, its path, or a sequence of `Instances`.
        metrics: of `METRICS`.
        threshold: found objects with a lower score are left out of everything but AP.
        classes: names of the classes where `truth` is a sequence; by default "0", "1", ...
        class_agnostic: objects match whatever their class.
        allow_missing: an image without results counts as one where nothing was found, and results for images that the
            truth does not have are left out; otherwise both are errors.
        split: which part of the truth, where its path has several.
        intervals: add 95 % confidence intervals of the main figures.
        against: other findings in the same images: adds `"difference"`, the first's main figures minus these'.
        coco_options: further arguments of `metrics.coco.coco`.

    Raises:
        InputError: images or classes of one side that the other does not have, sizes that differ, files that cannot be
            read.
        CallError: a metric that does not exist.
    """
    truth = _opened_truth(truth, split)

    def scored(findings: Found) -> Scorer:
        names, pairs = _pairs(_opened_found(findings, truth), truth, classes, allow_missing, class_agnostic)
        scorer = Scorer(names, metrics, threshold=threshold, class_agnostic=class_agnostic, coco_options=coco_options)
        for name, found_here, true_here in pairs:
            scorer.add(name, found_here, true_here)
        return scorer

    scorer = scored(found)
    report = scorer.report(intervals=intervals)
    if against is not None:
        report.figures["difference"] = compare(scorer, scored(against))
    return report


def _opened_truth(truth: Found, split: str | None) -> Opened:
    if not isinstance(truth, str | Path):
        return truth
    from apiece.data.formats import open_dataset

    return open_dataset(truth, split=split)


def _opened_found(found: Found, truth: Opened) -> Opened:
    if not isinstance(found, str | Path):
        return found
    if not isinstance(truth, Dataset):
        raise CallError("found objects can only be read from a file if the truth is a data set or a path too.")
    from apiece.data.formats import open_found

    return open_found(found, truth)


def _pairs(
    found: Opened, truth: Opened, classes: Sequence[str] | None, allow_missing: bool, class_agnostic: bool
) -> tuple[Sequence[str], Iterable[tuple[str, Instances, Instances]]]:
    """The classes' names, and each image's name, found and true objects."""
    if isinstance(truth, Dataset) and isinstance(found, Dataset):
        return truth.classes, _paired(found, truth, allow_missing, class_agnostic)
    ours, theirs = _sequence(found), _sequence(truth)
    names = classes or (truth.classes if isinstance(truth, Dataset) else _class_names([*ours, *theirs]))
    return names, _numbered(ours, theirs)


def _sequence(side: Opened) -> Sequence[Instances]:
    return [side.truth(i) for i in range(len(side))] if isinstance(side, Dataset) else side


def _numbered(found: Sequence[Instances], truth: Sequence[Instances]) -> list[tuple[str, Instances, Instances]]:
    if len(found) != len(truth):
        raise InputError(f"{len(found)} images with found objects, but {len(truth)} with truth: one each is needed.")
    return [(str(i), ours, theirs) for i, (ours, theirs) in enumerate(zip(found, truth, strict=True))]


def _class_names(sides: Sequence[Instances]) -> tuple[str, ...]:
    highest = max((int(one.labels.max(initial=0)) for one in sides), default=0)
    return tuple(str(number) for number in range(highest + 1))


def _paired(
    found: Dataset, truth: Dataset, allow_missing: bool, class_agnostic: bool
) -> Iterator[tuple[str, Instances, Instances]]:
    """The images of both sets by name, with the found objects' labels numbered as the truth's.

    They come in the order of COCO's image ids, where the truth has some, because ties between images go by it.
    """
    places = _places(found, truth)
    missing = [name for name, place in zip(truth.names, places, strict=True) if place is None]
    used = set(places)
    unknown = [name for place, name in enumerate(found.names) if place not in used]
    if missing and not allow_missing:
        raise InputError(
            f"{found.path}: nothing for {_list(missing)} of {truth.path}: add results, or allow missing ones."
        )
    if unknown and not allow_missing:
        raise InputError(f"{found.path}: {_list(unknown)} not in {truth.path}: take it out, or allow missing ones.")
    labels = _label_map(found, truth, class_agnostic)
    ids = truth.image_ids
    order = (
        range(len(truth)) if ids is None else sorted(range(len(truth)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    )
    for i in order:
        place, theirs = places[i], truth.truth(i)
        if place is None:
            yield truth.names[i], Instances.empty(theirs.size, scored=True), theirs
            continue
        ours = found.truth(place)
        yield truth.names[i], ours.replace(labels=labels[ours.labels]), theirs


def _places(found: Dataset, truth: Dataset) -> list[int | None]:
    """Where the found set has each image of the truth: by its whole name, or by its last part if only one has it."""
    places: dict[str, int | None] = {}
    for place, name in enumerate(found.names):
        last = name.rsplit("/", 1)[-1]
        places[last] = None if last in places else place
    places |= {name: place for place, name in enumerate(found.names)}
    return [places.get(name, places.get(name.rsplit("/", 1)[-1])) for name in truth.names]


def _label_map(found: Dataset, truth: Dataset, class_agnostic: bool) -> np.ndarray:
    """The truth's number of each class of the found set."""
    if class_agnostic or len(found.classes) == len(truth.classes) == 1:
        return np.zeros(max(len(found.classes), 1), np.int64)
    unknown = [name for name in found.classes if name not in truth.classes]
    if unknown:
        raise InputError(
            f"{found.path}: the truth has no class {_list(unknown)}, only {_list(list(truth.classes))}: "
            "rename the classes, or score whatever the class."
        )
    return np.array([truth.classes.index(name) for name in found.classes], np.int64)


def _list(names: Sequence[str]) -> str:
    """A few names and how many more."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
