"""Proposals, regions and boxes: what is learned from, and what is found. The losses equal torchvision's elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from apiece.instances import Instances
from apiece.methods.mask_rcnn import MaskRCNN
from apiece.parts.batching import each_apart
from apiece.parts.box_head import BACKGROUND, UNKNOWN, Sampled, box_losses, detect, sample_regions
from apiece.parts.detection_rules import Rules, following, shrunk
from apiece.parts.proposals import Proposed, proposal_losses, propose
from apiece.parts.true_boxes import Truth
from apiece.parts.two_stage import drawing
from apiece.statistics import Statistics

CPU = torch.device("cpu")


@pytest.fixture
def rules() -> Rules:
    return MaskRCNN(2, 1, "tiny").rules


def truth_of(label_map: np.ndarray, labels=None, ignored=()) -> Truth:
    target = Instances.from_label_map(label_map, labels)
    return Truth.of(target.replace(ignore=np.isin(np.arange(len(target)), ignored)), CPU)


def squares() -> np.ndarray:
    label_map = np.zeros((64, 64), np.uint8)
    label_map[4:20, 4:20], label_map[30:60, 30:60] = 1, 2
    return label_map


def test_truth_is_sorted_and_ignored_objects_are_a_region():
    both, one = truth_of(squares(), [1, 0]), truth_of(squares(), [1, 0], ignored=[1])
    assert both.boxes.tolist() == [[4, 4, 20, 20], [30, 30, 60, 60]] and both.ignored is None
    turned = Truth.of(Instances.from_label_map(squares(), [1, 0])[::-1], CPU)
    assert turned.boxes.tolist() == both.boxes.tolist() and turned.labels.tolist() == both.labels.tolist() == [1, 0]
    assert len(one.boxes) == 1 and one.ignored is not None and one.ignored.sum() == 900


def said(boxes: torch.Tensor, logits: list[float]) -> Proposed:
    """One map whose anchors are these boxes, for one image, without shifts."""
    return Proposed([torch.tensor([logits])], [torch.zeros(1, len(boxes), 4)], [boxes])


def test_the_likeliest_boxes_are_proposed_cut_at_the_image_without_their_like(rules):
    boxes = torch.tensor([[-9.0, 4, 20, 20], [0, 4, 20, 19], [40, 40, 99, 60], [70, 1, 80, 9]])
    (found,) = propose(said(boxes, [1.0, 2.0, 0.0, 9.0]), [[64, 64]], 10, 10, rules)
    # The second is likelier than the first and much the same; the last lies in the padding.
    assert found.tolist() == [[0, 4, 20, 19], [40, 40, 64, 60]]
    (fewer,) = propose(said(boxes, [1.0, 2.0, 0.0, 9.0]), [[64, 64]], 10, 1, rules)
    assert fewer.tolist() == [[0, 4, 20, 19]]


def test_the_losses_of_proposals_are_those_of_the_formulas(rules):
    boxes = torch.tensor([[4.0, 4, 20, 20], [5, 5, 21, 21], [4, 4, 16, 20], [40, 2, 60, 20]])
    logits = [0.3, -0.2, 5.0, 0.7]
    losses = proposal_losses(said(boxes, logits), [truth_of(squares())], rules, torch.Generator())
    # IoU with the first square: 1, 0.78, 0.75 (positive), 0: of the second none meets any anchor.
    probability = 1 / (1 + np.exp(-np.array(logits)))
    expected = -(np.log(probability[:3]).sum() + np.log(1 - probability[3])) / 4
    assert losses["objectness"].item() == pytest.approx(expected, rel=1e-5)
    targets = np.array([[0, 0, 0, 0], [-1 / 16, -1 / 16, 0, 0], [2 / 12, 0, np.log(16 / 12), 0]])
    size = np.abs(targets)
    smooth = np.where(size < 1 / 9, 0.5 * size**2 * 9, size - 0.5 / 9)
    assert losses["proposal"].item() == pytest.approx(smooth.sum() / 4, rel=1e-4)


def test_what_is_ignored_or_lies_in_the_padding_is_no_background(rules):
    boxes = torch.tensor([[4.0, 4, 20, 20], [32, 32, 50, 50], [70, 2, 90, 20]])
    truth = truth_of(squares(), ignored=[1])
    found = said(boxes, [0.0, 1e3, 1e3])
    losses = proposal_losses(found, [truth], rules, torch.Generator())
    assert losses["objectness"].item() == pytest.approx(np.log(2))
    sampled = sample_regions(boxes, truth, rules, torch.Generator())
    assert 50 not in sampled.boxes[:, 2] and (sampled.labels >= 0).sum() == 2


def test_an_image_that_is_ignored_altogether_is_learned_nothing_from(rules):
    truth = truth_of(np.ones((64, 64), np.uint8), ignored=[0])
    sampled = sample_regions(torch.tensor([[4.0, 4, 20, 20]]), truth, rules, torch.Generator())
    assert sampled.labels.tolist() == [UNKNOWN] and sampled.boxes.tolist() == [[0, 0, 64, 64]]
    logits = torch.tensor([[3.0, 1, 2]], requires_grad=True)
    losses = box_losses(logits, torch.ones(1, 2, 4, requires_grad=True), [sampled], [truth], rules)
    assert losses["class"] == 0 and losses["box"] == 0
    losses["class"].backward()
    assert logits.grad is not None and not logits.grad.any()


def test_regions_are_of_the_class_of_the_object_they_overlap_by_half(rules):
    regions = torch.tensor([[4.0, 4, 20, 20], [4, 4, 12, 20], [4, 4, 11.9, 20], [30, 30, 60, 55], [0, 0, 64, 64]])
    sampled = sample_regions(
        regions, truth_of(squares(), [1, 0]), replace(rules, region_positive=1.0), torch.Generator()
    )
    of_region = {tuple(box): label for box, label in zip(sampled.boxes.tolist(), sampled.labels.tolist(), strict=True)}
    assert [of_region[tuple(box)] for box in regions.tolist()] == [1, 1, BACKGROUND, 0, BACKGROUND]
    assert len(sampled.boxes) == len(regions) + 2


def test_a_quarter_of_the_regions_are_objects(rules):
    truth = truth_of(squares())
    regions = torch.cat([truth.boxes[:1].expand(50, 4), torch.tensor([[40.0, 2, 60, 20]]).expand(50, 4)])
    sampled = sample_regions(regions, truth, rules, torch.Generator())
    assert len(sampled.labels) == 32 and (sampled.labels >= 0).sum() == 8


def test_the_losses_of_boxes_are_those_of_the_formulas(rules):
    truth = truth_of(squares(), [1, 0])
    regions, objects = torch.tensor([[4.0, 6, 20, 20], [30, 30, 60, 60], [0, 0, 9, 9]]), torch.tensor([0, 1, 0])
    sampled = Sampled(regions, torch.tensor([1, 0, BACKGROUND]), objects)
    generator = torch.Generator().manual_seed(0)
    logits, deltas = torch.randn(3, 3, generator=generator), torch.randn(3, 2, 4, generator=generator)
    losses = box_losses(logits, deltas, [sampled], [truth], rules)
    wrong = -logits.double().log_softmax(1)[[0, 1, 2], [2, 1, 0]].mean()
    assert losses["class"].item() == pytest.approx(wrong.item(), rel=1e-5)
    target = np.array([[0, 10 * -1 / 14, 0, 5 * np.log(16 / 14)], [0, 0, 0, 0]])
    size = np.abs(np.stack([deltas[0, 1].numpy(), deltas[1, 0].numpy()]) - target)
    smooth = np.where(size < 1 / 9, 0.5 * size**2 * 9, size - 0.5 / 9)
    assert losses["box"].item() == pytest.approx(smooth.sum() / 3, rel=1e-5)


def test_of_boxes_of_one_class_the_surest_stays_and_other_classes_stay_too(rules):
    regions = torch.tensor([[4.0, 4, 20, 20], [4, 4, 20, 19], [4, 4, 20, 18], [50, 50, 90, 60], [70, 1, 80, 9]])
    logits = torch.tensor([[0.0, 3, 0], [0, 4, 0], [0, 0, 3], [0, 2, -9], [0, 9, 0]])
    found = detect(logits, torch.zeros(5, 2, 4), regions, [64, 64], replace(rules, score_threshold=0.3))
    assert found.labels.tolist() == [0, 1, 0]
    assert found.boxes.tolist() == [[4, 4, 20, 19], [4, 4, 20, 18], [50, 50, 64, 60]]
    assert torch.allclose(found.scores, logits.softmax(1)[[1, 2, 3], [1, 2, 1]])
    few = detect(logits, torch.zeros(5, 2, 4), regions, [64, 64], replace(rules, score_threshold=0.3, max_objects=1))
    assert few.boxes.tolist() == [[4, 4, 20, 19]]


def test_images_of_each_size_are_passed_alone_and_come_back_in_their_order():
    passed = []

    def find(images, sizes):
        passed.append((tuple(images.shape), sizes))
        return [{"scores": image[0, 0, : int(image[0, 0, 0])]} for image in images]

    images = torch.zeros(3, 1, 16, 16)
    images[0, 0, 0], images[1, 0, 0], images[2, 0, 0] = 1, 2, 3
    found = each_apart(find, images, torch.tensor([[16, 16], [5, 7], [13, 9]]), 8)
    assert found["scores"].tolist() == [[1, 0, 0], [2, 2, 0], [3, 3, 3]]
    assert passed == [((1, 1, 8, 8), [[5, 7]]), ((2, 1, 16, 16), [[16, 16], [13, 9]])]


def test_a_batch_is_always_learned_from_alike_and_another_one_otherwise():
    images = torch.rand(2, 1, 8, 8)
    first, again, other = (torch.rand(3, generator=drawing(one)) for one in (images, images.clone(), images + 1e-3))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_limits_follow_the_data():
    sides = np.array([[10, 10], [12, 12], [40, 30], [20, 20]])
    chosen = following(Statistics(sides.prod(1), sides, np.array([3, 700])), (2, 4, 8))
    assert chosen["max_objects"] == 1400 and chosen["proposals"] == 2800
    # The tenth percentile of 10, 12, 20 and 34.6 is 10.6: 5.3 times the finest stride.
    assert chosen["anchor_sizes"] == pytest.approx((10.6, 21.2, 42.4), abs=0.1)
    nothing = Statistics(np.zeros(0, int), np.zeros((0, 2), int), np.zeros(3, int))
    assert following(nothing, (2,)) == {"proposals": 1000, "max_objects": 100, "nms": 0.5}


@pytest.mark.parametrize(
    ("original", "sides", "expected"),
    [((480, 640), (800, 1333), (800, 1066)), ((300, 900), (800, 1333), (444, 1333)), ((5, 7), (0, 0), (5, 7))],
)
def test_images_are_resized_by_their_shorter_side_as_far_as_the_longer_one_allows(original, sides, expected):
    assert shrunk(original, *sides) == expected
