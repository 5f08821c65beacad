import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from apiece.data.formats import open_dataset
from apiece.data.images import write_image
from apiece.data.labelme import open_labelme, recognize, write_labelme
from apiece.data.writing import Entry, entries
from apiece.errors import InputError
from apiece.instances import Instances

SQUARE = [[2, 1], [6, 1], [6, 3], [2, 3]]
"""Rows 1 and 2, columns 2 to 5."""


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shape(kind="polygon", points=SQUARE, label="fig", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def make(folder, *shapes, name="a", image=True, **more):
    folder.mkdir(parents=True, exist_ok=True)
    if image:
        write_image(np.full((5, 8, 3), 7, np.uint8), folder / f"{name}.png")
    content = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": f"{name}.png", "imageData": None}
    (folder / f"{name}.json").write_text(json.dumps({**content, "imageHeight": 5, "imageWidth": 8, **more}))
    return folder


def drawn(*places, size=(5, 8)):
    mask = np.zeros(size, bool)
    for rows, columns in places:
        mask[rows, columns] = True
    return mask


# --- shapes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one, mask",
    [
        (shape(), drawn((slice(1, 3), slice(2, 6)))),
        (shape(None), drawn((slice(1, 3), slice(2, 6)))),
        (shape("rectangle", [[6, 3], [2, 1]]), drawn((slice(1, 3), slice(2, 6)))),
        (shape("rectangle", SQUARE), drawn((slice(1, 3), slice(2, 6)))),
        (shape("circle", [[4, 2], [4, 3]]), drawn((slice(1, 3), slice(3, 5)))),
        (
            shape("mask", [[2.0, 1.0], [4.0, 2.0]], mask=encoded(np.array([[1, 0, 1], [1, 1, 1]], bool))),
            drawn((1, [2, 4]), (2, slice(2, 5))),
        ),
        (
            shape("mask", [[2, 1], [4, 2]], mask=encoded(np.array([[9, 0, 255], [1, 1, 1]], np.uint8))),
            drawn((1, [2, 4]), (2, slice(2, 5))),
        ),
    ],
)
def test_each_kind_of_shape_is_drawn(tmp_path, one, mask):
    data = open_labelme(make(tmp_path, one))
    assert (data.truth(0).dense() == mask[None]).all()
    assert (data[0].image == 7).all() and data.size(0) == (5, 8)


def test_a_group_is_one_object_for_each_label(tmp_path):
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    shapes = [shape(group_id=0), shape("rectangle", [[0, 0], [1, 1]], group_id=0), shape(points=square, group_id=1)]
    data = open_labelme(make(tmp_path, *shapes, shape(points=square, group_id=0, label="date"), shape(), shape()))
    assert data.classes == ("date", "fig")
    assert data.truth(0).labels.tolist() == [1, 1, 0, 1, 1]
    assert data.truth(0).mask_areas.tolist() == [9, 1, 1, 8, 8]
    assert len(data.outlines(0)[0]) == 2


def test_ignored_objects_and_scores(tmp_path):
    make(tmp_path, shape(flags={"ignore": True}, score=0.5), shape(label="__ignore__", score=1), shape(score=0.25))
    data = open_labelme(tmp_path)
    assert data.classes == ("fig",) and data.truth(0).labels.tolist() == [0, -1, 0]
    assert data.truth(0).ignore.tolist() == [True, True, False] and data.truth(0).scores.tolist() == [0.5, 1, 0.25]
    make(tmp_path, shape(score=0.5), shape(score=None))
    assert open_labelme(tmp_path).truth(0).scores is None


# --- files --------------------------------------------------------------------------------------------------------


def test_labels_txt_names_the_classes_and_their_order(tmp_path):
    make(tmp_path, shape())
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nfig\n\ndate\n")
    data = open_labelme(tmp_path)
    assert data.classes == ("fig", "date")
    make(tmp_path, shape(), shape(label="plum"))
    with pytest.raises(InputError, match=r"a\.json: shape 2: its label 'plum' is not among those of labels\.txt"):
        open_labelme(tmp_path)


def test_without_labels_txt_the_classes_of_all_parts_count(tmp_path):
    make(tmp_path / "train", shape(label="fig"), name="a")
    make(tmp_path / "val", shape(label="date"), name="b")
    train, val = (open_labelme(tmp_path, part) for part in ("train", "val"))
    assert train.classes == val.classes == ("date", "fig")
    assert train.truth(0).labels.tolist() == [1] and val.truth(0).labels.tolist() == [0]


def test_folders_within_folders_name_the_images(tmp_path):
    make(tmp_path / "x", shape())
    make(tmp_path / "y/z", shape())
    assert open_labelme(tmp_path).names == ("x/a", "y/z/a")
    assert open_labelme(tmp_path / "x/a.json").names == ("a",)


@pytest.mark.parametrize(
    "said", ["..\\images\\a.png", "../images/a.png", "C:\\photos\\a.png", "/photos/b.png", "", None, 3]
)
def test_the_image_is_found_where_it_is_said_or_by_its_name(tmp_path, said):
    make(tmp_path / "annotations", shape(), image=False, imagePath=said)
    write_image(np.zeros((5, 8, 1), np.uint8), tmp_path / "images/a.png")
    data = open_dataset(tmp_path)
    assert data.names == ("a",) and data.files[0].resolve() == tmp_path / "images/a.png"


