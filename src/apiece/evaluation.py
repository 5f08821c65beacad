"""Evaluation: a method over a data set, scored by the same code that scores anybody's files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from apiece import checkpoint
from apiece.data.dataset import Dataset
from apiece.data.formats import open_dataset
from apiece.errors import CallError, InputError
from apiece.methods.method import Method, Relation
from apiece.metrics.report import Report
from apiece.parts.crf import CRF
from apiece.prediction import finer, look, ordered
from apiece.progress import track
from apiece.scoring import Scorer

CHOSEN_BY = "accuracy"
"""What the best model of a training is chosen by: mean matching accuracy over IoU 0.50 to 0.95."""


def evaluate(
    model: Method | Path | str,
    data: Dataset | Path | str,
    *,
    metrics: Sequence[str] = ("matching", "coco"),
    threshold: float | None = None,
    oracle: Literal["centers", "classes", "boxes"] | None = None,
    crf: CRF | bool | None = False,
    quiet: bool = False,
) -> Report:
    """Score a trained model on a data set with truth.

    Args:
        model: a method or its file.
        data: a data set or its path.
        metrics: see `score`.
        threshold: operating point of everything but AP; None = the model's own.
        oracle: parts of the truth given to the method, to see what the rest is worth (AP_gt).
        crf: bring the masks of the objects at the operating point to the image's edges; True = with default values.
        quiet: show no progress.

    Raises:
        InputError: classes or channels that the model was not trained on; files that cannot be read.
    """
    model = model if isinstance(model, Method) else checkpoint.load(model)
    data = data if isinstance(data, Dataset) else open_dataset(data)
    threshold = model.card.threshold if threshold is None else threshold
    return scored(model, data, metrics, oracle, quiet, crf, threshold).report(threshold=threshold)


def scored(
    model: Method,
    data: Dataset,
    metrics: Sequence[str],
    oracle: str | None = None,
    quiet: bool = False,
    crf: CRF | bool | None = False,
    threshold: float | None = None,
) -> Scorer:
    """Every image of a data set through a model, compared with its truth."""
    labels = _labels(model, data)
    scorer = Scorer(model.card.classes, metrics)
    for sample in track(data, len(data), "evaluating", quiet):
        truth = sample.truth.replace(labels=labels[sample.truth.labels])
        try:
            outputs, frame = look(model, sample.image)
        except InputError as error:
            raise InputError(f"{sample.name}: {error}") from error
        if oracle is not None:
            if frame.size != truth.size:
                raise CallError("an oracle needs a method that takes images at their own size.")
            outputs = model.oracle(outputs, [truth], oracle)
        found = ordered(model.decode(outputs, [frame])[0])
        scorer.add(sample.name, finer(model, found, sample.image, crf, threshold), truth)
    return scorer


def _labels(model: Method, data: Dataset) -> np.ndarray:
    """The model's number of each class of a data set; the last entry keeps -1, any class."""
    unknown = [name for name in data.classes if name not in model.card.classes]
    if unknown and len(data.classes) == len(model.card.classes) == 1:
        return np.array([0, -1])
    if unknown:
        raise InputError(
            f"{data.path}: has classes that the model does not know ({', '.join(unknown)}): "
            f"it knows {', '.join(model.card.classes)}."
        )
    return np.array([*(model.card.classes.index(name) for name in data.classes), -1])


def relations(model: Method, data: Dataset) -> dict[str, Relation]:
    """What a model's outputs say of the true objects of a data set, one point for each object."""
    found: dict[str, list[Relation]] = {}
    for sample in data:
        outputs, frame = look(model, sample.image)
        if frame.size == sample.truth.size and len(sample.truth):
            with torch.no_grad():
                for name, relation in model.relations(outputs, [sample.truth]).items():
                    found.setdefault(name, []).append(relation)
    return {
        name: Relation(
            several[0].x_label,
            several[0].y_label,
            *(np.concatenate([getattr(one, axis) for one in several]) for axis in "xy"),
        )
        for name, several in found.items()
    }


def judged(model: Method, data: Dataset) -> dict[str, float]:
    """Figures of a model on validation data, that to choose by first, and the score threshold that gives them."""
    scorer = scored(model, data, ("matching", "coco"), quiet=True)
    threshold, _ = scorer.best_threshold()
    report = scorer.report(threshold)
    matching, segm = report["matching"], report["coco"]["segm"]
    figures = {
        CHOSEN_BY: matching["mean"]["accuracy"],
        "accuracy@0.50": matching["0.50"]["accuracy"],
        "accuracy@0.75": matching["0.75"]["accuracy"],
        "AP": segm["AP"],
        "threshold": threshold,
    }
    # Without any object most figures do not exist.
    return {name: math.nan if figure is None else float(figure) for name, figure in figures.items()}
