"""The whole job on generated images: make them, train, score on unseen ones, write masks, pictures and one page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from apiece.data.dataset import Dataset
from apiece.data.generated import crossing_sticks
from apiece.data.label_images import write_label_images
from apiece.data.writing import entries
from apiece.draw import contact_sheet, overlay
from apiece.evaluation import scored
from apiece.files import write_text
from apiece.instances import Instances
from apiece.methods.spatial_embedding import SpatialEmbedding
from apiece.metrics.report import Report
from apiece.outputs import predict_files
from apiece.page import Page
from apiece.pages import add_relations, add_scores, side_by_side
from apiece.png import write_png
from apiece.prediction import find, look, sure
from apiece.progress import say
from apiece.run import STATE
from apiece.training import train

SHOWN = 12
"""Unseen images that the page shows."""


def demo(
    out: Path = Path("demo"), minutes: float = 2.25, images: int = 1000, seed: int = 0, quiet: bool = False
) -> Path:
    """Train spatial embeddings on crossing sticks, whose boxes overlap almost wholly, and show how they come apart.

    Args:
        out: the folder for everything: model, test images, found objects, page.
        minutes: how long to train.
        images: how many images to train on; 60 unseen ones are scored.
        seed: of images and training.
        quiet: show no progress.

    Returns:
        The page, one self-contained HTML file.
    """
    out = Path(out)
    unseen, hard = crossing_sticks(60, seed=seed + 1), crossing_sticks(60, seed=seed + 2, hard=True)
    write_label_images(entries(unseen), out / "unseen", unseen.classes)
    # An earlier demonstration's training makes way.
    (out / "run" / STATE).unlink(missing_ok=True)
    # Sticks need no full-resolution level, and the images show every angle and size as it is.
    model = SpatialEmbedding(num_classes=1, detail=0)
    train(
        model,
        crossing_sticks(images, seed=seed),
        validation=crossing_sticks(40, seed=seed + 3),
        minutes=minutes,
        out=out / "run",
        evaluations=3,
        augmentation={"rotation": 0.0, "scale": (1.0, 1.0)},
        seed=seed,
        quiet=quiet,
    )
    reports = {name: _report(model, some) for name, some in (("unseen", unseen), ("hard", hard))}
    predict_files(
        model,
        [out / "unseen" / "images"],
        out / "found",
        ("labels", "overlay", "csv", "coco"),
        overwrite=True,
        quiet=quiet,
    )
    page = out / "report.html"
    _page(model, {"unseen": unseen, "hard": hard}, reports, out / "run" / "log.jsonl").write(page)
    _picture(model, unseen, out / "result.png")
    figures = {name: report["coco"]["segm"] for name, report in reports.items()}
    write_text(
        out / "scores.json", json.dumps({name: report.figures for name, report in reports.items()}, default=float)
    )
    say(
        f"unseen images: AP {figures['unseen']['AP']:.3f}, AP50 {figures['unseen']['AP50']:.3f}; "
        f"crossing at the midpoint: AP50 {figures['hard']['AP50']:.3f}"
    )
    say(f"masks, overlays, CSV and COCO results: {out / 'found'}\nthe page: {page.resolve()}")
    return page


def _report(model: SpatialEmbedding, data: Dataset) -> Report:
    return scored(model, data, ("matching", "coco"), quiet=True).report(model.card.threshold)


def _page(model: SpatialEmbedding, sets: dict[str, Dataset], reports: dict[str, Report], log: Path) -> Page:
    page = Page("apiece: crossing sticks")
    page.text(
        "Each image shows two to four sticks that lie across each other, as parts in a bin do. Their boxes overlap, so "
        "a method that finds boxes first throws some away. Spatial embeddings let every pixel point at its own stick's "
        "center.",
        "The truth is the visible part of each stick: one that lies under another is one object in two pieces. The "
        "model saw none of these images while it was trained.",
    )
    add_scores(page, reports)
    page.heading("Unseen images")
    page.text("On the left the truth, on the right what was found.")
    page.figures(side_by_side(model, sets["unseen"][index]) for index in range(SHOWN))
    page.heading("What the network says")
    page.text(
        "Offsets: direction as color, length as brightness. Seeds: how near a pixel's embedding is to its center. "
        "Displaced: where the pixels point."
    )
    page.figures((picture, name) for name, picture in _inside(model, sets["unseen"][0].image).items())
    page.heading("The hard set: sticks that cross at their midpoints")
    page.text(
        "Both centers fall on one point: what points at centers cannot tell these apart, however long it is trained."
    )
    page.figures(side_by_side(model, sets["hard"][index]) for index in range(3))
    page.heading("Training")
    _course(page, log)
    add_relations(page, model, sets["unseen"])
    return page


def _inside(model: SpatialEmbedding, image: ndarray) -> dict[str, ndarray]:
    outputs, frame = look(model, image)
    return model.inside(outputs, [frame])[0]


def _course(page: Page, log: Path) -> None:
    records: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [record for record in records if "losses" in record]
    names = steps[0]["losses"] if steps else {}
    at = np.array([record["step"] for record in steps], float)
    losses = {name: (at, np.array([record["losses"][name] for record in steps], float)) for name in names}
    page.plot(losses, "step", "loss", caption="Loss terms, means over two seconds each.")


def _picture(model: SpatialEmbedding, data: Dataset, path: Path) -> None:
    """Images above, what was found beneath: for the README."""
    samples = [data[index] for index in range(5)]
    found: list[Instances] = [sure(model, find(model, sample.image)) for sample in samples]
    pictures = [sample.image for sample in samples] + [
        overlay(sample.image, one) for sample, one in zip(samples, found, strict=True)
    ]
    sheet = contact_sheet(pictures, columns=5, gap=4)
    write_png(path, [sheet], sheet.shape[:2])
