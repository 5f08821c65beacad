from typing import get_args

import pytest
import torch

from apiece.errors import CallError
from apiece.networks.dense import KINDS, DenseName, dense, head_names
from apiece.networks.erfnet import ERFNet
from apiece.networks.unet import UNet

NAMES = get_args(DenseName)
# The largest ones on the meta device: nothing is computed, but every shape is checked.
LARGE = {"segnet", "dilation", "resnet38", "resnet34", "resnet50"}


def made(name, *arguments, **options):
    with torch.device("meta" if name in LARGE else "cpu"):
        return dense(name, *arguments, **options)


def test_every_name_has_a_network():
    assert set(KINDS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_one_call_gives_any_network_with_maps_of_the_images_size(name):
    network = made(name, 2, (3, 1)).eval()
    height, width = network.stride, 2 * network.stride
    with torch.no_grad():
        outputs = network(torch.rand(2, 2, height, width, device="meta" if name in LARGE else "cpu"))
    assert [tuple(output.shape) for output in outputs] == [(2, 3, height, width), (2, 1, height, width)]


@pytest.mark.parametrize("name", NAMES)
def test_every_heads_last_layer_has_weight_and_bias_under_the_names_that_are_told(name):
    network = made(name, 3, (3, 2))
    state = network.state_dict()
    for head, outputs in enumerate((3, 2)):
        last = network.heads[head]
        assert last.bias.numel() % outputs == 0
        names = {key for key in state if key.startswith(head_names(head, prefix=""))}
        assert {key.rpartition(".")[2] for key in names} == {"weight", "bias"} and len(names) == 2
        module = network.get_submodule(names.pop().rpartition(".")[0])
        assert module is last


@pytest.mark.parametrize("name", ["unet", "tiny", "erfnet", "enet", "resnet18"])
def test_a_heads_bias_moves_its_own_output_and_no_other(name):
    network = dense(name, 1, (2, 1)).eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        before = network(image)
        network.heads[0].bias.view(2, -1)[1] += 1
        after = network(image)
    assert torch.allclose(after[0][:, 1], before[0][:, 1] + 1, atol=1e-5)
    assert torch.equal(after[0][:, 0], before[0][:, 0]) and torch.equal(after[1], before[1])


@pytest.mark.parametrize(("name", "kind"), [("unet", UNet), ("erfnet", ERFNet)])
def test_the_same_seed_gives_the_same_weights_as_the_networks_own_constructor(name, kind):
    torch.manual_seed(0)
    one = dense(name, 3, (2, 1)).state_dict()
    torch.manual_seed(0)
    other = kind(3, (2, 1)).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in other)


def test_options_reach_the_network():
    assert dense("unet", widths=(4, 6)).stride == 4
    assert dense("tiny", detail=4).detail is not None
    assert dense("enet", bias=False).heads[0].bias is None


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("vnet", {}, "no dense network 'vnet': choose one of unet, tiny"),
        ("erfnet", {"detail": 4}, "erfnet has no detail"),
        ("enet", {"pretrained": True}, "enet has no pretrained"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(name, options, sentence):
    with pytest.raises(CallError, match=sentence):
        dense(name, **options)
