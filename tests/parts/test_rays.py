import numpy as np
import pytest
import torch

from apiece.instances import Instances
from apiece.parts import rays as module
from apiece.parts.rays import (
    MISSING,
    areas_of,
    borders_of,
    boxes_of,
    inside,
    polar_centerness,
    polygon_nms,
    ray_lengths,
    vertices,
)


def blob(seed: int = 0, size: int = 40) -> Instances:
    """A shape with bays and a hole."""
    generator = np.random.default_rng(seed)
    row, column = np.indices((size, size)) - size // 2
    angle, radius = np.arctan2(row, column), np.hypot(row, column)
    limit = size / 3 * (1 + 0.4 * np.sin(3 * angle + generator.uniform(0, 6)))
    return Instances.from_dense(((radius < limit) & (np.hypot(row - 2, column - 3) > 2))[None])


def last_exits(mask: np.ndarray, point: np.ndarray, count: int) -> np.ndarray:
    """How far along each ray the last pixel is left, by the box of every pixel, in double precision."""
    row, column = np.nonzero(mask)
    low = np.stack([column, row], 1) - 0.5 - point
    lengths = np.full(count, MISSING)
    for number in range(count):
        angle = 2 * np.pi * number / count
        direction = np.array([np.sin(angle), np.cos(angle)])
        with np.errstate(divide="ignore"):
            ends = np.sort(np.stack([low / direction, (low + 1) / direction]), 0)
        enter, leave = ends[0].max(1), ends[1].min(1)
        hit = leave > np.maximum(enter, 0) + 1e-9
        if hit.any():
            lengths[number] = leave[hit].max()
    return lengths


@pytest.mark.parametrize("count", [5, 36, 100])
def test_rays_end_where_they_last_leave_the_objects_pixels(count):
    truth = blob()
    # Not at angles where rays run along edges or through corners.
    points = torch.tensor([[20.3, 20.1], [14.2, 27.4], [2.6, 3.2], [30.1, 12.7]])
    found = ray_lengths(points, torch.zeros(4, dtype=torch.long), borders_of(truth, "edges"), count, "edges")
    for point, lengths in zip(points.double().numpy(), found, strict=True):
        np.testing.assert_allclose(lengths, last_exits(truth.dense()[0], point, count), rtol=1e-4, atol=2e-4)


def test_no_ray_from_a_pixels_center_slips_through_a_corner():
    label_map = np.zeros((64, 64), np.uint8)
    label_map[16:49, 16:49] = 1
    points = torch.tensor([[32.0, 32.0], [16.0, 16.0], [20.0, 40.0]])
    borders = borders_of(Instances.from_label_map(label_map), "edges")
    lengths = ray_lengths(points, torch.zeros(3, dtype=torch.long), borders, 360, "edges")
    assert lengths.min() > 0.499
    assert lengths[0, 0].item() == 16.5 and lengths[0, 45].item() == pytest.approx(16.5 * 2**0.5, rel=1e-3)


def test_rays_that_meet_nothing_are_almost_nothing():
    label_map = np.zeros((20, 20), np.uint8)
    label_map[10, 10] = 1
    borders = borders_of(Instances.from_label_map(label_map), "edges")
    lengths = ray_lengths(torch.tensor([[3.0, 10.0]]), torch.zeros(1, dtype=torch.long), borders, 36, "edges")
    # The pixel is to the right, at 90 degrees, and looks 4.7 degrees high.
    assert lengths[0, 9].item() == pytest.approx(7.5) and (lengths[0, torch.arange(36) != 9] == MISSING).all()


def authors_rays(points: np.ndarray, contour: np.ndarray) -> np.ndarray:
    """The rule of the authors' program as its description says, a loop over degrees."""
    rows = []
    for point in points:
        x, y = (torch.from_numpy(contour) - torch.from_numpy(point)).T
        degrees = torch.atan2(x, y) * 180 / np.pi
        degrees = torch.where(degrees < 0, degrees + 360, degrees).int().tolist()
        distances, farthest = torch.sqrt(x**2 + y**2).tolist(), {}
        for degree, distance in zip(degrees, distances, strict=True):
            farthest[degree] = max(distance, farthest.get(degree, 0))
        row = []
        for angle in range(0, 360, 10):
            near = [angle + turn for turn in (0, 1, -1, 2, -2, 3, -3) if angle + turn in farthest]
            row.append(max(farthest[near[0]], MISSING) if near else MISSING)
        rows.append(row)
    return np.array(rows)


