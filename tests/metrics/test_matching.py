import json

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import linear_sum_assignment

from apiece.instances import Instances
from apiece.metrics.matching import matching, matching_rows
from apiece.metrics.operating_point import best_threshold
from apiece.metrics.table import record

from .squares import squares

NAMES = {"panoptic_quality": "pq"}
GOLDEN = ("tp", "fp", "fn", "n_true", "n_pred", "precision", "recall", "accuracy", "f1", "mean_true_score")
GOLDEN += ("mean_matched_score", "panoptic_quality")


def label_map(path) -> Instances:
    return Instances.from_label_map(np.array(Image.open(path)).astype(np.int32))


@pytest.mark.parametrize("name", ["leaf", "nuclei"])
def test_figures_of_label_images_equal_stardists(shared_data, name):
    folder = shared_data / "golden" / "labels_eval"
    wanted = json.loads((folder / "expected.json").read_text())[name]
    records = [
        record(one["name"], *(label_map(folder / name / f"{one['name']}_{side}.png") for side in ("pred", "gt")))
        for one in wanted["images"]
    ]

    def assert_equal(ours, theirs):
        for figures in theirs:
            of_iou = ours[f"{figures['thresh']:.2f}"]
            for key in GOLDEN:
                assert of_iou[NAMES.get(key, key)] == pytest.approx(figures[key], abs=1e-6)

    for one, figures in zip(records, wanted["images"], strict=True):
        assert_equal(matching([one], ["object"]), figures["matching"])
    together = matching(records, ["object"])
    assert_equal(together, wanted["dataset"])
    assert_equal(together["by_image"], wanted["dataset_by_image"])
    rows = matching_rows(records)
    assert [row["name"] for row in rows] == [one["name"] for one in wanted["images"]]
    assert [row["accuracy"] for row in rows] == pytest.approx(
        [one["matching"][0]["accuracy"] for one in wanted["images"]]
    )


def stardist_counts(found: np.ndarray, truth: np.ndarray, iou: float) -> tuple[int, float]:
    """tp and sum of IoUs by StarDist's definition, on dense tables."""
    mine, theirs = (stack.reshape(len(stack), -1).astype(float) for stack in (found, truth))
    common = theirs @ mine.T
    scores = common / (theirs.sum(1)[:, None] + mine.sum(1)[None] - common)
    rows, columns = linear_sum_assignment(-(scores >= iou).astype(float) - scores / (2 * min(scores.shape)))
    good = scores[rows, columns] >= iou
    return int(good.sum()), float(scores[rows, columns][good].sum())


@pytest.mark.parametrize("cells", [1 << 20, 0])
def test_objects_with_several_possible_partners_are_assigned_as_by_the_whole_table(cells, monkeypatch):
    monkeypatch.setattr("apiece.metrics.assignment.DENSE_PROBLEM", cells)
    generator = np.random.default_rng(0)
    contested = 0
    for _ in range(60):
        truth = np.zeros((6, 12, 12), bool)
        for mask in truth:
            y, x = generator.integers(0, 9, 2)
            mask[y : y + generator.integers(1, 9), x : x + generator.integers(1, 9)] = True
        found = (truth & (generator.random(truth.shape) < 0.8))[generator.integers(0, 6, 7)]
        found = found[found.any((1, 2))]
        one = record("a", Instances.from_dense(found), Instances.from_dense(truth))
        contested += len(one.masks) > len(found)
        ours = matching([one], ["object"], ious=[0.2, 0.5, 0.75])
        for iou in (0.2, 0.5, 0.75):
            tp, total = stardist_counts(found, truth, iou)
            figures = ours[f"{iou:.2f}"]
            assert figures["tp"] == tp
            assert figures["mean_true_score"] * len(truth) == pytest.approx(total)
    assert contested > 30


def test_objects_match_within_their_class_unless_told_otherwise():
    one = record("a", squares(0, 20, labels=[0, 1]), squares(0, 20, 40, labels=[0, 0, 1]))
    figures = matching([one], ["cat", "dog"])
    assert (figures["0.50"]["tp"], figures["0.50"]["fp"], figures["0.50"]["fn"]) == (1, 1, 2)
    assert figures["classes"]["cat"]["0.50"]["recall"] == 0.5
    assert figures["classes"]["dog"]["0.50"]["fp"] == 1
    agnostic = matching([one], ["cat", "dog"], class_agnostic=True)
    assert agnostic["0.50"]["tp"] == 2
    assert "classes" not in agnostic


def test_what_lies_mostly_in_ignored_regions_is_neither_right_nor_wrong():
    truth = squares(0, 50, 60, labels=[0, -1, 0], ignore=[False, True, True])
    found = squares(0, 52, 56, 44, labels=[0, 1, 0, 0])
    # At 52: 8 of 10 columns in the region of any class, 2 in that of class 0. At 44: 4 of 10 columns.
    figures = matching([record("a", found, truth)], ["cat", "dog"])["0.50"]
    assert (figures["tp"], figures["fp"], figures["fn"], figures["n_pred"]) == (1, 1, 0, 2)


def test_found_objects_below_the_operating_point_are_left_out():
    found = squares(0, 20, 40, scores=np.array([0.9, 0.5, 0.49]))
    figures = matching([record("a", found, squares(0, 40))], ["object"], threshold=0.5)
    assert (figures["0.50"]["tp"], figures["0.50"]["fp"], figures["0.50"]["fn"]) == (1, 1, 1)
    assert figures["threshold"] == 0.5


def test_no_images_and_no_objects_give_zeros():
    nothing = record("a", Instances.empty((4, 4), scored=True), Instances.empty((4, 4)))
    assert matching([], ["object"])["0.50"]["tp"] == 0
    assert matching([nothing], ["object"])["0.50"]["accuracy"] == 0
    assert matching([nothing], ["object"])["by_image"]["mean"]["f1"] == 0


def test_the_best_threshold_is_that_of_trying_all():
    generator = np.random.default_rng(1)
    for figure in ("accuracy", "f1"):
        records = []
        for number in range(5):
            truth = squares(*(20 * generator.permutation(5)[:3]).tolist())
            places = (20 * generator.permutation(5)).tolist()
            found = squares(*places, scores=generator.integers(1, 10, 5) / 10)
            records.append(record(str(number), found, truth))
        threshold, reached = best_threshold(records, figure)
        tried = {t: matching(records, ["object"], threshold=t)["0.50"][figure] for t in np.linspace(0, 1, 101).tolist()}
        assert reached == pytest.approx(max(tried.values()))
        assert matching(records, ["object"], threshold=threshold)["0.50"][figure] == pytest.approx(reached)


def test_the_best_threshold_lies_in_the_middle_of_the_widest_gap():
    found = squares(0, 20, 40, scores=np.array([0.9, 0.8, 0.2]))
    assert best_threshold([record("a", found, squares(0, 20))]) == (0.5, 1.0)


def test_without_found_objects_the_threshold_is_a_half():
    assert best_threshold([record("a", Instances.empty((10, 100), scored=True), squares(0))]) == (0.5, 0.0)
    assert best_threshold([]) == (0.5, 0.0)
