"""`apiece recommend` as its user meets it: what is printed where, and the exit status."""

import json
import shutil

import pytest

from apiece.cli import main
from apiece.conversion import convert
from apiece.data.generated import crossing_sticks


@pytest.fixture(scope="module")
def sticks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "sticks"
    convert(crossing_sticks(3, seed=1), folder, "coco", quiet=True)
    return folder


@pytest.fixture
def call(capsys):
    def run(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


FEW = ("--methods", "SpatialEmbedding,Discriminative", "--quiet")


def test_the_table_ends_with_the_commands_to_run(call, sticks, tmp_path):
    page, file = tmp_path / "page.html", tmp_path / "figures.json"
    status, out, _ = call("recommend", sticks, *FEW, "--html", page, "--json", file)
    assert status == 0 and out.rstrip().splitlines()[-1].startswith(f"apiece compare {sticks}")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert json.loads(file.read_text())["recommended"] == "Discriminative"


def test_json_on_standard_output_is_alone_there(call, sticks):
    status, out, _ = call("recommend", sticks, *FEW, "--format", "coco", "--json", "-")
    figures = json.loads(out)
    assert status == 0 and figures["bounds"]["Discriminative"]["AP"] == 1
    assert "--format coco" in figures["commands"][0]


def test_commands_leave_out_bad_images_as_the_recommendation_did(call, sticks, tmp_path):
    shutil.copytree(sticks, tmp_path / "bad")
    next((tmp_path / "bad/images").iterdir()).write_bytes(b"no image")
    status, out, _ = call("recommend", tmp_path / "bad", *FEW, "--skip-bad", "--json", "-")
    commands = json.loads(out)["commands"]
    assert status == 0 and len(commands) == 2
    assert all(f"{tmp_path / 'bad'} --skip-bad --method" in command for command in commands)


def test_an_unknown_method_ends_with_2(call, sticks):
    status, out, err = call("recommend", sticks, "--methods", "Nothing")
    assert (status, out) == (2, "") and "there is no method 'Nothing'" in err
