import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from apiece.data.cityscapes import open_cityscapes, recognize, write_cityscapes
from apiece.data.cityscapes_labels import STANDARD, labels_for
from apiece.data.cityscapes_polygons import read_polygons
from apiece.data.formats import open_dataset, part_names
from apiece.data.label_images import read_label_map
from apiece.data.writing import entries
from apiece.errors import InputError
from apiece.instances import Instances

from .scenes import CLASSES, SCENES, anything, apart, entry, objects, painted, painting_losses

EIGHT = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
STEM = "bonn_000001_000019"


def put_ids(root, ids, split="val", city="bonn", stem=STEM, image=True):
    folder = root / "gtFine" / split / city
    folder.mkdir(parents=True, exist_ok=True)
    ids = np.asarray(ids, np.uint16)
    Image.fromarray(ids).save(folder / f"{stem}_gtFine_instanceIds.png")
    if image:
        put_image(root, ids.shape, split, city, stem)
    return root


def put_image(root, size, split="val", city="bonn", stem=STEM):
    folder = root / "leftImg8bit" / split / city
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 9, np.uint8)).save(folder / f"{stem}_leftImg8bit.png")


def put_polygons(root, *objects, size=(8, 8), stem=STEM):
    path = root / "gtFine" / "val" / "bonn" / f"{stem}_gtFine_polygons.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        one if isinstance(one, dict) else {"label": one[0], "polygon": [list(point) for point in one[1:]]}
        for one in objects
    ]
    path.write_text(json.dumps({"imgHeight": size[0], "imgWidth": size[1], "objects": entries}))
    return root


def square(x, y, side=2):
    return (x, y), (x + side, y), (x + side, y + side), (x, y + side)


# --- reading ------------------------------------------------------------------------------------------------------


def test_objects_groups_and_void_are_read(tmp_path):
    ids = [[26001, 26001, 24000, 24], [0, 3, 11, 24], [29001, 29, 11, 26]]
    data = open_cityscapes(put_ids(tmp_path, ids))
    assert data.classes == EIGHT and data.class_ids == (24, 25, 26, 27, 28, 31, 32, 33)
    assert data.names == (STEM,) and data.size(0) == (3, 4)
    truth = data[0].truth
    ids = np.array(ids)
    # Bare labels are groups; void are the labels that the evaluation ignores, but not objects of caravans.
    wanted = [ids == 24000, ids == 26001, ids == 24, ids == 26, np.isin(ids, [0, 3, 29])]
    assert truth.labels.tolist() == [0, 2, 0, 2, -1]
    assert truth.ignore.tolist() == [False, False, True, True, True]
    assert (truth.dense() == wanted).all()


def test_nothing_is_read_before_it_is_asked_for_and_all_can_be_pickled(tmp_path):
    put_ids(tmp_path, np.full((4, 4), 26000))
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"broken")
    data = pickle.loads(pickle.dumps(open_cityscapes(tmp_path)))
    with pytest.raises(InputError, match="_gtFine_instanceIds"):
        data.truth(0)


def test_an_image_of_nothing_is_one_of_no_objects(tmp_path):
    assert len(open_cityscapes(put_ids(tmp_path, np.full((4, 5), 11))).truth(0)) == 0


def test_names_carry_the_city_where_they_do_not_begin_with_it(tmp_path):
    for city, stem in [("bonn", "bonn_000000_000001"), ("images", "a"), ("x", "a"), ("x", "b")]:
        put_ids(tmp_path, [[11]], city=city, stem=stem)
    assert open_cityscapes(tmp_path).names == ("a", "bonn_000000_000001", "x/a", "x/b")
    put_ids(tmp_path, [[11]], city="images", stem="bonn_000000_000001")
    with pytest.raises(InputError, match="have one name"):
        open_cityscapes(tmp_path)


def test_parts_are_told_and_chosen(tmp_path):
    put_ids(tmp_path, [[11]], "train")
    assert part_names(tmp_path) == [] and open_dataset(tmp_path).format == "cityscapes"
    put_ids(tmp_path, [[26000]], "val")
    assert part_names(tmp_path) == ["train", "val"] and recognize(tmp_path) == "gtFine/ with train, val"
    with pytest.raises(InputError, match=r"the parts train, val: choose one \(--split train\)"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="there is no 'test'"):
        open_dataset(tmp_path, split="test")
    assert len(open_dataset(tmp_path, split="val").truth(0)) == 1


def test_truth_without_images_can_be_scored_but_has_no_images(tmp_path):
    data = open_cityscapes(put_ids(tmp_path, [[26000]], image=False))
    assert data.files == (None,) and len(data.truth(0)) == 1
    with pytest.raises(InputError, match="without their images"):
        data.image(0)


