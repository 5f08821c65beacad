"""What pages show of a model: figures, truth beside what was found, the images it did worst on, plots."""

from collections.abc import Mapping
from pathlib import Path

from apiece.data.dataset import Dataset, Sample
from apiece.draw import overlay
from apiece.evaluation import relations
from apiece.methods.method import Method
from apiece.metrics.report import Report
from apiece.page import Page, Picture
from apiece.prediction import find, sure

WORST = 12
"""Images that an evaluation's page shows."""


def add_scores(page: Page, reports: Mapping[str, Report]) -> None:
    """A table of the main figures, a row for each set of images."""
    rows = []
    for name, report in reports.items():
        segm, half, tight = report["coco"]["segm"], report["matching"]["0.50"], report["matching"]["0.75"]
        row = [segm["AP"], segm["AP50"], segm["AP75"], half["accuracy"], tight["accuracy"]]
        rows.append([name, report["images"], *row, half["precision"], half["recall"]])
    header = ["", "images", "AP", "AP50", "AP75", "accuracy at IoU 0.5", "at 0.75", "precision at 0.5", "recall at 0.5"]
    page.table(rows, header)


def side_by_side(model: Method, sample: Sample) -> list[tuple[Picture, str]]:
    """An image with its true objects, and with those found at the operating point."""
    found = sure(model, find(model, sample.image))
    return [
        (overlay(sample.image, sample.truth), f"{sample.name}: {len(sample.truth)} true"),
        (overlay(sample.image, found), f"{len(found)} found"),
    ]


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
    page.heading("Images it did worst on")
    order = sorted(range(len(report.rows)), key=lambda row: report.rows[row]["accuracy"])
    pictures = [picture for row in order[:WORST] for picture in side_by_side(model, data[row])]
    page.figures(pictures)
    add_relations(page, model, data)
    page.write(path)
