"""The fully connected CRF against mean field as its equations say, and the fast path against the exact one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from apiece.errors import CallError
from apiece.parts.crf import CRF, mean_field

LOOSE = CRF(bilateral_weight=10.0, bilateral_sxy=10.0, bilateral_srgb=13.0, gaussian_weight=3.0, gaussian_sxy=3.0)


def by_the_equations(energies, image, crf):
    """All pairs at once in float64, with pydensecrf's symmetric normalization."""
    labels, height, width = energies.shape
    unary = energies.double().reshape(labels, -1).numpy()
    color = image.double().reshape(len(image), -1).numpy()
    y, x = (side.ravel().astype(float) for side in np.mgrid[:height, :width])
    apart = np.subtract.outer(y, y) ** 2 + np.subtract.outer(x, x) ** 2
    unlike = sum(np.subtract.outer(channel, channel) ** 2 for channel in color) * 3 / len(color)
    couplings = 0
    for weight, kernel in (
        (crf.gaussian_weight, np.exp(-apart / (2 * crf.gaussian_sxy**2))),
        (crf.bilateral_weight, np.exp(-apart / (2 * crf.bilateral_sxy**2) - unlike / (2 * crf.bilateral_srgb**2))),
    ):
        norm = kernel.sum(1)
        couplings = couplings + weight * kernel / np.sqrt(np.outer(norm, norm))
    marginals = softmax(-unary)
    for _ in range(crf.steps):
        marginals = softmax(-unary + marginals @ couplings)
    return torch.from_numpy(marginals.reshape(energies.shape))


def softmax(scores):
    shares = np.exp(scores - scores.max(0))
    return shares / shares.sum(0)


def noise(labels, size, channels=3):
    return 2 * torch.randn(labels, *size), 255 * torch.rand(channels, *size)


def discs(objects, size, grain=6.0):
    """Energies of discs that lie some pixels beside those in the image."""
    generator = np.random.default_rng(objects)
    y, x = np.indices(size)
    label, image = np.zeros(size, int), np.full((3, *size), 90.0)
    for number in range(1, objects + 1):
        row, column, radius = generator.uniform((0, 0, 5), (*size, 16))
        inside = (y - row) ** 2 + (x - column) ** 2 < radius**2
        label[inside] = number
        image[:, inside] = generator.uniform(60, 200, (3, 1))
    image += generator.normal(0, grain, image.shape)
    shares = np.full((objects + 1, *size), 0.1 / objects)
    np.put_along_axis(shares, np.roll(label, (3, -2), (0, 1))[None], 0.9, 0)
    return -torch.from_numpy(np.log(shares)).float(), torch.from_numpy(image.clip(0, 255)).float()


@pytest.mark.parametrize("size", [(32, 32), (17, 32), (1, 20), (1, 1)], ids=str)
@pytest.mark.parametrize(
    "crf", [CRF(), LOOSE, CRF(steps=10, bilateral_sxy=50, bilateral_srgb=5), CRF(steps=0), CRF(bilateral_weight=0)]
)
def test_the_exact_path_is_mean_field(size, crf):
    for energies, image in (noise(4, size), discs(5, size), noise(2, size, channels=1)):
        found = mean_field(energies, image, replace(crf, exact=True))
        assert found.shape == energies.shape
        torch.testing.assert_close(found.double(), by_the_equations(energies, image, crf), atol=1e-5, rtol=0)


@pytest.mark.parametrize("crf", [CRF(), replace(LOOSE, bilateral_sxy=4, steps=10)])
@pytest.mark.parametrize("objects", [1, 20])
def test_the_fast_path_stays_near_the_exact_one(crf, objects):
    size = (30, 56)
    even = torch.full((3, *size), 100.0)
    ramp = torch.linspace(0, 255, size[1]).expand(1, *size).contiguous()
    energies, image = discs(objects, size)
    for case in ((energies, image), (energies, even), (energies, ramp), discs(objects, size, 0.0), noise(4, size)):
        wanted = mean_field(*case, replace(crf, exact=True))
        assert (mean_field(*case, crf) - wanted).abs().max() < 0.02


def test_the_fast_path_does_leave_something_out():
    energies, image = torch.randn(2, 8, 160), torch.full((3, 8, 160), 50.0)
    energies[:, :, 100:] += torch.tensor([4.0, -4.0])[:, None, None]
    crf = CRF(bilateral_sxy=3, gaussian_sxy=3, bilateral_weight=5)
    changed = energies.clone()
    changed[:, :, 150:] *= -1
    near, far = ((mean_field(energies, image, crf) - mean_field(changed, image, crf)).abs()[:, :, half].max()
                 for half in (slice(100, 160), slice(0, 16)))  # fmt: skip
    assert near > 0.5 and far == 0


def test_marginals_are_probabilities_and_labels_follow_colors():
    image = torch.zeros(3, 24, 24)
    image[:, :, 12:] = 200
    energies = torch.zeros(2, 24, 24)
    energies[1, :, 15:] = -2
    energies[0, :, :9] = -2
    marginals = mean_field(energies, image, CRF(bilateral_weight=5))
    torch.testing.assert_close(marginals.sum(0), torch.ones(24, 24))
    assert (marginals.argmax(0) == (image[0] > 0)).all(), "the border between labels is that between colors"


def test_without_weights_or_steps_pixels_are_alone():
    energies, image = noise(3, (20, 21))
    alone = (-energies).softmax(0)
    torch.testing.assert_close(mean_field(energies, image, CRF(steps=0)), alone)
    torch.testing.assert_close(mean_field(energies, image, CRF(gaussian_weight=0, bilateral_weight=0)), alone)


def test_one_label_is_certain():
    energies, image = noise(1, (9, 30))
    assert (mean_field(energies, image, CRF()) == 1).all()


def test_gray_counts_like_the_color_it_looks_like():
    energies, image = noise(3, (20, 30), channels=1)
    torch.testing.assert_close(
        mean_field(energies, image, CRF()), mean_field(energies, image.expand(3, -1, -1), CRF()), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": -1},
        {"gaussian_weight": -1.0},
        {"bilateral_weight": float("nan")},
        {"bilateral_sxy": 0.0},
        {"bilateral_srgb": -3.0},
        {"gaussian_sxy": float("inf")},
        {"softness": 0.0},
        {"certainty": 0.5},
        {"certainty": 1.0},
    ],
    ids=str,
)
def test_numbers_that_make_no_sense_are_named(wrong):
    with pytest.raises(CallError, match=f"CRF: {next(iter(wrong))} is"):
        CRF(**wrong)
