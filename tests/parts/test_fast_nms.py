"""Fast NMS against its definition, the authors' program and the exact suppression."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms, box_iou

from apiece.parts import suppress
from apiece.parts.suppress import best_after_nms, best_of_each, fast_nms

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "yolact.json").read_text())["fast_nms"]


def drawn(count: int, classes: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    middle, size = generator.uniform(20, 70, (count, 2)), generator.uniform(20, 50, (count, 2))
    boxes = torch.from_numpy(np.concatenate([middle - size / 2, middle + size / 2], 1)).float()
    scores = torch.from_numpy(generator.permutation(count) + 1.0).float()
    return boxes, scores, torch.from_numpy(generator.integers(0, classes, count))


def test_a_box_stays_if_no_better_one_of_its_class_covers_it():
    boxes, scores, labels = drawn(80, classes=3)
    wanted = []
    for index in scores.argsort(descending=True).tolist():
        better = (scores > scores[index]) & (labels == labels[index])
        if not (box_iou(boxes[better], boxes[index : index + 1]) > 0.5).any():
            wanted.append(index)
    assert fast_nms(boxes, scores, labels, 0.5).tolist() == wanted
    assert 10 < len(wanted) < 60


def test_what_is_suppressed_suppresses_others_unlike_in_exact_suppression():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 3, 10, 13], [0.0, 6, 10, 16]])
    scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.long)
    assert fast_nms(boxes, scores, labels).tolist() == [0]
    assert batched_nms(boxes, scores, labels, 0.5).tolist() == [0, 2]


def test_the_answer_does_not_depend_on_how_many_are_compared_at_once(monkeypatch):
    boxes, scores, labels = drawn(150, classes=2)
    whole = fast_nms(boxes, scores, labels)
    monkeypatch.setattr(suppress, "PAIRS_AT_ONCE", 500)
    assert fast_nms(boxes, scores, labels).tolist() == whole.tolist()


def test_only_the_best_of_each_class_are_looked_at():
    boxes = torch.tensor([[0.0, 0, 9, 9], [20.0, 0, 29, 9], [40.0, 0, 49, 9], [60.0, 0, 69, 9]])
    scores, labels = torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0, 0, 0, 1])
    assert fast_nms(boxes, scores, labels, most=2).tolist() == [0, 1, 3]


def test_nothing_is_found_among_nothing():
    assert fast_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)).tolist() == []


def test_it_finds_what_the_authors_program_finds():
    """golden/yolact.json, "fast_nms": what Detect.fast_nms of github.com/dbolya/yolact @902073d (top_k 150) keeps of
    these 600 boxes, each with a score in each of three classes: index and class of the best 100."""
    generator = np.random.default_rng(13)
    middle, size = generator.uniform(20, 230, (600, 2)), generator.uniform(10, 60, (600, 2))
    boxes = torch.from_numpy(np.concatenate([middle - size / 2, middle + size / 2], 1).astype(np.float32)).repeat(3, 1)
    scores = torch.from_numpy(generator.uniform(0.06, 1, (3, 600)).astype(np.float32)).flatten()
    kept = fast_nms(boxes, scores, torch.arange(3).repeat_interleave(600), 0.5, most=150)[:100]
    assert (kept % 600).tolist() == GOLDEN["boxes"] and (kept // 600).tolist() == GOLDEN["labels"]


def crowded(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    corner, side = torch.rand(count, 2, generator=generator) * 60, torch.rand(count, 2, generator=generator) * 20 + 5
    labels = torch.randint(0, 3, (count,), generator=generator)
    return torch.cat([corner, corner + side], 1), torch.rand(count, generator=generator), labels


@pytest.mark.parametrize("limit", [0, 1, 20, 150, 5000])
def test_the_best_few_are_the_first_of_all_that_suppression_leaves(limit, monkeypatch):
    given = crowded(900)
    assert torch.equal(best_after_nms(*given, 0.5, limit), batched_nms(*given, 0.5)[:limit])
    whole = fast_nms(*given, 0.5, 900)
    monkeypatch.setattr("apiece.parts.suppress.PAIRS_AT_ONCE", 2000)
    assert torch.equal(fast_nms(*given, 0.5, 900, limit), whole[:limit]) and len(whole) > 150


def test_the_best_of_each_class_come_first():
    scores, labels = torch.tensor([0.1, 0.9, 0.5, 0.7, 0.3]), torch.tensor([0, 0, 0, 1, 0])
    assert best_of_each(scores, labels, 2).tolist() == [1, 3, 2]
    assert best_of_each(scores, labels, 5).tolist() == [1, 3, 2, 4, 0]
    assert best_of_each(scores[:0], labels[:0], 2).tolist() == []
