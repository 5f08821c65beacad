import json
from collections import defaultdict

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from apiece.instances import Instances
from apiece.metrics.coco import AREAS, coco, judge
from apiece.metrics.precision import accumulate
from apiece.metrics.table import Table, record

from .coco_oracle import SIZE, pycocotools_figures, random_set, records

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
SMALL_AREAS = {"all": (0.0, 1e10), "s": (0.0, 60.0), "m": (60.0, 100.0), "l": (100.0, 1e10)}


def assert_same_curves(
    truth, results, kind, ours, *, limits, areas, ious=None, boxes=True, agnostic=False, found_area=None
):
    """Compare precision and recall of every IoU, recall, class, area range and limit."""
    parameters = {
        "maxDets": list(limits),
        "areaRng": [list(area) for area in areas],
        "areaRngLbl": list("abcdefg"[: len(areas)]),
    }
    if ious is not None:
        parameters["iouThrs"] = np.array(ious)
    theirs = pycocotools_figures(truth, results, kind, boxes=boxes, useCats=0 if agnostic else 1, **parameters)
    table = Table.of(ours, kind)
    classes = 1 if agnostic else len(truth["categories"])
    chosen = {} if ious is None else {"ious": ious}
    if found_area is not None:
        table = Table(**{**vars(table), "found_areas": Table.of(ours, found_area).found_areas})
    verdicts = judge(table, areas=list(areas), limit=limits[-1], class_agnostic=agnostic, **chosen)
    curves = accumulate(verdicts, classes, limits)
    precision = np.nan_to_num(curves.precision, nan=-1).transpose(1, 3, 2, 0)
    recall = np.nan_to_num(curves.recall, nan=-1).transpose(1, 2, 0, 3)
    assert np.abs(precision - theirs.eval["precision"][..., -1]).max() <= 1e-9
    assert np.abs(recall - theirs.eval["recall"]).max() <= 1e-9


