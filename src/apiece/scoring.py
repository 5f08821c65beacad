"""Found objects against truth: every community's figures from one comparison of each image. Never imports torch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from apiece.data.dataset import Dataset
from apiece.data.workers import Workers
from apiece.errors import CallError, InputError
from apiece.instances import Instances
from apiece.metrics.operating_point import best_threshold
from apiece.metrics.report import Report
from apiece.metrics.scorer import METRICS, Scorer, compare, wanted
from apiece.metrics.table import Record

__all__ = ["METRICS", "Report", "Scorer", "best_threshold", "compare", "score"]

Opened = Dataset | Sequence[Instances]
Found = Opened | str | Path
TOGETHER = 256
"""Objects that are compared at once: with more, what is being worked on no longer fits the processor's caches."""


_AREA_NOTES = {
    None: "A found object is small or large by what is compared: its mask (segm) or its box (bbox).",
    "segm": "A found object is small or large by its mask.",
    "bbox": "A found object is small or large by its box, as in pycocotools where results have boxes.",
}


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
    jobs: int = 1,
) -> Report:
    """Score anybody's found objects against truth.

    Args:
        found: a data set of results, its path, or one `Instances` for each image of `truth`.
        truth: a data set, its path, or a sequence of `Instances`.
        metrics: of `METRICS`.
        threshold: found objects with a lower score are left out of everything but AP. By default the one that stands
            in a file that `predict` wrote; else, and with 0, every found object counts.
        classes: names of the classes where `truth` is a sequence; by default "0", "1", ...
        class_agnostic: objects match whatever their class.
        allow_missing: an image without results counts as one where nothing was found, and results for images that the
            truth does not have are left out; otherwise both are errors.
        split: which part of the truth, where its path has several.
        intervals: add 95 % confidence intervals of the main figures.
        against: other findings in the same images: adds `"difference"`, the first's main figures minus these'.
        coco_options: further arguments of `metrics.coco.coco`.
        jobs: how many processes read and compare images; the figures are the same.

    Raises:
        InputError: images or classes of one side that the other does not have, sizes that differ, files that cannot be
            read.
        CallError: a metric that does not exist, or no process.
    """
    if jobs < 1:
        raise CallError(f"{jobs} jobs: at least 1 is needed.")
    truth = _opened_truth(truth, split)

    def scored(findings: Found) -> Scorer:
        opened = _opened_found(findings, truth)
        parts = wanted(metrics, class_agnostic, coco_options or {})
        sides = _needed(opened, truth, masks=parts["masks"])
        names, pairs = _paired(*sides, classes, allow_missing, class_agnostic)
        own = opened.threshold if isinstance(opened, Dataset) else None
        point = own if threshold is None else threshold
        scorer = Scorer(names, metrics, threshold=point, class_agnostic=class_agnostic, coco_options=coco_options)
        if threshold is None and own is not None and isinstance(opened, Dataset):
            scorer.notes.append(f"The threshold stands in {opened.path}; another can be given, 0 counts every object.")
        if "coco" in metrics:
            scorer.notes.append(_AREA_NOTES[(coco_options or {}).get("found_area")])
        scorer.records += _compared(scorer, pairs, jobs)
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


def _needed(found: Opened, truth: Opened, *, masks: bool) -> tuple[Opened, Opened]:
    """Both sides without masks that no figure needs: where only boxes are compared, or boxes are all there is."""
    if not isinstance(found, Dataset) or not isinstance(truth, Dataset):
        return found, truth
    if not masks:
        return found.boxes_only(), truth.boxes_only()
    # Of COCO's findings all have masks or none.
    bare = found.format.startswith("coco") and len(found) > 0 and not found.truth(0).has_masks
    return found, truth.boxes_only() if bare else truth


@dataclass(frozen=True)
class _Pairs:
    """The images of both sides, in the order in which they count.

    Attributes:
        names: of the images.
        read: some places in that order -> found and true objects of each.
    """

    names: Sequence[str]
    read: Callable[[range], Iterator[tuple[Instances, Instances]]]


