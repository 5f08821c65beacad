"""Matching and relaxed IoU against all permutations and plain sums."""

from itertools import permutations

import numpy as np
import pytest
import torch

from apiece.parts.matching import matched, relaxed_iou


def test_relaxed_iou_is_that_of_binary_masks():
    masks = np.random.default_rng(0).random((5, 40)) < 0.4
    expected = np.array([[(a & b).sum() / (a | b).sum() for b in masks] for a in masks])
    soft = torch.from_numpy(masks).float()
    np.testing.assert_allclose(relaxed_iou(soft, soft), expected, rtol=1e-6)


def test_relaxed_iou_of_nothing_with_nothing_is_zero_and_has_a_gradient():
    soft = torch.zeros(1, 6, requires_grad=True)
    overlap = relaxed_iou(soft, torch.zeros(1, 6))
    overlap.sum().backward()
    assert overlap.item() == 0 and soft.grad is not None and soft.grad.isfinite().all()


@pytest.mark.parametrize("rule", ["first", "any"])
@pytest.mark.parametrize(("steps", "objects"), [(1, 1), (3, 5), (5, 3), (6, 6), (7, 6), (4, 0)])
def test_the_pairs_have_the_greatest_sum_of_all_permutations(rule, steps, objects):
    generator = torch.Generator().manual_seed(steps * 10 + objects)
    for _ in range(5):
        overlap = torch.rand(steps, objects, generator=generator)
        row, column = matched(overlap, rule)
        allowed = overlap[:objects] if rule == "first" else overlap
        small, large = sorted(allowed.shape)
        wide = allowed if allowed.shape[0] == small else allowed.T
        best = max(
            (sum(wide[i, j].item() for i, j in enumerate(chosen)) for chosen in permutations(range(large), small)),
            default=0.0,
        )
        assert len(row) == small and len(set(row.tolist())) == len(set(column.tolist())) == small
        assert overlap[row, column].sum().item() == pytest.approx(best, abs=1e-6)
        assert rule == "any" or (row < max(objects, 1)).all()
