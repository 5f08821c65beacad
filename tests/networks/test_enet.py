"""ENet against the published program on weights and an image made from formulas."""

import json
from pathlib import Path

import pytest
import torch

from apiece.networks import enet
from apiece.networks.enet import ENet

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "enet.json").read_text())


@torch.no_grad()
def waves(network):
    """Every weight and statistic from a sine of its place; names as ours, sorted."""
    state = network.double().state_dict()
    for number, name in enumerate(sorted(name for name in state if "num_batches" not in name)):
        value = state[name]
        index = torch.arange(value.numel(), dtype=torch.float64)
        wave = torch.sin(index * (1.3 + 0.01 * number) + number).view(value.shape)
        if name.endswith("running_var"):
            wave = 1 + 0.5 * wave
        elif value.numel() == 1:
            wave = 0.25 + 0.1 * wave
        elif value.dim() == 1:
            wave = 1 + 0.2 * wave if name.endswith("weight") else 0.1 * wave
        else:
            wave = wave * (2 / value[0].numel()) ** 0.5
        value.copy_(wave)
    return network.eval()


@pytest.fixture
def outputs():
    images = (torch.sin(torch.arange(3 * 37 * 50, dtype=torch.float64) * 0.7) * 0.5 + 0.5).view(1, 3, 37, 50)
    with torch.no_grad():
        return waves(ENet(3, (5,), bias=False))(images)[0][0]


def test_outputs_equal_the_published_programs_even_at_odd_sizes(outputs):
    assert outputs.mean((1, 2)).tolist() == pytest.approx(GOLDEN["means"], abs=2e-9)
    assert [outputs[c, y, x].item() for c, y, x, _ in GOLDEN["entries"]] == pytest.approx(
        [value for *_, value in GOLDEN["entries"]], abs=2e-9
    )


def test_another_order_of_dilations_would_be_noticed(monkeypatch):
    monkeypatch.setattr(enet, "SERIES", ("regular", 4, "asymmetric", 2, "regular", 8, "asymmetric", 16))
    images = (torch.sin(torch.arange(3 * 37 * 50, dtype=torch.float64) * 0.7) * 0.5 + 0.5).view(1, 3, 37, 50)
    with torch.no_grad():
        (outputs,) = waves(ENet(3, (5,), bias=False))(images)
    assert outputs[0].mean((1, 2)).tolist() != pytest.approx(GOLDEN["means"], abs=1e-4)


def test_parameters_are_as_many_as_the_papers_of_the_discriminative_loss_say():
    count = sum(parameter.numel() for parameter in ENet(3, (20,), bias=False).parameters())
    assert round(count / 1e6, 3) == 0.352
    assert count == 351_804


@pytest.mark.parametrize("size", [(8, 8), (9, 23), (40, 24)])
def test_every_head_has_the_size_of_the_image_and_every_parameter_a_gradient(size):
    network = ENet(2, heads=(4, 1))
    outputs = network(torch.rand(2, 2, *size))
    assert [tuple(output.shape) for output in outputs] == [(2, 4, *size), (2, 1, *size)]
    sum(output.square().sum() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_values_return_to_the_places_of_their_maxima():
    features = torch.rand(1, 8, 6, 6)
    _, places = enet.Down(8, 16).eval()(features)
    up = enet.Up(16, 8).eval()
    # Without the learned branch, what comes out is nonzero where the maxima were only.
    torch.nn.init.zeros_(up.ext_conv2[0].weight)
    torch.nn.init.ones_(up.main_conv1[0].weight)
    out = up(torch.rand(1, 16, 3, 3), places, (6, 6))
    expected = torch.zeros(8, 36, dtype=torch.bool)
    for channel in range(8):
        for row in range(3):
            for column in range(3):
                window = features[0, channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                y, x = divmod(int(window.argmax()), 2)
                expected[channel, (2 * row + y) * 6 + 2 * column + x] = True
    assert torch.equal(out[0].flatten(1) > 0, expected)


def test_dropout_is_of_whole_channels_a_hundredth_in_the_first_stage_and_a_tenth_after():
    network = ENet()
    rates = [[m.p for m in stage.modules() if isinstance(m, torch.nn.Dropout2d)] for stage in (network.stage1, network)]
    assert rates[0] == [0.01] * 5 and rates[1] == [0.01] * 5 + [0.1] * 22
