import pytest
import torch
from torch import nn

from apiece.networks.segnet import SegNet
from apiece.networks.weights import fill


def test_parameters_are_as_many_as_the_paper_of_the_discriminative_loss_says():
    with torch.device("meta"):
        network = SegNet(3, (12,))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 26
    # 29.43 counts convolutions with their biases, not the scales and shifts of batch norm.
    assert round(sum(p.numel() for m in convolutions for p in m.parameters()) / 1e6, 2) == 29.43
    assert sum(p.numel() for p in network.parameters()) == 29_449_932


def test_the_way_down_is_torchvisions_vgg16_with_batch_norm():
    from torchvision.models.vgg import cfgs, make_layers

    thin = [one if one == "M" else one // 16 for one in cfgs["D"]]
    theirs, network = make_layers(thin, batch_norm=True).eval(), SegNet(3, (1,), thinner=16).eval()
    fill(network.encoder.state_dict().values(), theirs.state_dict().values())
    images = torch.rand(1, 3, 64, 96)
    features = images
    for block in network.encoder:
        features = nn.functional.max_pool2d(block(features), 2)
    assert features.std() > 0
    assert torch.equal(features, theirs(images))


@pytest.mark.parametrize("size", [(32, 32), (45, 67), (360, 33)])
def test_every_head_has_the_size_of_the_image_and_every_parameter_a_gradient(size):
    network = SegNet(2, (4, 1), thinner=16)
    outputs = network(torch.rand(2, 2, *size))
    assert [tuple(output.shape) for output in outputs] == [(2, 4, *size), (2, 1, *size)]
    sum(output.square().sum() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_maxima_return_to_their_places():
    # A network that hands everything through: one positive pixel is found again where it was, five poolings later.
    network = SegNet(1, (1,), thinner=64).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
            module.weight.data[0, 0, 1, 1] = 1
    image = torch.zeros(1, 1, 32, 64)
    image[0, 0, 13, 42] = 3
    with torch.no_grad():
        (out,) = network(image)
    # A second place has its maximum, zero, too: only values that are not zero tell.
    assert (out > 1e-3).nonzero().tolist() == [[0, 0, 13, 42]]
