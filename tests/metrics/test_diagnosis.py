"""What lies behind the figures, worked out in the head."""

import numpy as np
import pytest

from apiece.instances import Instances
from apiece.metrics.coco import coco
from apiece.metrics.diagnosis import MATCHED, Diagnosis, calibrate, confuse, diagnose, fates
from apiece.metrics.matching import matching
from apiece.metrics.table import Table, record

from .coco_oracle import random_set, records
from .squares import squares


def diagnosed(*pairs: tuple[Instances, Instances], classes=("cat", "dog"), **options) -> Diagnosis:
    return diagnose([record(f"i{n}", *pair) for n, pair in enumerate(pairs)], classes, **options)


def test_curves_hold_cocos_ap_and_the_matchings_figures():
    of_images = records(*random_set(np.random.default_rng(3), images=8))
    one = diagnose(of_images, ["a", "b", "c"], threshold=0.4)
    wanted = coco(of_images, ["a", "b", "c"], kinds=["segm"])["segm"]
    assert np.nanmean(one.precision) == pytest.approx(wanted["AP"])
    assert np.nanmean(one.precision[5]) == pytest.approx(wanted["AP75"])
    figures = matching(of_images, ["a", "b", "c"], threshold=0.4)
    for iou in ("0.50", "0.95"):
        place = MATCHED.index(float(iou))
        assert one.matched["accuracy"][place] == pytest.approx(figures[iou]["accuracy"])
        assert one.matched["pq"][place] == pytest.approx(figures[iou]["pq"])
    assert one.mistakes.sum() == figures["0.50"]["fp"] + figures["0.50"]["fn"]
    assert one.confusion.trace() == figures["0.50"]["tp"]
    # The AP50 that errors cost counts every found object, COCO's at most 100: here they are fewer.
    assert one.errors["AP50"] == pytest.approx(wanted["AP50"])


def test_the_maximum_of_found_objects_cuts_the_curves():
    found, truth = squares(60, 0, scores=[0.9, 0.8]), squares(0)
    assert diagnosed((found, truth), classes=["cat"]).precision[0, 0, 0] == pytest.approx(0.5)
    one = diagnosed((found, truth), classes=["cat"], limit=1)
    assert one.precision[0, 0, 0] == 0 and (one.limit, one.left_out) == (1, 1)


def test_calibration_by_hand():
    # Right at 0.95 and 0.15; wrong at 0.92 and, as it is unsure, 0.11; one in an ignored region counts neither way.
    found = squares(0, 40, 20, 60, 80, scores=[0.95, 0.92, 0.15, 0.11, 0.5])
    truth = squares(0, 20, 80, ignore=[False, False, True])
    one = calibrate(Table.of([record("a", found, truth)]))
    assert one.count.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 2] and one.right.tolist() == [0, 1] + [0] * 7 + [1]
    assert one.share[[1, 9]].tolist() == [0.5, 0.5] and np.isnan(one.share[0])
    assert one.score[1] == pytest.approx(0.13) and one.score[9] == pytest.approx(0.935)
    assert one.error == pytest.approx((0.37 + 0.435) / 2)


def test_scores_that_are_no_probabilities_have_no_calibration_error():
    found = squares(0, 40, scores=[7.5, -2.0])
    one = calibrate(Table.of([record("a", found, squares(0))]))
    assert one.error is None and one.edges[[0, -1]].tolist() == [-2, 7.5] and one.right[-1] == 1
    assert calibrate(Table.of([record("a", squares(scores=[]), squares(0))])).error is None


def test_confusions_by_hand():
    """A cat found, a cat taken for a dog, a dog missed, a dog invented; over an ignored cat nothing is said."""
    found = squares(0, 20, 60, 80, labels=[0, 1, 1, 0], scores=[0.9, 0.8, 0.7, 0.6])
    truth = squares(0, 20, 40, 80, labels=[0, 0, 1, 0], ignore=[False, False, False, True])
    counts = confuse(Table.of([record("a", found, truth)]), 2)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_an_object_of_the_right_class_comes_before_a_better_one_of_another():
    found = squares(2, 0, labels=[0, 1], scores=[0.5, 0.9])
    assert confuse(Table.of([record("a", found, squares(0, labels=[0]))]), 2).tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_without_classes_there_is_one():
    found, truth = squares(0, labels=[0], scores=[0.9]), squares(0, labels=[0])
    one = diagnosed((found, truth), class_agnostic=True)
    assert one.classes == ("object",) and one.confusion.tolist() == [[1, 0], [0, 0]]


def test_the_worst_images_come_first_and_unsure_objects_do_not_count():
    right, half = (squares(0, 20, scores=[0.9, 0.8]), squares(0, 20)), (squares(0, scores=[0.9]), squares(0, 20))
    nothing, empty = (squares(60, scores=[0.9]), squares(0, 20)), (squares(scores=[]), squares())
    one = diagnosed(empty, right, half, nothing, classes=["cat"])
    assert one.worst[:2].tolist() == [3, 2] and set(one.worst[2:].tolist()) == {0, 1}
    assert one.accuracy.tolist() == [1, 1, 0.5, 0] and one.mistakes.tolist() == [0, 0, 1, 3]
    assert diagnosed(right, threshold=0.85, classes=["cat"]).accuracy.tolist() == [0.5]


def test_of_images_that_are_all_right_the_looser_come_first():
    exact, loose = (squares(0, scores=[0.9]), squares(0)), (squares(2, scores=[0.9]), squares(0))
    assert diagnosed(exact, loose, classes=["cat"]).worst.tolist() == [1, 0]


def test_scores_that_all_are_the_same_are_none():
    assert not diagnosed((squares(0, 20), squares(0)), classes=["cat"]).scored
    assert diagnosed((squares(0, 20, scores=[0.5, 0.6]), squares(0)), classes=["cat"]).scored


def test_a_set_without_images_or_objects_can_be_diagnosed():
    assert diagnosed().names == ()
    one = diagnosed((squares(scores=[]), squares()))
    assert one.confusion.sum() == 0 and np.isnan(one.precision).all() and one.errors["AP50"] is None


@pytest.mark.parametrize("masks", [True, False])
def test_the_fate_of_each_object_of_an_image(masks):
    found = squares(0, 20, 60, 80, labels=[0, 1, 0, 0], scores=[0.9, 0.8, 0.7, 0.6])
    truth = squares(0, 20, 80, labels=[0, 0, -1], ignore=[False, False, True])
    if not masks:
        fields = {"scores": found.scores}
        found = Instances.from_boxes(found.boxes, found.size, found.labels, **fields)
        truth = Instances.from_boxes(truth.boxes, truth.size, truth.labels, ignore=truth.ignore)
    fate = fates(found, truth)
    assert fate.right.tolist() == [True, False, False, False] and fate.had.tolist() == [True, False, False]
    assert fate.left_out.tolist() == [False, False, False, True]
    assert fates(found, truth, class_agnostic=True).right.tolist()[:3] == [True, True, False]