def test_an_image_may_lie_in_the_json_and_say_the_size(tmp_path):
    pixels = np.arange(40, dtype=np.uint8).reshape(5, 8)
    make(tmp_path, shape(), image=False, imageData=encoded(pixels), imageHeight=None)
    data = open_labelme(tmp_path)
    assert data.files == (None,) and data.size(0) == (5, 8) and (data[0].image[:, :, 0] == pixels).all()
    assert data.truth(0).mask_areas.tolist() == [8]
    assert write_labelme(entries(data), tmp_path / "out", data.classes) == {}
    assert (open_labelme(tmp_path / "out")[0].image[:, :, 0] == pixels).all()


def test_an_image_without_json_is_not_annotated_yet(tmp_path):
    make(tmp_path, shape())
    write_image(np.zeros((5, 8, 1), np.uint8), tmp_path / "b.png")
    assert open_labelme(tmp_path).names == ("a",)


def test_other_json_is_not_claimed(tmp_path):
    (tmp_path / "x.json").write_text('{"shapes": []}')
    assert recognize(tmp_path) is None and recognize(tmp_path / "x.json") is None
    make(tmp_path, shape())
    assert recognize(tmp_path) == "LabelMe JSON (a.json)" and open_labelme(tmp_path).names == ("a",)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one, said",
    [
        (shape(points=SQUARE[:2]), "2 points outline nothing: a polygon needs three or more"),
        (shape(points=[[1, 1], [2, 2], [3]]), "not a list of pairs of numbers"),
        (shape(points=[[1, 1], [2, 2], [3, float("nan")]]), "not a list of pairs of numbers"),
        (shape(points=[[1, 1], [2, 2], [3, "4"]]), "not a list of pairs of numbers"),
        (shape(points=[[1, 1], [2, 2], [3, 10**400]]), "not a list of pairs of numbers"),
        (shape(points=[[1, 1], [2, 2], [3, 4e6]]), r"a point lies far outside the image, at 4e\+06"),
        (shape(points=None), "not a list of pairs of numbers"),
        (shape("rectangle", SQUARE[:3]), "a rectangle needs two points"),
        (shape("circle", [[2, 2], [2, 2]]), "its radius is zero"),
        (shape("point", [[2, 2]]), "a 'point' outlines no object: apiece reads polygon"),
        (shape("blob"), "a 'blob' outlines no object"),
        (shape(7), "a '7' outlines no object"),
        (shape(group_id=[1]), "its group_id is no number"),
        (shape("mask", [[2, 1], [4, 2]]), "its mask is no PNG image in base64"),
        (shape("mask", [[2, 1], [4, 2]], mask="????"), "its mask is no PNG image in base64"),
        (shape("mask", [[7, 1], [8, 2]], mask=encoded(np.ones((2, 2), bool))), "its mask reaches out of the image"),
    ],
)
def test_a_broken_shape_is_named(tmp_path, one, said):
    data = open_labelme(make(tmp_path, shape(), one))
    with pytest.raises(InputError, match=rf"a\.json: shape 2: .*{said}"):
        data.truth(0)


def test_broken_files_are_named(tmp_path):
    make(tmp_path, {"points": SQUARE})
    with pytest.raises(InputError, match=r"a\.json: shape 1 has no label"):
        open_labelme(tmp_path)
    make(tmp_path, shape(), name="b")
    for text in ('{"shapes": [', "", '{"version": "5'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
            open_labelme(tmp_path)
    (tmp_path / "a.json").write_text('{"imagePath": 1, "shapes": 2}')
    with pytest.raises(InputError, match=r"a\.json: no LabelMe file: the list 'shapes' is missing"):
        open_labelme(tmp_path)


def test_a_missing_image_is_named(tmp_path):
    make(tmp_path, shape(), image=False)
    with pytest.raises(InputError, match=r"a\.json: its image a\.png is not there"):
        open_labelme(tmp_path)
    make(tmp_path, shape(), image=False, imageData="AAAA")
    with pytest.raises(InputError, match=r"a\.json: its imageData: this is"):
        open_labelme(tmp_path).image(0)


def test_two_files_of_one_name_are_refused(tmp_path):
    make(tmp_path / "train", shape())
    make(tmp_path / "train/annotations", shape())
    with pytest.raises(InputError, match="have one name"):
        open_labelme(tmp_path)


# --- writing ------------------------------------------------------------------------------------------------------


def test_objects_of_one_part_are_polygons_parts_a_group_and_holes_a_mask(tmp_path):
    ring, parts, whole = drawn((slice(0, 5), slice(0, 5))), drawn((0, 0), (4, 7)), drawn((slice(1, 3), slice(2, 6)))
    ring[2, 2] = False
    truth = Instances.from_dense(np.stack([whole, parts, ring]))
    write_labelme([Entry("a", None, lambda: np.zeros((5, 8, 1), np.uint8), truth)], tmp_path, ["fig"])
    content = json.loads((tmp_path / "a.json").read_text())
    assert [(one["shape_type"], one["group_id"]) for one in content["shapes"]] == [
        ("polygon", None),
        ("polygon", 2),
        ("polygon", 2),
        ("mask", None),
    ]
    assert content["imagePath"] == "a.png" and (content["imageHeight"], content["imageWidth"]) == (5, 8)
    assert content["shapes"][3]["points"] == [[0, 0], [4, 4]]
    assert (tmp_path / "labels.txt").read_text() == "__ignore__\nfig\n"


@pytest.mark.parametrize("name", ["", " fig", "a\nb", "__ignore__", "_background_"])
def test_a_class_that_labels_txt_cannot_hold_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot be a line of labels\.txt"):
        write_labelme([], tmp_path, [name])
