import json

import numpy as np
import pytest
from PIL import Image

from apiece.instances import Instances
from apiece.metrics.leaves import leaf_rows, leaves, leaves_resampler
from apiece.metrics.table import record

from .squares import squares

NAMES = {"BestDiceFound": "BD_pred_gt", "BestDiceTrue": "BD_gt_pred"}


def label_map(path) -> Instances:
    return Instances.from_label_map(np.array(Image.open(path)).astype(np.int32))


@pytest.mark.parametrize("name", ["leaf", "nuclei"])
def test_figures_equal_the_leaf_challenges(shared_data, name):
    folder = shared_data / "golden" / "labels_eval"
    wanted = json.loads((folder / "expected.json").read_text())[name]
    records = [
        record(
            one["name"],
            *(label_map(folder / name / f"{one['name']}_{side}.png") for side in ("pred", "gt")),
            unions=["foreground"],
        )
        for one in wanted["images"]
    ]
    for row, figures in zip(leaf_rows(records), wanted["images"], strict=True):
        for key in ("DiC", "absDiC", "BestDiceFound", "BestDiceTrue", "SBD", "FgBgDice"):
            assert row[key] == pytest.approx(figures[NAMES.get(key, key)], abs=1e-6)
    together = leaves(records)
    for key, value in wanted["mean"].items():
        assert together[key] == pytest.approx(value, abs=1e-6)
        assert together["std"][key] == pytest.approx(np.std([one[NAMES.get(key, key)] for one in wanted["images"]]))


def test_objects_below_the_operating_point_and_overlaps_count_once():
    # The two sure ones share 5 columns; the truth has 10 of their 15, and 10 more.
    found = squares(0, 5, 60, scores=[0.9, 0.8, 0.1])
    one = record("a", found, squares(0, 30), unions=["foreground"])
    (row,) = leaf_rows([one], threshold=0.5)
    assert row["DiC"] == 0
    assert row["BestDiceFound"] == pytest.approx((1 + 0.5) / 2)
    assert row["BestDiceTrue"] == row["SBD"] == pytest.approx(0.5)
    assert row["FgBgDice"] == pytest.approx(2 * 10 / (15 + 20))
    (all_of_them,) = leaf_rows([one])
    assert all_of_them["FgBgDice"] == pytest.approx(2 * 10 / (25 + 20))


def test_ignored_objects_are_cut_out_on_both_sides():
    truth = squares(0, 20, ignore=[False, True], labels=[0, -1])
    one = record("a", squares(0, 20, 14), truth, unions=["foreground"])
    (row,) = leaf_rows([one])
    # The one at 20 is left out; of the one at 14 six columns lie outside the ignored region.
    assert row["DiC"] == 1
    assert row["FgBgDice"] == pytest.approx(2 * 10 / (16 + 10))


def test_boxes_have_no_foreground():
    boxes = Instances.from_boxes([[0, 0, 4, 4]], (9, 9))
    figures = leaves([record("a", boxes, boxes, unions=["foreground"])])
    assert figures["SBD"] == 1
    assert figures["FgBgDice"] is None


def test_resampled_means_weigh_the_images():
    records = [record("a", squares(0), squares(0)), record("b", squares(0, 20), squares(0))]
    assert leaves_resampler(records)(np.array([1, 3]))["DiC"] == 0.75
