"""What pages show of a model: figures, truth beside what was found, the images it did worst on, plots."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from apiece.data.dataset import Dataset, Sample
from apiece.draw import overlay
from apiece.evaluation import relations
from apiece.methods.method import Method
from apiece.metrics.report import Report
from apiece.page import Page, Picture
from apiece.prediction import find, sure

WORST = 12
"""Images that an evaluation's page shows."""
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
    truth, ours = (overlay(sample.image, objects) for objects in (sample.truth, found))
    gap = np.full((len(truth), 4, 3), 255, np.uint8)
    return np.hstack([truth, gap, ours]), f"{sample.name}: {len(sample.truth)} true, {len(found)} found"


def add_relations(page: Page, model: Method, data: Dataset) -> None:
    """What the method tells of the true objects, as scatter plots."""
    for name, relation in relations(model, data).items():
        caption = f"{name.capitalize()}: one point for each true object."
        page.scatter({"": (relation.x, relation.y)}, relation.x_label, relation.y_label, caption=caption)


def write_evaluation_page(model: Method, data: Dataset, report: Report, path: Path) -> None:
    """One self-contained HTML page of an evaluation, the images with the lowest accuracy at IoU 0.5 first.

    Raises:
        InputError: it cannot be written.
    """
    page = Page(f"{type(model).__name__} on {data.path.name}")
    add_scores(page, {data.path.name: report})
    page.heading("Images it did worst on" if "matching" in report else "Images")
    order = sorted(range(len(data)), key=lambda index: _accuracy(report, index))
    pictures = [side_by_side(model, data[index]) for index in order[:WORST]]
    page.figures(pictures)
    add_relations(page, model, data)
    page.write(path)


def _accuracy(report: Report, index: int) -> float:
    """An image's accuracy at IoU 0.5; 1 where there was nothing to find and nothing found, or it was not asked for."""
    row = report.rows[index] if "matching" in report else {"n_true": 0, "n_pred": 0}
    return row["accuracy"] if row["n_true"] + row["n_pred"] else 1.0