def test_images_and_annotations_belong_together(tmp_path):
    put_ids(tmp_path, [[11]])
    put_ids(tmp_path, [[11]], stem="bonn_000002_000019", image=False)
    with pytest.raises(InputError, match="bonn_000002_000019_gtFine_instanceIds.png: its image is missing"):
        open_cityscapes(tmp_path)
    put_image(tmp_path, (1, 1), stem="bonn_000002_000019")
    put_image(tmp_path, (1, 1), stem="bonn_000003_000019")
    with pytest.raises(InputError, match="bonn_000003_000019_leftImg8bit.png: this image has no annotation"):
        open_cityscapes(tmp_path)


def test_an_id_of_no_label_is_named(tmp_path):
    with pytest.raises(InputError, match="instanceIds.png: id 65003 is of label 65, .*labels.json"):
        open_cityscapes(put_ids(tmp_path, [[65003]])).truth(0)
    with pytest.raises(InputError, match="id 200 is of label 200"):
        open_cityscapes(put_ids(tmp_path, [[200]])).truth(0)


# --- polygons -----------------------------------------------------------------------------------------------------


def test_polygons_are_painted_in_their_order_outlines_included(tmp_path):
    put_polygons(
        tmp_path,
        ("road", *square(0, 0, 7)),
        ("car", *square(1, 1)),
        ("car", *square(2, 2)),
        ("persongroup", *square(5, 5)),
        ("license plate", *square(0, 0)),
        {"label": "whatever", "polygon": [], "deleted": 1},
    )
    data = open_cityscapes(tmp_path)
    truth = data.truth(0)
    first, second, group = np.zeros((3, 8, 8), bool)
    first[1:4, 1:4] = True
    second[2:5, 2:5] = True
    group[5:8, 5:8] = True
    assert truth.labels.tolist() == [2, 2, 0] and truth.ignore.tolist() == [False, False, True]
    assert (truth.dense() == [first & ~second, second, group]).all()
    assert data.size(0) == (8, 8)


def test_what_no_polygon_covers_is_void_and_instance_ids_come_first(tmp_path):
    put_polygons(tmp_path, ("car", *square(1, 1)))
    truth = open_cityscapes(tmp_path).truth(0)
    assert truth.labels.tolist() == [2, -1] and truth.areas.tolist() == [9, 55]
    put_ids(tmp_path, np.full((8, 8), 24000), image=False)
    assert open_cityscapes(tmp_path).truth(0).labels.tolist() == [0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("tree", *square(1, 1)), "object 1 is a 'tree', which is none of the labels unlabeled, .*labels.json"),
        (("car", (1, 1)), "object 1 has no polygon of two points"),
        (("car", (1, 1), ("a", 2)), "object 1 has no polygon"),
        (("car", (1, 1, 1), (2, 2)), "object 1 has no polygon"),
        (("car", (1, float("nan")), (2, 2)), "object 1 has no polygon"),
        ({"label": "car"}, "object 1 has no polygon"),
        ({"label": "car", "polygon": 3}, "object 1 has no polygon"),
    ],
)
def test_a_broken_polygon_is_named(tmp_path, wrong, said):
    put_polygons(tmp_path, ("car", *square(1, 1)), wrong)
    with pytest.raises(InputError, match=f"polygons.json: {said}"):
        open_cityscapes(tmp_path).truth(0)


def test_a_broken_file_of_polygons_is_named(tmp_path):
    put_polygons(tmp_path)
    file = next(tmp_path.rglob("*_polygons.json"))
    for text in ["[1]", '{"imgHeight": 3, "imgWidth": 0, "objects": []}', '{"imgHeight": 3, "imgWidth": 3}']:
        file.write_text(text)
        for read in (open_cityscapes(tmp_path).truth, open_cityscapes(tmp_path).size):
            with pytest.raises(InputError, match="polygons.json: no polygons of Cityscapes"):
                read(0)


def test_a_thousand_objects_of_a_label_are_the_most(tmp_path):
    put_polygons(tmp_path, *[("car", (1, 1), (2, 2))] * 1001)
    with pytest.raises(InputError, match="object 1000 is the 1,001st car"):
        open_cityscapes(tmp_path).truth(0)


# --- labels -------------------------------------------------------------------------------------------------------


