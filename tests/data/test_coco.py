import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from apiece.data.coco import open_coco, write_coco
from apiece.data.coco_entries import corner_boxes, source_box
from apiece.data.coco_results import open_coco_results, write_coco_results
from apiece.errors import InputError
from apiece.instances import Instances

SQUARE = [[2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]]


def annotation(number=1, **fields):
    known = {
        "image_id": 10,
        "category_id": 3,
        "segmentation": SQUARE,
        "area": 16.25,
        "bbox": [2, 1, 4, 4.5],
        "iscrowd": 0,
    }
    return {"id": number, **known, **fields}


def content(*annotations, **fields):
    return {
        "images": [
            {"id": 10, "file_name": "a.jpg", "height": 8, "width": 9},
            {"id": 7, "file_name": "b.jpg", "height": 3, "width": 4},
        ],
        "annotations": list(annotations),
        "categories": [{"id": 9, "name": "fig"}, {"id": 3, "name": "date"}],
        **fields,
    }


def put(path, what):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what))
    return path


def put_image(path, size=(8, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 77, np.uint8)).save(path)


def objects(count=3, size=(8, 9), seed=0, **fields):
    stack = np.random.default_rng(seed).random((count, *size)) < 0.4
    return Instances.from_dense(stack, np.arange(count) % 2, **fields)


# --- reading ------------------------------------------------------------------------------------------------------


def test_classes_are_in_the_order_of_their_ids_and_every_id_is_kept(tmp_path):
    data = open_coco(put(tmp_path / "x.json", content(annotation(5), annotation(4, category_id=9))))
    assert data.classes == ("date", "fig") and data.class_ids == (3, 9)
    assert data.names == ("a", "b") and data.image_ids == (10, 7)
    truth = data.truth(0)
    assert truth.labels.tolist() == [0, 1] and truth.columns["id"].tolist() == [5, 4]
    assert truth.boxes.tolist() == [[2, 1, 6, 5.5]] * 2 and truth.areas.tolist() == [16.25] * 2
    assert truth.mask_areas.tolist() == [16, 16]
    assert len(data.truth(1)) == 0 and data.truth(1).size == data.size(1) == (3, 4)


def test_subsets_keep_the_ids_of_their_images(tmp_path):
    data = open_coco(put(tmp_path / "x.json", content(annotation())))
    assert data.subset([1]).image_ids == (7,)
    assert data.subset([1, 0]).subset([1]).image_ids == (10,)
    assert data.subset([1]).size(0) == (3, 4)


def test_polygons_and_both_kinds_of_run_lengths_are_the_same_mask(tmp_path):
    mask = np.zeros((8, 9), bool)
    mask[1:5, 2:6] = True
    (packed,) = Instances.from_dense(mask[None]).rle()
    runs = [17, 4, 4, 4, 4, 4, 4, 4, 27]
    forms = [SQUARE, packed, {"size": [8, 9], "counts": runs}]
    entries = [annotation(number, segmentation=form) for number, form in enumerate(forms, start=1)]
    truth = open_coco(put(tmp_path / "x.json", content(*entries))).truth(0)
    assert (truth.dense() == mask).all()


def test_a_crowd_is_ignored(tmp_path):
    crowd = annotation(2, iscrowd=1, segmentation={"size": [8, 9], "counts": [0, 72]})
    truth = open_coco(put(tmp_path / "x.json", content(annotation(), crowd))).truth(0)
    assert truth.ignore.tolist() == [False, True] and truth.mask_areas.tolist() == [16, 72]


def test_without_boxes_and_areas_the_masks_own_are_used(tmp_path):
    entry = {key: value for key, value in annotation().items() if key not in ("area", "bbox")}
    truth = open_coco(put(tmp_path / "x.json", content(entry))).truth(0)
    assert truth.boxes.tolist() == [[2, 1, 6, 5]] and truth.areas.tolist() == [16]


def test_without_any_segmentation_the_set_is_boxes(tmp_path):
    truth = open_coco(put(tmp_path / "x.json", content(annotation(segmentation=[]))))
    assert not truth.truth(0).has_masks and not truth.truth(1).has_masks
    assert truth.truth(0).boxes.tolist() == [[2, 1, 6, 5.5]]


