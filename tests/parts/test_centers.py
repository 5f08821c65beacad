"""Grouping to centers that are given or found by density, against the plain formulas."""

from pathlib import Path

import numpy as np
import pytest

from apiece.parts.centers import density_centers, group_by_given_centers, group_by_nearest

GOLDEN = Path(__file__).parent.parent / "golden" / "spatial_embedding_clustering.npz"


@pytest.fixture
def squares():
    """Four squares whose pixels point at their centers but for a little noise: offsets, coordinates, truth, centers."""
    generator = np.random.default_rng(0)
    truth = np.zeros((60, 80), int)
    for number, (top, left) in enumerate([(2, 3), (2, 30), (30, 5), (25, 55)], start=1):
        truth[top : top + 20, left : left + 20] = number
    row, column = np.mgrid[:60, :80]
    coordinates = np.arange(80, dtype=np.float32) / 64, np.arange(60, dtype=np.float32) / 64
    centers = np.array([[column[truth == n].mean(), row[truth == n].mean()] for n in range(1, 5)]) / 64
    offsets = generator.normal(0, 0.5 / 64, (2, 60, 80))
    inside = truth > 0
    offsets[:, inside] += centers[truth[inside] - 1].T - np.stack([column, row])[:, inside] / 64
    return offsets.astype(np.float32), coordinates, truth, centers.astype(np.float32)


def test_centers_are_found_where_embeddings_pile_up(squares):
    offsets, coordinates, truth, centers = squares
    found = density_centers(offsets, truth > 0, 4 / 64, coordinates=coordinates, min_pixels=50)
    assert found.shape == (4, 2)
    order = np.abs(found[:, None] - centers).sum(2).argmin(0)
    assert sorted(order) == [0, 1, 2, 3]
    assert np.abs(found[order] - centers).max() < 0.2 / 64


def test_every_pixel_goes_to_its_nearest_center(squares):
    offsets, coordinates, truth, centers = squares
    assert np.array_equal(group_by_nearest(offsets, centers, truth > 0, coordinates=coordinates), truth)


def test_pixels_far_from_every_center_and_not_finite_ones_stay_zero(squares):
    offsets, coordinates, truth, centers = squares
    offsets[0, 5, 5], offsets[0, 6, 6], offsets[1, 7, 7] = 3, np.nan, np.inf
    labels = group_by_nearest(offsets, centers, truth > 0, coordinates=coordinates, max_distance=8 / 64)
    expected = truth.copy()
    expected[[5, 6, 7], [5, 6, 7]] = 0
    assert np.array_equal(labels, expected)


def test_no_center_and_no_foreground_label_nothing(squares):
    offsets, coordinates, truth, centers = squares
    nothing = np.zeros(truth.shape, bool)
    assert group_by_nearest(offsets, centers[:0], truth > 0, coordinates=coordinates).max() == 0
    assert group_by_nearest(offsets, centers, nothing, coordinates=coordinates).max() == 0
    assert density_centers(offsets, nothing, 0.1, coordinates=coordinates).shape == (0, 2)
    assert group_by_given_centers(offsets, centers[:0], centers[:0], coordinates=coordinates).max() == 0


def test_groups_too_small_are_no_centers(squares):
    offsets, coordinates, truth, _ = squares
    assert density_centers(offsets, truth > 0, 4 / 64, coordinates=coordinates, min_pixels=401).shape == (0, 2)


def test_a_stray_embedding_does_not_hide_the_others(squares):
    offsets, coordinates, truth, _ = squares
    offsets[0, 5, 5], offsets[1, 6, 6] = 1e9, np.nan
    assert len(density_centers(offsets, truth > 0, 4 / 64, coordinates=coordinates, min_pixels=50)) == 4


def test_given_centers_group_as_the_formula_says(squares):
    offsets, coordinates, _, centers = squares
    precisions = (np.log(2) / (np.array([[9, 12], [14, 10], [11, 8], [40, 30]]) / 64) ** 2).astype(np.float32)
    embeddings = offsets + np.stack(np.broadcast_arrays(coordinates[0][None], coordinates[1][:, None]))
    difference = embeddings[None] - centers[:, :, None, None]
    phi = np.exp(-(difference**2 * precisions[:, :, None, None]).sum(1))
    closest = np.where(phi.max(0) > 0.5, phi.argmax(0) + 1, 0)
    last = np.max((phi > 0.5) * np.arange(1, 5)[:, None, None], axis=0)
    assert (closest != last).any()
    assert np.array_equal(group_by_given_centers(offsets, centers, precisions, coordinates=coordinates), closest)
    labels = group_by_given_centers(offsets, centers, precisions, coordinates=coordinates, overlap="last")
    assert np.array_equal(labels, last)


def test_given_centers_take_foreground_only(squares):
    offsets, coordinates, truth, centers = squares
    precisions = np.full((4, 1), np.log(2) / (15 / 64) ** 2, np.float32)
    labels = group_by_given_centers(offsets, centers, precisions, coordinates=coordinates, foreground=truth > 0)
    assert np.array_equal(labels, truth)


@pytest.mark.parametrize("sigmas", [1, 2])
def test_given_centers_reproduce_the_authors_validation(discs, sigmas):
    raw, coordinates = discs(sigmas)
    golden = np.load(GOLDEN)
    truth = golden[f"sigmas{sigmas}_threshold50_labels"]
    ids = np.unique(truth)[1:]
    offsets = np.tanh(raw[:2])
    embeddings = offsets + np.stack(np.broadcast_arrays(coordinates[0][None], coordinates[1][:, None]))
    centers = np.stack([embeddings[:, truth == number].mean(1) for number in ids])
    precisions = np.exp(10 * np.stack([raw[2 : 2 + sigmas, truth == number].mean(1) for number in ids]))
    labels = group_by_given_centers(offsets, centers, precisions, coordinates=coordinates, overlap="last")
    assert (np.concatenate([[0], ids])[labels] != golden[f"sigmas{sigmas}_given_labels"]).sum() <= 2
