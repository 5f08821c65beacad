import numpy as np
import pytest

from apiece.metrics.table import record
from apiece.metrics.voc import voc, voc_resampler

from .squares import squares


def test_average_precision_by_hand():
    # Right (IoU 1), wrong, right only up to an IoU of 5 / 15 = 1/3; three true ones.
    found = squares(0, 80, 25, scores=[0.9, 0.8, 0.7])
    figures = voc([record("a", found, squares(0, 20, 50))], ["object"])
    assert figures["0.30"] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert figures["AP50"] == figures["0.90"] == pytest.approx(1 / 3)
    assert figures["mean"] == pytest.approx((3 * (1 / 3 + 2 / 9) + 6 / 3) / 9)


def test_the_second_object_for_the_same_true_one_is_wrong_even_if_another_is_free():
    # The second prefers the taken one (IoU 7/13) to the free one (IoU 3/17).
    found = squares(0, 3, scores=[0.9, 0.8])
    truth = squares(0, 10)
    assert voc([record("a", found, truth)], ["object"])["0.10"] == pytest.approx(0.5)


def test_objects_that_go_for_ignored_ones_are_neither_right_nor_wrong():
    found = squares(20, 0, scores=[0.9, 0.8])
    truth = squares(0, 20, ignore=[False, True])
    assert voc([record("a", found, truth)], ["object"])["AP50"] == 1


def test_classes_without_true_objects_do_not_count():
    found = squares(0, 20, labels=[0, 1], scores=[0.9, 0.9])
    figures = voc([record("a", found, squares(0, labels=[0]))], ["cat", "dog"])
    assert figures["AP50"] == 1
    assert figures["classes"]["dog"]["AP50"] is None
    assert voc([], ["cat"])["mean"] is None


def test_an_image_drawn_twice_counts_as_two():
    records = [record("a", squares(0, scores=[0.5]), squares(0)), record("b", squares(0, scores=[0.9]), squares(50))]
    resampled = voc_resampler(records, ["object"])
    assert resampled(np.array([2, 1])) == pytest.approx(
        {key: voc([records[0], records[0], records[1]], ["object"])[key] for key in ("AP50", "mean")}
    )
