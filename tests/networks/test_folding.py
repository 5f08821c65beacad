import pytest
import torch
from torch import nn

from apiece.networks.dense import dense
from apiece.networks.folding import folded
from apiece.networks.pyramid import Pyramid


def randomized(network):
    """Statistics, scales and shifts as after a training."""
    for tensor in network.double().state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1 and tensor.numel() > 1:
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def norms(network):
    return sum("BatchNorm" in type(module).__name__ for module in network.modules())


@pytest.mark.parametrize(
    ("network", "left"),
    [
        # Norms of joined branches, and all of a network that rectifies before it convolves, stay.
        (lambda: dense("unet", widths=(4, 6, 8), detail=4), 0),
        (lambda: dense("erfnet"), 3),
        (lambda: dense("enet"), 1),
        (lambda: dense("segnet", thinner=16), 0),
        (lambda: dense("resnet38", thinner=32), 37),
        (lambda: dense("resnet18"), 0),
        (lambda: Pyramid("resnet50", width=16, extra="pool", norm="frozen", pyramid_norm="batch"), 0),
    ],
)
def test_folded_networks_give_the_same(network, left):
    torch.manual_seed(0)
    network = randomized(network())
    images = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        expected, fold = network(images), folded(network)
        found = fold(images)
    assert norms(network) > norms(fold) == left or left == 37 == norms(network) == norms(fold)
    assert all(torch.allclose(one, other, rtol=1e-8, atol=1e-8) for one, other in zip(found, expected, strict=True))


def test_the_network_itself_stays_as_it_is():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not folded(network).training
    assert network.training and isinstance(network[1], nn.BatchNorm2d)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
