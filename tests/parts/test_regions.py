import pytest
import torch
from torchvision.ops import roi_align

from apiece.parts.regions import levels, pooled


def ramp(size: int, stride: int) -> torch.Tensor:
    """Features that say where their middle lies in the image: x and y in pixels."""
    middles = (torch.arange(size) + 0.5) * stride
    return torch.stack([middles.expand(size, size), middles[:, None].expand(size, size)])[None]


def cell_middles(box: torch.Tensor, side: int) -> torch.Tensor:
    """Where the cells of a box have their middles, x and y."""
    share = (torch.arange(side) + 0.5) / side
    x, y = (box[axis] + share * (box[axis + 2] - box[axis]) for axis in (0, 1))
    return torch.stack([x.expand(side, side), y[:, None].expand(side, side)])


BOX = torch.tensor([37.3, 41.9, 78.1, 90.6])


@pytest.mark.parametrize("sampling", [0, 1, 2])
def test_aligned_features_are_those_of_the_cells_middles(sampling):
    found = pooled([ramp(32, 4)], [4], [BOX[None]], 7, sampling=sampling)
    assert torch.allclose(found[0], cell_middles(BOX, 7), atol=1e-3)


def test_without_alignment_all_is_half_a_feature_off():
    found = pooled([ramp(32, 4)], [4], [BOX[None]], 7, aligned=False)
    assert torch.allclose(found[0] - cell_middles(BOX, 7), torch.tensor(2.0), atol=1e-3)


def test_rounding_misplaces_features_as_a_box_moves():
    # A box that moves by a tenth of a pixel: RoIAlign follows, RoIPool stays, and jumps a whole feature now and then.
    moved = torch.stack([BOX + 0.1 * step for step in range(40)])
    aligned, rounded = (pooled([ramp(32, 4)], [4], [moved], 7, kind=kind)[:, 0] for kind in ("align", "pool"))
    wanted = torch.stack([cell_middles(box, 7) for box in moved])[:, 0]
    assert (aligned - wanted).abs().max() < 1e-3
    assert (rounded - wanted).abs().max() > 2
    steps = rounded.diff(dim=0)
    assert ((steps == 0) | (steps.abs() == 4)).all() and (steps == 0).float().mean() > 0.9


def test_boxes_are_of_the_map_that_fits_their_size():
    sides = torch.tensor([1.0, 55, 111.9, 112, 223, 224, 448, 5000])
    boxes = torch.stack([torch.zeros(8), torch.zeros(8), sides, sides], 1)
    assert levels(boxes, [4, 8, 16, 32]).tolist() == [0, 0, 0, 1, 1, 2, 3, 3]
    assert levels(boxes, [2, 4]).tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_every_box_has_the_features_of_its_own_image_and_map():
    maps = [torch.full((2, 1, 64 // stride, 64 // stride), float(stride)) for stride in (4, 8)]
    maps = [one + torch.tensor([0.0, 100])[:, None, None, None] for one in maps]
    small, large = torch.tensor([[4.0, 4, 20, 20]]), torch.tensor([[0.0, 0, 64, 64], [0, 0, 120, 120]])
    found = pooled(maps, [4, 8], [torch.cat([small, large[:1]]), torch.cat([large[1:], small])], 3)
    assert found[:, 0, 0, 0].tolist() == [4, 4, 108, 104]


def test_no_boxes_have_no_features_but_a_gradient():
    maps = torch.rand(1, 2, 8, 8, requires_grad=True)
    pooled([maps], [4], [torch.zeros(0, 4)], 7).sum().backward()
    assert maps.grad is not None and not maps.grad.any()


@pytest.mark.parametrize("sampling", [1, 2, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_features_and_gradients_equal_torchvisions(sampling, aligned, monkeypatch):
    monkeypatch.setattr("apiece.parts.regions.AT_ONCE", 16)
    generator = torch.Generator().manual_seed(sampling)
    maps = torch.randn(2, 5, 17, 23, generator=generator)
    corners = torch.rand(60, 2, generator=generator) * 130 - 30  # some outside of the image on each side
    boxes = torch.cat([corners, corners + torch.rand(60, 2, generator=generator) ** 2 * 120], 1)
    boxes[0] = torch.tensor([3.0, 4, 3, 4])
    images = (torch.arange(60) >= 25).float()
    weights = torch.randn(60, 5, 7, 7, generator=generator)
    results = []
    for rows in (False, True):
        own = maps.clone().requires_grad_()
        if rows:
            found = pooled([own], [4], [boxes[:25], boxes[25:]], 7, aligned=aligned, sampling=sampling)
        else:
            found = roi_align(own, torch.cat([images[:, None], boxes], 1), 7, 1 / 4, sampling, aligned)
        (found * weights).sum().backward()
        results.append((found, own.grad))
    (theirs, their_gradient), (ours, our_gradient) = results
    assert torch.allclose(ours, theirs, atol=2e-5)
    assert torch.allclose(our_gradient, their_gradient, atol=2e-5)
