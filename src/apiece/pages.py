"""What pages show of a model: figures, truth beside what was found, the images it did worst on, plots."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from apiece.data.dataset import Dataset, Sample
from apiece.evaluation import relations
from apiece.methods.method import Method
from apiece.metrics.report import Report
from apiece.page import Page, Picture
from apiece.pairs import Shown, pair_picture
from apiece.parts.crf import CRF
from apiece.prediction import find, finer, look, ordered, sure
from apiece.score_page import WORST, add_scoring, add_worst

FIGURES = {
    "AP": ("coco", "segm", "AP"),
    "AP50": ("coco", "segm", "AP50"),
    "AP75": ("coco", "segm", "AP75"),
    "accuracy at IoU 0.5": ("matching", "0.50", "accuracy"),
    "at 0.75": ("matching", "0.75", "accuracy"),
    "precision at 0.5": ("matching", "0.50", "precision"),
    "recall at 0.5": ("matching", "0.50", "recall"),
}
"""The main figures and where a report has them."""


def add_scores(page: Page, reports: Mapping[str, Report]) -> None:
    """A table of the main figures, a row for each set of images."""
    shown = {
        name: (metric, part, figure)
        for name, (metric, part, figure) in FIGURES.items()
        if all(metric in report for report in reports.values())
    }
    rows = [
        [name, report["images"], *(report[metric][part][figure] for metric, part, figure in shown.values())]
        for name, report in reports.items()
    ]
    page.table(rows, ["", "images", *shown])


def side_by_side(model: Method, sample: Sample) -> tuple[Picture, str]:
    """An image with its true objects on the left, and with those found at the operating point on the right."""
    found = sure(model, find(model, sample.image))
    return pair_picture(Shown(sample.name, sample.image, sample.truth, found), (), by_fate=False)


def add_relations(page: Page, model: Method, data: Dataset) -> None:
    """What the method tells of the true objects, as scatter plots."""
    for name, relation in relations(model, data).items():
        caption = f"{name.capitalize()}: one point for each true object."
        page.scatter({"": (relation.x, relation.y)}, relation.x_label, relation.y_label, caption=caption)


def write_evaluation_page(
    model: Method,
    data: Dataset,
    report: Report,
    path: Path,
    *,
    oracle: str | None = None,
    crf: CRF | bool | None = False,
    worst: int = WORST,
) -> None:
    """One self-contained HTML page of an evaluation: that of a scoring, and what the method tells of the objects.

    Args:
        report: what `evaluate` gave for this model and data.
        oracle, crf: as in the evaluation.
        worst: how many of the images with the lowest accuracy are drawn; they go through the model again.

    Raises:
        InputError: it cannot be written.
    """
    page = Page(f"{type(model).__name__} on {data.path.name}")
    add_scoring(page, report)
    add_worst(page, report.diagnosis, _showing(model, data, oracle, crf), worst)
    add_relations(page, model, data)
    page.write(path)


def _showing(model: Method, data: Dataset, oracle: str | None, crf: CRF | bool | None) -> Callable[[int], Shown]:
    """How the image at a place of a data set is had, with all its objects, labels as the model numbers them."""
    known = {name: label for label, name in enumerate(model.card.classes)}
    # A set and a model of one class each need no common name.
    labels = np.array([*(known.get(name, 0) for name in data.classes), -1])

    def show(index: int) -> Shown:
        sample = data[index]
        truth = sample.truth.replace(labels=labels[sample.truth.labels])
        if oracle is None:
            return Shown(sample.name, sample.image, truth, find(model, sample.image, crf))
        outputs, frame = look(model, sample.image)
        with torch.no_grad():
            outputs = model.oracle(outputs, [truth], oracle)
        found = ordered(model.decode(outputs, [frame])[0])
        return Shown(sample.name, sample.image, truth, finer(model, found, sample.image, crf))

    return show
