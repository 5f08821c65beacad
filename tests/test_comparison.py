"""Methods compared: trained apart with one budget, judged alike; what is done is kept, what was interrupted goes on."""

import json
import os
import re
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import apiece
from apiece.cli import main
from apiece.comparison import compare
from apiece.data.coco import open_coco
from apiece.data.coco_results import write_coco_results
from apiece.data.dataset import Dataset
from apiece.data.formats import open_dataset
from apiece.data.generated import discs
from apiece.data.label_images import write_label_images
from apiece.data.writing import entries
from apiece.errors import CallError, InputError, Interrupted
from apiece.instances import Instances
from apiece.metrics.coco import EVERY
from apiece.metrics.scorer import Scorer
from apiece.metrics.scorer import compare as difference
from apiece.metrics.terminal import written
from apiece.trials.division import divided
from apiece.trials.lineups import accuracies
from apiece.trials.standings import Standing, differences, score_found, score_tools
from apiece.trials.tables import sheets, signed
from apiece.trials.timing import PARTS

TRAINING = {"crop": 32, "batch_size": 2, "precision": "32-true", "accelerator": "cpu", "evaluations": 2}
OPTIONS = {
    "train": TRAINING,
    "SpatialEmbedding": {"network": "tiny", "seed_threshold": 0.0, "foreground_threshold": 0.0},
    "DCME": {"network": "tiny", "train": {"batch_size": 3}},
    # Fails in its own process: there is no such network.
    "SOLO": {"network": "no-such-network"},
}
GIVEN = {"methods": "SpatialEmbedding,DCME,SOLO", "steps": 4, "quiet": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "discs"
    data = discs(12, (48, 48), seed=3, objects=(2, 4))
    write_label_images(entries(data), folder, data.classes)
    return folder


@pytest.fixture(scope="module")
def tool_file(tmp_path_factory, folder) -> Path:
    """Another tool's findings: the truth of all images, each object sure, as a list of COCO results."""
    data, path = open_dataset(folder), tmp_path_factory.mktemp("tool") / "perfect.json"
    write_coco_results(zip(data.names, (data.truth(index) for index in range(len(data))), strict=True), path, data)
    return path


@pytest.fixture(scope="module")
def begun(tmp_path_factory, folder):
    """A comparison of two methods, one of which fails, with the times of its files."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    compared = compare(folder, options=OPTIONS, out=out, **{**GIVEN, "methods": "SOLO,DCME"})
    return compared, {file: file.stat().st_mtime_ns for file in [*out.rglob("*.safetensors"), out / "found/DCME.json"]}


@pytest.fixture(scope="module")
def compared(begun, folder, tool_file):
    """The same with a third method and another tool."""
    out = begun[0].out
    options = out.parent / "options.yaml"
    options.write_text(yaml.safe_dump(OPTIONS))
    return compare(folder, tools=[str(tool_file)], options=options, out=out, **GIVEN)


def cell(out: Path, name: str) -> dict:
    return json.loads((out / "cells" / f"{name}.json").read_text())


def standing(compared, name: str) -> Standing:
    return next(one for one in compared.standings if one.name == name)


def test_everybody_is_ranked_and_who_is_not_done_comes_last_with_the_reason(compared):
    names = [one.name for one in compared.standings]
    assert names[0] == "perfect" and names[-1] == "SOLO" and set(names[1:-1]) == {"SpatialEmbedding", "DCME"}
    assert standing(compared, "perfect").main["AP"]["value"] == 1
    assert standing(compared, "SOLO").status == "failed" and "no-such-network" in standing(compared, "SOLO").why


def test_figures_are_those_of_score_on_the_same_files(compared, folder):
    test = divided(folder, 0.15, 0.25)[0].test
    report = apiece.score(open_coco(compared.out / "found" / "SpatialEmbedding.json"), test)
    figures = cell(compared.out, "SpatialEmbedding")["figures"]
    assert figures["coco"]["segm"]["AP"] == report["coco"]["segm"]["AP"]
    assert figures["matching"]["0.50"]["fp"] == report["matching"]["0.50"]["fp"] > 0
    assert figures["intervals"]["coco"]["AP"]["low"] <= report["coco"]["segm"]["AP"]


def test_the_threshold_is_that_of_the_training_which_saw_no_test_image(compared, folder):
    facts = cell(compared.out, "SpatialEmbedding")
    assert facts["threshold"] == facts["figures"]["threshold"] == facts["training"]["validation"]["threshold"]
    names = json.loads((compared.out / "parts.json").read_text())
    parts = [set(names[part]) for part in ("training", "validation", "test")]
    assert [len(part) for part in parts] == [7, 2, 3] and len(set.union(*parts)) == 12
    assert all(open_dataset(folder).names[number - 1] == name for name, number in names["test ids"].items())
    assert names["class ids"] == {open_dataset(folder).classes[0]: 1}


def test_a_cell_says_what_its_method_cost(compared):
    facts = cell(compared.out, "DCME")
    assert facts["status"] == "done" and facts["training"]["steps"] == 4 and facts["parameters"] > 1000
    assert facts["file_size"] == (compared.out / "runs" / "DCME" / "model.safetensors").stat().st_size
    prediction = facts["prediction"]
    assert prediction["images"] == 3 and prediction["memory"] > 5e7
    assert all(0 <= prediction[part]["median"] <= prediction[part]["p95"] for part in (*PARTS, "total"))
    assert [point["step"] for point in facts["training"]["curve"]] == [2, 4]


def test_differences_are_to_the_best_and_paired(compared, folder):
    apart = compared.figures()["differences"]
    assert set(apart) == {"SpatialEmbedding", "DCME"}
    test, tool = divided(folder, 0.15, 0.25)[0].test, standing(compared, "perfect")
    mine = score_found("again", open_coco(compared.out / "found" / "DCME.json"), test)
    expected = difference(mine.scorer, tool.scorer)
    assert apart["DCME"]["AP75"] == expected["coco"]["AP75"]


def test_the_table_and_the_page_show_everybody(compared):
    text, page = compared.table(width=300), compared.page.read_text()
    for words in ("Accuracy on the test images", "Difference to the best (perfect)", "Not finished", "no-such-network"):
        assert words in text and words in page
    version = f"apiece {apiece.__version__}"
    for words in ("Learning curves", "The same images under all methods", "Failures", "4 steps on the same", version):
        assert words in page
    shown = re.findall(r"<figcaption>(\w+): (\d+) right, 0 missed, 0 wrong", page)
    assert len([name for name, _ in shown if name == "perfect"]) == 3
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_what_is_done_is_not_done_again_and_what_failed_is_tried_again(begun, compared):
    before, times = begun
    assert [(one.name, one.status) for one in before.standings] == [("DCME", "done"), ("SOLO", "failed")]
    assert len(times) == 3 and all(file.stat().st_mtime_ns == time for file, time in times.items())
    assert standing(before, "DCME").main == standing(compared, "DCME").main


def test_another_budget_needs_another_folder_or_overwriting(compared, folder):
    with pytest.raises(InputError, match="another choice of steps: give another --out, or --overwrite"):
        compare(folder, options=OPTIONS, out=compared.out, **{**GIVEN, "steps": 5})
    with pytest.raises(InputError, match="another choice of options"):
        compare(folder, options={"train": TRAINING}, out=compared.out, **GIVEN)


def test_the_command_prints_a_table_or_one_json_object(compared, folder, capsys):
    options = str(compared.out.parent / "options.yaml")
    words = ["compare", str(folder), "--steps", "4", "--options", options, "--out", str(compared.out), "--quiet"]
    assert main([*words, "--methods", "DCME", "--json", "-"]) == 0
    figures = json.loads(capsys.readouterr().out)
    # What an earlier call did in the same folder stands beside it; what failed there does not.
    assert {one["name"] for one in figures["standings"]} == {"DCME", "SpatialEmbedding"}
    assert figures["images"]["test"] == 3
    assert main([*words, "--methods", "DCME, HOLO"]) == 2
    assert main([*words, "--test", "2"]) == 2
    assert "give shares between 0 and 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given, words",
    [
        ({"steps": 0}, "more than 0"),
        ({"minutes": 1.0}, "not in both"),
        ({"methods": "SOLO,HOLO"}, "no method 'HOLO'"),
        ({"options": {"SOLO": {"colour": 1}}}, "SOLO: there is no 'colour'"),
        ({"options": {"train": {"seed": 1}}}, "there is no 'seed'"),
        ({"options": {"DCME": 3}}, "must be names with values"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said_before_anything_is_trained(given, words, folder, tmp_path):
    with pytest.raises(CallError, match=words):
        compare(folder, out=tmp_path / "out", **{**GIVEN, **given})
    assert not (tmp_path / "out").exists()


def test_an_interrupted_comparison_goes_on(tmp_path, folder, capfd):
    options = {"train": {**TRAINING, "batch_size": 4}, "SpatialEmbedding": {"network": "tiny"}}
    given = {"methods": "SpatialEmbedding", "steps": 60, "quiet": True, "out": tmp_path / "out"}
    threading.Thread(target=interrupt_when_there, args=(tmp_path / "out/runs/SpatialEmbedding/log.jsonl",)).start()
    with pytest.raises(Interrupted, match="stopped at SpatialEmbedding; 0 of 1 methods are done in .*/out: the same"):
        compare(folder, options=options, **given)
    begun = cell(tmp_path / "out", "SpatialEmbedding")
    assert begun["status"] == "training" and begun["training"]["memory"] > 0
    begun["training"] |= {"memory": 1 << 50, "device_memory": 1 << 40}
    (tmp_path / "out/cells/SpatialEmbedding.json").write_text(json.dumps(begun))
    capfd.readouterr()
    compared = compare(folder, options=options, **given)
    assert re.search(r"resumed at step [1-9]", capfd.readouterr().err)
    assert compared.standings[0].status == "done"
    done = cell(tmp_path / "out", "SpatialEmbedding")["training"]
    # The most of both sittings.
    assert (done["steps"], done["memory"], done["device_memory"]) == (60, 1 << 50, 1 << 40)


def interrupt_when_there(file: Path) -> None:
    """Ctrl-C, for this very process, once there is a file."""
    end = time.monotonic() + 60
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_an_image_that_is_learned_from_may_not_judge(folder, tmp_path):
    with pytest.raises(CallError, match="is a training and a test image \\(10 are\\)"):
        divided(folder, 0.15, open_dataset(folder))
    images = os.listdir(folder / "images")
    assert len(images) == 12
    with pytest.raises(CallError, match="cannot be cut into training, validation and test"):
        divided(folder, 0.5, 0.5)


def named(data: Dataset, *classes: str) -> Dataset:
    return replace(data, classes=classes)


def test_a_test_set_of_its_own_is_read_with_the_training_sets_classes():
    data, test = named(discs(6), "a", "disc"), named(discs(3, seed=1), "disc")
    parts, whole = divided(data, 0.3, test)
    assert parts.test.classes == ("a", "disc") and whole is test and len(parts.training) == 4
    assert set(parts.test.truth(0).labels) == {1}
    with pytest.raises(CallError, match="has classes that discs lacks: rod"):
        divided(data, 0.3, named(test, "rod"))


def test_a_validation_set_of_its_own_is_read_with_the_training_sets_classes(folder):
    data, validation = discs(6), discs(3, seed=1)
    parts, _ = divided(data, named(validation, "cell"), 0.3)
    assert parts.validation.classes == ("disc",) and len(parts.validation) == 3
    parts, _ = divided(named(data, "cell"), folder, 0.3)
    assert parts.validation.classes == ("cell",) and len(parts.validation) == 12
    several = named(data, "a", "disc")
    parts, _ = divided(several, validation, 0.3)
    assert parts.validation.classes == ("a", "disc") and set(parts.validation.truth(0).labels) == {1}
    with pytest.raises(CallError, match="has classes that discs lacks: rod"):
        divided(several, named(validation, "rod"), 0.3)


def test_tools_that_cannot_be_read_say_so_and_thresholds_can_be_given(tool_file, folder, tmp_path):
    data = open_dataset(folder)
    low = tmp_path / "low.json"
    low.write_text(json.dumps([entry | {"score": 0.3} for entry in json.loads(tool_file.read_text())]))
    missing = tmp_path / "missing.json"
    standings = score_tools([f"{low}@0.2", f"{low}@0.4", str(missing)], data.subset([1, 4]), data)
    assert [one.name for one in standings] == ["low", "low (2)", "missing"]
    assert [one.main["accuracy@0.50"]["value"] for one in standings[:2]] == [1, 0]
    assert all(one.main["AP"]["value"] == 1 for one in standings[:2])
    assert "there is no such file" in standings[2].why
    for wrong in ("high", "nan", "inf"):
        with pytest.raises(CallError, match="is a score threshold"):
            score_tools([f"{low}@{wrong}"], data, data)
    text = written([], sheets(standings, {}), 300)
    assert "of one image" not in text and "2 images, which are so few" in text and " 0.4" in text


def test_boxes_alone_cannot_be_compared(folder, tmp_path):
    data, path = open_dataset(folder), tmp_path / "boxes.json"
    path.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 1.0}]))
    (standing,) = score_tools([str(path)], data.subset([0]), data)
    assert standing.status == "failed" and "needs masks" in standing.why


def test_figures_come_from_the_scorer(tool_file, folder):
    data = open_dataset(folder)
    (standing,) = score_tools([str(tool_file)], data, data)
    scorer = Scorer(data.classes, coco_options={"max_detections": (1, 10, EVERY)})
    for sample in data:
        scorer.add(sample.name, sample.truth.replace(scores=sample.truth.labels + 1.0), sample.truth)
    assert standing.report.figures["coco"] == scorer.report()["coco"]


def test_every_object_counts_in_ap_however_many_there_are():
    squares = np.kron(np.arange(1, 145, dtype=np.uint16).reshape(12, 12), np.ones((4, 4), np.uint16))
    truth = Instances.from_label_map(squares, np.zeros(144, int))
    data = replace(discs(2, squares.shape), read_truth=lambda index: truth)
    found = replace(data, read_truth=lambda index: truth.replace(scores=np.linspace(1, 0.5, 144)))
    assert score_found("all", found, data).main["AP"]["value"] == 1


def test_few_images_prove_nothing_and_one_has_no_interval(tool_file, folder):
    data = open_dataset(folder)
    figures = {"value": -0.2, "low": -0.3, "high": -0.1}
    assert signed(figures).endswith("*") and not signed(figures, starred=False).endswith("*")
    one = score_tools([str(tool_file), str(tool_file)], data.subset([3]), data)
    assert one[0].main["AP"] == {"value": 1.0, "low": None, "high": None}
    apart = differences(one)
    tables = sheets(one, apart)
    assert tables[0].lines[0][1] == "1.000" and "Of one image there is no interval" in tables[0].note
    assert tables[-1].lines[0][1] == "+0.000" and "so few images prove nothing" in tables[-1].note


def test_finding_nothing_where_nothing_is_counts_as_right(folder):
    data = discs(3, (48, 48), seed=3, objects=(2, 4))
    empty = Instances.empty((48, 48), scored=True)
    truths = [data.truth(0), empty, data.truth(2)]
    truth = replace(data, read_truth=lambda index: truths[index])
    standing = score_found("all", replace(truth, read_truth=lambda index: scored(truths[index])), truth)
    assert accuracies([standing.report]).tolist() == [[1, 1, 1]]


def scored(objects: Instances) -> Instances:
    return objects.replace(scores=np.ones(len(objects)))


def test_truth_of_boxes_is_refused_before_anything_is_trained(tmp_path):
    data = discs(6, (48, 48), seed=3, objects=(2, 4))
    boxed = replace(data, read_truth=lambda index: Instances.from_boxes([[1, 1, 5, 5]], (48, 48)))
    with pytest.raises(InputError, match="boxes only, but a comparison needs masks"):
        compare(data, test=boxed, out=tmp_path / "out", **GIVEN)
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_damaged_meanwhile_ends_nothing(tmp_path, folder):
    data, given = tmp_path / "data", {"options": OPTIONS, "out": tmp_path / "out", **GIVEN}
    shutil.copytree(folder, data)
    compare(data, **{**given, "methods": "SpatialEmbedding"})
    name = json.loads((tmp_path / "out" / "parts.json").read_text())["test"][0]
    image = next((data / "images").glob(f"{name}.*"))
    # Of the same size, so that the data counts as the same.
    image.write_bytes(bytes(image.stat().st_size))
    compared = compare(data, **{**given, "methods": "SpatialEmbedding,DCME"})
    assert [(one.name, one.status) for one in compared.standings] == [("SpatialEmbedding", "done"), ("DCME", "failed")]
    assert compared.standings[1].facts["training"]["steps"] == 4 and name in compared.standings[1].why
    assert name in compared.page.read_text()


def test_findings_that_cannot_be_scored_are_a_failure_and_stay_with_their_method(tmp_path, folder):
    given = {"options": OPTIONS, "out": tmp_path / "out", **GIVEN}
    compare(folder, **{**given, "methods": "DCME"})
    found = tmp_path / "out" / "found" / "DCME.json"
    content = json.loads(found.read_text())
    found.write_text(json.dumps(content | {"images": content["images"][1:], "annotations": []}))
    compared = compare(folder, **{**given, "methods": "DCME,SpatialEmbedding"})
    assert [(one.name, one.status) for one in compared.standings] == [("SpatialEmbedding", "done"), ("DCME", "failed")]
    assert "nothing for 1 of 3 test images" in compared.standings[1].why


def test_three_methods_share_a_budget_of_a_minute(tmp_path, folder):
    """Twenty seconds each: the clock is kept, validation included, and all three are judged."""
    options = {"train": TRAINING, **{name: {"network": "tiny"} for name in ("SpatialEmbedding", "DCME", "YOLACT")}}
    given = {"methods": "SpatialEmbedding,DCME,YOLACT", "minutes": 1 / 3, "quiet": True}
    begun = time.monotonic()
    compared = compare(folder, options=options, out=tmp_path / "out", **given)
    assert time.monotonic() - begun > 60 and {one.status for one in compared.standings} == {"done"}
    for one in compared.standings:
        assert 19 <= one.facts["training"]["seconds"] <= 30 and one.facts["training"]["steps"] > 20
    # Twenty seconds of learning beat none by far.
    assert compared.standings[0].main["AP50"]["value"] > 0.5
