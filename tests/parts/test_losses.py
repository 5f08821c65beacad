"""The losses over ragged pairs against their definitions, written out plainly in float64."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from apiece.parts.losses import gaussian_membership, instance_windows, lovasz_hinge

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "spatial_embedding_loss.json").read_text())


def lovasz_by_definition(logits, labels):
    """First differences of the Jaccard loss along the sorted errors."""
    errors, order = (1 - logits * (2 * labels.double() - 1)).sort(descending=True)
    sorted_labels = labels[order].double()
    positives = sorted_labels.sum()
    jaccard = 1 - (positives - sorted_labels.cumsum(0)) / (positives + (1 - sorted_labels).cumsum(0))
    return (errors.relu() * torch.diff(jaccard, prepend=jaccard.new_zeros(1)).detach()).sum()


@pytest.fixture
def pairs():
    """Five masks over 200 elements, one of them empty, one full, the pairs shuffled."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 200, generator=generator, dtype=torch.float64)
    labels = torch.rand(5, 200, generator=generator) < torch.tensor([[0.3], [0.005], [0.0], [1.0], [0.7]])
    return logits, labels, torch.randperm(1000, generator=generator)


def flat(logits, labels, order):
    segments = torch.arange(len(logits))[:, None].expand(logits.shape)
    return logits.flatten()[order], labels.flatten()[order], segments.flatten()[order], labels.sum(1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_lovasz_hinge_of_many_masks_is_that_of_each(pairs, dtype, tolerance):
    logits, labels, order = pairs
    logits = logits.to(dtype).requires_grad_()
    expected_logits = logits.detach().double().requires_grad_()
    losses = lovasz_hinge(*flat(logits, labels, order))
    expected = torch.stack([lovasz_by_definition(*mask) for mask in zip(expected_logits, labels, strict=True)])
    losses.sum().backward()
    expected.sum().backward()
    assert torch.allclose(losses.double(), expected, rtol=tolerance, atol=tolerance)
    assert torch.allclose(logits.grad.double(), expected_logits.grad, rtol=tolerance, atol=tolerance)


def test_lovasz_hinge_of_one_right_and_one_wrong_pixel_is_the_wrong_ones_share():
    logits, labels = torch.tensor([2.0, 1.0]), torch.tensor([True, False])
    loss = lovasz_hinge(logits, labels, torch.zeros(2, dtype=torch.long), torch.tensor([1]))
    # Error 2 of the negative ranks first: one of a union of two is wrong.
    assert loss.tolist() == [1.0]


def test_lovasz_hinge_of_an_empty_mask_is_its_greatest_error():
    logits = torch.tensor([0.5, -0.25, -3.0], requires_grad=True)
    loss = lovasz_hinge(logits, torch.zeros(3, dtype=torch.bool), torch.zeros(3, dtype=torch.long), torch.tensor([0]))
    loss.sum().backward()
    assert loss.tolist() == [1.5]
    assert logits.grad.tolist() == [1, 0, 0]


def test_pairs_without_error_may_be_left_out(pairs):
    logits, labels, order = pairs
    flat_logits, flat_labels, segments, positives = flat(logits, labels, order)
    wrong = flat_logits * (2 * flat_labels.double() - 1) < 1
    assert 0 < wrong.sum() < len(wrong)
    kept = lovasz_hinge(flat_logits[wrong], flat_labels[wrong], segments[wrong], positives)
    assert torch.allclose(kept, lovasz_hinge(flat_logits, flat_labels, segments, positives), rtol=1e-14)


def test_masks_without_pairs_cost_nothing_and_keep_a_graph():
    logits = torch.zeros(0, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.long)
    losses = lovasz_hinge(logits, nothing.bool(), nothing, torch.tensor([3, 0]))
    losses.sum().backward()
    assert losses.tolist() == [0, 0]
    assert lovasz_hinge(logits, nothing.bool(), nothing, nothing).shape == (0,)


def test_lovasz_weights_do_not_cancel_in_float32():
    generator = torch.Generator().manual_seed(1)
    labels = torch.rand(100_000, generator=generator) < 0.3
    # Errors that float32 holds exactly, so that rounding exchanges no neighbors.
    errors = (torch.randperm(100_000, generator=generator) - 20_000) / 2**16
    logits = torch.where(labels, 1 - errors, errors - 1).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    segments = torch.zeros(len(labels), dtype=torch.long)
    lovasz_hinge(logits, labels, segments, labels.sum()[None]).sum().backward()
    lovasz_by_definition(exact, labels).backward()
    # First differences in float32 are 1e-3 off at this size.
    assert (logits.grad - exact.grad).norm() < 1e-6 * exact.grad.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits, labels = torch.tensor([0.5, -0.25, 1.0]), torch.tensor([True, True, False])
    rest = labels, torch.zeros(3, dtype=torch.long), torch.tensor([2])
    assert torch.equal(lovasz_hinge(logits.to(dtype), *rest), lovasz_hinge(logits, *rest))


def test_gaussian_membership_is_the_papers_formula():
    embeddings = torch.tensor([[[0.0, 1.0]], [[0.0, 2.0]]], dtype=torch.float64)
    centers, precisions = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([[0.5, 0.25], [0.1, 0.1]]).double()
    phi = gaussian_membership(embeddings, centers, precisions, torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    assert phi.tolist() == pytest.approx([1, np.exp(-0.5 - 1), np.exp(-0.5)])
    circle = gaussian_membership(embeddings, centers, precisions[:, :1], torch.tensor([1]), torch.tensor([0]))
    assert circle.item() == pytest.approx(np.exp(-2.5))


def scene(seed, margin, spread=0.004):
    """Embeddings, centers, precisions and owners of four objects in 37 x 51 pixels: sides that no tile divides."""
    generator = torch.Generator().manual_seed(seed)
    row, column = torch.meshgrid(torch.arange(37), torch.arange(51), indexing="ij")
    owner = torch.full((37, 51), -1)
    owner[2:14, 3:17], owner[20:37, 0:20], owner[5:30, 30:44], owner[1, 49] = 0, 1, 2, 3
    embeddings = torch.stack([column, row]) / 1024.0 + spread * torch.randn(2, 37, 51, generator=generator)
    centers = torch.stack([embeddings[:, owner == number].mean(1) for number in range(4)])
    precisions = np.log(2) / (margin / 1024 * torch.tensor([[1.0, 1.2], [0.8, 1], [1.5, 1], [0.3, 0.3]])) ** 2
    return embeddings.double(), centers.double(), precisions.double(), owner


@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("margin", [1.0, 6.0, 300.0])
def test_windows_leave_the_loss_and_its_gradient_as_they_are(margin, components):
    embeddings, centers, precisions, owner = scene(0, margin)
    inputs = [embeddings.requires_grad_(), centers.requires_grad_(), precisions[:, :components].requires_grad_()]
    sizes = torch.bincount(owner.flatten() + 1)[1:]

    def loss_and_gradients(pixels, objects):
        phi = gaussian_membership(*inputs, pixels, objects)
        losses = lovasz_hinge(2 * phi - 1, owner.flatten()[pixels] == objects, objects, sizes)
        return losses, torch.autograd.grad(losses.sum(), inputs)

    every_pixel = torch.arange(owner.numel()).repeat(4), torch.arange(4).repeat_interleave(owner.numel())
    expected, expected_gradients = loss_and_gradients(*every_pixel)
    windows = instance_windows(*inputs, owner)
    losses, gradients = loss_and_gradients(*windows)
    assert (len(windows[0]) < len(every_pixel[0])) == (margin < 300)
    assert torch.allclose(losses, expected, atol=2e-6, rtol=0)
    for gradient, whole in zip(gradients, expected_gradients, strict=True):
        assert (gradient - whole).norm() <= 1e-4 * whole.norm()


def test_windows_hold_every_own_pixel_once_and_in_raster_order():
    embeddings, centers, precisions, owner = scene(1, 3.0)
    pixels, objects = instance_windows(embeddings, centers, precisions, owner)
    own = (owner.flatten() >= 0).nonzero().squeeze(1)
    assert torch.equal(pixels[: len(own)], own)
    assert torch.equal(objects[: len(own)], owner.flatten()[own])
    assert len(torch.stack([pixels, objects]).unique(dim=1).T) == len(pixels)


def test_windows_of_no_objects_and_of_objects_without_pixels_are_empty():
    embeddings, centers, precisions, owner = scene(1, 3.0)
    nobody = torch.full_like(owner, -1)
    assert [len(x) for x in instance_windows(embeddings, centers[:0], precisions[:0], nobody)] == [0, 0]
    assert [len(x) for x in instance_windows(embeddings, centers, precisions, nobody)] == [0, 0]


@pytest.mark.parametrize("case", GOLDEN["cases"][:4], ids=lambda case: f"{case['to_center']}-{case['n_sigma']}")
def test_instance_term_equals_the_authors(case):
    """The golden file says how its numbers were made; here in float64, its instance term from the parts alone."""
    sigmas = case["n_sigma"]
    raw = np.random.default_rng(7).standard_normal((3 + sigmas, 32, 48))
    scale, shift = np.array([0.02, 0.02, *[0.05] * sigmas, 1]), np.array([0, 0, *[0.9] * sigmas, 0])
    prediction = torch.from_numpy((raw * scale[:, None, None] + shift[:, None, None]).astype(np.float32)).double()
    row, column = np.mgrid[:32, :48]
    owner = np.full((32, 48), -1)
    owner[2:14, 3:17] = 0
    owner[(row - 22) ** 2 + (column - 12) ** 2 <= 49] = 1
    owner[(row >= 6) & (row < 28) & (column >= 30) & (column < 44) & ((row + column) % 7 != 0)] = 2
    owner[1, 46] = 3
    owner = torch.from_numpy(owner)
    x, y = torch.linspace(0, 2, 2048)[:48], torch.linspace(0, 1, 1024)[:32]
    coordinates = torch.stack([x.expand(32, 48), y[:, None].expand(32, 48)]).double()
    embeddings = prediction[:2].tanh() + coordinates
    pulled = coordinates if case["to_center"] else embeddings
    centers = torch.stack([pulled[:, owner == number].mean(1) for number in range(4)])
    sigma = torch.stack([prediction[2 : 2 + sigmas, owner == number].mean(1) for number in range(4)])
    pixels, objects = instance_windows(embeddings, centers, (10 * sigma).exp(), owner)
    phi = gaussian_membership(embeddings, centers, (10 * sigma).exp(), pixels, objects)
    sizes = torch.bincount(owner.flatten() + 1)[1:]
    losses = lovasz_hinge(2 * phi - 1, owner.flatten()[pixels] == objects, objects, sizes)
    assert losses.mean().item() == pytest.approx(case["instance"], abs=1e-9)
