"""`apiece check` and `apiece convert` as their user meets them: what is printed where, and the exit status."""

import json
import shutil

import pytest
from PIL import Image

from apiece.cli import main
from apiece.conversion import convert
from apiece.data.formats import open_dataset
from apiece.data.generated import crossing_sticks


@pytest.fixture
def clean(tmp_path):
    convert(crossing_sticks(4, seed=1), tmp_path / "clean", "coco", quiet=True)
    return tmp_path / "clean"


@pytest.fixture
def faulty(tmp_path, clean):
    """An unreadable image, an object twice, and an unknown category."""
    folder = tmp_path / "faulty"
    shutil.copytree(clean, folder)
    sorted((folder / "images").iterdir())[2].write_text("nothing")
    content = json.loads((folder / "annotations.json").read_text())
    first = content["annotations"][0]
    content["annotations"] += [first | {"id": 900}, first | {"id": 901, "category_id": 5}]
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def call(capsys):
    def run(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


def test_check_of_a_clean_set_ends_with_0(call, clean):
    status, out, err = call("check", clean, "--minimum", 1, "--quiet")
    assert (status, err) == (0, "") and out == "4 images, 12 objects: no faults\n"


def test_notes_are_said_but_are_no_faults(call, clean):
    status, out, _ = call("check", clean, "--minimum", 100, "--stride", 1)
    assert status == 0 and "rare class" in out and out.endswith("0 faults, 1 notes\n")


def test_check_of_a_faulty_set_ends_with_3_and_names_each_fault(call, faulty, tmp_path):
    html, file = tmp_path / "page.html", tmp_path / "found.json"
    status, out, _ = call("check", faulty, "--minimum", 1, "--html", html, "--json", file, "--quiet")
    assert status == 3 and out.endswith("3 faults, 0 notes\n")
    for words in ("annotation 900", "annotation 901", "category 5", "not an image"):
        assert words in " ".join(out.split())
    assert json.loads(file.read_text())["faults"] == 3 and "unreadable image" in html.read_text()


def test_json_on_standard_output_is_all_there_is(call, faulty):
    status, out, _ = call("check", faulty, "--json", "-")
    found = json.loads(out)
    assert status == 3 and found["by_kind"]["same object twice"] == 1
    assert {"fault", "severity", "words", "data", "image", "file", "entry", "box"} == found["findings"][0].keys()


def test_fix_writes_a_repaired_copy_that_is_clean_and_says_what_it_did(call, faulty, tmp_path):
    status, out, _ = call("check", faulty, "--minimum", 1, "--fix", "--out", tmp_path / "fixed", "--quiet")
    assert status == 3 and "same object twice: 1: left out" in out and "unknown category: 1: left out" in out
    status, out, _ = call("check", tmp_path / "fixed", "--minimum", 1, "--quiet")
    assert (status, out) == (0, "3 images, 9 objects: no faults\n")
    status, _, err = call("check", faulty, "--fix", "--out", faulty)
    assert status == 1 and "holds the data itself" in err


def test_fix_and_out_go_together(call, clean, tmp_path):
    for words in (["--fix"], ["--out", tmp_path / "x"]):
        status, out, err = call("check", clean, *words)
        assert (status, out) == (2, "") and "--fix and --out go together" in err


def test_check_takes_other_sets(call, clean, tmp_path):
    other = tmp_path / "other"
    convert(crossing_sticks(2, seed=9), other, "label-images", quiet=True)
    assert call("check", clean, other, "--minimum", 1)[0] == 0
    twin = sorted((clean / "images").iterdir())[1]
    Image.open(twin).save(sorted((other / "images").iterdir())[0])
    status, out, _ = call("check", clean, other, "--minimum", 1)
    assert status == 3 and "image in two sets" in out and twin.name in out


def test_check_without_a_set_says_so_in_a_sentence(call, tmp_path):
    status, out, err = call("check", tmp_path / "nowhere")
    assert (status, out) == (1, "") and err.count("\n") == 1 and "no such file or folder" in err


def test_convert_says_what_was_written_and_what_was_lost(call, clean, tmp_path):
    status, out, err = call("convert", clean, "--to", "yolo", "--out", tmp_path / "yolo", "--quiet")
    assert status == 0 and json.loads(out)["images"] == 4 and len(open_dataset(tmp_path / "yolo")) == 4
    content = json.loads((clean / "annotations.json").read_text())
    content["annotations"].append(content["annotations"][0] | {"id": 900})
    (clean / "annotations.json").write_text(json.dumps(content))
    status, out, err = call("convert", clean, "--to", "label-images", "--out", tmp_path / "labels", "--quiet")
    assert status == 0 and json.loads(out)["lost"] == {"covered objects": 1} and "lost: 1 covered objects" in err
    strict = call("convert", clean, "--to", "label-images", "--out", tmp_path / "strict", "--strict", "--quiet")
    assert strict[:2] == (1, "") and "would be lost" in strict[2] and not (tmp_path / "strict").exists()


def test_convert_refuses_what_it_does_not_know(call, clean, tmp_path):
    status, out, err = call("convert", clean, "--to", "nothing", "--out", tmp_path / "x")
    assert (status, out) == (2, "") and "choose from" in err
    assert call("convert", clean, "--to", "coco")[0] == 2
