"""What pages show of a model: its figures, and the images it did worst on first."""

import io
import re

import numpy as np
import pytest
from PIL import Image

import apiece
from apiece.data.generated import discs
from apiece.page import Page
from apiece.pages import add_relations, add_scores, side_by_side, write_evaluation_page

DATA = discs(3, (48, 48), seed=11, objects=(2, 4))


def shown_images(text: str) -> list[tuple[str, str]]:
    """Name and number of true objects of each image on a page, from top to bottom."""
    return re.findall(r"<figcaption>(\S+): (\d+) true", text)


@pytest.fixture(scope="module")
def model(model_file):
    return apiece.load(model_file)


@pytest.mark.parametrize("metrics", [("matching", "coco"), ("leaves",)], ids=str)
def test_an_evaluations_page_is_a_scorings_and_what_the_method_tells(model, tmp_path, metrics):
    report = apiece.evaluate(model, DATA, metrics=metrics, quiet=True)
    write_evaluation_page(model, DATA, report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "SpatialEmbedding on discs" in text and "<h2>Calibration of scores</h2>" in text
    assert ("AP50" in text.split("Precision over recall")[0]) == ("coco" in metrics)
    assert {name for name, _ in shown_images(text)} == set(DATA.names)
    assert "one point for each true object" in text


def test_only_some_images_are_shown_the_worst_first(model, tmp_path):
    report = apiece.evaluate(model, DATA, metrics=("matching",), quiet=True)
    write_evaluation_page(model, DATA, report, tmp_path / "page.html", worst=2)
    shown = [name for name, _ in shown_images((tmp_path / "page.html").read_text())]
    assert shown == [DATA.names[place] for place in report.diagnosis.worst[:2]]


def test_what_an_oracle_gave_is_drawn(model, tmp_path):
    report = apiece.evaluate(model, DATA, metrics=("matching",), oracle="centers", quiet=True)
    write_evaluation_page(model, DATA, report, tmp_path / "page.html", oracle="centers")
    text = (tmp_path / "page.html").read_text()
    found = sum(int(count) for count in re.findall(r"true, (\d+) found[^<]*</figcaption>", text))
    assert found == report["matching"]["0.50"]["n_pred"]


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
    assert re.fullmatch(rf"{sample.name}: {len(sample.truth)} true, \d+ found; \d+ missed, \d+ wrong", caption)
    assert isinstance(picture, bytes)
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    true, found = pixels[:, :48], pixels[:, 52:]
    assert true.shape == found.shape == (48, 48, 3) and not np.array_equal(true, found)


def test_relations_are_plotted(model, tmp_path):
    page = Page("relations")
    add_relations(page, model, DATA)
    page.write(tmp_path / "page.html")
    assert "<svg" in (tmp_path / "page.html").read_text()
