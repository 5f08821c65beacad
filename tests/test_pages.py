"""What pages show of a model: its figures, and the images it did worst on first."""

import re

import numpy as np
import pytest

import apiece
from apiece.data.generated import discs
from apiece.metrics.report import Report
from apiece.page import Page
from apiece.pages import WORST, add_relations, add_scores, side_by_side, write_evaluation_page

DATA = discs(3, (48, 48), seed=11, objects=(2, 4))


def shown_images(text: str) -> list[tuple[str, str]]:
    """Name and number of true objects of each image on a page, from top to bottom."""
    return re.findall(r"<figcaption>(\S+): (\d+) true", text)


@pytest.fixture(scope="module")
def model(model_file):
    return apiece.load(model_file)


@pytest.mark.parametrize("metrics", [("matching", "coco"), ("matching",), ("coco",), ("leaves",)], ids=str)
def test_an_evaluations_page_shows_whatever_was_asked_for(model, tmp_path, metrics):
    report = apiece.evaluate(model, DATA, metrics=metrics, quiet=True)
    write_evaluation_page(model, DATA, report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "SpatialEmbedding on discs" in text
    assert ("AP50" in text) == ("coco" in metrics) and ("recall at 0.5" in text) == ("matching" in metrics)
    assert [name for name, _ in shown_images(text)] == list(DATA.names) or "matching" in metrics
    assert {name for name, _ in shown_images(text)} == set(DATA.names)


def test_the_images_it_did_worst_on_come_first(model, tmp_path):
    rows = [{"n_true": 3, "n_pred": 3, "accuracy": 0.9}, {"n_true": 0, "n_pred": 0, "accuracy": 0.0}]
    rows.append({"n_true": 3, "n_pred": 3, "accuracy": 0.1})
    names = [{"name": name} | row for name, row in zip(DATA.names, rows, strict=True)]
    figures = {
        "images": 3,
        "matching": {iou: dict.fromkeys(("accuracy", "precision", "recall"), 0.5) for iou in ("0.50", "0.75")},
    }
    write_evaluation_page(model, DATA, Report(figures, names), tmp_path / "page.html")
    shown = [name for name, _ in shown_images((tmp_path / "page.html").read_text())]
    assert shown == [DATA.names[2], DATA.names[0], DATA.names[1]], "an empty image with nothing found is right"


def test_only_some_images_are_shown(model, tmp_path):
    data = discs(WORST + 2, (24, 24), seed=2, objects=(1, 1))
    report = apiece.evaluate(model, data, metrics=("matching",), quiet=True)
    write_evaluation_page(model, data, report, tmp_path / "page.html")
    assert len(shown_images((tmp_path / "page.html").read_text())) == WORST


def test_a_table_has_a_row_for_each_set(tmp_path):
    same = apiece.score(DATA, DATA)
    page = Page("two sets")
    add_scores(page, {"seen": same, "unseen": same})
    page.write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<td>seen</td>" in text and "<td>unseen</td>" in text
    # Seven figures in each row, and each is perfect.
    assert text.count('<td class="number">1</td>') == 14


def test_truth_stands_beside_what_was_found(model):
    sample = DATA[0]
    picture, caption = side_by_side(model, sample)
    assert re.fullmatch(rf"{sample.name}: {len(sample.truth)} true, \d+ found", caption)
    true, found = picture[:, :48], picture[:, 52:]
    assert true.shape == found.shape == (48, 48, 3) and not np.array_equal(true, found)


def test_relations_are_plotted(model, tmp_path):
    page = Page("relations")
    add_relations(page, model, DATA)
    page.write(tmp_path / "page.html")
    assert "<svg" in (tmp_path / "page.html").read_text()
