import numpy as np
import pytest

from apiece.metrics.counts import counts, counts_resampler
from apiece.metrics.table import record

from .squares import squares


def test_errors_of_three_images_by_hand():
    records = [
        record("a", squares(0, 20, 40), squares(0)),
        record("b", squares(), squares(0)),
        record("c", squares(0), squares(50)),
    ]
    figures = counts(records, ["object"])
    assert (figures["found"], figures["true"]) == (4, 3)
    assert figures["bias"] == pytest.approx(1 / 3)
    assert figures["mae"] == 1
    assert figures["rmse"] == pytest.approx(np.sqrt(5 / 3))
    assert figures["exact"] == pytest.approx(1 / 3)
    assert "classes" not in figures


def test_classes_are_counted_apart_and_unsure_or_ignored_objects_not():
    found = squares(0, 20, 40, 60, labels=[0, 1, 1, 0], scores=[0.9, 0.9, 0.2, 0.9])
    truth = squares(0, 20, 62, labels=[0, 0, 0], ignore=[False, False, True])
    figures = counts([record("a", found, truth)], ["cat", "dog"], threshold=0.5)
    assert (figures["found"], figures["true"], figures["bias"]) == (2, 2, 0)
    assert figures["classes"]["cat"]["bias"] == -1
    assert figures["classes"]["dog"]["bias"] == 1


def test_resampling_weighs_the_images():
    records = [record("a", squares(0, 20), squares(0)), record("b", squares(0), squares(0))]
    assert counts_resampler(records, ["object"])(np.array([2, 0]))["bias"] == 1
    assert counts([], ["object"])["rmse"] is None
