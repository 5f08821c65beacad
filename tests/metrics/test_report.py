"""The report: names of the figures in JSON, and the table for people."""

import json

import numpy as np
import pytest

from apiece.instances import Instances
from apiece.metrics.report import Report
from apiece.metrics.sheets import Sheet
from apiece.metrics.terminal import written
from apiece.scoring import METRICS, Scorer, score

from .squares import squares

COCO = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def scorer(classes=("cat", "dog"), **options) -> Scorer:
    one = Scorer(classes, METRICS, **options)
    found = squares(0, 20, labels=[0, 1], scores=[0.9, 0.4])
    one.add("a", found, squares(0, 40, labels=[0, 1]))
    return one


def test_figures_in_json_have_their_communities_names():
    figures = json.loads(scorer().report().to_json())
    assert figures.keys() == {"images", "threshold", *METRICS}
    assert figures["coco"].keys() == {"segm", "bbox"}
    for block in (figures["coco"]["segm"], figures["coco"]["bbox"], figures["boundary"]):
        assert list(block) == [*COCO, "classes", "left_out"]
        assert all(list(of_class) == COCO for of_class in block["classes"].values())
        assert block["classes"].keys() == {"cat", "dog"}
    assert figures["cityscapes"].keys() == {"AP", "AP50", "classes"}
    assert all(of_class.keys() == {"AP", "AP50"} for of_class in figures["cityscapes"]["classes"].values())
    ious = [f"{iou:.2f}" for iou in np.arange(10, 20) / 20]
    assert list(figures["matching"]) == [*ious, "mean", "by_image", "classes", "threshold"]
    counts = {"tp", "fp", "fn", "n_true", "n_pred"}
    shares = {"precision", "recall", "accuracy", "f1", "mean_true_score", "mean_matched_score", "pq", "sq", "rq"}
    assert figures["matching"]["0.50"].keys() == counts | shares and figures["matching"]["mean"].keys() == shares
    assert list(figures["leaves"]) == ["DiC", "absDiC", "BestDiceFound", "BestDiceTrue", "SBD", "FgBgDice", "std"]
    assert list(figures["voc"]) == [*(f"0.{n}0" for n in range(1, 10)), "AP50", "mean", "classes"]
    assert figures["semantic"].keys() == {"mean", "classes"}
    assert list(figures["counts"]) == ["found", "true", "bias", "mae", "rmse", "exact", "classes"]
    assert figures["errors"].keys() == {"AP50", "kinds"}
    kinds = {"missed", "invented", "split", "merged", "wrong class", "loose mask", "both", "duplicate"}
    assert figures["errors"]["kinds"].keys() == kinds


def test_a_figure_that_does_not_exist_is_null():
    figures = json.loads(scorer(("cat", "dog", "cow"), coco_options={"ious": [0.6]}).report().to_json())
    segm = figures["coco"]["segm"]
    assert segm["AP50"] is None and segm["AP75"] is None and segm["AP"] is not None and segm["APl"] is None
    assert segm["classes"]["cow"]["AP"] is None and figures["cityscapes"]["classes"]["cow"]["AP50"] is None
    cow = figures["matching"]["classes"]["cow"]["0.50"]
    assert cow["accuracy"] is None and cow["tp"] == 0
    assert figures["matching"]["classes"]["dog"]["0.50"]["accuracy"] == 0
    boxes = Instances.from_boxes([[0, 0, 10, 10]], (10, 100), scores=[0.5])
    report = score([boxes], [squares(0)], ["coco", "leaves", "semantic"])
    figures = json.loads(report.to_json())
    assert figures["coco"]["segm"] is None and figures["coco"]["bbox"]["AP"] == pytest.approx(1)
    assert figures["leaves"]["FgBgDice"] is None and figures["semantic"]["mean"] is None


def test_objects_match_whatever_their_class_in_every_metric_where_that_is_asked_for():
    one = Scorer(["cat", "dog"], [name for name in METRICS if name != "boundary"], class_agnostic=True)
    one.add("a", squares(0, 20, labels=[1, 0], scores=[0.9, 0.8]), squares(0, 20, labels=[0, 1]))
    report = one.report()
    for figure in (
        report["coco"]["segm"]["AP"], report["matching"]["0.50"]["accuracy"], report["voc"]["mean"],
        report["semantic"]["mean"], report["counts"]["exact"], report["errors"]["AP50"], report["leaves"]["FgBgDice"],
    ):  # fmt: skip
        assert figure == pytest.approx(1)
    assert sum(kind["count"] for kind in report["errors"]["kinds"].values()) == 0


def test_what_counts_is_said():
    assert (
        scorer().report().table().startswith("1 image.\nNo threshold: in matching, leaves, semantic, counts, errors ")
    )
    text = scorer(threshold=0.5).report().table()
    assert text.startswith("1 image; found objects with a score of at least 0.5 count, AP uses all.\n\n")
    assert "No threshold" not in score([squares(0)], [squares(0)]).table()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_lost(width):
    report = scorer().report()
    lines = report.table(width).splitlines()
    assert max(map(len, lines[2:])) <= width
    boundary = "\n".join(lines).split("Boundary AP by class\n")[1].split("\n\n")[0]
    assert all(name in boundary.split() for name in COCO)
    assert boundary.count("cat") == boundary.count("class") == {40: 3, 80: 2, 200: 1}[width]


def test_of_many_classes_the_main_figure_is_shown_in_several_columns():
    names = [f"class {number}" for number in range(80)]
    lines = [[name, number / 100, None] for number, name in enumerate(names)]
    text = written(["80 classes"], [Sheet("By class", ("class", "AP", "AP50"), lines, main="AP")], 80)
    assert len(text.splitlines()) < 32
    assert all(f"{name} " in text for name in names) and "0.7900" in text and "AP50" not in text
    few = written([""], [Sheet("By class", ("class", "AP", "AP50"), lines[:20], main="AP")], 80)
    assert len(few.splitlines()) == 24 and "AP50" in few


def test_color_is_for_terminals_only(monkeypatch):
    report = scorer().report()
    assert "\x1b" not in report.table()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1m" in report.table()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in report.table()


def test_names_are_shown_as_they_are():
    text = written([""], [Sheet("By class", ("class", "AP"), [["[red]x[/red] :smile:", 0.5]])], 80)
    assert "[red]x[/red] :smile:  0.5000" in text


def test_a_report_without_a_scoring_has_no_diagnosis():
    from apiece.errors import CallError

    with pytest.raises(CallError, match="figures only"):
        _ = Report({"images": 0}).diagnosis
    assert scorer().report().diagnosis.confusion.sum() == 3