def _paired(
    found: Opened, truth: Opened, classes: Sequence[str] | None, allow_missing: bool, class_agnostic: bool
) -> tuple[Sequence[str], _Pairs]:
    """The classes' names, and the images of both sides."""
    if isinstance(truth, Dataset) and isinstance(found, Dataset):
        return truth.classes, _by_name(found, truth, allow_missing, class_agnostic)
    ours, theirs = (
        list(side.truths(range(len(side)))) if isinstance(side, Dataset) else side for side in (found, truth)
    )
    if len(ours) != len(theirs):
        raise InputError(f"{len(ours)} images with found objects, but {len(theirs)} with truth: one each is needed.")
    names = classes or (truth.classes if isinstance(truth, Dataset) else _class_names([*ours, *theirs]))
    return names, _Pairs([str(i) for i in range(len(ours))], lambda chosen: ((ours[i], theirs[i]) for i in chosen))


def _class_names(sides: Sequence[Instances]) -> tuple[str, ...]:
    highest = max((int(one.labels.max(initial=0)) for one in sides), default=0)
    return tuple(str(number) for number in range(highest + 1))


def _by_name(found: Dataset, truth: Dataset, allow_missing: bool, class_agnostic: bool) -> _Pairs:
    """The images of both sets by name, with the found objects' labels numbered as the truth's.

    They come in the order of COCO's image ids, where the truth has some, because ties between images go by it.
    """
    there = places(found, truth)
    missing = [name for name, place in zip(truth.names, there, strict=True) if place is None]
    used = set(there)
    unknown = [name for place, name in enumerate(found.names) if place not in used]
    if missing and not allow_missing:
        raise InputError(
            f"{found.path}: nothing for {_list(missing)} of {truth.path}: add results, or allow missing ones."
        )
    if unknown and not allow_missing:
        raise InputError(f"{found.path}: {_list(unknown)} not in {truth.path}: take it out, or allow missing ones.")
    labels, ids = label_map(found, truth, class_agnostic), truth.image_ids
    order, same = list(range(len(truth))), np.array_equal(labels, np.arange(len(labels)))
    if ids is not None:
        order.sort(key=lambda i: (isinstance(ids[i], str), ids[i]))

    def read(chosen: range) -> Iterator[tuple[Instances, Instances]]:
        images = order[chosen.start : chosen.stop]
        ours = found.truths([place for place in (there[i] for i in images) if place is not None])
        for i, theirs in zip(images, truth.truths(images), strict=True):
            if there[i] is None:
                yield Instances.empty(theirs.size, scored=True), theirs
                continue
            mine = next(ours)
            yield (mine if same and (mine.labels >= 0).all() else mine.replace(labels=labels[mine.labels])), theirs

    return _Pairs([truth.names[i] for i in order], read)


def _compared(scorer: Scorer, pairs: _Pairs, jobs: int) -> Iterator[Record]:
    """Every image, compared: by this process, or by several."""
    count = len(pairs.names)
    work = partial(_records, scorer, pairs)
    jobs = min(jobs, count)
    if jobs < 2:
        yield from work(0, count)
        return
    share = max(1, min(count // (8 * jobs), 256))
    workers = Workers(work, jobs, "fork")
    try:
        parts = ((number, (first, min(first + share, count))) for number, first in enumerate(range(0, count, share)))
        for records in workers.results(parts, 2 * jobs):
            yield from records
    finally:
        workers.close()


def _records(scorer: Scorer, pairs: _Pairs, first: int, last: int) -> list[Record]:
    """The images first..last - 1, compared some at a time."""
    records, batch, objects = [], [], 0
    for name, (ours, theirs) in zip(pairs.names[first:last], pairs.read(range(first, last)), strict=True):
        batch.append((name, ours, theirs))
        objects += len(ours) + len(theirs) + 1
        if objects >= TOGETHER:
            records += scorer.compared(batch)
            batch, objects = [], 0
    return records + scorer.compared(batch)


def places(found: Dataset, truth: Dataset) -> list[int | None]:
    """Where the found set has each image of the truth: by its whole name, or by its last part if only one has it."""
    there: dict[str, int | None] = {}
    for place, name in enumerate(found.names):
        last = name.rsplit("/", 1)[-1]
        there[last] = None if last in there else place
    there |= {name: place for place, name in enumerate(found.names)}
    return [there.get(name, there.get(name.rsplit("/", 1)[-1])) for name in truth.names]


def label_map(found: Dataset, truth: Dataset, class_agnostic: bool) -> np.ndarray:
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
