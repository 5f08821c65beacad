"""Prototypes: which cells belong to a box, true masks in cells, the networks' shapes, rescoring in parts."""

import numpy as np
import pytest
import torch

from apiece.instances import Instances
from apiece.parts import prototypes
from apiece.parts.prototypes import Cells, ProtoNet, Rescorer, Windows, bounds, mask_logits, rescored
from apiece.parts.true_boxes import Truth

CPU = torch.device("cpu")


def scene() -> Truth:
    """Two overlapping discs and one at the border, in 40 x 56."""
    row, column = np.mgrid[:40, :56]
    places = [(12, 14, 9), (18, 22, 8), (37, 50, 7)]
    masks = [(row - y) ** 2 + (column - x) ** 2 < radius**2 for y, x, radius in places]
    return Truth.of(Instances.from_dense(np.stack(masks)), CPU)


@pytest.mark.parametrize("box", [(5.0, 6.0, 17.3, 11.9), (0.0, 0.0, 4.0, 4.0), (50.2, 30.0, 56.0, 40.0)])
def test_cells_of_a_box_are_those_between_its_edges_and_one_more(box):
    steps, size = (4.0, 2.0), (10, 28)
    x1, y1, x2, y2 = bounds(torch.tensor([box]), steps, size)[0].tolist()
    # The rule of the authors' crop: columns not below the left edge less one, and below the right edge and one more.
    columns = [c for c in range(28) if box[0] / 2 - 1 <= c < box[2] / 2 + 1]
    rows = [r for r in range(10) if box[1] / 4 - 1 <= r < box[3] / 4 + 1]
    assert list(range(x1, x2)) == columns and list(range(y1, y2)) == rows


def test_windows_list_every_cell_of_every_box_once_and_repeat_on_demand():
    boxes = torch.tensor([[4.0, 4.0, 10.0, 8.0], [-9.0, -9.0, -7.0, -7.0], [20.0, 2.0, 22.0, 4.0]])
    windows = Windows.about(boxes, (2.0, 2.0), (8, 16))
    assert windows.count.tolist() == [5 * 4, 0, 3 * 3]
    own = windows.owners == 2
    assert windows.rows[own].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert windows.columns[own].tolist() == [9, 10, 11] * 3
    which, cells = windows.repeated(torch.tensor([2, 0, 2]))
    assert torch.bincount(which).tolist() == [9, 20, 9]
    assert cells[:9].tolist() == cells[-9:].tolist() == list(range(20, 29))


@pytest.mark.parametrize("size", [(10, 14), (20, 28), (13, 17)])
def test_true_masks_in_cells_are_shrunk_as_torch_shrinks_them(size):
    truth = scene()
    steps = (40 / size[0], 56 / size[1])
    dense = torch.from_numpy(truth.masks.dense()).float()[None]
    wanted = torch.nn.functional.interpolate(dense, size, mode="bilinear", align_corners=False)[0]
    for binary in (False, True):
        cells = Cells.of(truth, steps, size, binary)
        at = cells.windows.owners, cells.windows.rows, cells.windows.columns
        expected = (wanted > 0.5).float() if binary else wanted
        torch.testing.assert_close(cells.values, expected[at], rtol=1e-5, atol=1e-5)
        # What a mask covers lies in the cells about its box.
        assert cells.values.sum() == pytest.approx(expected.sum().item(), rel=1e-5)


def test_cells_beyond_the_image_are_left_out():
    cells = Cells.of(scene(), (4.0, 4.0), (16, 16))
    assert cells.windows.rows.max() == 9 and cells.windows.columns.max() == 13


def test_cells_of_which_nothing_is_known_are_marked():
    truth = scene()
    ignored = torch.zeros(40, 56, dtype=torch.bool)
    ignored[:, 30:] = True
    cells = Cells.of(truth._replace(ignored=ignored), (4.0, 4.0), (10, 14))
    # The middle of column 7 lies between pixels 29 and 30.
    assert torch.equal(cells.known, (cells.windows.columns < 7).float())


def test_mask_logits_are_sums_of_prototypes():
    maps, own = torch.randn(4, 5, 6), torch.randn(3, 4)
    whole = torch.einsum("nk,khw->nhw", own, maps)
    which, places = torch.tensor([0, 2, 2]), torch.tensor([7, 0, 29])
    torch.testing.assert_close(mask_logits(maps, own, places, which), whole.flatten(1)[which, places])


def test_prototypes_without_a_rectifier_never_stop_learning():
    """Held at zero by a rectifier, wherever one looks, none has a gradient; without it all have."""
    features = torch.randn(1, 8, 6, 9)
    for rectified in (True, False):
        network = ProtoNet(8, 12, 5, rectified=rectified)
        torch.nn.init.constant_(network.prototypes.bias, -100.0)
        found = network(features)
        found.sum().backward()
        assert bool(network.prototypes.weight.grad.any()) != rectified and (found.max() < 0) != rectified


def test_prototypes_are_not_negative_and_twice_as_fine_if_enlarged():
    features = torch.randn(2, 8, 6, 9)
    fine, coarse = ProtoNet(8, 12, 5)(features), ProtoNet(8, 12, 5, enlarged=False, norm="group")(features)
    assert fine.shape == (2, 5, 12, 18) and coarse.shape == (2, 5, 6, 9)
    assert fine.min() == 0 and fine.max() > 0


def test_masks_smaller_than_the_rescorer_s_field_can_be_rescored():
    assert Rescorer(3)(torch.rand(2, 8, 100)).shape == (2, 3)


def test_rescoring_in_parts_equals_rescoring_of_whole_cropped_masks(monkeypatch):
    torch.manual_seed(0)
    rescorer, maps, own = Rescorer(2), torch.randn(4, 70, 66).relu(), torch.randn(5, 4).tanh()
    corner = torch.rand(5, 2) * 80
    boxes, labels = torch.cat([corner, corner + 10 + torch.rand(5, 2) * 40], 1), torch.tensor([0, 1, 1, 0, 1])
    soft = torch.einsum("nk,khw->nhw", own, maps).sigmoid()
    row, column = torch.arange(70)[:, None], torch.arange(66)
    for mask, (x1, y1, x2, y2) in zip(soft, (boxes / 2).tolist(), strict=True):
        mask *= (column >= x1 - 1) & (column < x2 + 1) & (row >= y1 - 1) & (row < y2 + 1)
    wanted = rescorer(soft)[torch.arange(5), labels]
    monkeypatch.setattr(prototypes, "CELLS_AT_ONCE", 2 * 70 * 66)
    torch.testing.assert_close(rescored(rescorer, maps, own, boxes, labels, (2.0, 2.0)), wanted)
