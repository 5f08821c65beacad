"""ERFNet against the authors' network on weights and an image made from formulas."""

import pytest
import torch

from apiece.networks import erfnet
from apiece.networks.erfnet import ERFNet


def waves(network):
    """Every weight and statistic from a sine of its place, so that no golden weights need to be kept."""
    state = network.double().state_dict()
    names = [name for name in state if "num_batches" not in name]
    for number, name in enumerate(sorted(names)):
        value = state[name]
        index = torch.arange(value.numel(), dtype=torch.float64)
        wave = torch.sin(index * (1.3 + 0.01 * number) + number).view(value.shape)
        if name.endswith("running_var"):
            wave = 1 + 0.5 * wave
        elif "bn" in name and name.endswith("weight"):
            wave = 1 + 0.2 * wave
        elif value.dim() == 1:
            wave = 0.1 * wave
        else:
            transposed = "output_conv" in name or (
                name.startswith("decoders") and (".layers.0.conv." in name or ".layers.3.conv." in name)
            )
            wave = wave * (2 / (value.shape[0] * 2 if transposed else value[0].numel())) ** 0.5
        value.copy_(wave)
    return network.eval()


@pytest.fixture
def images():
    return (torch.sin(torch.arange(3 * 32 * 48, dtype=torch.float64) * 0.7) * 0.5 + 0.5).view(1, 3, 32, 48)


def golden():
    """From BranchedERFNet([3, 1]) of github.com/davyneven/SpatialEmbeddings @39ea249 in float64, weights as `waves`."""
    means = [0.021036392, 0.098663936, -0.107814207, 0.004298409]
    entries = {(0, 0, 0): -0.124836822, (1, 16, 24): 0.26256593, (2, 31, 47): -0.130768285, (3, 5, 40): 0.049341393}
    return means, entries


def test_outputs_equal_the_authors(images):
    with torch.no_grad():
        outputs = torch.cat(waves(ERFNet(heads=(3, 1)))(images), 1)[0]
    means, entries = golden()
    assert outputs.mean((1, 2)).tolist() == pytest.approx(means, abs=2e-9)
    assert [outputs[place].item() for place in entries] == pytest.approx(list(entries.values()), abs=2e-9)


def test_another_epsilon_would_be_noticed(images, monkeypatch):
    monkeypatch.setattr(erfnet, "EPSILON", 1e-5)
    with torch.no_grad():
        outputs = torch.cat(waves(ERFNet(heads=(3, 1)))(images), 1)[0]
    assert outputs.mean((1, 2)).tolist() != pytest.approx(golden()[0], abs=1e-5)


def test_parameters_are_as_many_as_published_less_the_unused_layer():
    def count(network):
        return sum(parameter.numel() for parameter in network.parameters())

    assert count(ERFNet(heads=(3, 1))) == 2_252_644 - (128 * 4 + 4)
    assert count(ERFNet()) == 2_066_836 - (128 * 20 + 20)


def test_every_head_has_the_size_of_the_image_and_every_parameter_a_gradient():
    network = ERFNet(channels=2, heads=(4, 8, 1))
    outputs = network(torch.rand(2, 2, 16, 24))
    assert [tuple(output.shape) for output in outputs] == [(2, 4, 16, 24), (2, 8, 16, 24), (2, 1, 16, 24)]
    sum(output.sum() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_sides_that_eight_does_not_divide_are_refused():
    with pytest.raises(RuntimeError):
        ERFNet()(torch.rand(1, 3, 20, 25))


def test_dropout_rates_reach_the_encoder_only():
    network = ERFNet(dropout=(0.1, 0.2))
    rates = [m.p for m in network.encoder.modules() if isinstance(m, torch.nn.Dropout2d)]
    assert rates == [0.1] * 5 + [0.2] * 8
    assert all(m.p == 0 for m in network.decoders.modules() if isinstance(m, torch.nn.Dropout2d))