def test_a_set_says_its_own_labels(tmp_path):
    put_ids(tmp_path, [[5001, 5002, 6], [7, 8001, 9]])
    names = [("date", 5, True, False), ("bin", 6, False, False), ("dirt", 7, False, True), ("fig", 8, True, False)]
    rows = [dict(zip(("name", "id", "hasInstances", "ignoreInEval"), row, strict=True)) for row in names]
    (tmp_path / "labels.json").write_text(json.dumps({"labels": [*rows, {"name": "nut", "id": 9}]}))
    data = open_cityscapes(tmp_path)
    assert data.classes == ("date", "fig", "nut") and data.class_ids == (5, 8, 9)
    truth = data.truth(0)
    assert truth.labels.tolist() == [0, 0, 1, 2, -1] and truth.ignore.tolist() == [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "no table of labels"),
        ('{"labels": [3]}', "label 0 is not understood"),
        ('{"labels": [{"name": "a", "id": 65}]}', "label 0 is not understood: .*at most 64"),
        ('{"labels": [{"name": "a", "id": 1}, {"name": "b", "id": 1}]}', "two labels have the name or id 1"),
        ('{"labels": [{"name": "a", "id": 1, "hasInstances": false}]}', "no label has instances .*there is no class"),
        ("{", "not valid JSON"),
    ],
)
def test_broken_labels_are_named(tmp_path, content, said):
    put_ids(tmp_path, [[11]])
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(InputError, match=f"labels.json: {said}"):
        open_cityscapes(tmp_path)


def test_classes_keep_the_labels_that_cityscapes_gives_them(tmp_path):
    assert labels_for(EIGHT, tmp_path) == STANDARD
    numbers = {label.name: label.number for label in labels_for(("fig", "car", "background", "date"), tmp_path)}
    assert numbers == {"unlabeled": 0, "other background": 65, "fig": 34, "car": 26, "background": 35, "date": 36}
    many = labels_for([str(number) for number in range(64)], tmp_path)
    assert sorted(label.number for label in many) == list(range(66))
    with pytest.raises(InputError, match="65 classes, but Cityscapes' ids have 16 bits and hold 64"):
        labels_for([str(number) for number in range(65)], tmp_path)


# --- writing ------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(scene=SCENES)
def test_what_the_format_holds_comes_back_to_the_last_pixel(tmp_path_factory, scene):
    truth, folder = apart(scene), tmp_path_factory.mktemp("written")
    assert write_cityscapes([entry("a", truth)], folder, CLASSES) == {}
    data = open_dataset(folder)
    assert (data.format, data.classes, data.names) == ("cityscapes", CLASSES, ("a",))
    back = data[0]
    assert objects(back.truth, data.classes) == objects(truth, CLASSES)
    assert (back.image == entry("a", truth).read_image()).all()


@settings(max_examples=40, deadline=None)
@given(scene=SCENES)
def test_what_the_format_does_not_hold_is_counted(tmp_path_factory, scene):
    truth, folder = anything(scene), tmp_path_factory.mktemp("written")
    lost = write_cityscapes([entry("a", truth)], folder, CLASSES)
    ignored = truth.labels[truth.ignore].tolist()
    merged = len(ignored) - len(set(ignored))
    assert lost == painting_losses(truth) | ({"merged ignored objects": merged} if merged else {})
    back, top = open_dataset(folder).truth(0), painted(truth)
    true = [i for i in range(len(truth)) if not truth.ignore[i] and (top == i).any()]
    assert sorted((top == i).tobytes() for i in true) == sorted(m.tobytes() for m in back[~back.ignore].dense())
    for label in range(-1, len(CLASSES)):
        wanted = np.isin(top, np.flatnonzero(truth.ignore & (truth.labels == label)))
        assert (back[back.ignore & (back.labels == label)].dense().any(0) == wanted).all()