def test_boxes_only_draws_no_mask_where_boxes_and_areas_are_given(tmp_path):
    broken = annotation(1, segmentation=[[1, 2, 3]])
    data = open_coco(put(tmp_path / "x.json", content(broken, annotation(2, area=3.5, iscrowd=1)))).boxes_only()
    with pytest.raises(InputError, match="a polygon has 3 numbers"):
        open_coco(tmp_path / "x.json").truth(0)
    truth = data.subset([1, 0]).truth(1)
    assert not truth.has_masks and truth.boxes.tolist() == [[2, 1, 6, 5.5]] * 2
    assert truth.areas.tolist() == [16.25, 3.5] and truth.ignore.tolist() == [False, True]
    assert truth.columns["id"].tolist() == [1, 2] and len(data.truth(1)) == 0


@pytest.mark.parametrize("key", ["area", "bbox"])
def test_boxes_only_draws_the_masks_of_an_image_that_lacks_a_box_or_area(tmp_path, key):
    lacking = {name: value for name, value in annotation(2).items() if name != key}
    others = annotation(3, image_id=7, segmentation=[[1, 0, 3, 0, 3, 2, 1, 2]], bbox=[1, 0, 2, 2], area=4)
    data = open_coco(put(tmp_path / "x.json", content(annotation(1), lacking, others)))
    whole, bare = (list(one.truths([0, 1])) for one in (data, data.boxes_only()))
    assert bare[0].equals(whole[0]) and not bare[1].has_masks
    assert bare[0].areas.tolist() == [16, 16] if key == "area" else bare[0].boxes.tolist() == [[2, 1, 6, 5]] * 2


def test_results_that_have_boxes_beside_their_masks_are_boxes_only_and_others_stay(tmp_path):
    truth = open_coco(put(tmp_path / "x.json", content(annotation())))
    entry = {"image_id": 10, "category_id": 3, "segmentation": SQUARE, "score": 0.5, "area": 99}
    boxed = open_coco_results(put(tmp_path / "boxed.json", [{**entry, "bbox": [0, 0, 3, 4]}]), truth).boxes_only()
    assert not boxed.truth(0).has_masks and boxed.truth(0).areas.tolist() == [12]
    drawn = open_coco_results(put(tmp_path / "drawn.json", [entry]), truth)
    assert drawn.boxes_only() is drawn and drawn.truth(0).boxes.tolist() == [[2, 1, 6, 5]]


