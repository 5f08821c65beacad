import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from apiece.parts import anchors
from apiece.parts.anchors import decode, encode, grid, matches, sample, shapes, share_within


def boxes(count: int, seed: int = 0, side: float = 60.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * side
    return torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=generator) * side / 2], 1)


def test_anchors_are_torchvisions_where_they_are_rounded():
    generator = AnchorGenerator(((8,), (19,)), ((0.5, 1.0, 2.0),) * 2)
    maps = [torch.zeros(1, 1, 12, 20), torch.zeros(1, 1, 6, 10)]
    (expected,) = generator(ImageList(torch.zeros(1, 3, 48, 80), [(48, 80)]), maps)
    found = [
        grid(shapes(size, (0.5, 1.0, 2.0), rounded=True), size_of, (stride, stride))
        for size, size_of, stride in ((8.0, (12, 20), 4), (19.0, (6, 10), 8))
    ]
    assert torch.equal(torch.cat(found), expected)


def test_anchors_keep_their_area_and_lie_in_the_middle_of_their_cells():
    shape = shapes(32.0, (0.5, 1.0, 2.0))
    assert torch.allclose(shape.prod(1), torch.tensor(32.0**2))
    # width and height at a ratio of one half: 32 sqrt(2) and 32 / sqrt(2)
    assert torch.allclose(shape[0], torch.tensor([45.2548, 22.6274]))
    placed = grid(shape, (2, 3), (4, 4), offset=0.5)
    centers = (placed[:, :2] + placed[:, 2:]) / 2
    assert torch.allclose(centers[::3], torch.tensor([[2.0, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]), atol=1e-5)


def test_what_is_encoded_is_decoded():
    weights = (10.0, 10.0, 5.0, 5.0)
    own, other = boxes(20), boxes(20, seed=1)
    assert torch.allclose(decode(encode(own, other, weights), other, weights), own, atol=1e-3)


def test_a_wild_output_makes_a_large_box_and_no_infinite_one():
    found = decode(torch.tensor([[0.0, 0, 1000, 1000]]), torch.tensor([[0.0, 0, 16, 16]]), (1, 1, 1, 1))
    assert torch.allclose(found, torch.tensor([[-492.0, -492, 508, 508]]), atol=1e-2)


@pytest.mark.parametrize("at_once", [1, 17, 1 << 20])
def test_matches_are_those_of_the_whole_table_however_it_is_cut(monkeypatch, at_once):
    monkeypatch.setattr(anchors, "PAIRS_AT_ONCE", at_once)
    own, truth = boxes(60), boxes(7, seed=1)
    truth[0] = own[3] + 100  # no box meets it
    truth[1] = own[5]
    own[6] = own[5]
    table = box_iou(truth, own)
    found = matches(own, truth)
    assert torch.equal(found.overlap, table.amax(0))
    assert torch.equal(table.gather(0, found.objects[None])[0], found.overlap)
    best = torch.zeros(60, dtype=torch.bool)
    for row in table:
        if row.max() > 0:
            best[row == row.max()] = True
    assert torch.equal(found.best, best) and best[5] and best[6]


def test_without_truth_nothing_is_matched():
    found = matches(boxes(3), torch.zeros(0, 4))
    assert not found.overlap.any() and not found.best.any()


@pytest.mark.parametrize(("positives", "negatives", "expected"), [(40, 60, (5, 15)), (2, 60, (2, 18)), (40, 3, (5, 3))])
def test_a_sample_is_filled_up_with_negatives(positives, negatives, expected):
    positive = torch.arange(100) < positives
    negative = torch.arange(100) >= 100 - negatives
    taken, others = sample(positive, negative, 20, 0.25, torch.Generator().manual_seed(0))
    assert (len(taken), len(others)) == expected
    assert positive[taken].all() and negative[others].all()
    assert len(set(taken.tolist())) == len(taken) and len(set(others.tolist())) == len(others)


def test_shares_within_a_region_are_counted_over_the_part_in_the_image():
    region = torch.from_numpy(np.random.default_rng(0).random((20, 30)) > 0.5)
    asked = torch.tensor([[3.0, 2, 9, 8], [-5, -5, 4, 4], [25, 15, 60, 60], [7, 7, 7, 7], [40, 40, 50, 50]])
    expected = [region[2:8, 3:9], region[:4, :4], region[15:, 25:]]
    found = share_within(asked, region)
    assert found[:3].tolist() == pytest.approx([part.float().mean().item() for part in expected])
    assert found[3:].tolist() == [0, 0]
