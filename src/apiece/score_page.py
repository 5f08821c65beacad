"""The page of a scoring: all figures, what lies behind them, and the worst images."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from apiece.charts import svg_bars, svg_columns, svg_matrix
from apiece.data.dataset import Dataset
from apiece.data.formats import open_dataset, open_found
from apiece.errors import CallError, InputError
from apiece.instances import Instances
from apiece.metrics.diagnosis import MATCHED, Diagnosis
from apiece.metrics.precision import RECALLS
from apiece.metrics.report import Report
from apiece.metrics.sheets import facts, sheets
from apiece.page import Page
from apiece.pairs import Shown, pair_picture
from apiece.scoring import Found, Opened, label_map, places

WORST = 20
"""Images that are shown."""
FOLDED = 20
"""Tables with more lines are folded."""
FEW = 8
"""Up to so many classes have a curve each."""
CONFUSIONS = 15
"""Confusions that are listed where a matrix has no numbers."""


def write_score_page(
    report: Report, path: Path, found: Found, truth: Found, *, title: str = "", worst: int = WORST
) -> None:
    """One self-contained HTML page of a scoring.

    Args:
        report: what `score` gave for the same `found` and `truth`.
        found, truth: data sets, their paths or sequences of `Instances`; of the images only the worst are read.
        title: by default the names of both.
        worst: how many of the images with the lowest accuracy are drawn.

    Raises:
        InputError: the page cannot be written.
    """
    if isinstance(truth, str | Path):
        truth = open_dataset(truth)
    if isinstance(found, str | Path):
        if not isinstance(truth, Dataset):
            raise CallError("found objects can only be read from a file if the truth is a data set or a path too.")
        found = open_found(found, truth)
    names = [side.path.name if isinstance(side, Dataset) else "objects" for side in (found, truth)]
    page = Page(title or f"{names[0]} against {names[1]}")
    add_scoring(page, report)
    add_worst(page, report.diagnosis, showing(report.diagnosis, found, truth), worst)
    page.write(path)


def showing(diagnosis: Diagnosis, found: Opened, truth: Opened) -> Callable[[int], Shown]:
    """How the image at a place of a diagnosis is had again, with all its objects."""
    if not (isinstance(found, Dataset) and isinstance(truth, Dataset)):
        ours, theirs = (side.truth if isinstance(side, Dataset) else side.__getitem__ for side in (found, truth))
        return lambda place: Shown(diagnosis.names[place], None, theirs(place), ours(place))
    there, labels = places(found, truth), label_map(found, truth, diagnosis.class_agnostic)
    numbers = {name: index for index, name in enumerate(truth.names)}

    def show(place: int) -> Shown:
        name = diagnosis.names[place]
        index = numbers[name]
        objects, at = truth.truth(index), there[index]
        if at is None:
            ours = Instances.empty(objects.size, scored=True)
        else:
            ours = found.truth(at)
            ours = ours.replace(labels=labels[ours.labels])
        return Shown(name, image_or_none(truth, index), objects, ours)

    return show


def image_or_none(data: Dataset, index: int) -> np.ndarray | None:
    """An image of a data set; None where it cannot be read or is of another size than its objects."""
    try:
        image = data.image(index)
    except InputError:
        return None
    return image if image.shape[:2] == data.size(index) and image.size else None


def add_scoring(page: Page, report: Report) -> None:
    """All figures and what lies behind them."""
    page.text(facts(report.figures), *report.notes)
    add_figures(page, report)
    diagnosis = report.diagnosis
    if not diagnosis.names:
        return
    with page.columns():
        for add in (add_curves, add_matching, add_calibration, add_errors):
            add(page, diagnosis)
    add_confusion(page, diagnosis)


def add_figures(page: Page, report: Report) -> None:
    """Every table of a report; those of many lines are folded."""
    page.heading("Figures")
    for sheet in sheets(report.figures):
        if len(sheet.lines) > FOLDED:
            page.table(sheet.lines, sheet.head, decimals=4, folded=f"{sheet.title}: {len(sheet.lines)} lines")
        else:
            page.heading(sheet.title, 3)
            page.table(sheet.lines, sheet.head, decimals=4)
        if sheet.note:
            page.text(sheet.note)


def add_curves(page: Page, diagnosis: Diagnosis) -> None:
    """Precision over recall."""
    page.heading("Precision over recall")
    precision = diagnosis.precision
    there: Bool[np.ndarray, " C"] = np.array(np.isfinite(precision).any((0, 2)))
    if not there.any():
        page.text("There is no true object, so there is no recall.")
        return
    if not diagnosis.scored:
        page.text("The found objects have no scores that differ: their order, and with it this curve, means little.")
    # Where no class has true objects at an IoU, none has at any.
    mean = precision[:, there].mean(1)
    curves = {f"IoU {iou:.2f}": mean[np.argmin(np.abs(diagnosis.ious - iou))] for iou in (0.5, 0.75)}
    curves["mean over IoU 0.50 to 0.95"] = mean.mean(0)
    several = there.sum() > 1
    caption = "The highest precision at a recall or beyond, as COCO's AP counts it: AP is the area beneath."
    caption += f" Mean over {there.sum()} classes." if several else ""
    if diagnosis.left_out:
        caption += (
            f" Only the {diagnosis.limit} surest of a class in an image are counted, so {diagnosis.left_out} are not."
        )
    page.plot({n: (RECALLS, y) for n, y in curves.items()}, "recall", "precision", shares=True, caption=caption)
    if several and there.sum() <= FEW:
        of_classes = {
            name: (RECALLS, curve)
            for name, curve, real in zip(diagnosis.classes, precision[0], there.tolist(), strict=True)
            if real
        }
        page.plot(of_classes, "recall", "precision", shares=True, caption="Each class at an IoU of 0.5.")


def add_matching(page: Page, diagnosis: Diagnosis) -> None:
    """Accuracy and its kin over IoU."""
    page.heading("Accuracy over IoU")
    point = "" if diagnosis.threshold is None else f" Found objects with a score of at least {diagnosis.threshold:.3g}."
    page.plot(
        {name: (MATCHED, values) for name, values in diagnosis.matched.items()},
        "IoU from which a pair counts",
        "share",
        shares=True,
        caption=f"Of one-to-one pairs: accuracy is tp / (tp + fp + fn).{point}",
    )


def add_calibration(page: Page, diagnosis: Diagnosis) -> None:
    """Whether scores say how often objects are right."""
    page.heading("Calibration of scores")
    if not diagnosis.scored:
        page.text("The found objects have no scores that differ.")
        return
    one = diagnosis.calibration
    error = "" if one.error is None else f" Scores and shares lie {one.error:.3f} apart on average."
    counted = [str(count) if count else "" for count in one.count]
    page.chart(
        svg_columns(one.edges, one.share, counted, "score", "share right", marks=one.score),
        "Share of found objects that are right at an IoU of 0.5, by score; above each column how many there are. A dot "
        f"at their mean score lies on the dashed line where scores are true to their word.{error}",
    )


def add_confusion(page: Page, diagnosis: Diagnosis) -> None:
    """True classes against found ones."""
    page.heading("Confusions")
    counts, classes = diagnosis.confusion, diagnosis.classes
    rows, columns = [*classes, "none (invented)"], [*classes, "none (missed)"]
    caption = "Objects at an IoU of 0.5: each row a true class, each column what it was found as, its share of the row "
    caption += "as darkness."
    page.drawing(svg_matrix(counts, rows, columns, "true", "found as"), caption)
    mixed = counts.copy()
    mixed[np.arange(len(classes)), np.arange(len(classes))] = 0
    mixed[-1], mixed[:, -1] = 0, 0
    order = [int(code) for code in np.argsort(-mixed, axis=None, kind="stable")[:CONFUSIONS] if mixed.flat[code]]
    if order:
        page.heading("Classes taken for others", 3)
        cells = [divmod(code, len(columns)) for code in order]
        page.table(
            [[rows[a], columns[b], int(counts[a, b]), counts[a, b] / counts[a].sum()] for a, b in cells],
            ["true", "found as", "objects", "share of the class"],
        )


def add_errors(page: Page, diagnosis: Diagnosis) -> None:
    """The kinds of mistakes, and what they cost."""
    page.heading("Kinds of errors")
    kinds = diagnosis.errors["kinds"]
    words = [f"{_written(one['cost'])} ({one['count']} objects)" for one in kinds.values()]
    page.chart(
        svg_bars({name: one["cost"] for name, one in kinds.items()}, "cost of each kind of error", words),
        f"By how much AP50 ({_written(diagnosis.errors['AP50'])}) would rise if one kind alone were mended, and how "
        "many objects are of it.",
    )


def _written(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def add_worst(page: Page, diagnosis: Diagnosis, show: Callable[[int], Shown], worst: int = WORST) -> None:
    """The images with the lowest accuracy, truth and found side by side; one image is in memory at a time."""
    page.heading("Images it did worst on" if len(diagnosis.names) > worst else "Images, worst first")
    page.text(
        "Truth on the left, found on the right. Blue: right at an IoU of 0.5. Orange: missed, or wrong. Grey: ignored."
    )
    page.figures(_pictures(diagnosis, show, worst), pairs=True)


def _pictures(diagnosis: Diagnosis, show: Callable[[int], Shown], worst: int) -> Iterable:
    for place in diagnosis.worst[:worst].tolist():
        shown = show(place)
        if diagnosis.threshold is not None and shown.found.scores is not None:
            shown = shown._replace(found=shown.found[shown.found.scores >= diagnosis.threshold])
        yield pair_picture(shown, diagnosis.classes, class_agnostic=diagnosis.class_agnostic)
