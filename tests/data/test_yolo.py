from pathlib import Path

import numpy as np
import pytest
import yaml

from apiece.data.formats import open_dataset, part_names, recognize
from apiece.data.images import write_image
from apiece.data.writing import entries
from apiece.data.yolo import open_yolo, write_yolo
from apiece.data.yolo import recognize as recognize_yolo
from apiece.errors import InputError

SQUARE = "0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"
"""The middle of an image: rows 1 and 2, columns 2 to 5 of 4 x 8 pixels."""


def picture(path):
    write_image(np.zeros((4, 8, 3), np.uint8), path)


def label(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make(folder, text=f"1 {SQUARE}\n", facts=None):
    picture(folder / "images/a.png")
    picture(folder / "images/b.png")
    label(folder / "labels/a.txt", text)
    if facts is not None:
        (folder / "data.yaml").write_text(yaml.safe_dump(facts))
    return folder


def middle():
    mask = np.zeros((4, 8), bool)
    mask[1:3, 2:6] = True
    return mask


# --- layouts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["date", "fig"], {0: "date", 1: "fig"}])
def test_a_data_yaml_names_classes_as_a_list_or_by_numbers(tmp_path, names):
    make(tmp_path, facts={"train": "images", "names": names})
    for path in (tmp_path, tmp_path / "data.yaml"):
        data = open_dataset(path)
        assert data.format == "yolo" and data.classes == ("date", "fig") and data.names == ("a", "b")
        assert data.truth(0).labels.tolist() == [1] and (data.truth(0).dense()[0] == middle()).all()
        assert len(data.truth(1)) == 0 and data.size(1) == (4, 8)


def test_a_class_may_be_called_no(tmp_path):
    make(tmp_path).joinpath("data.yaml").write_text("train: images\nnames: [yes, no, 1.0]\n")
    assert open_yolo(tmp_path).classes == ("yes", "no", "1.0")


@pytest.mark.parametrize(
    "train, where",
    [
        ("images/train", "images/train"),
        ("../train/images", "train/images"),
        (["images/train"], "images/train"),
    ],
)
def test_the_images_lie_where_the_data_yaml_says(tmp_path, train, where):
    picture(tmp_path / where / "x/a.png")
    label(tmp_path / where.replace("images", "labels") / "x/a.txt", f"0 {SQUARE}")
    (tmp_path / "set.yaml").write_text(yaml.safe_dump({"path": "/nowhere", "train": train, "val": "", "names": ["k"]}))
    data = open_dataset(tmp_path)
    assert data.names == ("x/a",) and len(data.truth(0)) == 1


def test_the_images_may_be_listed_in_a_file(tmp_path):
    picture(tmp_path / "images/val/a.png")
    label(tmp_path / "labels/val/a.txt", f"0 {SQUARE}")
    (tmp_path / "val.txt").write_text("images/val/a.png\n\n")
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"val": "val.txt", "names": ["k"]}))
    data = open_dataset(tmp_path)
    assert data.names == ("a",) and len(data.truth(0)) == 1
    (tmp_path / "val.txt").write_text("./images/val/a.png\nimages/val/c.png\n")
    with pytest.raises(InputError, match=r"val\.txt: line 2: the image images/val/c\.png is not there"):
        open_dataset(tmp_path)


def test_parts_are_those_whose_images_are_there(tmp_path):
    for part in ("train", "valid"):
        picture(tmp_path / part / "images/a.png")
        label(tmp_path / part / "labels/a.txt", f"0 {SQUARE}")
    facts = {"train": "../train/images", "val": "../valid/images", "test": "../test/images", "names": ["k"]}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(facts))
    assert part_names(tmp_path) == ["train", "val"]
    assert open_dataset(tmp_path, split="val").files[0] == tmp_path / "valid/images/a.png"
    with pytest.raises(InputError, match=r"parts train, val: there is no 'test'"):
        open_dataset(tmp_path, split="test")


def test_training_and_validation_in_one_folder_are_one_set(tmp_path):
    make(tmp_path, facts={"train": "images", "val": "images", "names": ["k", "l"]})
    assert part_names(tmp_path) == [] and len(open_dataset(tmp_path)) == 2


@pytest.mark.parametrize(
    "images, labels, split",
    [
        ("images", "labels", None),
        ("images/train", "labels/train", None),
        ("train/images", "train/labels", "train"),
        (".", ".", None),
    ],
)
def test_without_a_data_yaml_classes_have_numbers_or_are_listed(tmp_path, images, labels, split):
    picture(tmp_path / images / "a.png")
    picture(tmp_path / images / "b.png")
    label(tmp_path / labels / "a.txt", f"\n2.0 {SQUARE}\n0 {SQUARE}")
    data = open_dataset(tmp_path, split=split)
    assert data.format == "yolo" and data.classes == ("0", "1", "2") and data.names == ("a", "b")
    assert data.truth(0).labels.tolist() == [2, 0] and len(data.truth(1)) == 0
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    assert open_dataset(tmp_path).classes == ("x", "y", "z")


def test_what_is_no_outline_is_not_claimed(tmp_path):
    picture(tmp_path / "a.png")
    for text in ("a cat on a mat", "0 0.5 0.5 0.1 0.1", "1 2 3 4 5 6 7", ""):
        (tmp_path / "a.txt").write_text(text)
        assert recognize_yolo(tmp_path) is None
    (tmp_path / "args.yaml").write_text("train: 1\nlr: 2\n")
    assert recognize(tmp_path) == {} and recognize_yolo(tmp_path / "nowhere") is None