@settings(max_examples=40, deadline=None)
@given(scene=SCENES)
def test_written_polygons_paint_the_written_labels(tmp_path_factory, scene):
    truth, folder = anything(scene), tmp_path_factory.mktemp("written")
    write_cityscapes([entry("a", truth)], folder, CLASSES)
    files = {file.name.rpartition("_")[2]: file for file in (folder / "gtFine/train/images").iterdir()}
    painted_ids = read_polygons(files["polygons.json"], labels_for(CLASSES, folder))
    labels, ids = (read_label_map(files[name]) for name in ("labelIds.png", "instanceIds.png"))
    assert (np.where(painted_ids < 1000, painted_ids, painted_ids // 1000) == labels).all()
    assert (np.where(ids < 1000, ids, ids // 1000) == labels).all()


def test_a_set_of_cityscapes_is_written_again_file_by_file(tmp_path):
    ids = np.array([[26001, 26002, 24000, 24], [0, 0, 11, 24]])
    source = put_ids(tmp_path / "a", ids)
    data = open_dataset(source)
    assert write_cityscapes(entries(data), tmp_path / "b", data.classes, split="val") == {}
    again = tmp_path / "b" / "gtFine" / "val" / "bonn" / f"{STEM}_gtFine_instanceIds.png"
    assert (read_label_map(again) == [[26000, 26001, 24000, 24], [0, 0, 11, 24]]).all()
    image = f"leftImg8bit/val/bonn/{STEM}_leftImg8bit.png"
    assert (tmp_path / "b" / image).read_bytes() == (source / image).read_bytes()
    assert not (tmp_path / "b" / "labels.json").exists() and open_dataset(tmp_path / "b").names == (STEM,)


def test_images_can_be_links(tmp_path):
    data = open_dataset(put_ids(tmp_path / "a", [[26000]]))
    write_cityscapes(entries(data), tmp_path / "b", data.classes, link=True)
    image = next((tmp_path / "b").rglob("*_leftImg8bit.png"))
    assert image.is_symlink() and open_dataset(tmp_path / "b")[0].image.shape == (1, 1, 3)


def test_several_parts_are_written_into_one_folder(tmp_path):
    for part in ("train", "val"):
        write_cityscapes([entry("a", Instances.from_label_map(np.array([[1, 0]])))], tmp_path, ["nut"], split=part)
    assert part_names(tmp_path) == ["train", "val"] and open_dataset(tmp_path, split="val").classes == ("nut",)


def test_objects_beyond_a_thousand_of_a_class_are_a_group(tmp_path):
    truth = Instances.from_label_map(np.arange(1, 1003, dtype=np.uint16).reshape(2, 501))
    assert write_cityscapes([entry("a", truth)], tmp_path, ["nut"]) == {"objects beyond 1000 of a class": 2}
    back = open_dataset(tmp_path).truth(0)
    assert len(back) == 1001 and back.areas[back.ignore].tolist() == [2] and back.labels.tolist() == [0] * 1001


def test_scores_and_columns_are_counted_as_lost(tmp_path):
    truth = Instances.from_label_map(np.array([[1, 2]]), scores=[0.5, 0.6], columns={"id": [3, 4], "depth": [1, 2]})
    assert write_cityscapes([entry("a", truth)], tmp_path, ["nut"]) == {"scores": 2, "values of depth": 2}


def test_what_cannot_be_written_is_said(tmp_path):
    nothing = Instances.empty((2, 2))
    with pytest.raises(InputError, match="two images of the name x/a_b"):
        write_cityscapes([entry("x/a/b", nothing), entry("x/a_b", nothing)], tmp_path / "a", ["nut"])
    boxes = Instances.from_boxes([[0, 0, 1, 1]], (2, 2))
    with pytest.raises(InputError, match="the objects of a are boxes without masks"):
        write_cityscapes([entry("a", boxes)], tmp_path / "b", ["nut"])
    unknown = Instances.from_label_map(np.array([[1]]), [-1])
    with pytest.raises(InputError, match="a has an object without a class that is not ignored"):
        write_cityscapes([entry("a", unknown)], tmp_path / "c", ["nut"])


# --- distance -----------------------------------------------------------------------------------------------------


def test_distances_come_from_disparity_and_camera(tmp_path):
    put_ids(tmp_path, [[26000, 26000, 26000, 26001, 26001], [26002, 11, 11, 11, 11]])
    # Of disparities 2, 4 and 9 the median is 4; half of the second's pixels are not measured, none of the third's.
    values = [[2 * 256 + 1, 9 * 256 + 1, 4 * 256 + 1, 0, 512], [0, 7, 7, 7, 7]]
    for kind in ("disparity", "camera"):
        (tmp_path / kind / "val" / "bonn").mkdir(parents=True)
    Image.fromarray(np.array(values, np.uint16)).save(tmp_path / "disparity/val/bonn" / f"{STEM}_disparity.png")
    camera = tmp_path / "camera/val/bonn" / f"{STEM}_camera.json"
    camera.write_text(json.dumps({"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0}}))
    truth = open_cityscapes(tmp_path).truth(0)
    assert truth.columns["distance"].tolist() == [0.2 * 2000 / 4, np.inf, np.inf]
    camera.write_text("{}")
    with pytest.raises(InputError, match="camera.json: no camera of Cityscapes"):
        open_cityscapes(tmp_path).truth(0)


# --- the real thing -----------------------------------------------------------------------------------------------


def test_the_street_is_read_and_written_again(shared_data, tmp_path):
    data = open_dataset(shared_data / "street", split="val")
    assert (len(data), data.classes) == (10, EIGHT)
    assert sum(int((~data.truth(index).ignore).sum()) for index in range(10)) == 103
    few = data.subset([0, 3])
    assert write_cityscapes(entries(few), tmp_path, few.classes, split="val") == {}
    again = open_dataset(tmp_path)
    assert again.names == few.names
    for index in range(2):
        assert again.truth(index).equals(few.truth(index))
    for file in (tmp_path / "gtFine").rglob("*Ids.png"):
        assert (read_label_map(file) == read_label_map(shared_data / "street" / file.relative_to(tmp_path))).all()