@pytest.mark.parametrize(
    "json_path, image_path, split",
    [
        ("x.json", "a.jpg", None),
        ("x.json", "images/a.jpg", None),
        ("instances_val.json", "val/a.jpg", None),
        ("annotations/instances_val2017.json", "val2017/a.jpg", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017/a.jpg", "val2017"),
        ("annotations/x.json", "images/a.jpg", None),
        ("train/_annotations.coco.json", "train/a.jpg", "train"),
    ],
)
def test_images_are_found_near_the_json_file(tmp_path, json_path, image_path, split):
    put(tmp_path / json_path, content(annotation()))
    put_image(tmp_path / image_path)
    data = open_coco(tmp_path, split)
    assert data.files[0] == tmp_path / image_path
    assert data[0].image.shape == (8, 9, 3)


def test_images_that_are_nowhere_are_missed_only_when_one_is_wanted(tmp_path):
    data = open_coco(put(tmp_path / "x.json", content(annotation())))
    assert data.files == (None, None) and len(data.truth(0)) == 1
    with pytest.raises(InputError, match=r"x\.json: its images were not found"):
        data.image(0)


def test_one_image_that_is_missing_is_named(tmp_path):
    put_image(tmp_path / "a.jpg")
    data = open_coco(put(tmp_path / "x.json", content(annotation())))
    with pytest.raises(InputError, match=r"b\.jpg: there is no such file"):
        data.image(1)


def test_names_never_lead_out_of_a_folder(tmp_path):
    images = [
        {"id": number, "file_name": name, "height": 8, "width": 9}
        for number, name in enumerate(["../../a.jpg", "/etc/b.png", "C:\\photos\\c.tif", "d.v2", "e/f.g.png"])
    ]
    data = open_coco(put(tmp_path / "x.json", content(images=images)))
    assert data.names == ("a", "etc/b", "photos/c", "d.v2", "e/f.g")


def test_two_images_of_one_name_are_an_input_error(tmp_path):
    images = [{"id": n, "file_name": name, "height": 8, "width": 9} for n, name in enumerate(["a.jpg", "a.png"])]
    with pytest.raises(InputError, match=r"a\.jpg and a\.png have one name"):
        open_coco(put(tmp_path / "x.json", content(images=images)))


def test_parts_are_chosen_by_name(tmp_path):
    for part in ["train2017", "val2017"]:
        put(tmp_path / f"annotations/instances_{part}.json", content(annotation()))
        put(tmp_path / f"annotations/captions_{part}.json", content(annotation()))
    assert len(open_coco(tmp_path, "val2017")) == 2
    with pytest.raises(InputError, match="the parts train2017, val2017: choose one"):
        open_coco(tmp_path)
    with pytest.raises(InputError, match="there is no 'test'"):
        open_coco(tmp_path, "test")
    with pytest.raises(InputError, match="give the folder"):
        open_coco(tmp_path / "annotations/instances_val2017.json", "train2017")


RUNS = {"size": [8, 9], "counts": [72]}


@pytest.mark.parametrize(
    "entry, said",
    [
        (annotation(44, category_id=5), "annotation 44 names category 5, but 'categories' lists only 3, 9"),
        (annotation(44, category_id=[3]), "annotation 44 names category"),
        (annotation(44, image_id=99), "annotation 44 names image 99"),
        (annotation(44, image_id=None), "annotation 44 names image None"),
        (annotation(44, segmentation=[[1, 2, 3, 4, 5]]), "annotation 44: a polygon has 5 numbers"),
        (annotation(44, segmentation=[[1, 2, 3, 4]]), "annotation 44: a polygon has 4 numbers"),
        (annotation(44, segmentation=[[1, 2, 3, 4, 5, "6"]]), "annotation 44: a polygon is not a list of numbers"),
        (annotation(44, segmentation=[[1, 2, 3, 4, 5, float("nan")]]), "annotation 44: a polygon is not"),
        (annotation(44, segmentation=[[1, 2, 3, 4, 5, 1e9]]), "annotation 44: a polygon's point lies far outside"),
        (annotation(44, segmentation=[3]), "annotation 44: a polygon is not a list"),
        (annotation(44, segmentation="x"), "annotation 44: it has no segmentation"),
        (annotation(44, segmentation={**RUNS, "counts": [71]}), "annotation 44: run lengths that do not fill"),
        (annotation(44, segmentation={**RUNS, "counts": [73, -1]}), "annotation 44: its run lengths are not whole"),
        (annotation(44, segmentation={**RUNS, "counts": [10**30]}), "annotation 44: its run lengths are not whole"),
        (annotation(44, segmentation={**RUNS, "counts": "o"}), "annotation 44: the compressed run lengths are damaged"),
        (
            annotation(44, segmentation={**RUNS, "counts": "\u00e9"}),
            "annotation 44: the compressed run lengths are damaged",
        ),
        (annotation(44, segmentation={**RUNS, "counts": None}), "annotation 44: its run lengths are not whole"),
        (annotation(44, segmentation={"size": [9, 8], "counts": [72]}), r"annotation 44: run lengths for .*\[9, 8\]"),
        (annotation(44, bbox=[1, 2, 3]), "annotation 44: its bbox is not four numbers"),
        (annotation(44, bbox=None), "annotation 44: its bbox is not four numbers"),
        (annotation(44, area="big"), "annotation 44: its area is no number"),
        (7, "entry 1 of 'annotations' is no object"),
    ],
)
def test_a_wrong_annotation_is_named_with_what_is_wrong(tmp_path, entry, said):
    path = put(tmp_path / "x.json", content(annotation(), entry))
    with pytest.raises(InputError, match=rf"x\.json: .*{said}"):
        open_coco(path).truth(0)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "not valid JSON"),
        ('{"images": [', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "the list 'images' is missing"),
        ('{"images": []}', "the list 'annotations' is missing"),
        (json.dumps(content(images=[{"id": 1}])), "image 1 lacks a file_name"),
        (json.dumps(content(images=[{"id": 1, "file_name": "a", "height": 0, "width": 4}])), "image 1 lacks"),
        (json.dumps(content(images=[{}])), "an entry of 'images' has no id"),
        (json.dumps(content(categories=[{"id": 1}, {"id": 1}])), "two entries of 'categories' have the id 1"),
    ],
)
def test_a_file_that_is_no_coco_set_says_why(tmp_path, text, said):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=rf"x\.json: .*{said}"):
        open_coco(tmp_path / "x.json")