def test_rays_to_border_pixels_follow_the_authors_rule():
    truth, points = blob(3), np.array([[20, 20], [12, 12], [28, 20], [1, 2]], np.float32)
    borders = borders_of(truth, "pixels")
    objects = torch.zeros(4, dtype=torch.long)
    found = ray_lengths(torch.from_numpy(points), objects, borders, 36, "pixels")
    expected = authors_rays(points, borders.starts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert 0 < (expected == MISSING).sum() < expected.size


@pytest.mark.parametrize("rule", ["edges", "pixels"])
def test_many_points_are_measured_some_at_a_time(monkeypatch, rule):
    truth = blob()
    borders, points = borders_of(truth, rule), 40 * torch.rand(50, 2)
    objects = torch.zeros(50, dtype=torch.long)
    whole = ray_lengths(points, objects, borders, 12, rule)
    monkeypatch.setattr(module, "AT_ONCE", 300)
    assert torch.equal(ray_lengths(points, objects, borders, 12, rule), whole)
    assert ray_lengths(points[:0], objects[:0], borders, 12, rule).shape == (0, 12)


def test_angles_grow_from_down_towards_the_right():
    corners = vertices(torch.tensor([[10.0, 20.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))[0]
    torch.testing.assert_close(corners, torch.tensor([[10.0, 21], [12, 20], [10, 17], [6, 20]]))
    assert boxes_of(corners[None]).tolist() == [[6, 17, 12, 21]]


def test_centerness_is_the_root_of_shortest_over_longest():
    assert polar_centerness(torch.tensor([[1.0, 4.0, 2.0], [3.0, 3.0, 3.0]])).tolist() == [0.5, 1.0]


def test_a_place_is_inside_where_a_fine_grid_says_so():
    lengths = 2 + 8 * torch.rand(3, 7)
    steps = torch.linspace(-12, 12, 241)
    places = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), 2).reshape(1, -1, 2).expand(3, -1, -1)
    within = inside(places, lengths)
    torch.testing.assert_close(within.float().mean(1) * 24.1**2, areas_of(lengths), rtol=0.01, atol=0.1)
    corners = vertices(torch.zeros(3, 2), lengths)
    assert inside(corners * 0.999, lengths).all() and not inside(corners * 1.001, lengths).any()


def test_polygon_nms_keeps_what_overlaps_no_better_one_of_its_class():
    square = torch.full((1, 4), 10.0)
    points = torch.tensor([[20.0, 20], [22, 20], [20, 20], [29, 20], [70, 20]])
    scores = torch.tensor([0.5, 0.9, 0.4, 0.6, 0.3])
    labels = torch.tensor([0, 0, 1, 0, 0])
    # Shifted by 2 along a diagonal of 20, a square keeps (1 - 2 / 20)^2 = 0.81 of itself: IoU 0.68.
    kept = polygon_nms(points, square.expand(5, -1), scores, labels, 0.5)
    assert kept.tolist() == [1, 3, 2, 4]
    assert polygon_nms(points, square.expand(5, -1), scores, labels, 0.7).tolist() == [1, 3, 0, 2, 4]
    assert len(polygon_nms(points[:0], square[:0], scores[:0], labels[:0], 0.5)) == 0


def test_crossing_sticks_are_not_one_by_their_masks():
    angles = torch.arange(72) * 5
    # Each 40 long and 4 wide, along one or the other diagonal: their boxes are the same.
    across = [2 / (torch.deg2rad(angles - turn).sin().abs().clamp(min=0.1)) for turn in (45, 135)]
    lengths = torch.stack(across).clamp(max=20)
    points, scores, labels = torch.full((2, 2), 30.0), torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.long)
    assert polygon_nms(points, lengths, scores, labels, 0.5).tolist() == [0, 1]
