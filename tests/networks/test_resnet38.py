"""ResNet-38 against a second reading of its builder, written from the published names alone."""

import pytest
import torch
from torch.nn import functional

from apiece.foreign.ademxapp import recognize, translate
from apiece.networks.resnet38 import ResNet38

# level: blocks, filters, stride of the first block, dilation of its first convolution, dilation of all others
LEVELS = {
    2: (3, (128, 128), 2, 1, 1),
    3: (3, (256, 256), 2, 1, 1),
    4: (6, (512, 512), 2, 1, 1),
    5: (3, (512, 1024), 1, 1, 2),
    6: (1, (512, 1024, 2048), 1, 4, 4),
    7: (1, (1024, 2048, 4096), 1, 4, 4),
}


def published(thinner=16, classes=5):
    """Weights under the published names, drawn at random, statistics too."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def convolution(name, outside, inside, kernel):
        weight = torch.randn(outside, inside, kernel, kernel, generator=generator, dtype=torch.float64)
        state[f"arg:{name}_weight"] = weight * (2 / weight[0].numel()) ** 0.5

    def norm(name, width):
        for leaf, kind in (("gamma", "arg"), ("beta", "arg"), ("moving_mean", "aux"), ("moving_var", "aux")):
            value = torch.rand(width, generator=generator, dtype=torch.float64)
            state[f"{kind}:{name}_{leaf}"] = value + 0.5 if leaf in ("gamma", "moving_var") else value - 0.5

    width = 64 // thinner
    convolution("conv1a", width, 3, 3)
    for level, (blocks, filters, *_) in LEVELS.items():
        filters = [one // thinner for one in filters]
        for number in range(blocks):
            block = f"{level}{f'b{number}' if number else 'a'}"
            inside = width
            for index, outside in enumerate(filters):
                name = f"{block}_branch2{f'b{index}' if index else 'a'}"
                norm(f"bn{name}", inside)
                convolution(f"res{name}", outside, inside, 3 if len(filters) == 2 or index == 1 else 1)
                inside = outside
            if not number:
                convolution(f"res{block}_branch1", filters[-1], width, 1)
            width = filters[-1]
    norm("bn7", width)
    convolution("conv6a", 512 // thinner, width, 3)
    convolution(f"linear{classes}", classes, 512 // thinner, 3)
    for name, size in (("conv6a", 512 // thinner), (f"linear{classes}", classes)):
        state[f"arg:{name}_bias"] = torch.randn(size, generator=generator, dtype=torch.float64)
    return state


def oracle(state, images, epsilon=1.001e-5):
    """The forward pass, reading nothing but published names."""

    def bn(x, name):
        values = (
            state[f"{kind}:{name}_{leaf}"]
            for kind, leaf in (("aux", "moving_mean"), ("aux", "moving_var"), ("arg", "gamma"), ("arg", "beta"))
        )
        return functional.batch_norm(x, *values, eps=epsilon).relu()

    def convolution(x, name, stride=1, dilation=1):
        weight = state[f"arg:{name}_weight"]
        dilation = dilation if weight.shape[-1] > 1 else 1
        padding = dilation * (weight.shape[-1] // 2)
        return functional.conv2d(x, weight, state.get(f"arg:{name}_bias"), stride, padding, dilation)

    x = convolution(images, "conv1a")
    for level, (blocks, filters, stride, first, others) in LEVELS.items():
        for number in range(blocks):
            block = f"{level}{f'b{number}' if number else 'a'}"
            start = bn(x, f"bn{block}_branch2a")
            y = convolution(start, f"res{block}_branch2a", 1 if number else stride, others if number else first)
            for index in range(1, len(filters)):
                y = bn(y, f"bn{block}_branch2b{index}")
                y = convolution(y, f"res{block}_branch2b{index}", 1, others)
            x = y + (x if number else convolution(start, f"res{block}_branch1", stride))
    x = convolution(bn(x, "bn7"), "conv6a", 1, 12).relu()
    return convolution(x, "linear5", 1, 12)


@pytest.fixture
def images():
    return torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_outputs_equal_a_second_reading_of_the_builder(images):
    state = published()
    assert recognize(state)
    network = ResNet38(3, (5,), thinner=16).double().eval()
    missing, surplus = network.load_state_dict(translate(state), strict=False)
    assert not surplus and all("num_batches" in name for name in missing)
    with torch.no_grad():
        (found,) = network(images)
        expected = functional.interpolate(oracle(state, images), size=(40, 56), mode="bilinear")
        other = functional.interpolate(oracle(state, images, epsilon=1e-3), size=(40, 56), mode="bilinear")
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found, other, rtol=1e-6, atol=1e-6)


def test_parameters_are_as_many_as_the_paper_of_the_discriminative_loss_says():
    with torch.device("meta"):
        network = ResNet38(3, (19,))
    counts = {name: parameter.numel() for name, parameter in network.named_parameters()}
    assert round(sum(counts.values()) / 1e6, 2) == 124.03
    top = sum(count for name, count in counts.items() if name.startswith(("conv6a", "heads")))
    assert (round(top / 1e6, 2), round((sum(counts.values()) - top) / 1e6, 1)) == (18.96, 105.1)


def test_it_has_thirty_eight_layers_of_weights_on_the_longest_way():
    with torch.device("meta"):
        network = ResNet38(3, (19,))
    on_the_way = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d) and "shortcut" not in n]
    # 38 counts the features and one classifier; the hidden layer on top is the semantic network's.
    assert len(on_the_way) - 1 == 1 + 2 * (3 + 3 + 6 + 3) + 3 + 3 + 1 == 38


@pytest.mark.parametrize("size", [(8, 8), (13, 30)])
def test_every_head_has_the_size_of_the_image_and_every_parameter_a_gradient(size):
    network = ResNet38(2, (4, 1), thinner=32)
    outputs = network(torch.rand(2, 2, *size))
    assert [tuple(output.shape) for output in outputs] == [(2, 4, *size), (2, 1, *size)]
    sum(output.square().sum() for output in outputs).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_dropout_is_before_the_last_convolution_of_the_last_two_levels():
    network = ResNet38(3, (1,), dropout=(0.2, 0.4), thinner=32)
    rates = {name: m.p for name, m in network.named_modules() if isinstance(m, torch.nn.Dropout) and m.p}
    assert rates == {"level6.0.dropout": 0.2, "level7.0.dropout": 0.4}