@pytest.mark.parametrize("number", [5, "five"])
def test_two_annotations_of_one_id_are_refused_and_those_without_an_id_are_not(tmp_path, number):
    twice = [annotation(4), annotation(number), annotation(number, image_id=7, segmentation=[])]
    with pytest.raises(InputError, match=rf"x\.json: two entries of 'annotations' have the id {number}: .*--fix"):
        open_coco(put(tmp_path / "x.json", content(*twice)))
    nameless = [{key: value for key, value in annotation().items() if key != "id"}] * 2
    assert len(open_coco(put(tmp_path / "x.json", content(*nameless))).truth(0)) == 2


def test_bytes_that_are_no_text_are_an_input_error(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match="not valid JSON"):
        open_coco(tmp_path / "x.json")


# --- writing ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    stack=st.tuples(st.integers(0, 4), st.tuples(st.integers(1, 9), st.integers(1, 9))).flatmap(
        lambda shape: arrays(bool, (shape[0], *shape[1]))
    ),
    polygons=st.booleans(),
)
def test_every_mask_comes_back_to_the_pixel_overlapping_or_not(tmp_path_factory, stack, polygons):
    path = tmp_path_factory.mktemp("coco") / "x.json"
    count = len(stack)
    found = Instances.from_dense(
        stack, np.arange(count) % 2, scores=np.random.default_rng(count).random(count), ignore=np.arange(count) % 3 == 0
    )
    write_coco([("x", found)], path, ["date", "fig"], polygons=polygons)
    read = open_coco(path).truth(0)
    assert (read.dense() == stack).all() and read.labels.tolist() == found.labels.tolist()
    assert read.ignore.tolist() == found.ignore.tolist()
    assert read.boxes.tolist() == found.boxes.tolist() and read.areas.tolist() == found.areas.tolist()
    assert count == 0 or read.scores.tolist() == found.scores.tolist()


def test_polygons_are_written_where_they_are_exact(tmp_path):
    ring = np.ones((1, 5, 5), bool)
    ring[0, 2, 2] = False
    write_coco(
        [("a", Instances.from_dense(np.concatenate([ring, ring | True])))], tmp_path / "x.json", ["o"], polygons=True
    )
    with_hole, plain = json.loads((tmp_path / "x.json").read_text())["annotations"]
    assert isinstance(with_hole["segmentation"], dict) and isinstance(plain["segmentation"], list)


def test_a_set_is_written_as_it_was_read_ids_float_boxes_and_all(tmp_path):
    entries = [annotation(5, area=3.7, bbox=[0.1, 0.2, 173.66, 107.87]), annotation(900, iscrowd=1, category_id=9)]
    data = open_coco(put(tmp_path / "x.json", content(*entries)))
    pairs = [(name, data.truth(index)) for index, name in enumerate(data.names)]
    write_coco(
        pairs, tmp_path / "y.json", data.classes, class_ids=data.class_ids,
        image_ids=dict(zip(data.names, data.image_ids, strict=True)), file_names={"a": "a.jpg", "b": "b.jpg"},
    )  # fmt: skip
    again = open_coco(tmp_path / "y.json")
    assert again.names == data.names and again.image_ids == data.image_ids and again.class_ids == data.class_ids
    assert all(again.truth(index).equals(data.truth(index)) for index in range(2))
    written = json.loads((tmp_path / "y.json").read_text())["annotations"]
    kept = ("id", "image_id", "category_id", "area", "bbox", "iscrowd")
    assert [[entry[key] for key in kept] for entry in written] == [[entry[key] for key in kept] for entry in entries]


