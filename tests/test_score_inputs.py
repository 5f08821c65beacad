"""What scoring says of broken files: one sentence with file and entry, through the command line."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apiece.cli import main

SQUARE = {"size": [10, 20], "counts": [0, 50, 150]}
NAN = float("nan")


def annotation(number: int, **changes: Any) -> dict[str, Any]:
    entry = {"id": number, "image_id": number, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 10, 0, 10]]}
    return {**entry, "bbox": [0, 0, 5, 10], "area": 50, "iscrowd": 0, **changes}


def truth(**changes: Any) -> dict[str, Any]:
    images = [
        {"id": number, "file_name": f"{name}.png", "height": 10, "width": 20} for number, name in ((1, "a"), (2, "b"))
    ]
    lists = {"images": images, "annotations": [annotation(1), annotation(2)]}
    return {**lists, "categories": [{"id": 1, "name": "cell"}], **deepcopy(changes)}


def image(**changes: Any) -> dict[str, Any]:
    return truth(images=[truth()["images"][0], {**truth()["images"][1], **changes}])


def annotated(**changes: Any) -> dict[str, Any]:
    return truth(annotations=[annotation(1), annotation(2, **changes)])


def result(**changes: Any) -> list[dict[str, Any]]:
    """Two results, the second with changes; what is changed to `...` is taken out."""
    sound = {"image_id": 1, "category_id": 1, "segmentation": SQUARE, "score": 0.9}
    second = {**sound, "image_id": 2, **changes}
    return [sound, {key: value for key, value in second.items() if value is not ...}]


def run_lengths(counts: Any, size: tuple[int, int] = (10, 20)) -> list[dict[str, Any]]:
    return result(segmentation={"size": list(size), "counts": counts})


def boxed(box: Any) -> list[dict[str, Any]]:
    return [{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": box}]


def written(path: Path, content: Any) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def said(capsys: pytest.CaptureFixture[str], folder: Path, found: Any, true: Any, *options: str) -> tuple[int, str]:
    """Exit status and what stands on standard error."""
    paths = [str(written(folder / f"{name}.json", one)) for name, one in (("found", found), ("truth", true))]
    status = main(["score", *paths, *options])
    return status, capsys.readouterr().err


def test_sound_files_are_scored(capsys, tmp_path):
    assert said(capsys, tmp_path, result(), truth(), "--json", "-") == (0, "")


FOUND = {
    "broken JSON": (b'[{"image_id": 1,', "not valid JSON"),
    "no JSON": (b"\x89PNG\x00\xff", "not valid JSON"),
    "empty file": (b"", "not valid JSON"),
    "endless nesting": (b"[" * 100_000, "not valid JSON"),
    "a number": (3, "no list of COCO results, and no COCO data set either, but 3"),
    "an object": ({"a": 1}, "no COCO data set either, but an object of 'a'"),
    "null": (None, "no COCO data set either, but None"),
    "a list of lists": ([[1]], "result 0 is no COCO result, but a list"),
    "a list with a number": ([*result(), 5], "result 2 is no COCO result, but 5"),
    "score NaN": (result(score=NAN), "result 1: its score is no number: nan"),
    "score infinite": (result(score=float("inf")), "result 1: its score is no number: inf"),
    "score text": (result(score="0.5"), "result 1: its score is no number: 0.5"),
    "no score": (result(score=...), "result 1: its score is no number"),
    "short run lengths": (run_lengths([0, 50]), "result 1: run lengths that do not fill the image of 200"),
    "long run lengths": (run_lengths([0, 500]), "result 1: run lengths that do not fill the image of 200"),
    "negative run lengths": (run_lengths([0, -5, 205]), "result 1: its run lengths are not whole numbers"),
    "another size": (run_lengths([400], (20, 20)), r"result 1: run lengths for an image of \[20, 20\]"),
    "a negative size": (run_lengths([200], (-10, 20)), r"result 1: run lengths for an image of \[-10, 20\]"),
    "damaged letters": (run_lengths("abc"), "result 1: the compressed run lengths are damaged"),
    "two points": (result(segmentation=[[0, 0, 5, 5]]), "result 1: a polygon has 4 numbers, but needs .* at least 6"),
    "an odd polygon": (result(segmentation=[[0, 0, 5, 5, 1]]), "result 1: a polygon has 5 numbers"),
    "a polygon with NaN": (result(segmentation=[[0, 0, 5, 5, 1, NAN]]), "result 1: a polygon is not a list of numbers"),
    "a polygon of text": (result(segmentation=[["a"] * 6]), "result 1: a polygon is not a list of numbers"),
    "a far point": (result(segmentation=[[0, 0, 5e9, 5, 5, 0]]), "result 1: a polygon's point lies far outside"),
    "no such category": (result(category_id=7), "result 1 names category 7, but 'categories' lists only 1"),
    "category text": (result(category_id="x"), "result 1 names category x"),
    "no category": (result(category_id=...), "result 1 names category None"),
    "no such image": (result(image_id=7), "result 1 names image 7, which is not among the images"),
    "image a list": (result(image_id=[1]), r"result 1 names image \[1\]"),
    "image a truth value": (result(image_id=True), "result 1 names image True"),
    "no image": (result(image_id=...), "result 1 names image None"),
    "boxes among masks": (result(segmentation=..., bbox=[0, 0, 5, 5]), "result 1 has no segmentation, but others"),
    "neither mask nor box": (boxed(None), "result 0: its bbox is not four numbers"),
    "a box of three": (boxed([1, 2, 3]), "result 0: its bbox is not four numbers"),
    "a box with NaN": (boxed([0, 0, NAN, 5]), "result 0: its bbox is not four numbers"),
    "a negative box": (boxed([0, 0, -5, 5]), "result 0: its bbox .* has a side of less than 0"),
}  # fmt: skip

TRUTH = {
    "cut off": (json.dumps(truth()).encode()[:-200], "not valid JSON"),
    "cut off early": (json.dumps(truth()).encode()[:60], "not valid JSON"),
    "a list": ([1], "no data set that apiece knows"),
    "no categories": ({"images": [], "annotations": []}, "no data set that apiece knows"),
    "annotations no list": (truth(annotations={}), "no COCO data set: the list 'annotations' is missing"),
    "an annotation that is a number": (truth(annotations=[5]), "entry 0 of 'annotations' is no object"),
    "negative height": (image(height=-10), "image 2 lacks a file_name, or height and width"),
    "height nothing": (image(height=0), "image 2 lacks a file_name, or height and width"),
    "height text": (image(height="10"), "image 2 lacks a file_name, or height and width"),
    "gigantic": (image(height=1 << 40), "image 2 lacks a file_name, or height and width"),
    "an image twice": (image(id=1), "two entries of 'images' have the id 1"),
    "an image without id": (image(id=None), "an entry of 'images' has no id"),
    "a name twice": (image(file_name="a.png"), "a.png and a.png have one name"),
    "a category twice": (truth(categories=[{"id": 1, "name": "x"}] * 2), "two entries of 'categories' have the id 1"),
    "no such category": (annotated(category_id=7), "annotation 2 names category 7, but 'categories' lists only 1"),
    "no such image": (annotated(image_id=9), "annotation 2 names image 9"),
    "two points": (annotated(segmentation=[[0, 0, 5, 5]]), "annotation 2: a polygon has 4 numbers"),
    "short run lengths": (
        annotated(segmentation={**SQUARE, "counts": [0, 50]}),
        "annotation 2: run lengths that do not",
    ),
    "no segmentation": (annotated(segmentation=[]), "annotation 2: it has no segmentation"),
    "a negative box": (annotated(bbox=[0, 0, -5, 5]), "annotation 2: its bbox .* has a side of less than 0"),
    "a negative area": (annotated(area=-1), "annotation 2: its area is less than 0: -1"),
    "area NaN": (annotated(area=NAN), "annotation 2: its area is no number"),
}


def one_sentence(status: int, message: str, file: Path, wanted: str) -> None:
    assert status == 1
    assert message.startswith(f"apiece: {file}: ") and message.endswith(".\n") and message.count("\n") == 1
    assert "fault in apiece" not in message
    assert re.search(wanted, message), message


@pytest.mark.parametrize("case", FOUND)
def test_what_is_wrong_with_findings_is_said_with_file_and_entry(capsys, tmp_path, case):
    content, wanted = FOUND[case]
    one_sentence(*said(capsys, tmp_path, content, truth()), tmp_path / "found.json", wanted)


@pytest.mark.parametrize("case", TRUTH)
def test_what_is_wrong_with_truth_is_said_with_file_and_entry(capsys, tmp_path, case):
    content, wanted = TRUTH[case]
    one_sentence(*said(capsys, tmp_path, result(), content), tmp_path / "truth.json", wanted)


def test_boxes_alone_are_scored_as_boxes_and_masks_are_not_there(capsys, tmp_path):
    metrics = "coco,matching,leaves,semantic,counts,errors,voc,cityscapes"
    main([
        "score", str(written(tmp_path / "found.json", boxed([0, 0, 5, 10]))),
        str(written(tmp_path / "truth.json", truth())), "--metrics", metrics, "--json", "-",
    ])  # fmt: skip
    figures = json.loads(capsys.readouterr().out)
    assert figures["coco"]["segm"] is None and figures["coco"]["bbox"]["AP"] == pytest.approx(51 / 101)
    assert figures["semantic"]["mean"] is None and figures["leaves"]["FgBgDice"] is None
    assert figures["matching"]["0.50"]["tp"] == 1
    status, message = said(capsys, tmp_path, boxed([0, 0, 5, 5]), truth(), "--metrics", "boundary")
    assert (status, message) == (1, "apiece: a: boundary figures need masks, but there are boxes only.\n")


def test_an_empty_list_is_nothing_found(capsys, tmp_path):
    files = [written(tmp_path / "found.json", []), written(tmp_path / "truth.json", truth())]
    assert main(["score", *map(str, files), "--json", "-"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["coco"]["segm"]["AP"] == 0 and figures["matching"]["0.50"]["fn"] == 2


def test_a_file_that_is_not_there_is_named(capsys, tmp_path):
    true = str(written(tmp_path / "truth.json", truth()))
    assert main(["score", str(tmp_path / "nowhere.json"), true]) == 1
    assert capsys.readouterr().err == f"apiece: {tmp_path / 'nowhere.json'}: there is no such file or folder.\n"


@pytest.mark.parametrize("harm", ["cut", "color", "size"])
def test_what_is_wrong_with_a_label_image_is_said_with_its_file(capsys, tmp_path, harm):
    for folder in ("set/images", "set/masks", "found"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(np.eye(40, dtype=np.uint8)).save(tmp_path / folder / "a.png")
    file = tmp_path / "found" / "a.png"
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:60])
    else:
        Image.fromarray(np.zeros((40, 40, 3) if harm == "color" else (40, 20), np.uint8)).save(file)
    wanted = {"cut": "a.png", "color": "a.png: 3 channels", "size": "a: .* 40 x 20 pixels, but the truth is of 40 x 40"}
    status = main(["score", str(tmp_path / "found"), str(tmp_path / "set")])
    message = capsys.readouterr().err
    assert status == 1 and message.count("\n") == 1 and "fault in apiece" not in message
    assert re.search(wanted[harm], message), message
