from dataclasses import replace

import numpy as np
import pytest

from apiece.metrics.bootstrap import differences, intervals
from apiece.metrics.cityscapes import cityscapes, cityscapes_resampler
from apiece.metrics.coco import coco, coco_resampler
from apiece.metrics.matching import matching, matching_resampler
from apiece.metrics.voc import voc, voc_resampler

from .coco_oracle import random_set, records


def mean_of(values):
    return lambda weights: {"mean": float(np.average(values, weights=weights))}


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(10, 2, 400)
    one = intervals(mean_of(values), 400)["mean"]
    assert one["value"] == pytest.approx(values.mean())
    for bound, quantile in (("low", -1.96), ("high", 1.96)):
        assert one[bound] == pytest.approx(values.mean() + quantile * values.std() / 20, abs=0.03)


def test_differences_are_paired_by_image():
    values = np.random.default_rng(0).normal(10, 2, 100)
    one = differences(mean_of(values + 0.5), mean_of(values), 100)["mean"]
    assert (one["value"], one["low"], one["high"]) == pytest.approx((0.5, 0.5, 0.5))


def test_figures_that_do_not_exist_have_no_interval():
    assert intervals(lambda weights: {"AP": None}, 3)["AP"] == {"value": None, "low": None, "high": None}
    assert intervals(lambda weights: {"AP": 1.0 if weights[0] else None}, 3)["AP"]["low"] == 1


def test_resampled_figures_are_those_of_the_images_as_often_as_drawn():
    of_images = records(*random_set(np.random.default_rng(3), images=6, ties=False))
    classes = ["a", "b", "c"]
    weights = np.array([2, 0, 1, 1, 0, 2])
    drawn = [one for one, weight in zip(of_images, weights, strict=True) for _ in range(weight)]
    wanted = coco(drawn, classes, kinds=["segm"])["segm"]
    resampled = coco_resampler(of_images, classes)(weights)
    assert resampled == pytest.approx({key: wanted[key] for key in ("AP", "AP50", "AP75")})
    figures = matching(drawn, classes)
    assert matching_resampler(of_images)(weights) == pytest.approx(
        {
            "accuracy@0.50": figures["0.50"]["accuracy"],
            "f1@0.50": figures["0.50"]["f1"],
            "pq@0.50": figures["0.50"]["pq"],
            "mean accuracy": figures["mean"]["accuracy"],
        }
    )


@pytest.mark.parametrize(
    "call, resampler, names",
    [(cityscapes, cityscapes_resampler, ("AP", "AP50")), (voc, voc_resampler, ("AP50", "mean"))],
)
@pytest.mark.parametrize("seed", range(4))
def test_resampled_areas_under_curves_are_those_of_the_images_as_often_as_drawn(call, resampler, names, seed):
    generator = np.random.default_rng(seed)
    # Cityscapes takes equal scores together; VOC goes by their order, which two copies of an image change.
    of_images = records(*random_set(generator, images=8, ties=call is cityscapes))
    # Cityscapes counts objects from 100 pixels on: the small ones here are taken for larger.
    of_images = [replace(one, masks=enlarged(one.masks)) for one in of_images]
    classes, of_draws = ["a", "b", "c"], resampler(of_images, ["a", "b", "c"])
    for _ in range(5):
        weights = np.bincount(generator.integers(0, 8, 8), None, 8)
        drawn = [one for one, weight in zip(of_images, weights, strict=True) for _ in range(weight)]
        wanted = call(drawn, classes)
        assert of_draws(weights) == pytest.approx({name: wanted[name] for name in names}, abs=1e-12, nan_ok=True)
    assert any(wanted[name] for name in names)


def enlarged(pairs):
    return replace(
        pairs,
        intersection=50 * pairs.intersection,
        found_areas=50 * pairs.found_areas,
        truth_areas=50 * pairs.truth_areas,
    )