def test_label_images_and_yolo_keep_apart(tmp_path):
    make(tmp_path)
    assert recognize(tmp_path) == {"yolo": "YOLO label files *.txt in labels/"}
    write_image(np.zeros((4, 8, 1), np.uint8), tmp_path / "labels/a.png")
    with pytest.raises(InputError, match="more than one data set"):
        open_dataset(tmp_path)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, said",
    [
        ("0 0.1 0.1 0.2 0.2 0.3", r"a\.txt: line 2: 5 coordinates, but points are pairs"),
        ("0 0.5 0.5 0.2 0.2", "line 2: 4 coordinates are a box or two points"),
        ("0 0.1 0.1", "line 2: 2 coordinates, but an outline needs three points"),
        ("0", "line 2: 0 coordinates"),
        (f"2 {SQUARE}", "line 2: class 2, but there are only 2, numbered from 0"),
        (f"-1 {SQUARE}", "line 2: its class is '-1'"),
        (f"0.5 {SQUARE}", "line 2: its class is '0.5'"),
        (f"fig {SQUARE}", "line 2: its class is 'fig'"),
        (f"nan {SQUARE}", "line 2: its class is 'nan'"),
        ("0 0.1 0.1 1.2 0.1 0.2 0.2", r"line 2: the coordinate 1\.2 is not between 0 and 1"),
        ("0 0.1 -0.1 0.2 0.1 0.2 0.2", r"line 2: the coordinate -0\.1 is not between 0 and 1"),
        ("0 0.1 nan 0.2 0.1 0.2 0.2", "line 2: the coordinate nan is not between"),
        ("0 0.1 0,1 0.2 0.1 0.2 0.2", "line 2: a coordinate is no number"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, said):
    make(tmp_path, f"0 {SQUARE}\n{line}\n", {"train": "images", "names": ["date", "fig"]})
    with pytest.raises(InputError, match=said):
        open_yolo(tmp_path).truth(0)


def test_rounding_may_carry_a_point_a_hair_out_of_the_image(tmp_path):
    make(tmp_path, "0 0 0 1.0000001 0 1 1 -0.0000001 1", {"train": "images", "names": ["k"]})
    assert open_yolo(tmp_path).truth(0).mask_areas.tolist() == [32]


@pytest.mark.parametrize(
    "text, said",
    [
        ("names: [a\ntrain: images", "not valid YAML"),
        ("names: {0: a, 2: b}\ntrain: images", "number them from 0 without a gap"),
        ("names: \ntrain: images", "'names' should list the classes"),
        ("names: [[a]]\ntrain: images", "'names' should list the classes"),
        ("names: [a]\ntrain: nowhere", "the images of its train, val and test are not there"),
        ("names: [a]\ntrain: {a: b}", "'train' should name a folder or list"),
        ("names: [a]\ntrain: " + "[" * 5000, "not valid YAML"),
    ],
)
def test_a_broken_data_yaml_is_named(tmp_path, text, said):
    make(tmp_path).joinpath("data.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"data\.yaml: .*{said}"):
        open_yolo(tmp_path)


def test_a_data_yaml_that_blows_up_stays_small(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    make(tmp_path).joinpath("data.yaml").write_text("\n".join([*lines, "train: images", "names: *a29"]))
    with pytest.raises(InputError, match="'names' should list the classes"):
        open_yolo(tmp_path)


def test_labels_without_images_and_images_that_are_none_are_named(tmp_path):
    make(tmp_path, facts={"train": "images", "names": ["k", "l"]})
    (tmp_path / "images/b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"b\.png: the file is empty"):
        open_yolo(tmp_path).truth(1)
    label(tmp_path / "labels/c.txt", "")
    with pytest.raises(InputError, match=r"c\.txt: there is no image for this label file"):
        open_yolo(tmp_path)


def test_texts_beside_images_need_no_image(tmp_path):
    picture(tmp_path / "a.png")
    label(tmp_path / "a.txt", f"0 {SQUARE}")
    label(tmp_path / "README.txt", "drawn by hand")
    assert open_yolo(tmp_path).names == ("a",)
    label(tmp_path / "b.txt", f"0 {SQUARE}")
    with pytest.raises(InputError, match=r"b\.txt: there is no image"):
        open_yolo(tmp_path)


def test_nothing_there_says_so(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        open_yolo(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no YOLO set here: looked for YOLO data\.yaml"):
        open_yolo(tmp_path)


# --- writing ------------------------------------------------------------------------------------------------------


def test_the_written_set_is_what_ultralytics_reads(tmp_path):
    source = open_yolo(make(tmp_path / "a", facts={"train": "images", "names": ["date", "no"]}))
    write_yolo(entries(source), tmp_path / "b", source.classes)
    facts = yaml.safe_load((tmp_path / "b/data.yaml").read_text())
    assert facts == {"path": ".", "train": "images", "names": {0: "date", 1: "no"}}
    assert sorted(path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*.*")) == [
        Path(name) for name in ("data.yaml", "images/a.png", "images/b.png", "labels/a.txt", "labels/b.txt")
    ]
    assert (tmp_path / "b/labels/b.txt").read_text() == ""
    assert sorted((tmp_path / "b/labels/a.txt").read_text().split()) == sorted(f"1 {SQUARE}".split())
