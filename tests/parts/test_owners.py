import numpy as np
import pytest
import torch

from apiece.instances import Instances
from apiece.parts.owners import Owners

CPU = torch.device("cpu")


def target(*masks, labels=None, ignore=None):
    return Instances.from_dense(np.array(masks, bool), labels, ignore=ignore)


def test_every_pixel_belongs_to_the_smallest_object_that_covers_it():
    truth = Owners.of(target([[1, 1, 1, 0]], [[0, 1, 0, 0]], labels=[2, 1]), CPU)
    assert truth.owner.tolist() == [[0, 1, 0, -1]]
    assert truth.pixels.tolist() == [0, 1, 2] and truth.objects.tolist() == [0, 1, 0]
    assert truth.labels.tolist() == [2, 1] and truth.sizes.tolist() == [2, 1]
    assert len(truth) == 2


def test_an_object_wholly_hidden_is_left_out_and_the_others_keep_their_order():
    # The second lies under two smaller ones.
    truth = Owners.of(target([[1, 0, 0]], [[1, 1, 0]], [[0, 1, 0]], [[0, 0, 1]], labels=[5, 6, 7, 8]), CPU)
    assert truth.owner.tolist() == [[0, 1, 2]]
    assert truth.labels.tolist() == [5, 7, 8] and truth.sizes.tolist() == [1, 1, 1]


def test_ignored_objects_are_regions_of_their_class_less_what_objects_cover():
    masks = [[[1, 0, 0, 0]], [[1, 1, 0, 0]], [[0, 1, 1, 0]], [[0, 0, 0, 1]]]
    truth = Owners.of(target(*masks, labels=[0, 1, 1, -1], ignore=[False, True, True, True]), CPU)
    assert truth.labels.tolist() == [0] and truth.owner.tolist() == [[0, -1, -1, -1]]
    assert truth.ignored_labels == [-1, 1]
    assert truth.ignored.tolist() == [[[False, False, False, True]], [[False, True, True, False]]]
    # The region of any class is unknown to every class.
    assert truth.unknown(2).tolist() == [[[False, False, False, True]], [[False, True, True, True]]]


def test_sums_and_means_are_taken_over_each_objects_own_pixels():
    truth = Owners.of(target([[1, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 1]]), CPU)
    maps = torch.arange(12.0).reshape(2, 2, 3)
    assert truth.means(maps).tolist() == [[pytest.approx(4 / 3), pytest.approx(22 / 3)], [5, 11]]
    assert truth.sums(torch.tensor([1.0, 2.0, 4.0, 8.0])).tolist() == [7, 8]


def test_means_hand_gradients_to_the_pixels_of_objects_only():
    maps = torch.zeros(1, 1, 4, requires_grad=True)
    Owners.of(target([[0, 1, 1, 0]]), CPU).means(maps).sum().backward()
    assert maps.grad.tolist() == [[[0, 0.5, 0.5, 0]]]


def test_the_nearest_place_is_one_of_the_objects_own_and_of_equal_ones_the_first():
    truth = Owners.of(target([[1, 1, 0, 1, 1]], [[0, 0, 1, 0, 0]], [[0, 0, 0, 0, 0]]), CPU)
    places = torch.tensor([[[0.0, 1, 2, 3, 4]], [[5.0, 5, 5, 5, 5]]])
    # The first aims at a place of the second, between two pixels of its own.
    assert truth.nearest(places, torch.tensor([[2.0, 5], [9.0, 9]])).tolist() == [[1, 5], [2, 5]]
    assert truth.nearest(places, torch.tensor([[3.4, 0], [2.0, 5]])).tolist() == [[3, 5], [2, 5]]


def test_an_image_without_objects_has_no_owners_and_nothing_unknown():
    truth = Owners.of(Instances.empty((2, 3)), CPU)
    assert (truth.owner == -1).all() and len(truth) == 0
    assert truth.means(torch.ones(4, 2, 3)).shape == (0, 4)
    assert truth.unknown(3).shape == (3, 2, 3) and not truth.unknown(3).any()
