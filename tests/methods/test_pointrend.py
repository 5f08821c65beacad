import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, grid_sample

from apiece.instances import Instances
from apiece.methods.method import Frame
from apiece.methods.pointrend import PointRend
from apiece.parts.points import grid_points, values_at
from apiece.parts.true_boxes import Truth
from apiece.parts.two_stage import Learned
from apiece.statistics import Statistics

SIZE = (64, 96)


def tiny(**options) -> PointRend:
    torch.manual_seed(0)
    return PointRend(**{"num_classes": 3, "channels": 1, "network": "tiny", "subdivisions": 3, **options})


def truth() -> Instances:
    label_map = np.zeros(SIZE, np.uint8)
    y, x = np.indices(SIZE)
    label_map[np.hypot(y - 20, x - 24) < 15], label_map[30:60, 50:90] = 1, 2
    return Instances.from_label_map(label_map, [2, 0])


def total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(losses.values())).sum()


def loud(method: PointRend) -> PointRend:
    """Last layers that say something: fresh ones are silent."""
    for layer in (method.coarse.logits, method.point.logits):
        torch.nn.init.normal_(layer.weight, std=0.5)
    return method.eval()


@torch.no_grad()
def test_masks_of_one_class_are_those_that_all_classes_give():
    # As the authors' program does it: the logits of all classes grow, and the found class's is taken at the end.
    method = loud(tiny(num_classes=4))
    maps = [torch.randn(1, 16, 16, 24) for _ in range(3)]
    boxes = torch.tensor([[3.0, 4, 40, 50], [20, 10, 90, 33], [0, 0, 95, 63]])
    labels = torch.tensor([2, 0, 3])
    found = method.masks(maps, boxes, labels)
    coarse = method._coarse(maps, [boxes])

    def told(points):
        return method._told(maps, [boxes], coarse, points)

    grown = told(grid_points(28).expand(3, -1, -1)).view(3, 4, 28, 28)
    grown = torch.nn.functional.interpolate(grown, scale_factor=2, mode="bilinear", align_corners=False)
    certain = grown[torch.arange(3), labels].flatten(1).abs()
    order = certain.topk(784, 1, largest=False).indices
    anew = told(grid_points(56)[order])
    grown = grown.flatten(2).scatter(2, order[:, None].expand(-1, 4, -1), anew).view(3, 4, 56, 56)
    assert found.shape == (3, 56, 56)
    assert ((found - grown[torch.arange(3), labels]).abs() > 1e-4).float().mean() < 1e-3


@torch.no_grad()
def test_masks_are_the_same_however_many_are_made_at_once(monkeypatch):
    method = loud(tiny())
    maps = [torch.randn(1, 16, 16, 24)]
    boxes = torch.rand(7, 4) * 30
    boxes[:, 2:] += boxes[:, :2] + 3
    labels = torch.randint(3, (7,))
    whole = method.masks(maps, boxes, labels)
    monkeypatch.setattr("apiece.methods.pointrend.AT_ONCE", 1)
    assert torch.allclose(method.masks(maps, boxes, labels), whole, atol=1e-5)
    assert method.masks(maps, boxes[:0], labels[:0]).shape == (0, 56, 56)


def test_mask_losses_are_those_of_the_definition():
    method, image = tiny(), Truth.of(truth(), torch.device("cpu"))
    boxes = torch.tensor([[5.0, 3, 42, 37], [48, 25, 99, 61]])
    objects, labels = torch.tensor([0, 1]), image.labels
    generator = torch.Generator().manual_seed(0)
    coarse, told = torch.randn(2, 7, 7, generator=generator), torch.randn(2, 50, generator=generator)
    points = torch.rand(2, 50, 2, generator=generator)
    learned = Learned({}, [], [boxes], [boxes], [objects], labels)
    losses = method._mask_losses(coarse, told, points, learned, [image])
    places = boxes[:, None, :2] + points * (boxes[:, 2:] - boxes[:, :2])[:, None]
    whole = torch.from_numpy(image.masks.dense()).float()[:, None]
    grid = places / torch.tensor(SIZE[::-1]) * 2 - 1
    share = grid_sample(whole[objects], grid[:, :, None], align_corners=False)[:, 0, :, 0]
    assert losses["point"].item() == pytest.approx(binary_cross_entropy_with_logits(told, share).item(), rel=1e-5)
    assert losses["mask"].isfinite()


@pytest.mark.parametrize("binary", [False, True])
def test_thin_objects_teach_coarse_masks_by_shares_of_cells_only(binary):
    method, mask = tiny(binary_targets=binary), np.zeros((1, *SIZE), bool)
    mask[0, 10, 5:61] = True  # a line: a seventh of a cell of 8 x 8
    image = Truth.of(Instances.from_dense(mask, np.array([0])), torch.device("cpu"))
    boxes = torch.tensor([[5.0, 7, 61, 63]])
    learned = Learned({}, [], [boxes], [boxes], [torch.tensor([0])], image.labels)
    nothing, points = torch.full((1, 7, 7), -20.0), torch.rand(1, 9, 2)
    loss = method._mask_losses(nothing, torch.zeros(1, 9), points, learned, [image])["mask"]
    assert loss.item() == pytest.approx(0 if binary else 7 / 49 * 20 / 8, abs=1e-3)
    assert PointRend(1, network="resnet18").binary_targets and not PointRend(1).binary_targets


def test_an_image_without_objects_teaches_masks_nothing():
    method = tiny()
    losses = method.loss(torch.rand(1, 1, *SIZE), [truth()[:0]])
    assert losses["mask"] == 0 and losses["point"] == 0
    total(losses).backward()
    assert all(weight.grad is not None for weight in method.parameters())


def test_points_may_look_at_several_levels():
    method = tiny(point_levels=2)
    assert method.point.layers[0].in_channels == 2 * 16 + 3
    total(method.loss(torch.rand(1, 1, *SIZE), [truth()])).backward()
    (found,) = method.predict(torch.rand(1, 1, *SIZE))
    assert found.size == SIZE


def test_masks_grow_as_fine_as_the_datas_objects_are_large():
    method = tiny(subdivisions=None)
    assert method.steps == 5
    method.adapt(Statistics(np.array([900]), np.array([[30, 30]]), np.array([1])))
    assert method.subdivisions == 3
    frame = Frame(SIZE, SIZE)
    assert method.ideal([truth()], [frame])["masks"].shape == (1, 2, 56, 56)


def test_coarse_logits_between_cells_are_interpolated():
    maps = torch.zeros(1, 1, 7, 7)
    maps[0, 0, 3, 3:5] = torch.tensor([1.0, 3.0])
    points = torch.tensor([[[4 / 7, 3.5 / 7]]])
    assert values_at(maps, points).item() == pytest.approx(2.0)


def test_a_mask_that_learns_fits_its_object():
    method, target = tiny(num_classes=1), truth().replace(labels=np.array([0, 0]))
    image = torch.from_numpy(target.label_map() > 0).float()[None, None]
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        total(method.loss(image, [target])).backward()
        optimizer.step()
    frame = Frame(SIZE, SIZE)
    method.eval()
    with torch.no_grad():
        maps = method.boxes.backbone(image)
        soft = method.masks(
            maps, Truth.of(target, torch.device("cpu")).boxes, torch.zeros(2, dtype=torch.long)
        ).sigmoid()
    outputs = {**method.ideal([target], [frame]), "masks": soft[None]}
    (found,) = method.decode(outputs, [frame])
    overlaps = [max((a & b).sum() / (a | b).sum() for b in target.dense()) for a in found.dense()]
    assert len(found) == 2 and min(overlaps) > 0.7
