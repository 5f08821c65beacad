"""Tables of a comparison: accuracy, cost, differences to the best, and what is not finished."""

from collections.abc import Mapping, Sequence
from typing import Any

from apiece.metrics.sheets import Sheet
from apiece.trials.standings import MAIN, Standing
from apiece.trials.timing import PARTS

_ACCURACY = (
    "AP counts every object found, not only an image's 100 surest. Threshold: the score from which on objects count in "
    "accuracies; a method's is chosen by the validation images, and without one every object counts."
)
_TIME = ("", "whole image", *PARTS)
_TIME_NOTE = "Median / 95th percentile of single images on this machine: from the image's file to its label image's."
_COST = ("", "MB training", "MB predicting", "parameters", "MB file", "steps", "minutes")
_COST_NOTE = "MB: the most memory that the process held; on a GPU, that its tensors took."
_FEW = 10
"""Images of which resampling says too little of others."""


def sheets(standings: Sequence[Standing], apart: Mapping[str, Any]) -> list[Sheet]:
    """The tables: accuracy, cost, differences to the best, and what is not done.

    Args:
        standings: ranked.
        apart: their `differences`.
    """
    done = [one for one in standings if one.report is not None]
    images = next((one.report["images"] for one in done if one.report is not None), 0)
    tables = []
    if done:
        head = ("", *MAIN, "at 0.75", "APs", "threshold")
        note = f"{_sureness(images)} {_ACCURACY}"
        tables.append(Sheet("Accuracy on the test images", head, [_accuracy(one) for one in done], note))
    mine = [one for one in done if not one.tool]
    if mine:
        tables.append(Sheet("Milliseconds for one image", _TIME, [_time(one) for one in mine], _TIME_NOTE))
        tables.append(Sheet("Cost", _COST, [_cost(one) for one in mine], _COST_NOTE))
    if apart:
        note = "Paired by image, with 95 % intervals"
        note += "; * = the interval does not hold 0." if images >= _FEW else "; so few images prove nothing."
        lines = [[name, *(signed(figures[key], images >= _FEW) for key in MAIN)] for name, figures in apart.items()]
        tables.append(Sheet(f"Difference to the best ({done[0].name})", ("", *MAIN), lines, note))
    if len(done) < len(standings):
        lines = [[one.name, one.status, one.why] for one in standings if one.report is None]
        tables.append(Sheet("Not finished", ("", "stands at", "why"), lines))
    return tables


def _sureness(images: int) -> str:
    if images < 2:
        return "Of one image there is no interval."
    said = f"In brackets 95 % intervals, by resampling the {images} images"
    return f"{said}." if images >= _FEW else f"{said}, which are so few that the intervals are too narrow."


def _accuracy(one: Standing) -> list[Any]:
    report, rest = one.report, []
    if report is not None:
        threshold = report["threshold"]
        small = report["coco"]["segm"]["APs"]
        rest = [report["matching"]["0.75"]["accuracy"], small, "none" if threshold is None else threshold]
    return [one.name, *(bracketed(figure) for figure in one.main.values()), *rest]


def _time(one: Standing) -> list[Any]:
    prediction = one.facts.get("prediction", {})
    parts = [prediction.get(part) for part in ("total", *PARTS)]
    return [one.name, *(None if part is None else f"{part['median']:.1f} / {part['p95']:.1f}" for part in parts)]


def _cost(one: Standing) -> list[Any]:
    prediction, training = one.facts.get("prediction", {}), one.facts.get("training", {})
    memory = [_megabytes(some.get("device_memory") or some.get("memory")) for some in (training, prediction)]
    size = one.facts.get("file_size")
    small = None if size is None else f"{size / 1e6:.1f}"
    spent = f"{(training.get('seconds') or 0) / 60:.1f}"
    return [one.name, *memory, one.facts.get("parameters"), small, training.get("steps"), spent]


def _megabytes(size: int | None) -> int | None:
    return None if size is None else round(size / 1e6)


def bracketed(figure: Mapping[str, float | None]) -> str | None:
    """A figure with its interval, in words."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return None
    return f"{value:.3f}" + (f" [{low:.3f} {high:.3f}]" if low is not None and high is not None else "")


def signed(figure: Mapping[str, float | None], starred: bool = True) -> str | None:
    """A difference with its interval, and if `starred` a star where that does not hold 0."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return None
    if low is None or high is None:
        return f"{value:+.3f}"
    return f"{value:+.3f} [{low:+.3f} {high:+.3f}]{' *' if starred and (low > 0 or high < 0) else ''}"
