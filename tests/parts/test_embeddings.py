"""Embeddings that say whether two places are of one object."""

import itertools

import numpy as np
import pytest
import torch

from apiece.instances import Instances
from apiece.parts.embeddings import place_loss, pull, push
from apiece.parts.owners import Owners


def scene(ignored: bool = False) -> Instances:
    """Three rectangles on 24 x 32 pixels, a place of which has 4 x 4."""
    masks = np.zeros((3, 24, 32), bool)
    masks[0, 0:8, 0:12], masks[1, 8:20, 4:16], masks[2, 4:24, 20:32] = True, True, True
    return Instances.from_dense(masks, np.array([0, 0, 0]), ignore=np.array([False, False, ignored]))


def test_both_terms_equal_loops_over_objects_pixels_and_pairs():
    truth = Owners.of(scene(), torch.device("cpu"))
    maps = torch.randn(5, 24, 32, generator=torch.Generator().manual_seed(0))
    own, means = maps.flatten(1)[:, truth.pixels].T, truth.means(maps)
    pulled = pull(own, means, truth, 0.5)
    for number in range(3):
        pixels = maps[:, truth.owner == number].T
        mean = pixels.mean(0)
        expected = sum(max(0.0, float((mean - pixel).norm()) - 0.5) ** 2 for pixel in pixels) / len(pixels)
        assert pulled[number].item() == pytest.approx(expected, rel=1e-4)
    labels = torch.tensor([0, 1, 1])
    expected = np.mean([max(0.0, 3 - float((means[a] - means[b]).norm())) ** 2 for a, b in ((1, 2), (2, 1))])
    assert push(means, labels, 1.5).item() == pytest.approx(expected, rel=1e-5)
    pairs = itertools.permutations(range(3), 2)
    expected = np.mean([max(0.0, 3 - float((means[a] - means[b]).norm())) ** 2 for a, b in pairs])
    assert push(means, labels * 0, 1.5).item() == pytest.approx(expected, rel=1e-5)


def test_a_place_is_of_the_object_that_covers_most_of_it_from_a_half_on():
    cells = torch.tensor([[0.5, 0.6, 0.4, 0.0], [0.2, 0.7, 0.45, 0.0], [0.1, 0.1, 0.1, 0.1]])
    truth = Owners.of_places(cells, (2, 2))
    assert truth.owner.tolist() == [[0, 1], [-1, -1]]
    assert truth.pixels.tolist() == [0, 1] and truth.sizes.tolist() == [1, 1]
    nothing = Owners.of_places(torch.zeros(0, 4), (2, 2))
    assert not len(nothing) and (nothing.owner == -1).all()


def ideal(target: Instances) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings 3 apart and sure logits, of places of 4 x 4 pixels."""
    numbers = torch.from_numpy(target.label_map()[::4, ::4].astype(np.int64))
    return torch.stack([3.0 * numbers, 0.0 * numbers]), torch.where(numbers > 0, 30.0, -30.0)


def test_nothing_lacks_where_objects_lie_in_points_far_from_each_other():
    target = scene()
    valid = torch.ones(6, 8, dtype=torch.bool)
    embeddings, objectness = ideal(target)
    assert place_loss(embeddings, objectness, valid, target, 4) < 1e-6
    assert place_loss(embeddings / 2, objectness, valid, target, 4) > 1
    assert place_loss(embeddings, -objectness, valid, target, 4) > 10


def test_of_ignored_objects_and_padding_nothing_is_learned():
    target, valid = scene(ignored=True), torch.ones(7, 9, dtype=torch.bool)
    valid[6:], valid[:, 8:] = False, False
    embeddings, objectness = (torch.nn.functional.pad(part, (0, 1, 0, 1)) for part in ideal(target))
    before = place_loss(embeddings, objectness, valid, target, 4)
    objectness[1:6, 5:8] = 7.0
    embeddings[:, 1:6, 5:8] += 5
    objectness[6], objectness[:, 8] = -9.0, 9.0
    assert place_loss(embeddings, objectness, valid, target, 4) == before


def test_where_everything_is_ignored_only_known_objects_teach():
    valid, everywhere = torch.ones(6, 8, dtype=torch.bool), np.ones((1, 24, 32), bool)
    nothing = Instances.from_dense(everywhere, np.array([0]), ignore=np.array([True]))
    embeddings, objectness = ideal(scene())
    assert place_loss(embeddings, objectness, valid, nothing, 4) == 0
    masks = np.concatenate([scene().dense()[:1], everywhere])
    one = Instances.from_dense(masks, np.array([0, 0]), ignore=np.array([False, True]))
    assert place_loss(embeddings, objectness, valid, one, 4) < 1e-6
    assert place_loss(embeddings, -objectness, valid, one, 4) > 10


def test_an_image_without_objects_has_a_finite_loss_and_gradients():
    embeddings, objectness = torch.randn(4, 6, 8, requires_grad=True), torch.randn(6, 8, requires_grad=True)
    loss = place_loss(embeddings, objectness, torch.ones(6, 8, dtype=torch.bool), Instances.empty((24, 32)), 4)
    loss.backward()
    assert loss.isfinite() and objectness.grad is not None and objectness.grad.isfinite().all()
