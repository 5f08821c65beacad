"""The authors' network for plants against its sums."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from apiece.networks.plants import Plants


@pytest.mark.parametrize("stride", [1, 5])
def test_features_are_four_rectified_convolutions_of_the_smaller_image(stride):
    torch.manual_seed(0)
    network = Plants(3, 7, stride)
    image = torch.rand(2, 3, 20, 30)
    rows, columns = 20 // stride, 30 // stride
    expected = torch.from_numpy(image.numpy().reshape(2, 3, rows, stride, columns, stride).mean((3, 5)))
    weights = list(network.parameters())
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        expected = conv2d(expected, weight, bias, padding=1).clamp(min=0)
    torch.testing.assert_close(network(image), expected)
    assert len(weights) == 8 and network.stride == stride


def test_there_are_as_many_weights_as_the_authors_network_has():
    # 3 * 30 * 9 + 30 and three times 30 * 30 * 9 + 30.
    assert sum(weight.numel() for weight in Plants(3, 30, 5).parameters()) == 840 + 3 * 8130
    assert np.max([weight.detach().abs().max() for weight in Plants().parameters()]) <= 0.08
