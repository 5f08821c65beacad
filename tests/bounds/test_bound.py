from dataclasses import replace

import numpy as np
import pytest

from apiece import methods
from apiece.bounds.bound import Bound, bounds, losses
from apiece.bounds.excerpts import Excerpt, excerpt
from apiece.bounds.traits import Traits
from apiece.data.generated import crossing_sticks, discs
from apiece.instances import Instances
from apiece.statistics import Statistics


def begun(name, data):
    return Bound.begun(name, data.classes, Statistics.of([data.truth(index) for index in range(len(data))]))


def shown(name, data, seconds=30.0):
    bound = begun(name, data)
    bounds(data, range(len(data)), [bound], seconds, quiet=True)
    return bound


def test_label_maps_are_shown_whole_by_pixels_that_point_at_centers():
    bound = shown("SpatialEmbedding", crossing_sticks(3, seed=1))
    figures = bound.figures()
    assert [figures[name] for name in ("AP", "accuracy50", "accuracy75", "iou")] == [1, 1, 1, 1]
    assert bound.images == 3 and bound.worst == [] and bound.stopped == "" and bound.seconds > 0
    assert list(losses(bound)) == [f"all {len(bound.reached)} objects can be shown, with a mean IoU of 1.000"]


def test_of_sticks_with_one_center_centers_show_half_and_features_all():
    data = crossing_sticks(3, seed=1, hard=True)
    centers, features = shown("SpatialEmbedding", data), shown("Discriminative", data)
    assert features.figures()["AP"] == 1
    assert centers.figures()["accuracy75"] < 0.4 and (centers.reached < 0.75).sum() >= 3
    assert len(centers.worst) == 3 and "share a center" in " ".join(losses(centers))


def test_the_best_iou_of_each_object_is_that_of_its_own_class():
    label_map = np.zeros((40, 40), np.uint16)
    label_map[5:15, 5:15], label_map[20:32, 20:32] = 1, 2
    truth = Instances.from_label_map(label_map, [0, 1])
    data = discs(1)
    bound = Bound.begun("SpatialEmbedding", ("a", "b"), Statistics.of([truth]))
    bound.add(Excerpt(0, "x", (slice(0, 40), slice(0, 40)), truth), Traits.of(truth))
    assert bound.reached.tolist() == [1, 1] and data.classes == ("disc",)


def test_ignored_objects_are_neither_lost_nor_shown():
    stack = np.zeros((2, 30, 30), bool)
    stack[0, :10, :10], stack[1, 15:, 15:] = True, True
    truth = Instances.from_dense(stack, ignore=[True, False])
    bound = Bound.begun("DCME", ("a",), Statistics.of([truth]))
    part = Excerpt(0, "x", (slice(0, 30), slice(0, 30)), truth)
    bound.add(part, Traits.of(part.known))
    assert bound.reached.tolist() == [1] and len(bound.seen.diameters) == 1


@pytest.mark.skipif("MaskRCNN" not in methods.PLACES, reason="no method with boxes in this version")
def test_boxes_that_nms_takes_for_another_are_lost():
    # Nineteen squares apart, and two diagonals in one box, which no limit of NMS tells apart.
    layers = np.zeros((2, 64, 80), np.uint16)
    for number in range(20):
        row, column = 16 * (number // 5), 16 * (number % 5)
        layers[0, row + 2 : row + 12, column + 2 : column + 12] = number + 1
    band = np.abs(np.subtract.outer(np.arange(14), np.arange(14))) < 3
    layers[0, 0:14, 0:14], layers[1, 0:14, 0:14] = band, band[::-1] * np.uint16(21)
    truth = Instances.from_layers(layers)
    bound = shown("MaskRCNN", replace(discs(1, (64, 80)), read_truth=lambda index: truth))
    assert bound.figures()["accuracy50"] == pytest.approx(20 / 21) and bound.reached.min() < 0.2
    assert "share a box" in " ".join(losses(bound))


def test_a_method_that_cannot_be_built_says_so():
    bound = Bound.begun("Nothing", ("a",), Statistics.of([]))
    assert bound.model is None and bound.stopped.startswith("cannot be built: CallError: there is no method 'Nothing'")
    assert set(bound.figures().values()) == {None} and list(losses(bound)) == [] and bound.parameters == 0


def test_a_method_that_fails_is_stopped_and_the_others_go_on():
    data = discs(3, (48, 48), seed=3)
    # A label that the method has no class for.
    failing = Bound.begun("SpatialEmbedding", data.classes, Statistics.of([data.truth(0)]))
    truth = data.truth(1).replace(labels=np.full(len(data.truth(1)), 5))
    failing.add(Excerpt(1, "bad", (slice(0, 48), slice(0, 48)), truth), Traits.of(truth))
    assert failing.stopped.startswith("failed at image bad: IndexError") and failing.images == 0
    sound = begun("SpatialEmbedding", data)
    bounds(data, range(3), [failing, sound], 30.0, quiet=True)
    assert (failing.images, sound.images) == (0, 3)


def test_without_time_one_image_is_shown_by_all():
    data = discs(5, (48, 48), seed=3)
    several = [begun("SpatialEmbedding", data), begun("DCME", data)]
    hurry = bounds(data, range(5), several, 0.0, quiet=True)
    assert [(bound.images, bound.stopped) for bound in several] == [(1, ""), (1, "")]
    assert hurry == "The time was over after 1 of 5 images: more --seconds make the bounds surer."


def test_a_method_that_takes_half_of_the_time_is_stopped_and_the_others_go_on():
    data = discs(5, (48, 48), seed=3)
    slow, quick = begun("SpatialEmbedding", data), begun("DCME", data)
    slow.seconds = 16.0
    assert bounds(data, range(5), [slow, quick], 30.0, quiet=True) == ""
    assert slow.stopped == "slow: 16 s an image" and (slow.images, quick.images) == (1, 5)


def test_images_without_objects_are_passed_over():
    data = discs(3, (48, 48), seed=3, objects=(0, 0))
    bound = begun("SpatialEmbedding", data)
    bounds(data, range(3), [bound], 30.0, quiet=True)
    assert bound.images == 0 and excerpt(data, 0) is None
