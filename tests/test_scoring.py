import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apiece.data.coco import write_coco
from apiece.data.coco_results import write_coco_results
from apiece.data.dataset import Dataset
from apiece.data.formats import open_dataset
from apiece.errors import CallError, InputError
from apiece.instances import Instances
from apiece.scoring import METRICS, Scorer, score


def squares(*corners: int, **fields) -> Instances:
    """Squares of 10 x 10 pixels at the given columns of a 10 x 100 image."""
    stack = np.zeros((len(corners), 10, 100), bool)
    for mask, column in zip(stack, corners, strict=True):
        mask[:, column : column + 10] = True
    return Instances.from_dense(stack, **fields)


def dataset(images: dict[str, Instances], classes: tuple[str, ...] = ("cell",), path: str = "set") -> Dataset:
    held = list(images.values())
    files = (None,) * len(held)
    return Dataset(
        Path(path), "memory", classes, tuple(images), files, lambda i: np.zeros((10, 100, 1)), held.__getitem__
    )


def test_images_are_paired_by_name_and_classes_too():
    truth = dataset({"a": squares(0, 20, labels=[0, 1]), "b": squares(40, labels=[1])}, ("cat", "dog"))
    found = dataset(
        {"b": squares(40, labels=[0], scores=[0.5]), "a": squares(0, 20, labels=[1, 0], scores=[0.9, 0.8])},
        ("dog", "cat"),
    )
    report = score(found, truth)
    assert report["matching"]["0.50"]["accuracy"] == 1
    assert report["coco"]["segm"]["AP"] == pytest.approx(1)
    assert report["coco"]["segm"]["classes"].keys() == {"cat", "dog"}
    assert [row["name"] for row in report.rows] == ["a", "b"]


def test_two_sets_of_one_class_each_need_no_common_name():
    report = score(dataset({"a": squares(0, scores=[1.0])}, ("object",)), dataset({"a": squares(0)}, ("nucleus",)))
    assert report["matching"]["0.95"]["f1"] == 1


def test_a_missing_image_is_named_and_can_be_allowed():
    truth = dataset({"a": squares(0), "b": squares(0, 20)}, path="truth")
    found = dataset({"a": squares(0, scores=[1.0])}, path="found")
    with pytest.raises(InputError, match="found: nothing for b of truth"):
        score(found, truth)
    assert score(found, truth, allow_missing=True)["matching"]["0.50"]["fn"] == 2


