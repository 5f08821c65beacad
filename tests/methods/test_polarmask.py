"""PolarMask: targets, losses and objects against the authors' program; what rays can tell and what they cannot."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.methods.method import Frame
from apiece.methods.polarmask import PAPER, PolarMask
from apiece.parts.polar_head import Said, box_iou_loss, polar_iou_loss
from apiece.parts.rays import vertices
from apiece.statistics import Statistics

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "polarmask.json").read_text())
SIZE = (128, 256)


def golden_scene(seed: int) -> Instances:
    """Eight objects with bays; every third has a hole."""
    generator = np.random.default_rng(seed)
    row, column = np.indices(SIZE)
    label_map = np.zeros(SIZE, np.uint16)
    for number in range(1, 9):
        y, x = generator.uniform(10, 118), generator.uniform(10, 246)
        a, b = generator.uniform(5, 45, 2)
        turn = generator.uniform(0, np.pi)
        u = (column - x) * np.cos(turn) + (row - y) * np.sin(turn)
        v = (row - y) * np.cos(turn) - (column - x) * np.sin(turn)
        radius = np.hypot(u / a, v / b)
        inside = radius < 1 + 0.3 * np.sin(3 * np.arctan2(v, u) + number)
        label_map[inside & ((radius > 0.3) | (number % 3 > 0))] = number
    truth = Instances.from_label_map(label_map)
    return truth.replace(labels=np.arange(len(truth)) % 3)


def golden_outputs(seed: int) -> list[torch.Tensor]:
    generator, maps = np.random.default_rng(100 + seed), []
    for level in range(5):
        rays = 2.5 + 0.5 * level
        for channels, shift, spread in ((3, -3, 1), (1, 0, 1), (36, rays, 0.3), (4, rays, 0.3)):
            raw = generator.standard_normal((1, channels, 16 >> level, 32 >> level)) * spread + shift
            maps.append(torch.from_numpy(raw.astype(np.float32)))
    return maps


def as_the_authors(**options) -> PolarMask:
    own = {"ray_rule": "pixels", "boxes": True, "at_least_one": False, "candidates": 100, "max_objects": 40}
    return made(**{"num_classes": 3, "first": 3, "last": 5, "extra": "p6p7", **own, **options})


def made(**options) -> PolarMask:
    torch.manual_seed(0)
    return PolarMask(**{"num_classes": 2, "channels": 1, "network": "tiny", **options})


def frames_of(truth: Instances) -> list[Frame]:
    return [Frame(truth.size, truth.size)]


def best_of(method: PolarMask, truth: Instances) -> Instances:
    return method.decode(method.ideal([truth], frames_of(truth)), frames_of(truth))[0]


def iou(found: np.ndarray, true: np.ndarray) -> float:
    return float((found & true).sum() / (found | true).sum())


@pytest.fixture(params=GOLDEN["cases"], ids=lambda case: str(case["seed"]))
def case(request) -> dict:
    return request.param


def test_points_and_their_targets_are_the_authors(case):
    method = as_the_authors()
    learned = method.learned(golden_scene(case["seed"]), method._shapes(SIZE))
    assert learned.locations.tolist() == case["locations"] and learned.labels.tolist() == case["labels"]
    np.testing.assert_allclose(learned.rays.sum(1), case["rays"], atol=2e-3)
    np.testing.assert_allclose(learned.rays[0], case["first_rays"], atol=1e-4)
    np.testing.assert_allclose(learned.boxes.sum(1), case["boxes"], atol=1e-3)
    assert int((learned.rays < 1e-5).sum()) == case["missing"]


def test_losses_and_their_gradients_are_the_authors(case):
    method, maps = as_the_authors(), [one.requires_grad_() for one in golden_outputs(case["seed"])]
    truth = method.learned(golden_scene(case["seed"]), method._shapes(SIZE))
    losses = method.loss_of(Said.of(maps, 5), [truth])
    # A ray from a pixel of the border to itself has no length there, and the least here.
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(case["losses"], rel=2e-5)
    gradients = torch.autograd.grad(sum(losses.values()), maps)
    for kind, (norm, weighted) in enumerate(case["gradients"]):
        ours = gradients[kind::4]
        assert torch.cat([one.flatten() for one in ours]).norm().item() == pytest.approx(norm, rel=5e-5)
        ramps = [(one * torch.linspace(-1, 1, one.numel()).view(one.shape)).sum().item() for one in ours]
        assert sum(ramps) == pytest.approx(weighted, rel=1e-4, abs=1e-4)


def test_found_objects_are_the_authors(case):
    method = as_the_authors()
    found = method._objects(Said.of(golden_outputs(case["seed"]), 5).image(0), method._shapes(SIZE), SIZE)
    np.testing.assert_allclose(found["scores"] * 1.5, case["scores"], atol=2e-6)
    assert found["labels"].tolist() == case["found_labels"]
    corners = vertices(found["points"], found["rays"]).clamp(min=0).minimum(torch.tensor([255.0, 127.0]))
    np.testing.assert_allclose(corners.sum((1, 2)), case["corners"], rtol=1e-5)


def test_the_loss_of_rays_is_the_log_of_the_overlap_of_thin_sectors():
    found, true = torch.tensor([[2.0, 3.0, 4.0]]), torch.tensor([[1.0, 5.0, 4.0]])
    assert polar_iou_loss(found, true).item() == pytest.approx(np.log((2 + 5 + 4) / (1 + 3 + 4)))
    # Boxes of 5 x 5 pixels within one of 7 x 5.
    sides = torch.tensor([[2.0, 2, 2, 2], [4, 2, 2, 2]])
    assert box_iou_loss(sides[:1], sides[1:]).item() == pytest.approx(-np.log(25 / 35))


def test_centerness_may_be_that_of_the_box():
    label_map = np.zeros((32, 32), np.uint8)
    label_map[8:18, 4:24] = 1
    method = made(centerness="box")
    learned = method.learned(Instances.from_label_map(label_map), method._shapes((32, 32)))
    left, top, right, bottom = learned.boxes.T
    expected = (torch.minimum(left, right) / torch.maximum(left, right)) ** 0.5
    expected *= (torch.minimum(top, bottom) / torch.maximum(top, bottom)) ** 0.5
    torch.testing.assert_close(method._weights(learned.rays, learned.boxes), expected)
    assert (left + right == 20).all() and (top + bottom == 10).all()
    losses = made(centerness="none").loss(torch.rand(1, 1, 32, 32), [Instances.from_label_map(label_map)])
    assert set(losses) == {"class", "rays"}


def disc(size: int, radius: float, hole: float = 0.0) -> Instances:
    row, column = np.indices((size, size)) - size // 2
    distance = np.hypot(row, column)
    return Instances.from_dense(((distance < radius) & (distance >= hole))[None])


def test_more_rays_tell_more():
    truth = disc(64, 22)
    overlaps = [iou(best_of(made(rays=rays), truth).dense()[0], truth.dense()[0]) for rays in (4, 8, 16, 36)]
    assert overlaps == sorted(overlaps)
    # Of a circle four rays tell a square, eight an octagon.
    assert overlaps[0] == pytest.approx(2 / np.pi, abs=0.05) and overlaps[1] == pytest.approx(0.9, abs=0.03)
    assert overlaps[-1] > 0.97


def test_holes_are_filled():
    truth = disc(64, 22, hole=11)
    (mask,) = best_of(made(), truth).dense()
    assert iou(mask, disc(64, 22).dense()[0]) > 0.97
    assert iou(mask, truth.dense()[0]) == pytest.approx(0.75, abs=0.02)


def test_of_several_parts_the_largest_is_left():
    label_map = np.zeros((64, 64), np.uint8)
    label_map[10:30, 10:30], label_map[40:48, 40:48] = 1, 1
    (mask,) = best_of(made(), Instances.from_label_map(label_map)).dense()
    assert mask[10:30, 10:30].mean() > 0.98 and not mask[38:].any()


def test_small_objects_and_those_cut_by_the_border_are_found_by_perfect_outputs():
    label_map = np.zeros((48, 64), np.uint8)
    label_map[5, 7], label_map[20:22, 30:33], label_map[:4, 60:], label_map[44:, :9], label_map[47, 63] = 1, 2, 3, 4, 5
    truth = Instances.from_label_map(label_map)
    found = best_of(made(), truth)
    overlaps = [max(iou(mask, true) for mask in found.dense()) for true in truth.dense()]
    # From beside it, a single pixel is a wedge of two.
    assert len(found) == 5 and overlaps[0] >= 0.5 and overlaps[1:] == [1, 1, 1, 1]
    losses = made().loss(torch.rand(1, 1, 48, 64), [truth])
    assert all(loss.isfinite() for loss in losses.values())


def test_nms_may_go_by_masks():
    row, column = np.indices((64, 64))
    inside = (np.minimum(row, column) >= 4) & (np.maximum(row, column) < 60)
    # Two halves of a square: their boxes are almost one, their masks apart.
    truth = Instances.from_dense(np.stack([row + column < 62, row + column > 64]) & inside, labels=[0, 0])
    assert len(best_of(made(), truth)) == 1
    found = best_of(made(suppression="masks"), truth)
    assert len(found) == 2 and min(max(iou(mask, true) for mask in found.dense()) for true in truth.dense()) > 0.9


def test_masks_are_drawn_at_the_original_size():
    truth = disc(120, 45)
    frame = Frame((120, 120), (60, 60))
    method = made()
    (found,) = method.decode(method.ideal([truth], [frame]), [frame])
    assert found.size == (120, 120) and iou(found.dense()[0], truth.dense()[0]) > 0.97


def test_points_where_truth_is_ignored_or_beyond_the_image_teach_nothing():
    stack = np.zeros((2, 32, 32), bool)
    stack[0, 4:12, 4:12], stack[1, 16:, 16:] = True, True
    truth = Instances.from_dense(stack, labels=[0, -1], ignore=[False, True])
    method = made()
    shapes = method._shapes((32, 48))
    maps = [torch.randn(1, count, *shape).requires_grad_() for shape in shapes for count in (2, 1, 36)]
    sum(method.loss_of(Said.of(maps, 3), [method.learned(truth, shapes)]).values()).backward()
    learned_from = (maps[0].grad != 0).all(1)[0]
    # Stride 4: columns from 8 on are padding, rows and columns 4 to 7 ignored.
    assert not learned_from[:, 8:].any() and not learned_from[4:, 4:].any()
    assert learned_from[:4, :8].all() and learned_from[:, :4].all()


def test_objects_of_all_classes_are_told_by_their_label():
    label_map = np.zeros((32, 64), np.uint8)
    label_map[4:20, 4:20], label_map[4:20, 40:56] = 1, 2
    found = best_of(made(), Instances.from_label_map(label_map, labels=[1, 0]))
    assert found.labels[np.argsort(found.boxes[:, 0])].tolist() == [1, 0]


def test_limits_follow_the_data():
    method = made()
    method.adapt(Statistics(np.full(300, 300), np.full((300, 2), 20), np.array([300])))
    assert method.limits == (12.0, 24.0) and method.max_objects == 600 and method.candidates == 6000
    levels = method.head([torch.zeros(1, 16, 4, 4)] * 3)
    # Rays begin at half of what their level is for.
    assert [levels[2 + 3 * number].exp().mean().item() for number in range(3)] == pytest.approx([6, 12, 24], rel=1e-4)
    given = made(limits=(30.0, 60.0), max_objects=7)
    given.adapt(Statistics(np.full(3, 300), np.full((3, 2), 20), np.array([3])))
    assert given.limits == (30.0, 60.0) and given.max_objects == 7


def test_reaching_the_most_objects_is_said():
    method, truth = made(max_objects=2), golden_scene(0)
    with pytest.warns(UserWarning, match="2 objects, which is max_objects"):
        found = best_of(method, truth.replace(labels=np.zeros(len(truth))))
    assert len(found) == 2


def test_two_thousand_objects_are_assigned_and_drawn():
    label_map = np.zeros((640, 800), np.uint16)
    label_map.reshape(40, 16, 50, 16).transpose(0, 2, 1, 3)[:, :, 3:13, 3:12] = np.arange(1, 2001).reshape(40, 50, 1, 1)
    truth = Instances.from_label_map(label_map)
    found = best_of(made(max_objects=2500), truth)
    assert len(found) == 2000 and np.median(found.mask_areas) >= 88


def test_the_pictures_show_the_rays():
    method, truth = made(), disc(64, 20)
    method.card.threshold = 0.5
    (pictures,) = method.inside(method.ideal([truth], frames_of(truth)), frames_of(truth))
    painted = pictures["rays"].any(2)
    assert painted.shape == (64, 64) and 36 * 6 < painted.sum() < truth.mask_areas[0]
    assert not painted[~disc(64, 21.5).dense()[0]].any()
    (nothing,) = method.inside(method.ideal([truth[:0]], frames_of(truth)), frames_of(truth))
    assert not nothing["rays"].any()


def test_wrong_numbers_are_refused():
    with pytest.raises(CallError, match="2 rays"):
        made(rays=2)
    with pytest.raises(CallError, match="1 limits for 3 levels"):
        made(limits=(5.0,))


def test_a_resnet_is_trained_as_in_the_paper():
    method = made(network="resnet18", width=16, layers=1)
    assert method.recipe is PAPER and method.strides == (8, 16, 32, 64, 128) and method.stride == 128
    assert method.level_limits == (64, 128, 256, 512)
    losses = method.loss(torch.rand(2, 1, 128, 128), [disc(128, 30), disc(100, 9)])
    assert all(loss.isfinite() for loss in losses.values())
