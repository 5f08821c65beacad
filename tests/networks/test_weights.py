import pytest
import torch
from torch import nn

from apiece.networks.weights import fill, for_channels, he_normal


def test_a_linear_layers_weights_fill_a_convolution_as_the_same_map():
    linear, convolution = nn.Linear(3 * 5 * 5, 4), nn.Conv2d(3, 4, 5)
    fill(convolution.state_dict().values(), linear.state_dict().values())
    images = torch.rand(2, 3, 5, 5)
    assert torch.allclose(convolution(images).flatten(1), linear(images.flatten(1)), atol=1e-6)


def test_filling_wants_as_many_tensors_on_both_sides():
    with pytest.raises(ValueError, match="longer"):
        fill([torch.zeros(1)], [torch.zeros(1), torch.zeros(1)])


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_gray_shown_in_every_channel_gives_what_it_gives_as_color(channels):
    weight, gray = torch.randn(4, 3, 3, 3), torch.rand(1, 1, 8, 8)
    expected = nn.functional.conv2d(gray.repeat(1, 3, 1, 1), weight)
    found = nn.functional.conv2d(gray.repeat(1, channels, 1, 1), for_channels(weight, channels))
    assert torch.allclose(found, expected, atol=1e-5)


def test_twenty_rectified_convolutions_keep_the_size_of_their_features():
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()) for _ in range(20)))
    images = torch.randn(1, 64, 32, 32)
    before = network(images).square().mean()
    he_normal(network)
    after = network(images).square().mean()
    assert before < 1e-3 and 0.05 < after < 5
