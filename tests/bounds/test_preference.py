import json
from pathlib import Path

import numpy as np
import pytest

from apiece import methods
from apiece.bounds.preference import CROSSING, CROWDED, SPARSE, SPARSE_SLOWLY, kind_of, preferred, prior
from apiece.instances import Instances
from apiece.statistics import Survey


def survey_of(count, side):
    stack = np.zeros((count, 200, 600), bool)
    for number in range(count):
        stack[number, :side, number * 40 : number * 40 + side] = True
    survey = Survey(("object",))
    survey.add("a", Instances.from_dense(stack))
    return survey


def test_a_method_far_below_the_best_bound_is_left_out():
    reached = {"SOLO": 0.97, "MaskRCNN": 0.60, "SpatialEmbedding": 0.99, "PolarMask": None}
    assert preferred(reached, CROWDED) == ["SpatialEmbedding", "SOLO"]


def test_among_near_bounds_the_prior_decides_not_the_bound():
    assert preferred({"DCME": 1.0, "SpatialEmbedding": 0.96}, CROWDED) == ["SpatialEmbedding", "DCME"]


def test_methods_that_the_prior_does_not_know_come_last():
    assert preferred({"New": 1.0, "DCME": 1.0}, CROWDED) == ["DCME", "New"]


def test_nothing_is_preferred_of_nothing():
    assert preferred({"DCME": None}, CROWDED) == []


def test_many_or_small_objects_are_crowded():
    crowds = survey_of(12, 38), survey_of(2, 10)
    assert {kind_of(survey, 0.3) for survey in crowds} == {"crowded"} and kind_of(survey_of(2, 38), None) == "sparse"


def test_objects_that_share_their_boxes_are_crossing_however_many_there_are():
    assert {kind_of(survey, 0.6) for survey in (survey_of(12, 38), survey_of(2, 38))} == {"crossing"}


def test_few_large_objects_have_another_order_with_and_without_a_gpu():
    for kind, order in (("crowded", CROWDED), ("crossing", CROSSING)):
        assert prior(kind, "cpu") == prior(kind, "cuda") == order
    assert prior("sparse", "cuda")[0] == "MaskRCNN" and prior("sparse", "cpu")[0] == "SpatialEmbedding"


def test_each_order_names_every_method():
    assert set(CROSSING) == set(CROWDED) == set(SPARSE) == set(SPARSE_SLOWLY) >= set(methods.PLACES)


@pytest.mark.parametrize(
    "order, sets",
    [(CROSSING, ["crossing_sticks"]), (CROWDED, ["nuclei", "leaves"]), (SPARSE_SLOWLY, ["fruits_nuts"])],
    ids=["crossing", "crowded", "sparse"],
)
def test_orders_are_those_of_the_published_table(order, sets):
    results = Path(__file__).parents[2] / "docs" / "results"

    def reached(name):
        cells = [json.loads((results / one / f"{name}.json").read_text()) for one in sets]
        return np.mean([cell["figures"]["AP"]["value"] for cell in cells])

    assert list(order) == sorted(order, key=reached, reverse=True)