@pytest.mark.parametrize("seed", range(100))
def test_curves_of_random_sets_equal_pycocotools(seed):
    """With crowds, given areas, ties in score and overlap, duplicates, empty images and classes nobody finds."""
    generator = np.random.default_rng(seed)
    truth, results = random_set(generator, images=5, classes=int(generator.integers(1, 4)), ties=seed % 3 > 0)
    if not results:
        pytest.skip("pycocotools cannot read an empty result list")
    ours = records(truth, results)
    limits = ((1, 10, 100), (1, 2, 3), (4,))[seed % 3]
    areas = SMALL_AREAS.values() if seed % 2 else AREAS.values()
    kind = ("segm", "bbox")[seed // 2 % 2]
    assert_same_curves(
        truth, results, kind, ours, limits=limits, areas=list(areas), boxes=False, agnostic=seed % 5 == 0
    )


def test_any_list_of_ious_and_the_area_of_the_box_for_masks():
    truth, results = random_set(np.random.default_rng(7), images=20)
    ours = records(truth, results)
    ious, areas = [0.1, 0.33, 1.0], list(SMALL_AREAS.values())
    assert_same_curves(truth, results, "segm", ours, limits=(100,), areas=areas, ious=ious, found_area="bbox")
    assert_same_curves(truth, results, "segm", ours, limits=(100,), areas=areas, ious=ious, boxes=False)


def test_of_two_true_objects_with_the_same_overlap_the_later_is_taken():
    """The first found object lies half on each; whichever it takes, the second can only have the second."""
    truth, results = random_set(np.random.default_rng(0), images=1, classes=1)
    shape = {
        "size": list(SIZE),
        "counts": coco_mask.encode(np.asfortranarray(np.ones(SIZE, np.uint8)))["counts"].decode(),
    }
    true = [{"bbox": [0.0, 0.0, 10.0, 10.0], "id": 1}, {"bbox": [10.0, 0.0, 10.0, 10.0], "id": 2}]
    common = {"image_id": 1, "category_id": 1, "segmentation": shape}
    truth["annotations"] = [{**common, **one, "iscrowd": 0, "area": 100.0} for one in true]
    results = [
        {**common, "bbox": [5.0, 0.0, 10.0, 10.0], "score": 0.9},
        {**common, "bbox": [10.0, 0.0, 10.0, 10.0], "score": 0.8},
    ]
    ours = records(truth, results)
    assert coco(ours, ["a"], kinds=["bbox"], ious=[0.3])["bbox"]["AR100"] == 0.5
    assert_same_curves(truth, results, "bbox", ours, limits=(100,), areas=list(AREAS.values()), ious=[0.3])


def test_an_ignored_object_of_any_class_is_a_crowd_of_every_class():
    truth, results = random_set(np.random.default_rng(8), images=20)
    crowd = {"id": 10_000, "image_id": 2, "iscrowd": 1, "bbox": [0, 0, 48, 40], "area": 1920.0}
    runs = coco_mask.encode(np.asfortranarray(np.ones((40, 48), np.uint8)))
    crowd["segmentation"] = {"size": [40, 48], "counts": runs["counts"].decode()}
    everywhere = [{**crowd, "id": 10_000 + kind, "category_id": kind} for kind in (1, 2, 3)]
    theirs = {**truth, "annotations": truth["annotations"] + everywhere}
    ours = {**truth, "annotations": truth["annotations"] + [{**crowd, "category_id": 0}]}
    areas = list(AREAS.values())
    assert_same_curves(theirs, results, "segm", records(ours, results), limits=(100,), areas=areas, boxes=False)


def golden(folder, kind):
    """The records of COCO's own example."""
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / f"instances_val2014_fake{kind}100_results.json").read_text())
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    number = {category["id"]: i for i, category in enumerate(categories)}
    entries, found = defaultdict(list), defaultdict(list)
    for entry in truth["annotations"]:
        entries[entry["image_id"]].append(entry)
    for entry in results:
        found[entry["image_id"]].append(entry)

    def corners(of_image):
        boxes = np.array([entry["bbox"] for entry in of_image], float).reshape(-1, 4)
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)

    def runs(entry, size):
        outline = entry["segmentation"]
        if isinstance(outline, list):
            return coco_mask.merge(coco_mask.frPyObjects(outline, *size))
        return outline

    for image in sorted(truth["images"], key=lambda image: image["id"]):
        size = (image["height"], image["width"])
        theirs, ours = entries[image["id"]], found[image["id"]]
        true = Instances.from_rle(
            [runs(entry, size) for entry in theirs],
            size,
            [number[entry["category_id"]] for entry in theirs],
            ignore=[bool(entry["iscrowd"]) for entry in theirs],
            areas=[entry["area"] for entry in theirs],
        ).replace(boxes=corners(theirs))
        fields = {
            "labels": [number[entry["category_id"]] for entry in ours],
            "scores": [entry["score"] for entry in ours],
        }
        if kind == "segm":
            yield record(
                str(image["id"]), Instances.from_rle([runs(entry, size) for entry in ours], size, **fields), true
            )
        else:
            yield record(str(image["id"]), Instances.from_boxes(corners(ours), size, **fields), true)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_the_twelve_figures_and_the_classes_of_cocos_own_example(shared_data, kind):
    folder = shared_data / "golden" / "coco_fake100"
    wanted = json.loads((folder / "expected.json").read_text())[kind]
    names = list(wanted["per_category_AP"])
    of_images = list(golden(folder, kind))
    figures = coco(of_images, names, kinds=[kind])[kind]
    assert [figures[name] for name in STATS] == pytest.approx(wanted["stats"], abs=1e-9)
    for name, value in wanted["per_category_AP"].items():
        assert figures["classes"][name]["AP"] == (None if value is None else pytest.approx(value, abs=1e-9))
    agnostic = coco(of_images, names, kinds=[kind], class_agnostic=True)[kind]
    assert [agnostic[name] for name in STATS] == pytest.approx(wanted["stats_useCats0"], abs=1e-9)


def test_figures_by_hand_of_three_objects_found_in_the_order_right_wrong_right():
    truth = Instances.from_boxes([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], (60, 60))
    found = Instances.from_boxes(
        [[0, 0, 10, 10], [0, 40, 10, 50], [20, 0, 30, 10]], (60, 60), scores=np.array([0.9, 0.8, 0.7])
    )
    figures = coco([record("a", found, truth)], ["thing"])
    # Precision 1 up to recall 1/3 (34 of the 101 points), 2/3 up to recall 2/3 (33 more), then 0.
    assert figures["bbox"]["AP"] == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert figures["bbox"]["AR1"] == pytest.approx(1 / 3)
    assert figures["bbox"]["AR100"] == figures["bbox"]["ARs"] == pytest.approx(2 / 3)
    assert figures["bbox"]["APl"] is None
    assert figures["segm"] is None


def test_found_objects_beyond_the_maximum_are_said():
    found = Instances.from_boxes(np.tile([[0, 0, 5, 5]], (7, 1)), (9, 9), scores=np.linspace(0, 1, 7))
    truth = Instances.from_boxes([[0, 0, 5, 5]], (9, 9))
    figures = coco([record("a", found, truth)], ["thing"], kinds=["bbox"], max_detections=(1, 3))["bbox"]
    assert figures["left_out"] == 4
    assert "AR3" in figures


def test_no_images_and_no_objects_have_no_figures():
    nothing = record("a", Instances.empty((4, 4), scored=True), Instances.empty((4, 4)))
    assert coco([], ["thing"])["segm"]["AP"] is None
    assert coco([nothing], ["thing"])["bbox"]["AR100"] is None
