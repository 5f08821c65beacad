"""ConvLSTM against its equations, evaluated place by place in double precision."""

import numpy as np
import torch

from apiece.parts.conv_lstm import ConvLSTM


def convolved(maps: np.ndarray, weight: np.ndarray, bias: np.ndarray | float) -> np.ndarray:
    """`C h w` correlated with `O C k k`, zeros about it: the sum that defines it."""
    outside, _, kernel, _ = weight.shape
    padded = np.pad(maps, ((0, 0), (kernel // 2, kernel // 2), (kernel // 2, kernel // 2)))
    found = np.zeros((outside, *maps.shape[1:]))
    for row in range(maps.shape[1]):
        for column in range(maps.shape[2]):
            patch = padded[:, row : row + kernel, column : column + kernel]
            found[:, row, column] = (weight * patch).sum((1, 2, 3))
    return found + np.reshape(bias, (-1, 1, 1))


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def reference(weights: dict[str, np.ndarray], x: np.ndarray, told: list[np.ndarray], layers: int, width: int):
    """h of the last layer after each step: gates in the order input, forget, output, candidate."""
    h, c = ([np.zeros((width, *x.shape[1:]))] * layers for _ in range(2))
    course = []
    for new in told:
        below = x
        for layer in range(layers):
            gates = convolved(below, weights[f"input.{layer}.weight"], weights[f"input.{layer}.bias"])
            gates = gates + convolved(h[layer], weights[f"state.{layer}.weight"], weights[f"state.{layer}.bias"])
            if layer == 0:
                gates = gates + convolved(new, weights["feedback.weight"], 0.0)
            i, f, o, g = np.split(gates, 4)
            c = [*c[:layer], sigmoid(f) * c[layer] + sigmoid(i) * np.tanh(g), *c[layer + 1 :]]
            below = sigmoid(o) * np.tanh(c[layer])
            h = [*h[:layer], below, *h[layer + 1 :]]
        course.append(h[-1])
    return course


def test_three_steps_of_two_layers_equal_the_equations():
    torch.manual_seed(0)
    memory = ConvLSTM(3, 4, layers=2, kernel=3, feedback=1).double()
    x, told = torch.randn(1, 3, 5, 6).double(), torch.rand(3, 1, 1, 5, 6).double()
    weights = {name: weight.detach().numpy() for name, weight in memory.named_parameters()}
    expected = reference(weights, x[0].numpy(), list(told[:, 0].numpy()), layers=2, width=4)
    inside, state = memory.begin(x)
    for number in range(3):
        state = memory(inside, state, told[number])
        np.testing.assert_allclose(state[-1][0][0].detach(), expected[number], rtol=1e-12, atol=1e-14)


def test_first_weights_are_the_authors():
    torch.manual_seed(0)
    memory = ConvLSTM(3, 8, layers=2)
    for layer in memory.input:
        assert (layer.bias[:24] == 1).all() and (layer.bias[24:].abs() <= 0.08).all()
    for weight in (*memory.state.parameters(), *(layer.weight for layer in memory.input)):
        assert weight.abs().max() <= 0.08 < 1.2 * weight.abs().max()


def test_what_does_not_change_is_computed_once():
    calls = []
    memory = ConvLSTM(2, 4)
    memory.input[0].register_forward_hook(lambda *_: calls.append(1))
    inside, state = memory.begin(torch.rand(1, 2, 4, 4))
    for _ in range(5):
        state = memory(inside, state)
    assert len(calls) == 1


def test_cells_are_kept_in_single_precision_where_the_rest_is_not():
    memory = ConvLSTM(2, 4, feedback=1)
    with torch.autocast("cpu", torch.bfloat16):
        inside, state = memory.begin(torch.rand(1, 2, 4, 4))
        state = memory(inside, state, torch.rand(1, 1, 4, 4))
    assert all(part.dtype == torch.float32 for layer in state for part in layer)
