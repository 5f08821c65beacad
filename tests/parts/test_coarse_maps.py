"""Maps with a place for several pixels: cutting out masks, interpolation, coverage."""

import numpy as np
import pytest
import torch

from apiece.methods.method import Frame
from apiece.parts.coarse_maps import coverage, covered, cut_out, interpolated, leveled


def enlarged(soft: np.ndarray, step: int, size: tuple[int, int]) -> np.ndarray:
    """Bilinear interpolation between places, pixel by pixel."""
    found = np.zeros(size)
    for row in range(size[0]):
        for column in range(size[1]):
            y = min(max((row + 0.5) / step - 0.5, 0), soft.shape[0] - 1)
            x = min(max((column + 0.5) / step - 0.5, 0), soft.shape[1] - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, soft.shape[0] - 1), min(left + 1, soft.shape[1] - 1)
            a, b = y - top, x - left
            upper = soft[top, left] * (1 - b) + soft[top, right] * b
            found[row, column] = upper * (1 - a) + (soft[below, left] * (1 - b) + soft[below, right] * b) * a
    return found


def test_maps_are_interpolated_between_the_middles_of_their_places():
    soft = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    frame = Frame((12, 15), (12, 15))
    np.testing.assert_allclose(interpolated(soft, 3, frame, (0, 0, 15, 12)), enlarged(soft, 3, (12, 15)), atol=1e-6)


def test_a_mask_is_cut_out_where_the_map_is_high():
    soft = np.zeros((6, 8), np.float32)
    soft[2:4, 3:6] = np.random.default_rng(0).uniform(0.4, 1, (2, 3))
    frame = Frame((18, 24), (18, 24))
    crop, (x1, y1, x2, y2) = cut_out(soft, 3, frame, 0.5)
    mask = np.zeros((18, 24), bool)
    mask[y1:y2, x1:x2] = crop
    assert np.array_equal(mask, enlarged(soft, 3, (18, 24)) > 0.5) and mask.any()
    nothing, box = cut_out(soft, 3, frame, 2.0)
    assert nothing.size == 0 and box == (0, 0, 0, 0)


def test_masks_come_at_the_size_of_the_file():
    soft = np.zeros((6, 8), np.float32)
    soft[1:5, 2:6] = 1
    crop, (x1, y1, x2, y2) = cut_out(soft, 1, Frame((12, 16), (6, 8)), 0.5)
    mask = np.zeros((12, 16), bool)
    mask[y1:y2, x1:x2] = crop
    assert mask[3:9, 5:11].all() and mask.sum() == 8 * 8


def test_coverage_is_the_share_of_each_place():
    mask = np.zeros((5, 6), bool)
    mask[:3, :4] = True
    # The last place's row beyond the image repeats the border.
    assert coverage(mask, 2).tolist() == [[1, 1, 0], [0.5, 0.5, 0], [0, 0, 0]]
    like = torch.zeros(1, 4, 4)
    expected = torch.zeros(4, 4)
    expected[:3, :3] = torch.tensor([[1, 1, 0], [0.5, 0.5, 0], [0, 0, 0]])
    assert torch.equal(covered(mask[None], 2, like)[0].view(4, 4), expected)
    assert covered(mask[:0].reshape(0, 5, 6), 2, like).shape == (0, 16)


@pytest.mark.parametrize("threshold", [0.5, 0.65, 0.8])
def test_a_leveled_map_crosses_its_threshold_where_a_straight_border_is(threshold):
    frame, missed = Frame((16, 80), (16, 80)), []
    for border in range(33, 40):
        mask = np.zeros((16, 80), bool)
        mask[:, :border] = True
        soft = leveled(coverage(mask, 8), threshold)
        assert soft.min() == 0 and soft.max() == 1
        crop, (x1, _, _, _) = cut_out(soft.numpy(), 8, frame, threshold)
        missed.append(abs(x1 + int(crop[4].sum()) - border))
    # Values end at 1: at a high threshold a border near a place's end is missed by less than half a place.
    assert np.median(missed) == 0 and max(missed) <= (0 if threshold == 0.5 else 3)
