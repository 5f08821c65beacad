import torch
from torch.nn.functional import grid_sample, interpolate

from apiece.parts.points import features_at, grid_points, places_of, subdivided, training_points, values_at


def test_grid_points_are_the_middles_of_cells():
    assert grid_points(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    maps = torch.rand(3, 2, 5, 5)
    assert torch.allclose(values_at(maps, grid_points(5).expand(3, -1, -1)), maps.flatten(2), atol=1e-6)


def test_places_of_a_boxs_points_lie_across_it():
    points = torch.tensor([[[0.0, 0], [0.5, 0.25], [1, 1]]])
    assert places_of(points, torch.tensor([[10.0, 20, 14, 28]])).tolist() == [[[10, 20], [12, 22], [14, 28]]]


def test_features_of_several_maps_are_taken_at_the_same_place_of_the_image():
    # Features that say where they are, on maps of strides 4 and 8: x in the first channel, the image in the second.
    maps = []
    for stride, size in ((4, 16), (8, 8)):
        x = ((torch.arange(size) + 0.5) * stride).expand(2, 1, size, size)
        maps.append(torch.cat([x, torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, size, size)], 1))
    places = torch.rand(5, 9, 2) * 40 + 10
    found = features_at(maps, [4, 8], [places[:2], places[2:]])
    assert found.shape == (5, 4, 9)
    assert torch.allclose(found[:, 0], places[..., 0], atol=1e-4) and torch.allclose(
        found[:, 2], places[..., 0], atol=1e-4
    )
    assert torch.equal(found[:, 1].round(), torch.tensor([0.0, 0, 1, 1, 1])[:, None].expand(5, 9))


def test_a_map_without_points_has_a_gradient():
    maps = torch.rand(1, 2, 4, 4, requires_grad=True)
    features_at([maps], [4], [torch.zeros(0, 9, 2)]).sum().backward()
    assert maps.grad is not None


def test_three_quarters_of_training_points_are_the_most_uncertain_of_many():
    torch.manual_seed(0)
    logits = torch.randn(4, 7, 7)
    points = training_points(logits, 196, 3.0, 0.75, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    drawn, others = torch.rand(4, 588, 2, generator=generator), torch.rand(4, 49, 2, generator=generator)
    at = grid_sample(logits[:, None], drawn[:, :, None] * 2 - 1, align_corners=False)[:, 0, :, 0].abs()
    limit = at.sort(1).values[:, 146]
    chosen = grid_sample(logits[:, None], points[:, :147, None] * 2 - 1, align_corners=False)[:, 0, :, 0].abs()
    assert points.shape == (4, 196, 2) and torch.equal(points[:, 147:], others)
    assert torch.allclose(chosen.amax(1), limit) and (chosen <= limit[:, None] + 1e-6).all()


def test_between_opposite_neighbors_lies_the_most_uncertain_point():
    logits = torch.tensor([[[-1.0, 1.0]]])
    points = training_points(logits, 8, 50.0, 1.0, torch.Generator().manual_seed(0))
    assert (points[..., 0] - 0.5).abs().max() < 0.05


def wavy(points: torch.Tensor) -> torch.Tensor:
    """A smooth truth with a border, of three boxes."""
    x, y = points.unbind(-1)
    return (torch.stack([x[0] - 0.4, (x[1] - 0.5).hypot(y[1] - 0.5) - 0.3, (9 * x[2]).sin() - y[2]])) * 10


def test_subdivision_tells_all_points_of_the_first_map_and_then_only_uncertain_ones():
    asked = []

    def logits_at(points):
        asked.append(points.shape[1])
        return wavy(points)

    found = subdivided(logits_at, 3, 7, 5, 784, torch.device("cpu"))
    assert asked == [784, 784, 784, 784] and found.shape == (3, 224, 224)
    exact = wavy(grid_points(224).expand(3, -1, -1)).unflatten(1, (224, 224))
    assert ((found > 0) != (exact > 0)).float().mean() < 1e-3


def test_subdivision_is_that_of_the_paper_step_by_step():
    # Written anew from section 3.1: enlarge, choose the most uncertain, tell them anew.
    def told(points):
        return wavy(points.double()).float()

    logits = told(grid_points(28).expand(3, -1, -1)).view(3, 28, 28)
    for side in (56, 112):
        logits = interpolate(logits[:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
        for mask in range(3):
            order = logits[mask].abs().flatten().argsort()[:784]
            points = torch.stack([(order % side + 0.5) / side, (order // side + 0.5) / side], 1)
            logits[mask].view(-1)[order] = told(points.expand(3, -1, -1))[mask]
    found = subdivided(told, 3, 7, 4, 784, torch.device("cpu"))
    assert ((found - logits).abs() > 1e-4).float().mean() < 1e-3


def test_no_boxes_have_no_masks_of_the_same_size():
    found = subdivided(lambda points: points[..., 0], 0, 7, 5, 784, torch.device("cpu"))
    assert found.shape == (0, 224, 224)
