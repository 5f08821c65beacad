import numpy as np
import pytest

from apiece.checks.likeness import likeness, pairs
from apiece.data.generated import crossing_sticks, discs


def found(images):
    return [(pair.first, pair.second, pair.exact) for pair in pairs([likeness(image) for image in images])]


@pytest.mark.parametrize("data", [discs(30, (64, 64), seed=4), crossing_sticks(20, seed=4)])
def test_different_images_of_a_kind_are_not_one(data):
    assert found([sample.image for sample in data]) == []


def halved(image):
    return (image[::2, ::2].astype(int) + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) // 4


CHANGES = {
    "brighter": lambda image: (image * 1.2 + 10).clip(0, 255).astype(np.uint8),
    "half as large": lambda image: halved(image).astype(np.uint8),
    "16 bits": lambda image: image.astype(np.uint16) * 257,
    "floating point": lambda image: image / np.float32(255),
    "grey thrice": lambda image: np.repeat(image, 3, 2),
    "noisy": lambda image: (image + np.random.default_rng(0).normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8),
    "cut by a row": lambda image: image[1:],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_same_picture_saved_otherwise_is_found(change):
    images = [sample.image for sample in discs(6, (128, 96), seed=2)]
    assert found([*images, change(images[3])]) == [(3, 6, False)]


def test_the_same_pixels_are_found_exactly_and_every_pair_once():
    image = discs(1, (40, 40)).image(0)
    assert found([image, image.copy(), image[:, ::-1][:, ::-1]]) == [(0, 1, True), (0, 2, True), (1, 2, True)]


def test_large_tiny_and_broken_images_are_taken():
    odd = [np.zeros((0, 5, 1), np.uint8), np.full((1, 1, 1), 7, np.uint8), np.full((3, 900, 1), np.nan, np.float32)]
    assert all(not likeness(image).detail.any() for image in odd)
    large = np.random.default_rng(0).integers(0, 255, (1500, 1300, 3)).astype(np.uint8)
    assert likeness(large).detail.shape == (16 * 16 - 1,)
