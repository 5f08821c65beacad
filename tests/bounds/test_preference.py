import numpy as np

from apiece import methods
from apiece.bounds.preference import CROWDED, SPARSE, SPARSE_SLOWLY, is_crowded, preferred, prior
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
    assert is_crowded(survey_of(12, 38)) and is_crowded(survey_of(2, 10)) and not is_crowded(survey_of(2, 38))


def test_few_large_objects_have_another_order_with_and_without_a_gpu():
    assert prior(True, "cpu") == prior(True, "cuda") == CROWDED
    assert prior(False, "cuda")[0] == "MaskRCNN" and prior(False, "cpu")[0] == "SpatialEmbedding"


def test_each_order_names_every_method():
    assert set(CROWDED) == set(SPARSE) == set(SPARSE_SLOWLY) >= set(methods.PLACES)
