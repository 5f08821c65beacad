"""Standings: everybody's found objects scored by the same code on the same images, the best first."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

from apiece.data.dataset import Dataset
from apiece.data.formats import open_found
from apiece.errors import CallError, InputError
from apiece.metrics.coco import EVERY
from apiece.metrics.report import Report
from apiece.metrics.scorer import Scorer, compare
from apiece.scoring import label_map, places

METRICS = ("coco", "matching")
COCO = {"max_detections": (1, 10, EVERY)}
"""AP of all that is found, as the bounds of `recommend`; COCO's own counts 100 objects of a class in an image."""
MAIN = {
    "AP": ("coco", "AP"),
    "AP50": ("coco", "AP50"),
    "AP75": ("coco", "AP75"),
    "accuracy@0.50": ("matching", "accuracy@0.50"),
    "mean accuracy": ("matching", "mean accuracy"),
}
"""The figures that have intervals, and where a report has them; the first is what everybody is ranked by."""
RANKED_BY = "AP"
DONE = "done"


@dataclass(frozen=True)
class Standing:
    """One method or foreign tool.

    Attributes:
        name: of the method or tool.
        status: how far it is: "done", or where it stopped ("training", "failed", ...; "not begun").
        why: what went wrong, in a sentence.
        facts: what its trial left: training, prediction, parameters, ...; nothing of a tool.
        found: what it found in the test images; None where it is not done.
        scorer, report: the same, scored.
    """

    name: str
    status: str = DONE
    why: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    tool: bool = False
    found: Dataset | None = None
    scorer: Scorer | None = None
    report: Report | None = None

    @property
    def main(self) -> dict[str, dict[str, float | None]]:
        """The main figures, each with `value`, `low` and `high`; nothing where it is not done."""
        if self.report is None:
            return {}
        intervals = self.report["intervals"]
        return {name: intervals[metric][figure] for name, (metric, figure) in MAIN.items()}

    def figures(self) -> dict[str, Any]:
        """All of it, for JSON."""
        facts = {name: value for name, value in self.facts.items() if name not in ("identity", "figures", "trace")}
        known = {"name": self.name, "status": self.status, **({"why": self.why} if self.why else {})}
        scores = {} if self.report is None else {"figures": self.report.figures}
        return {**facts, **known, "tool": self.tool, **scores}


def score_found(name: str, found: Dataset, truth: Dataset, **facts: Any) -> Standing:
    """Score what somebody found; further arguments are the standing's fields.

    Raises:
        InputError: images without findings, boxes in place of masks, classes that the truth lacks.
    """
    there, labels = places(found, truth), label_map(found, truth, class_agnostic=False)
    missing = [name for name, place in zip(truth.names, there, strict=True) if place is None]
    if missing:
        raise InputError(f"{found.path}: nothing for {len(missing)} of {len(truth)} test images, as {missing[0]}.")
    scorer = Scorer(truth.classes, METRICS, threshold=found.threshold, coco_options=COCO)
    for index, place in enumerate(there):
        ours = found.truth(place or 0)
        if not ours.has_masks:
            raise InputError(f"{found.path}: has boxes, but a comparison needs masks.")
        scorer.add(truth.names[index], ours.replace(labels=labels[ours.labels]), truth.truth(index))
    return Standing(name, found=found, scorer=scorer, report=scorer.report(intervals=True), **facts)


def score_tools(files: Sequence[str], test: Dataset, whole: Dataset, taken: Sequence[str] = ()) -> list[Standing]:
    """Score foreign tools' files; one that cannot be read is a standing that says why.

    Args:
        files: COCO results or whatever `score` reads; FILE@0.5 says from which score on objects count where a decision
            is needed.
        whole: the data set that the test images are of, whose ids the results have.
        taken: names that others have.
    """
    standings: list[Standing] = []
    for file in files:
        path, threshold = _with_threshold(file)
        name = _tool_name(path, [*taken, *(one.name for one in standings)])
        try:
            found = open_found(path, whole)
            found = found if threshold is None else replace(found, threshold=threshold)
            standings.append(score_found(name, found, test, tool=True))
        except InputError as error:
            standings.append(Standing(name, "failed", " ".join(str(error).split()), tool=True))
    return standings


def _with_threshold(file: str) -> tuple[Path, float | None]:
    path, at, number = file.rpartition("@")
    if not at or Path(file).exists():
        return Path(file), None
    try:
        threshold = float(number)
    except ValueError:
        threshold = nan
    if not isfinite(threshold):
        raise CallError(f"--tools {file}: what follows @ is a score threshold, as in FILE.json@0.5.")
    return Path(path), threshold


def _tool_name(path: Path, taken: Sequence[str]) -> str:
    name = path.resolve().parent.name if path.stem == "found" else path.stem
    several = (f"{name} ({number})" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *several) if one not in taken)


def ranked(standings: Sequence[Standing]) -> list[Standing]:
    """The best first; those that are not done last, as they come."""

    def rank(one: Standing) -> tuple[bool, float]:
        value = one.main.get(RANKED_BY, {}).get("value")
        return (one.report is None, -1.0 if value is None else -value)

    return sorted(standings, key=rank)


Apart = dict[str, dict[str, dict[str, float | None]]]
"""Of everybody but the best: name -> main figure -> the difference's `value`, `low` and `high`."""


def differences(standings: Sequence[Standing], known: dict[tuple[str, str], Any] | None = None) -> Apart:
    """Of everybody but the best: each main figure minus the best's, with 95 % intervals, paired by image.

    Args:
        standings: ranked.
        known: pairs that were compared before; those that are new are added.
    """
    done = [one for one in standings if one.scorer is not None]
    known, result = {} if known is None else known, {}
    for one in done[1:]:
        pair = (one.name, done[0].name)
        if pair not in known and one.scorer is not None and done[0].scorer is not None:
            # Each has its own threshold.
            known[pair] = compare(one.scorer, done[0].scorer)
        result[one.name] = {name: known[pair][metric][figure] for name, (metric, figure) in MAIN.items()}
    return result
