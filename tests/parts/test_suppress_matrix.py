import numpy as np
import pytest
import torch

from apiece.parts import suppress
from apiece.parts.suppress import Pairs, joined, matrix_decay, overlapping_pairs, tiles_of


def discs(count: int, size=(50, 70), seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    row, column = torch.meshgrid(*map(torch.arange, size), indexing="ij")
    places = torch.rand(count, 3, generator=generator) * torch.tensor([*size, 12.0])
    return torch.stack([(row - y) ** 2 + (column - x) ** 2 < (2 + r) ** 2 for y, x, r in places.tolist()])


def table(pairs: Pairs, count: int) -> np.ndarray:
    found = np.zeros((count, count))
    found[pairs.first, pairs.second] = pairs.overlap
    return found


def overlaps(masks: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """IoU of every pair of one class, one by one."""
    found = np.zeros((len(masks), len(masks)))
    for i in range(len(masks)):
        for j in range(i + 1, len(masks)):
            if labels[i] == labels[j]:
                found[i, j] = (masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()
    return found


@pytest.mark.parametrize("limit", [0, 2048])
def test_pairs_are_those_of_one_class_that_share_pixels(limit, monkeypatch):
    monkeypatch.setattr(suppress, "TABLE", limit)
    masks, labels = discs(60), torch.arange(60) % 3
    pairs = overlapping_pairs(tiles_of(masks, torch.zeros(60, 2, dtype=torch.long)), labels)
    assert (pairs.first < pairs.second).all() and (pairs.overlap > 0).all()
    np.testing.assert_allclose(table(pairs, 60), overlaps(masks, labels), rtol=1e-6)


def test_masks_in_windows_are_those_of_the_whole_image_in_any_lots_and_order():
    masks, labels = discs(40), torch.zeros(40, dtype=torch.long)
    boxes = [
        (int(rows.min()) - 3, int(columns.min()) - 2) for rows, columns in (m.nonzero(as_tuple=True) for m in masks)
    ]
    padded = torch.nn.functional.pad(masks, (40, 40, 40, 40))
    windows = torch.stack([m[y + 40 : y + 72, x + 40 : x + 70] for m, (y, x) in zip(padded, boxes, strict=True)])
    lots = [tiles_of(windows[a:b], torch.tensor(boxes[a:b])) for a, b in ((0, 7), (7, 40))]
    order = torch.tensor([5, 30, 2, 17, 39, 8, 21])
    pairs = overlapping_pairs(joined(lots, [7, 33]).chosen(order, 40), labels[order])
    np.testing.assert_allclose(table(pairs, 7), overlaps(masks[order], labels[order]), rtol=1e-6)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_scores_decay_by_equation_6(kernel):
    masks, labels = discs(50, seed=1), torch.arange(50) % 2
    iou = overlaps(masks, labels)

    def falls(value: float) -> float:
        return np.exp(-2.0 * value**2) if kernel == "gaussian" else 1 - value

    expected = [
        min([1.0, *(falls(iou[i, j]) / falls(max(iou[:i, i], default=0.0)) for i in range(j))]) for j in range(50)
    ]
    pairs = overlapping_pairs(tiles_of(masks, torch.zeros(50, 2, dtype=torch.long)), labels)
    found = matrix_decay(pairs, 50, kernel, 2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found < 0.8).any() and (found == 1).any()


def test_equal_masks_fall_to_zero_with_the_linear_kernel_and_nothing_is_not_a_number():
    masks = discs(1).expand(3, -1, -1)
    pairs = overlapping_pairs(tiles_of(masks, torch.zeros(3, 2, dtype=torch.long)), torch.zeros(3, dtype=torch.long))
    assert matrix_decay(pairs, 3, "linear").tolist() == [1, 0, 0]
    assert matrix_decay(pairs, 3, "gaussian").isfinite().all()


def test_without_masks_there_are_no_pairs():
    tiles = tiles_of(torch.zeros(0, 4, 5, dtype=torch.bool), torch.zeros(0, 2, dtype=torch.long))
    pairs = overlapping_pairs(tiles, torch.zeros(0, dtype=torch.long))
    assert len(pairs.first) == 0 and matrix_decay(pairs, 0).shape == (0,)
    empty = tiles_of(torch.zeros(2, 4, 5, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.long))
    assert matrix_decay(overlapping_pairs(empty, torch.zeros(2, dtype=torch.long)), 2).tolist() == [1, 1]
