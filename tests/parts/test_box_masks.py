import tracemalloc

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample
from torchvision.ops import roi_align

from apiece.instances import Instances
from apiece.parts.box_masks import mask_targets, masks_at, objects_of, stretched

SIZE = (40, 56)


def blobs(count: int = 5) -> Instances:
    """Overlapping ragged objects, some cut by the border."""
    generator = np.random.default_rng(0)
    y, x = np.indices(SIZE)
    centers = generator.uniform(-2, 58, (count, 2)) % (58, 42)
    stack = [np.hypot(x - a, y - b) < generator.uniform(4, 14) + generator.normal(0, 2, SIZE) for a, b in centers]
    return Instances.from_dense(np.array(stack))


def asked(count: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    """Objects, and boxes in the image, some of which touch its border."""
    generator = np.random.default_rng(1)
    low, side = generator.uniform(0, 30, (count, 2)), generator.uniform(1, 40, (count, 2))
    boxes = np.concatenate([low, np.minimum(low + side, SIZE[::-1])], 1)
    boxes[0], boxes[1] = (0, 0, 56, 40), (5, 5, 5.4, 30)
    return torch.from_numpy(generator.integers(0, 5, count)), torch.from_numpy(boxes).float()


@pytest.mark.parametrize("aligned", [True, False])
def test_targets_are_those_that_roi_align_cuts_from_whole_masks(aligned):
    masks, (objects, boxes) = blobs(), asked()
    whole = torch.from_numpy(masks.dense()).float()[:, None]
    rows = torch.cat([objects[:, None].float(), boxes], 1)
    expected = roi_align(whole, rows, 14, aligned=aligned)[:, 0]
    found = mask_targets(masks, objects, boxes, 14, aligned, binary=False)
    assert torch.allclose(found, expected, atol=1e-4)
    binary = mask_targets(masks, objects, boxes, 14, aligned)
    sure = (expected - 0.5).abs() > 1e-3
    assert torch.equal(binary[sure], (expected >= 0.5).float()[sure])


def test_masks_at_points_are_those_of_whole_masks_and_zero_beyond_the_image():
    masks, (objects, _) = blobs(), asked()
    points = torch.rand(30, 9, 2) * torch.tensor([70.0, 50]) - 6
    whole = torch.from_numpy(masks.dense()).float()[:, None]
    places = points / torch.tensor(SIZE[::-1]) * 2 - 1
    expected = grid_sample(whole[objects], places[:, :, None], align_corners=False)[:, 0, :, 0]
    assert torch.allclose(masks_at(masks, objects, points), expected, atol=1e-4)


def test_of_far_away_boxes_nothing_is_seen_and_little_is_held():
    masks = blobs()
    boxes = torch.tensor([[-5000.0, -5000, -4000, -4000], [4000, 10, 90000, 20]])
    assert not mask_targets(masks, torch.tensor([0, 1]), boxes, 7).any()
    assert not masks_at(masks, torch.tensor([0, 1]), boxes.view(2, 2, 2)).any()


def pasted_everywhere(soft: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The rule in one line for every pixel of the image, in double precision."""
    y, x = (torch.arange(side, dtype=torch.float64) + 0.5 for side in size)
    x, y = (x - box[0]) / (box[2] - box[0]) * 2 - 1, (y - box[1]) / (box[3] - box[1]) * 2 - 1
    places = torch.stack([x.expand(size), y[:, None].expand(size)], 2)
    return (
        grid_sample(torch.from_numpy(soft)[None, None].double(), places[None], align_corners=False)[0, 0] >= 0.5
    ).numpy()


@pytest.mark.parametrize("side", [1, 7, 28])
def test_soft_masks_are_sampled_at_the_middles_of_pixels(side):
    generator = np.random.default_rng(side)
    _, boxes = asked()
    boxes = boxes.numpy() + generator.uniform(-6, 6, (30, 1))
    for box in boxes:
        soft = generator.random((side, side)).astype(np.float32)
        crop, (x1, y1, x2, y2) = stretched(soft, box, SIZE)
        found = np.zeros(SIZE, bool)
        found[y1:y2, x1:x2] = crop
        assert (found != pasted_everywhere(soft, box, SIZE)).sum() <= 1


def test_a_full_mask_is_its_box_to_the_pixel():
    crop, place = stretched(np.ones((28, 28), np.float32), np.array([3.0, 4, 17, 21]), SIZE)
    assert crop.all() and place == (3, 4, 17, 21)


def test_objects_without_a_pixel_are_gone_and_the_others_keep_their_boxes():
    boxes = np.array([[3.6, 4, 4.4, 9], [2.2, 2.2, 9.7, 8.1], [90, 90, 99, 99]])
    found = objects_of(np.ones((3, 4, 4), np.float32), boxes, SIZE, np.array([0, 1, 2]), np.array([0.9, 0.8, 0.7]))
    assert found.labels.tolist() == [1] and found.boxes.tolist() == [[2.2, 2.2, 9.7, 8.1]]
    assert found.mask_boxes.tolist() == [[2, 2, 10, 8]]


def test_a_hundred_objects_on_a_large_image_cost_little_however_large_they_are():
    soft = np.random.default_rng(0).random((100, 28, 28)).astype(np.float32)
    boxes = np.tile([200.0, 300, 1700, 1900], (100, 1))
    tracemalloc.start()
    found = objects_of(soft, boxes, (2048, 2048), np.zeros(100, int), np.ones(100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 100 and peak < 100e6