def test_ids_are_made_where_there_are_none_or_the_same_twice(tmp_path):
    twice = objects(2, columns={"id": [4, 4]})
    for samples in ([("a", objects(2)), ("b", objects(1))], [("a", twice), ("b", objects(1, columns={"id": [4]}))]):
        write_coco(samples, tmp_path / "x.json", ["date", "fig"])
        assert [entry["id"] for entry in json.loads((tmp_path / "x.json").read_text())["annotations"]] == [1, 2, 3]


def test_boxes_without_masks_come_back_as_boxes(tmp_path):
    found = Instances.from_boxes([[0.5, 1, 3, 4]], (8, 9), scores=[0.3])
    write_coco([("a", found)], tmp_path / "x.json", ["o"])
    read = open_coco(tmp_path / "x.json").truth(0)
    assert not read.has_masks and read.boxes.tolist() == [[0.5, 1, 3, 4]] and read.scores.tolist() == [0.3]


def test_an_object_without_a_class_cannot_be_written(tmp_path):
    found = objects(1).replace(labels=[-1], ignore=[True])
    with pytest.raises(InputError, match="without a class"):
        write_coco([("a", found)], tmp_path / "x.json", ["o"])
    assert not list(tmp_path.iterdir())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1e4) | st.decimals(0, 999, places=2).map(float), min_size=4, max_size=4))
def test_boxes_that_were_read_are_written_so_that_they_are_read_the_same(box):
    (corners,) = corner_boxes([box]).tolist()
    assert corner_boxes([source_box(corners)]).tolist() == [corners]


# --- results ------------------------------------------------------------------------------------------------------


def test_results_are_matched_to_the_truths_images_and_classes(tmp_path):
    truth = open_coco(put(tmp_path / "x.json", content(annotation())))
    (runs,) = objects(1, (3, 4)).rle()
    score = 0.1234567890123456
    results = [{"image_id": 7, "category_id": 9, "segmentation": runs, "score": score}]
    found = open_coco_results(put(tmp_path / "r.json", results), truth)
    assert found.names == truth.names and found.classes == truth.classes
    assert len(found.truth(0)) == 0 and found.truth(0).size == (8, 9) and found.truth(0).scores.shape == (0,)
    assert found.truth(1).labels.tolist() == [1] and found.truth(1).scores.tolist() == [score]
    assert (found.truth(1).dense() == objects(1, (3, 4)).dense()).all()


def test_boxes_alone_are_results_too(tmp_path):
    truth = open_coco(put(tmp_path / "x.json", content(annotation())))
    results = [{"image_id": 7, "category_id": 3, "bbox": [0.5, 1, 2, 1.5], "score": 1}]
    found = open_coco_results(put(tmp_path / "r.json", results), truth)
    assert found.truth(1).boxes.tolist() == [[0.5, 1, 2.5, 2.5]] and not found.truth(0).has_masks


def test_without_truth_the_run_lengths_say_the_sizes(tmp_path):
    (runs,) = objects(1).rle()
    results = [{"image_id": number, "category_id": 5, "segmentation": runs, "score": 0.5} for number in (12, 3)]
    found = open_coco_results(put(tmp_path / "r.json", results))
    assert found.names == ("3", "12") and found.classes == ("5",) and found.truth(0).size == (8, 9)
    with pytest.raises(InputError, match="give the truth"):
        open_coco_results(
            put(tmp_path / "r.json", [{"image_id": 1, "category_id": 5, "bbox": [1, 1, 2, 2], "score": 1}])
        )


@pytest.mark.parametrize(
    "entry, said",
    [
        ({"image_id": 99}, "result 1 names image 99"),
        ({"category_id": 1}, "result 1 names category 1"),
        ({"score": None}, "result 1: its score is no number"),
        ({"score": float("nan")}, "result 1: its score is no number"),
        ({"segmentation": None}, "result 1 has no segmentation, but others have"),
        ({"segmentation": {"size": [4, 3], "counts": [12]}}, r"result 1: run lengths for an image of \[4, 3\]"),
    ],
)
def test_a_wrong_result_is_named_by_its_place(tmp_path, entry, said):
    truth = open_coco(put(tmp_path / "x.json", content(annotation())))
    good = {"image_id": 7, "category_id": 9, "segmentation": {"size": [3, 4], "counts": [12]}, "score": 0.5}
    path = put(tmp_path / "r.json", [good, {**good, **entry}])
    with pytest.raises(InputError, match=rf"r\.json: {said}"):
        open_coco_results(path, truth).truth(1)


