import numpy as np
import pytest

from apiece.instances import Instances
from apiece.metrics.semantic import semantic, semantic_resampler
from apiece.metrics.table import record

from .squares import squares


def test_iou_of_each_classs_union_by_hand():
    found = squares(0, 5, 30, labels=[0, 0, 1], scores=[0.9, 0.8, 0.7])
    truth = squares(0, 35, 60, labels=[0, 1, 1])
    figures = semantic([record("a", found, truth, unions=["classes"])], ["cat", "dog", "bird"])
    assert figures["classes"]["cat"] == pytest.approx(10 / 15)
    assert figures["classes"]["dog"] == pytest.approx(5 / 25)
    assert figures["classes"]["bird"] is None
    assert figures["mean"] == pytest.approx((10 / 15 + 5 / 25) / 2)


def test_unsure_objects_and_ignored_pixels_are_left_out():
    found = squares(0, 5, scores=[0.9, 0.1])
    truth = squares(0, 8, ignore=[False, True], labels=[0, -1])
    one = record("a", found, truth, unions=["classes"])
    assert semantic([one], ["cat"], threshold=0.5)["mean"] == 1
    # Of the unsure one, columns 10 to 14 lie in the ignored region and nowhere else.
    assert semantic([one], ["cat"])["mean"] == 1


def test_unions_are_those_of_dense_masks_at_every_threshold():
    generator = np.random.default_rng(0)
    for _ in range(10):
        stack, true = (generator.random((n, 30, 20)) < 0.1 for n in (6, 4))
        labels, true_labels = generator.integers(0, 2, 6), generator.integers(0, 2, 4)
        scores = generator.integers(1, 4, 6) / 4
        found = Instances.from_dense(stack, labels, scores=scores)
        one = record("a", found, Instances.from_dense(true, true_labels), unions=["classes"])
        for threshold in (0.25, 0.5, 0.75):
            figures = semantic([one], ["cat", "dog"], threshold=threshold)["classes"]
            for number, name in enumerate(figures):
                mine = stack[(labels == number) & (scores >= threshold)].any(0)
                theirs = true[true_labels == number].any(0)
                union = (mine | theirs).sum()
                assert figures[name] == (pytest.approx((mine & theirs).sum() / union) if union else None)


def test_strips_make_no_difference(monkeypatch):
    found, truth = squares(0, 5, scores=[0.5, 0.6]), squares(3)
    whole = record("a", found, truth, unions=["classes"]).unions["classes"]
    monkeypatch.setattr("apiece.metrics.unions.PIXELS", 100)
    strip = record("a", found, truth, unions=["classes"]).unions["classes"]
    assert all(np.array_equal(a, b) for a, b in zip(whole, strip, strict=True))
    assert whole.found.tolist() == [50, 100]


def test_boxes_have_no_pixels():
    boxes = Instances.from_boxes([[0, 0, 4, 4]], (9, 9))
    one = record("a", boxes, boxes, unions=["classes"])
    assert semantic([one], ["cat"]) == {"mean": None, "classes": {"cat": None}}
    assert semantic_resampler([one], ["cat"])(np.ones(1)) == {"mean": None}
