"""Findings carry the operating point of the model that made them, and scoring goes by it."""

import json
from pathlib import Path

import numpy as np
import pytest

import apiece
from apiece.cli import main
from apiece.data.coco import open_coco, write_coco
from apiece.instances import Instances
from apiece.scoring import score


def squares(*corners: int, **fields) -> Instances:
    stack = np.zeros((len(corners), 10, 100), bool)
    for mask, column in zip(stack, corners, strict=True):
        mask[:, column : column + 10] = True
    return Instances.from_dense(stack, **fields)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Findings at an operating point of 0.6, one right above and one wrong below it, and the truth."""
    write_coco([("a", squares(0))], tmp_path / "truth.json", ["cell"])
    write_coco([("a", squares(0, 40, scores=[0.9, 0.3]))], tmp_path / "found.json", ["cell"], threshold=0.6)
    return tmp_path / "found.json", tmp_path / "truth.json"


def test_the_threshold_stands_in_the_file(files):
    found, truth = files
    assert json.loads(found.read_text())["info"] == {"threshold": 0.6}
    assert open_coco(found).threshold == 0.6 and open_coco(found).subset([0]).threshold == 0.6
    assert "info" not in json.loads(truth.read_text()) and open_coco(truth).threshold is None


@pytest.mark.parametrize("info", [None, [], "free text", {"threshold": "high"}, {"threshold": True}, {"year": 2014}])
def test_whatever_else_info_says_is_no_threshold(files, info):
    found, truth = files
    found.write_text(json.dumps(json.loads(found.read_text()) | {"info": info}))
    assert open_coco(found).threshold is None
    assert score(found, truth)["matching"]["0.50"]["fp"] == 1


def test_decisions_go_by_it_and_ap_by_all(files):
    report = score(*files, ["matching", "coco", "leaves", "counts", "errors"])
    assert report["threshold"] == report["matching"]["threshold"] == 0.6
    assert report["matching"]["0.50"]["fp"] == report["leaves"]["DiC"] == report["counts"]["bias"] == 0
    assert report["errors"]["kinds"]["invented"]["count"] == 0
    assert report["coco"]["segm"] == score(*files, ["coco"], threshold=0.0)["coco"]["segm"]


def test_another_can_be_given(files):
    assert score(*files, threshold=0.0)["matching"]["0.50"]["fp"] == 1
    assert score(*files, threshold=0.95)["matching"]["0.50"]["tp"] == 0


def test_each_of_two_findings_has_its_own(files, tmp_path):
    found, truth = files
    write_coco([("a", squares(0, 40, scores=[0.4, 0.3]))], tmp_path / "other.json", ["cell"], threshold=0.35)
    differences = score(found, truth, ["matching"], against=tmp_path / "other.json")["difference"]
    assert differences["matching"]["accuracy@0.50"]["value"] == 0


def test_it_is_said_on_the_terminal(files, capsys):
    assert main(["score", *map(str, files)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("1 image; found objects with a score of at least 0.6 count, AP uses all.")
    assert f"The threshold stands in {files[0]}; another can be given, 0 counts every object." in text
    assert main(["score", *map(str, files), "--threshold", "0"]) == 0
    assert "The threshold stands" not in capsys.readouterr().out


@pytest.mark.parametrize("threshold", [None, 0.25])
def test_what_predict_writes_is_scored_as_evaluate_scores_it(model_file, disc_folder, tmp_path, threshold):
    model = apiece.load(model_file)
    options = [] if threshold is None else ["--threshold", str(threshold)]
    images = str(disc_folder / "images")
    assert main(["predict", str(model_file), images, "--out", str(tmp_path / "out"), "--save", "coco", *options]) == 0
    own = model.card.threshold if threshold is None else threshold
    assert open_coco(tmp_path / "out" / "found.json").threshold == own
    theirs = apiece.evaluate(model, disc_folder, threshold=threshold, quiet=True)
    ours = score(tmp_path / "out", disc_folder)
    assert ours["threshold"] == own and ours["matching"]["0.50"] == theirs["matching"]["0.50"]
    assert ours["coco"]["segm"]["AP"] == pytest.approx(theirs["coco"]["segm"]["AP"])
