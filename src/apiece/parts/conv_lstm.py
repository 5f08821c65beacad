"""ConvLSTM: long short-term memory whose gates are convolutions, run again and again over one map.

    gates = input * x + state * h, 4 R channels: input i, forget f, output o, candidate g
    c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')              no peepholes

Shi et al., Convolutional LSTM Network, NeurIPS 2015; gate order and first weights of github.com/bernard24/RIS. What the
first layer makes of x is the same at each step, and computed once.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

FIRST = 0.08
"""First weights are uniform from minus this to this."""

State = list[tuple[Float[Tensor, "B R h w"], Float[Tensor, "B R h w"]]]
"""h and c of each layer."""


class ConvLSTM(nn.Module):
    """A stack of layers; each but the first reads the new h of the one below.

    Args:
        inputs: channels of x.
        width: R, channels of h and c.
        layers: how many.
        kernel: side of all convolutions, odd.
        feedback: channels of what the first layer is told at each step, beside x.
    """

    def __init__(self, inputs: int, width: int, layers: int = 2, kernel: int = 3, feedback: int = 0):
        super().__init__()
        self.width = width

        def convolution(inside: int, bias: bool = True) -> nn.Conv2d:
            return nn.Conv2d(inside, 4 * width, kernel, padding=kernel // 2, bias=bias)

        self.input = nn.ModuleList(convolution(width if layer else inputs) for layer in range(layers))
        self.state = nn.ModuleList(convolution(width) for _ in range(layers))
        self.feedback: Any = convolution(feedback, bias=False) if feedback else None
        self._initialize()

    @torch.no_grad()
    def _initialize(self) -> None:
        for weight in self.parameters():
            weight.uniform_(-FIRST, FIRST)
        for layer in self.input:
            # Of input, forget and output gate: nothing is forgotten at first.
            layer.bias[: 3 * self.width] = 1.0  # pyright: ignore[reportIndexIssue]

    def begin(self, x: Float[Tensor, "B C h w"]) -> tuple[Float[Tensor, "B _ h w"], State]:
        """What the first layer makes of x, and the state before the first step: zeros."""
        kind = torch.promote_types(x.dtype, torch.float32)
        empty = x.new_zeros(len(x), self.width, *x.shape[2:], dtype=kind)
        return self.input[0](x).to(kind), [(empty, empty) for _ in self.input]

    def forward(
        self, inside: Float[Tensor, "B _ h w"], state: State, told: Float[Tensor, "B F h w"] | None = None
    ) -> State:
        """One step: the new state, whose last layer's h is the output. Cells are float32 where the rest is less.

        Args:
            inside: what the first layer makes of x (`begin`).
            state: before the step.
            told: the first layer's feedback.
        """
        after: State = []
        for layer, (h, c) in enumerate(state):
            below = self.input[layer](after[-1][0]).to(c.dtype) if layer else inside
            gates = below + self.state[layer](h).to(c.dtype)
            if not layer and self.feedback is not None:
                gates = gates + self.feedback(told).to(c.dtype)
            i, f, o, g = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            after.append((o.sigmoid() * c.tanh(), c))
        return after
