"""Mean shift against a plain version of the paper's loop, against scikit-learn's where that is installed, and edges."""

import numpy as np
import pytest
import torch

from apiece.parts.mean_shift import group_by_mean_shift, group_by_nearest_center


def clusters(count, dimensions, sizes=(5, 60), apart=3.0, radius=0.5, seed=0):
    """Points in balls of a radius around centers at least `apart` from each other, and whose each is; shuffled."""
    generator = np.random.default_rng(seed)
    centers = [generator.uniform(-5, 5, dimensions)]
    spread = 5.0
    while len(centers) < count:
        spread += 0.2
        center = generator.uniform(-spread, spread, dimensions)
        if min(np.linalg.norm(center - other) for other in centers) >= apart:
            centers.append(center)
    owner = np.repeat(np.arange(count), generator.integers(*sizes, count))
    away = generator.standard_normal((len(owner), dimensions))
    away *= radius * generator.random((len(owner), 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    order = generator.permutation(len(owner))
    points = (np.array(centers)[owner] + away)[order].astype(np.float32)
    return torch.from_numpy(points), owner[order]


def plain(points, bandwidth):
    """The paper's loop in float64: one free point after another, shifted among all points, takes what is around it."""
    points = points.double().numpy()
    labels, free, number = np.zeros(len(points), int), np.ones(len(points), bool), 0
    while free.any():
        center, before = points[free.argmax()], None
        while before is None or np.linalg.norm(center - before) > 1e-9:
            before = center
            center = points[np.linalg.norm(points - center, axis=1) <= bandwidth].mean(0)
        inside = (np.linalg.norm(points - center, axis=1) <= bandwidth) & free
        number += 1
        labels[inside] = number
        free &= ~inside
    return labels


def same_partition(one, other) -> bool:
    pairs = set(zip(np.asarray(one).tolist(), np.asarray(other).tolist(), strict=True))
    return len(pairs) == len({first for first, _ in pairs}) == len({second for _, second in pairs})


@pytest.mark.parametrize("dimensions", [1, 2, 3, 8, 16])
def test_separated_clusters_are_found_as_by_the_plain_loop(dimensions):
    points, owner = clusters(25, dimensions, radius=0.4)
    found = group_by_mean_shift(points, 0.9, tolerance=1e-6)
    assert same_partition(plain(points, 0.9), owner)
    assert same_partition(found.labels, owner)
    assert found.sizes.tolist() == sorted(np.bincount(owner).tolist(), reverse=True)
    means = torch.stack([points[found.labels == number].mean(0) for number in range(1, 26)])
    torch.testing.assert_close(found.centers, means, rtol=0, atol=1e-4)


def test_the_partition_is_that_of_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is not installed")
    points, _ = clusters(12, 4)
    theirs = cluster.MeanShift(bandwidth=1.0).fit(points.numpy()).labels_
    assert same_partition(group_by_mean_shift(points, 1.0).labels, theirs)


def test_every_cluster_is_found_where_three_directions_do_not_tell_them_apart():
    """The corners of a 16-dimensional simplex: seen from any three directions they fall together."""
    corners = 3 / np.sqrt(2) * torch.eye(16)
    points = corners.repeat(30, 1) + 0.05 * torch.randn(480, 16)
    assert same_partition(group_by_mean_shift(points, 0.9).labels, np.tile(np.arange(16), 30))


def test_the_order_of_points_does_not_matter_and_neither_does_chance():
    points, _ = clusters(20, 3, apart=1.2)
    order = torch.randperm(len(points))
    first, again, turned = (group_by_mean_shift(some, 0.6, reach=1.0) for some in (points, points, points[order]))
    assert torch.equal(first.labels, again.labels) and torch.equal(first.centers, again.centers)
    assert same_partition(first.labels[order], turned.labels)


def test_points_beyond_the_bandwidth_go_to_the_nearest_mode_within_reach():
    points = torch.tensor([[0.0], [0.0], [0.1], [0.1], [2.0], [2.0], [2.1], [0.9], [1.4], [3.5]])
    near, far = (group_by_mean_shift(points, 0.5, reach=reach, min_size=3).labels.tolist() for reach in (None, 1.0))
    assert near == [1, 1, 1, 1, 2, 2, 2, 0, 0, 0]
    assert far == [1, 1, 1, 1, 2, 2, 2, 1, 2, 0]


def test_small_clusters_are_none_and_their_points_may_go_to_another():
    points = torch.tensor([[0.0, 0]] * 8 + [[0.8, 0]] * 2 + [[9.0, 0]] * 2)
    assert group_by_mean_shift(points, 0.5, reach=1.0).sizes.tolist() == [8, 2, 2]
    found = group_by_mean_shift(points, 0.5, reach=1.0, min_size=3)
    assert found.labels.tolist() == [1] * 10 + [0] * 2


def test_modes_within_the_bandwidth_are_one():
    points = torch.cat([torch.zeros(20, 2), torch.tensor([[0.7, 0.0]]).repeat(9, 1)])
    assert len(group_by_mean_shift(points, 0.6, reach=1.0).sizes) == 2
    assert group_by_mean_shift(points, 0.8, reach=1.0).sizes.tolist() == [29]


@pytest.mark.parametrize(("dimensions", "width"), [(1, 1), (1, 9), (2, 0.6), (2, 4), (3, 0.6), (3, 2), (5, 1)])
def test_what_clusters_are_holds_for_any_points(dimensions, width):
    points, bandwidth, reach, min_size = width * torch.rand(400, dimensions), 0.5, 0.8, 6
    found = group_by_mean_shift(points, bandwidth, reach=reach, min_size=min_size, tolerance=1e-5)
    centers = found.centers.double()
    distance = torch.cdist(points.double(), centers, compute_mode="donot_use_mm_for_euclid_dist")
    means = torch.stack([points[near].double().mean(0) for near in (distance <= bandwidth).T])
    # A point on the rim may be in or out.
    assert ((means - centers).norm(dim=1) < 0.02).all()
    assert (torch.pdist(centers) >= bandwidth - 1e-4).all()
    assert torch.equal(found.labels, torch.where(distance.amin(1) <= reach, distance.argmin(1) + 1, 0))
    assert found.sizes.tolist() == torch.bincount(found.labels, minlength=len(centers) + 1)[1:].tolist()
    assert found.sizes.min() >= min_size and found.sizes.tolist() == sorted(found.sizes.tolist(), reverse=True)


def test_a_thin_tail_is_no_cluster_of_its_own():
    points = torch.tensor([0.0] * 20 + [0.7, 0.83, 0.96, 1.09, 1.22])[:, None]
    assert group_by_mean_shift(points, 0.25, reach=1.5, min_size=5).sizes.tolist() == [25]
    assert group_by_mean_shift(points, 0.25, reach=1.5, min_size=3).sizes.tolist() == [20, 5]


def test_a_mode_that_too_few_points_reach_is_no_cluster():
    points = torch.tensor([-0.4, -0.3, -0.2, 0.2, 0.3, 0.4])[:, None]
    found = group_by_mean_shift(points, 1.0, reach=0.1, min_size=3)
    assert not found.labels.any() and len(found.sizes) == 0


def test_nothing_and_one_point_and_equal_points():
    empty = group_by_mean_shift(torch.zeros(0, 8), 0.5)
    assert len(empty.labels) == len(empty.sizes) == 0 and empty.centers.shape == (0, 8)
    assert group_by_mean_shift(torch.ones(1, 2), 0.5).labels.tolist() == [1]
    assert group_by_mean_shift(torch.ones(70, 5), 0.5).sizes.tolist() == [70]


def test_points_that_are_not_finite_belong_to_no_cluster():
    points = torch.zeros(6, 2)
    points[1, 0], points[4, 1] = torch.nan, torch.inf
    assert group_by_mean_shift(points, 0.5).labels.tolist() == [1, 0, 1, 1, 0, 1]
    assert group_by_mean_shift(torch.full((3, 2), torch.nan), 0.5).labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("scale", [1e3, 1e8, 1e15])
def test_embeddings_of_any_size_are_grouped(scale):
    """A network that has gone astray says anything."""
    points = torch.tensor([[-1.0, 0, 0], [-1, 0, 0], [1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]) * scale
    assert same_partition(group_by_mean_shift(points, 0.5).labels, [0, 0, 1, 1, 2, 2])


def test_half_precision_is_computed_in_float32():
    points, owner = clusters(6, 4)
    assert same_partition(group_by_mean_shift(points.to(torch.bfloat16), 0.7, reach=1.2).labels, owner)


def test_points_go_to_the_nearest_given_center():
    points, centers = torch.randn(500, 5), torch.randn(30, 5)
    distance, nearest = torch.cdist(points.double(), centers.double()).min(1)
    expected = torch.where(distance <= 1.2, nearest + 1, 0)
    assert torch.equal(group_by_nearest_center(points, centers, 1.2), expected)
    assert not group_by_nearest_center(points, centers[:0], 1.2).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_finds_the_same():
    points, _ = clusters(40, 8, apart=1.5)
    here = group_by_mean_shift(points, 0.9, reach=1.5)
    there = group_by_mean_shift(points.cuda(), 0.9, reach=1.5)
    assert torch.equal(here.labels, there.labels.cpu())
    torch.testing.assert_close(here.centers, there.centers.cpu())
