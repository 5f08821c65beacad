"""The page of a scoring, read back."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from apiece.data.dataset import Dataset
from apiece.data.generated import discs
from apiece.data.label_images import write_label_images
from apiece.data.writing import entries
from apiece.errors import CallError, InputError
from apiece.instances import Instances
from apiece.score_page import WORST, write_score_page
from apiece.scoring import METRICS, score

TRUE = discs(4, (48, 48), seed=5, objects=(2, 4))


def shifted(index: int, by: int = 1) -> Instances:
    """What a fair method would find: all objects a pixel aside, one of them with a low score."""
    layers = np.roll(TRUE.truth(index).layers(), by * index, 2)
    found = Instances.from_layers(layers)
    return found.replace(scores=np.linspace(0.9, 0.1, len(found)))


FOUND = replace(TRUE, path=Path("found"), read_truth=shifted)


class Elements(HTMLParser):
    """The elements of a page with their attributes; fails on one that does not close."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str):
        assert self.open.pop() == tag


def page(path: Path, found=FOUND, truth=TRUE, metrics=("matching", "coco"), **options) -> str:
    report = score(found, truth, metrics, **options)
    write_score_page(report, path / "page.html", found, truth)
    return (path / "page.html").read_text()


def shown(text: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?): \d+ true", text)


@pytest.mark.parametrize("metrics", [METRICS, ("matching",), ("coco",), ("leaves", "errors")], ids=len)
def test_a_page_has_all_sections_whatever_was_asked_for(tmp_path, metrics):
    text = page(tmp_path, metrics=metrics, threshold=0.3)
    elements = Elements(text).found
    images = [attributes for tag, attributes in elements if tag == "img"]
    for heading in (
        "Precision over recall",
        "Accuracy over IoU",
        "Calibration of scores",
        "Kinds of errors",
        "Confusions",
    ):
        assert f"<h2>{heading}</h2>" in text
    assert "found objects with a score of at least 0.3 count" in text
    assert sorted(shown(text)) == sorted(TRUE.names) and len(images) == 4
    assert ("AR100" in text) == ("coco" in metrics or "boundary" in metrics) and ("FgBgDice" in text) == (
        "leaves" in metrics
    )
    # Nothing is loaded, and nothing runs.
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe"}
    assert all((image["src"] or "").startswith("data:image/") for image in images)


def test_figures_on_the_page_are_the_reports(tmp_path):
    report = score(FOUND, TRUE)
    text = page(tmp_path)
    assert f'<td class="number">{report["coco"]["segm"]["AP"]:.4f}</td>' in text
    assert f'<td class="number">{report["matching"]["0.75"]["tp"]}</td>' in text


def test_the_worst_images_come_first_and_no_other_is_read(tmp_path):
    many = discs(WORST + 5, (24, 24), seed=1, objects=(1, 2))
    bad = {3, 11}
    asked: list[int] = []

    def read(index: int) -> Instances:
        truth = many.truth(index)
        return Instances.empty(truth.size, scored=True) if index in bad else truth.replace(scores=np.ones(len(truth)))

    def image(index: int) -> np.ndarray:
        asked.append(index)
        return many.read_image(index)

    found = replace(many, read_truth=read)
    text = page(tmp_path, found, replace(many, read_image=image))
    assert set(shown(text)[:2]) == {many.names[index] for index in bad}
    assert len(shown(text)) == len(asked) == WORST and "<h2>Images it did worst on</h2>" in text


def test_images_that_are_not_there_are_grey(tmp_path):
    def gone(index: int) -> np.ndarray:
        raise InputError("gone.png: there is no such file.")

    for missing in (replace(TRUE, read_image=gone), replace(TRUE, read_image=lambda index: np.zeros((5, 5, 1)))):
        text = page(tmp_path, truth=missing)
        assert text.count("(no image here)</figcaption>") == 4


def test_sequences_of_objects_have_a_page_too(tmp_path):
    found, truth = ([side.truth(index) for index in range(4)] for side in (FOUND, TRUE))
    text = page(tmp_path, found, truth)
    assert sorted(shown(text)) == ["0", "1", "2", "3"] and "<h1>objects against objects</h1>" in text


def test_only_objects_that_count_are_drawn(tmp_path):
    for threshold in (None, 0.5):
        scores = np.concatenate([shifted(index).scores for index in range(4)])
        counted = re.findall(r"true, (\d+) found[^<]*</figcaption>", page(tmp_path, threshold=threshold))
        assert sum(map(int, counted)) == (scores >= (threshold or 0)).sum()


def several(count: int) -> tuple[Dataset, Dataset]:
    """Sets of many classes; every second object is taken for the next class."""
    names = tuple(f"kind <{number}>" for number in range(count))

    def read(index: int) -> Instances:
        truth = TRUE.truth(index)
        return truth.replace(labels=np.arange(len(truth)) % count)

    def wrong(index: int) -> Instances:
        truth = read(index)
        odd = np.arange(len(truth)) % 2
        return truth.replace(labels=(truth.labels + odd) % count, scores=np.linspace(0.9, 0.5, len(truth)))

    truth = replace(TRUE, classes=names, read_truth=read)
    return replace(truth, read_truth=wrong), truth


@pytest.mark.parametrize("count", [2, 80])
def test_classes_are_told_apart(tmp_path, count):
    found, truth = several(count)
    text = page(tmp_path, found, truth, metrics=METRICS)
    Elements(text)
    assert "Classes taken for others" in text and "kind &lt;1&gt;" in text and "<0>" not in text
    assert ("Each class at an IoU of 0.5." in text) == (count == 2 or "Mean over 4 classes" in text)
    assert ("80 lines" in text) == (count == 80) and ("<details>" in text) == (count == 80)
    assert len(text) < 2_000_000


def test_labels_are_matched_by_name(tmp_path):
    found, truth = several(2)

    def turned(index: int) -> Instances:
        one = found.truth(index)
        return one.replace(labels=1 - one.labels)

    same = page(tmp_path, found, truth)
    assert page(tmp_path, replace(found, classes=found.classes[::-1], read_truth=turned), truth) == same


def test_a_set_without_objects_or_images_has_a_page(tmp_path):
    nothing = [Instances.empty((10, 10), scored=True)]
    text = page(tmp_path, nothing, [Instances.empty((10, 10))], metrics=METRICS)
    assert "There is no true object" in text and "no scores that differ" in text
    none = TRUE.subset([])
    assert shown(page(tmp_path, none, none)) == []


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_score_page(score(FOUND, TRUE), tmp_path / "file" / "page.html", FOUND, TRUE)


def test_paths_will_do(tmp_path):
    write_label_images(entries(TRUE), tmp_path / "set", TRUE.classes)
    report = score(tmp_path / "set" / "masks", tmp_path / "set")
    write_score_page(report, tmp_path / "page.html", tmp_path / "set" / "masks", tmp_path / "set", title="Mine")
    text = (tmp_path / "page.html").read_text()
    assert "<h1>Mine</h1>" in text and len(shown(text)) == 4 and "no image here" not in text
    with pytest.raises(CallError, match="only be read from a file"):
        write_score_page(report, tmp_path / "page.html", tmp_path / "set" / "masks", [TRUE.truth(0)])