def test_written_results_are_read_again_best_first(tmp_path):
    truth = open_coco(put(tmp_path / "x.json", content(annotation())))
    found = objects(3, scores=[0.25, 0.75, 1 / 3])
    write_coco_results([("a", found)], tmp_path / "r.json", truth)
    read = open_coco_results(tmp_path / "r.json", truth).truth(0)
    assert read.equals(found[np.array([1, 2, 0])])
    entries = json.loads((tmp_path / "r.json").read_text())
    assert {tuple(entry) for entry in entries} == {("image_id", "category_id", "segmentation", "score")}
    assert [entry["category_id"] for entry in entries] == [9, 3, 3]
    write_coco_results([("a", found)], tmp_path / "r.json", truth, boxes=True)
    assert "bbox" in json.loads((tmp_path / "r.json").read_text())[0]
    with pytest.raises(InputError, match="no image c"):
        write_coco_results([("c", found)], tmp_path / "r.json", truth)


# --- real data ----------------------------------------------------------------------------------------------------


def test_all_839_real_annotations_have_pycocotools_run_lengths_areas_and_boxes(shared_data):
    data = open_coco(shared_data / "golden/coco_fake100/instances_val2014_100.json")
    golden = json.loads((shared_data / "golden/mask_api/expected.json").read_text())["annotations"]
    wanted = {entry["id"]: entry for entry in golden}
    seen = 0
    for index in range(len(data)):
        truth = data.truth(index)
        for number, runs, area, box in zip(
            truth.columns["id"].tolist(), truth.rle(), truth.mask_areas.tolist(), truth.mask_boxes.tolist(), strict=True
        ):
            entry = wanted[number]
            x, y, width, height = entry["bbox"]
            assert runs == {"size": entry["size"], "counts": entry["counts"]}
            assert area == entry["area"] and box == [x, y, x + width, y + height]
            seen += 1
    assert seen == len(wanted) == 839


def test_real_annotations_survive_being_written(shared_data, tmp_path):
    data = open_coco(shared_data / "golden/coco_fake100")
    pairs = [(name, data.truth(index)) for index, name in enumerate(data.names)]
    ids = dict(zip(data.names, data.image_ids, strict=True))
    write_coco(pairs, tmp_path / "x.json", data.classes, class_ids=data.class_ids, image_ids=ids)
    again = open_coco(tmp_path / "x.json")
    assert all(again.truth(index).equals(data.truth(index)) for index in range(len(data)))
    source = json.loads((shared_data / "golden/coco_fake100/instances_val2014_100.json").read_text())
    boxes = {entry["id"]: entry["bbox"] for entry in source["annotations"]}
    written = json.loads((tmp_path / "x.json").read_text())["annotations"]
    assert {entry["id"]: entry["bbox"] for entry in written} == boxes


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_real_results_are_read(shared_data, kind):
    folder = shared_data / "golden/coco_fake100"
    truth = open_coco(folder)
    found = open_coco_results(folder / f"instances_val2014_fake{kind}100_results.json", truth)
    assert sum(len(found.truth(index)) for index in range(100)) == 734
    assert found.truth(0).has_masks == (kind == "segm")


@pytest.mark.parametrize(
    "path, split, images, count, crowds",
    [("coco", "train2017", 75, 683, 8), ("coco", "val2017", 55, 517, 7), ("fruits_nuts", None, 18, 165, 0)],
)
def test_real_sets_have_the_published_counts(shared_data, path, split, images, count, crowds):
    data = open_coco(shared_data / path, split)
    truths = [data.truth(index) for index in range(len(data))]
    assert len(data) == images and sum(map(len, truths)) == count
    assert sum(int(truth.ignore.sum()) for truth in truths) == crowds
    assert all((truth.mask_areas > 0).all() for truth in truths)
    assert data[0].image.shape[2] == 3