@pytest.mark.parametrize(
    "found, message",
    [
        (
            dataset({"a": squares(0, scores=[1.0]), "z": squares(0, scores=[1.0])}, ("x", "y"), "found"),
            "found: z not in truth",
        ),
        (dataset({"a": squares(0, scores=[1.0])}, ("x", "q"), "found"), "no class q, only x, y"),
        (
            dataset({"a": squares(0, scores=[np.nan])}, ("x", "y"), "found"),
            "a: the score of found object 0 is not a number",
        ),
        (dataset({"a": Instances.empty((5, 5), scored=True)}, ("x", "y"), "found"), "a: .* 5 x 5 pixels, .* 10 x 100"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(found, message):
    with pytest.raises(InputError, match=message):
        score(found, dataset({"a": squares(0)}, ("x", "y"), "truth"))


def test_a_metric_that_does_not_exist_is_a_wrong_call():
    with pytest.raises(CallError, match="'cocoa'.*matching"):
        Scorer(["object"], ["cocoa"])


def test_sequences_of_instances_are_paired_in_their_order():
    report = score([squares(0, scores=[1.0]), squares(20, scores=[0.5])], [squares(0), squares(40)], ["matching"])
    assert report["matching"]["0.50"]["tp"] == 1
    assert "coco" not in report
    with pytest.raises(InputError, match="1 images with found objects, but 2 with truth"):
        score([squares(0)], [squares(0), squares(0)])


def test_a_scorer_takes_images_one_by_one_and_finds_its_operating_point():
    scorer = Scorer(["object"], ["matching"])
    scorer.add("a", squares(0, 20, 40, scores=[0.9, 0.8, 0.2]), squares(0, 20))
    assert scorer.best_threshold() == (0.5, 1.0)
    assert scorer.report()["matching"]["0.50"]["fp"] == 1
    assert scorer.report(threshold=0.5)["matching"]["0.50"]["fp"] == 0


def test_a_report_is_json_and_a_table():
    report = score([squares(0, scores=[1.0])], [squares(0)])
    figures = json.loads(report.to_json(rows=True))
    assert figures["coco"]["segm"]["APl"] is None
    assert figures["matching"]["0.75"]["pq"] == 1
    assert figures["by_image"][0]["tp"] == 1
    lines = report.table().splitlines()
    assert lines[0] == "1 image." and lines[2:4] == ["", "Matching by IoU"]
    assert any(line.split()[:2] == ["segm", "1.0000"] for line in lines)


def test_a_report_is_written_whole(tmp_path):
    report = score([squares(0, scores=[1.0])], [squares(0)])
    report.write_json(tmp_path / "new" / "report.json")
    assert json.loads((tmp_path / "new" / "report.json").read_text())["images"] == 1


def test_scoring_never_imports_torch():
    code = (
        "import sys, numpy as np\n"
        "from apiece.instances import Instances\n"
        "from apiece.scoring import score\n"
        "one = Instances.from_label_map(np.eye(4, dtype=np.int32))\n"
        "score([one], [one]).table()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_all_metrics_intervals_and_the_difference_to_other_findings_come_from_one_call():
    truth = dataset({name: squares(0, 20 + 10 * place) for place, name in enumerate("abc")})
    found = dataset({name: squares(0, 20 + 10 * place, scores=[0.9, 0.8]) for place, name in enumerate("abc")})
    worse = dataset({name: squares(0, scores=[0.9]) for name in "abc"})
    report = score(found, truth, METRICS, intervals=True, against=worse)
    assert (
        report["leaves"]["SBD"] == report["voc"]["AP50"] == report["semantic"]["mean"] == report["counts"]["exact"] == 1
    )
    assert report["intervals"]["coco"]["AP"] == pytest.approx({"value": 1, "low": 1, "high": 1})
    assert report["difference"]["matching"]["accuracy@0.50"] == pytest.approx({"value": 0.5, "low": 0.5, "high": 0.5})
    assert report["difference"]["counts"]["bias"]["value"] == 1
    assert report.rows[0].keys() >= {"name", "accuracy", "SBD"}
    titles = [block.splitlines()[0] for block in report.table().split("\n\n")[1:]]
    assert len(titles) == len(METRICS) + 2


def test_masks_are_not_compared_with_boxes():
    boxes = Instances.from_boxes([[0, 0, 10, 10]], (10, 100), scores=[0.9])
    with pytest.raises(CallError, match="boxes only"):
        score([squares(0, scores=[0.9])], [squares(0)], against=[boxes])


def test_figures_are_the_same_to_the_bit_however_many_processes_compare(tmp_path):
    generator = np.random.default_rng(0)
    true = {f"{place:02}": squares(*generator.integers(0, 90, 3), labels=[0, 1, 0]) for place in range(23)}
    near = {
        name: squares(*np.clip(one.mask_boxes[:, 0] + generator.integers(-2, 3, 3), 0, 90), labels=one.labels)
        for name, one in true.items()
    }
    found = {name: one.replace(scores=generator.random(3)) for name, one in near.items() if name != "07"}
    write_coco(true.items(), tmp_path / "truth.json", ["x", "y"])
    truth = open_dataset(tmp_path / "truth.json")
    write_coco_results(found.items(), tmp_path / "found.json", truth)
    sides = dataset(found, ("x", "y")), dataset(true, ("x", "y"))
    for ours, theirs in [sides, (tmp_path / "found.json", tmp_path / "truth.json")]:
        reports = [score(ours, theirs, METRICS, allow_missing=True, jobs=jobs).to_json(rows=True) for jobs in (1, 2, 5)]
        assert reports[0] == reports[1] == reports[2]
    assert json.loads(reports[0])["images"] == 23
    with pytest.raises(CallError, match="0 jobs"):
        score(*sides, jobs=0)


def test_what_is_wrong_is_said_by_whichever_process_finds_it():
    truth = {str(place): squares(0) for place in range(9)}
    found = {name: squares(0, scores=[np.nan if name == "7" else 0.5]) for name in truth}
    with pytest.raises(InputError, match="^7: the score of found object 0 is not a number"):
        score(dataset(found), dataset(truth), jobs=2)


def test_an_interrupted_scoring_leaves_no_process_behind():
    code = """
import os, time
from pathlib import Path
from apiece.data.dataset import Dataset
from apiece.scoring import score

def read(index):
    # At once: of two processes that print, lines and their ends may come in any order.
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(60)

names = tuple("abcd")
data = Dataset(Path("set"), "memory", ("cell",), names, (None,) * 4, read, read)
score(data, data, jobs=2)
"""
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    workers = {int(run.stdout.readline()) for _ in range(2)}
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=20)
    assert run.returncode == -signal.SIGINT and errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1 and len(workers) == 2
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def put_boxes_and_masks(folder: Path, broken: bool) -> tuple[Path, list[dict]]:
    """A truth of two images, its first polygon broken where wanted, and results with masks and boxes."""
    sides = [(0, 0), (30, 1), (60, 0), (3, 1)]
    rings = [[x, 0, x + 20, 0, x + 20, 9, x, 9] for x, _ in sides]
    entries = [
        {"id": 1 + place, "image_id": 1 + place // 2, "category_id": 1 + label, "iscrowd": 0, "area": 180.5}
        | {"segmentation": [ring], "bbox": [x, 0, 20, 9.5]}
        for place, ((x, label), ring) in enumerate(zip(sides, rings, strict=True))
    ]
    results = [
        {"image_id": entry["image_id"], "category_id": entry["category_id"], "score": 0.9 - 0.1 * place}
        | {"segmentation": entry["segmentation"], "bbox": [entry["bbox"][0] + 4 * place, 0, 20, 9]}
        for place, entry in enumerate(entries)
    ]
    if broken:
        entries[0]["segmentation"] = [[1, 2, 3]]
    images = [{"id": 1 + i, "file_name": f"{i}.png", "height": 10, "width": 100} for i in range(2)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    truth = folder / f"truth_{broken}.json"
    truth.write_text(json.dumps({"images": images, "annotations": entries, "categories": categories}))
    return truth, results


def test_figures_of_boxes_are_the_same_without_drawing_a_mask(tmp_path):
    truth, results = put_boxes_and_masks(tmp_path, broken=False)
    broken, _ = put_boxes_and_masks(tmp_path, broken=True)
    (tmp_path / "found.json").write_text(json.dumps(results))
    (tmp_path / "boxes.json").write_text(json.dumps([{**one, "segmentation": []} for one in results]))
    options = {"coco_options": {"kinds": ["bbox"]}, "jobs": 1}
    wanted = score(tmp_path / "found.json", truth, ["coco"])["coco"]["bbox"]
    assert 0.1 < wanted["AP"] < 1
    # What is broken would be said if it was drawn.
    with pytest.raises(InputError, match="a polygon has 3 numbers"):
        score(tmp_path / "found.json", broken, ["coco"])
    assert score(tmp_path / "found.json", broken, ["coco"], **options)["coco"]["bbox"] == wanted
    assert score(tmp_path / "boxes.json", broken, ["coco"])["coco"] == {"segm": None, "bbox": wanted}
    metrics = ["matching", "coco", "errors", "voc", "counts"]
    alike = [score(tmp_path / "boxes.json", one, metrics, intervals=True).to_json(rows=True) for one in (truth, broken)]
    assert alike[0] == alike[1]
    with pytest.raises(InputError, match="a polygon has 3 numbers"):
        score(tmp_path / "found.json", broken, ["coco"], coco_options={"kinds": ["bbox"], "found_area": "segm"})


def test_cocos_own_example_from_its_files(shared_data):
    folder = shared_data / "golden" / "coco_fake100"
    wanted = json.loads((folder / "expected.json").read_text())
    for kind in ("segm", "bbox"):
        found = folder / f"instances_val2014_fake{kind}100_results.json"
        figures = score(found, folder / "instances_val2014_100.json", ["coco"])["coco"][kind]
        names = [name for name in figures if name not in ("classes", "left_out")]
        assert [figures[name] for name in names] == pytest.approx(wanted[kind]["stats"], abs=1e-9)
        assert figures["classes"]["person"]["AP"] == pytest.approx(wanted[kind]["per_category_AP"]["person"], abs=1e-9)
