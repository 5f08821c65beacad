import numpy as np
import pytest

from apiece.instances import Instances
from apiece.metrics.coco import coco
from apiece.metrics.mistakes import errors
from apiece.metrics.table import record

from .coco_oracle import random_set, records
from .squares import squares


def bars(*spans: tuple[int, int], **fields) -> Instances:
    """Bars 10 pixels high from one column to another of a 10 x 100 image."""
    stack = np.zeros((len(spans), 10, 100), bool)
    for mask, (first, last) in zip(stack, spans, strict=True):
        mask[:, first:last] = True
    return Instances.from_dense(stack, **fields)


def counted(found, truth, classes=("cat", "dog"), **options):
    kinds = errors([record("a", found, truth)], classes, **options)["kinds"]
    return {name: one["count"] for name, one in kinds.items() if one["count"]}


@pytest.mark.parametrize(
    "found, truth, wanted",
    [
        (squares(0, scores=[0.5]), squares(0), {}),
        (squares(0, 1, scores=[0.9, 0.8]), squares(0), {"duplicate": 1}),
        (squares(0, labels=[1], scores=[0.9]), squares(0), {"wrong class": 1}),
        (squares(5, scores=[0.9]), squares(0), {"loose mask": 1}),
        (squares(5, labels=[1], scores=[0.9]), squares(0), {"both": 1}),
        (squares(50, scores=[0.9]), squares(0), {"invented": 1, "missed": 1}),
        (squares(), squares(0, 20), {"missed": 2}),
        (bars((0, 20), scores=[0.9]), bars((0, 9)), {"loose mask": 1}),
        (bars((0, 20), scores=[0.9]), bars((0, 9), (11, 20)), {"merged": 1, "missed": 1}),
        (bars((0, 9), (11, 20), scores=[0.9, 0.8]), bars((0, 20)), {"split": 2}),
        (squares(0, scores=[0.9]), squares(0, ignore=[True]), {}),
    ],
)
def test_each_kind_of_mistake_by_hand(found, truth, wanted):
    assert counted(found, truth) == wanted


def test_unsure_objects_are_not_counted_as_mistakes():
    found = squares(0, 50, scores=[0.9, 0.1])
    assert counted(found, squares(0), threshold=0.5) == {}
    assert counted(found, squares(0)) == {"invented": 1}


def test_the_cost_of_each_kind_by_hand():
    # In the order of scores: invented, right, loose mask of an object that nobody has; one more is missed.
    found = squares(80, 0, 25, scores=[0.9, 0.8, 0.7])
    figures = errors([record("a", found, squares(0, 20, 50))], ["cat"])
    first, second, third = 34, 33, 34  # recalls 0 to 1/3, to 2/3, to 1 in steps of 0.01

    def points(*precision: float) -> float:
        return sum(value * count for value, count in zip(precision, (first, second, third), strict=False)) / 101

    start = points(1 / 2)
    cost = {name: one["cost"] for name, one in figures["kinds"].items()}
    assert figures["AP50"] == pytest.approx(start)
    assert cost["invented"] == pytest.approx(points(1) - start)
    assert cost["loose mask"] == pytest.approx(points(2 / 3, 2 / 3) - start)
    # Without the missed one there are two true objects: recalls to 1/2 are 51 of the 101.
    assert cost["missed"] == pytest.approx(51 / 2 / 101 - start)
    assert cost["duplicate"] == 0


def test_ap_is_cocos_and_mending_never_costs():
    of_images = records(*random_set(np.random.default_rng(5), images=10))
    figures = errors(of_images, ["a", "b", "c"])
    wanted = coco(of_images, ["a", "b", "c"], kinds=["segm"], ious=[0.5])["segm"]["AP"]
    assert figures["AP50"] == pytest.approx(wanted, abs=1e-9)
    assert all(one["cost"] >= -1e-9 for one in figures["kinds"].values())
    assert sum(one["count"] > 0 for one in figures["kinds"].values()) >= 5
    assert errors([], ["a"])["AP50"] is None
