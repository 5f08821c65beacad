"""The moving average of a model's weights (EMA), which is what gets validated and kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """A moving average beside a model, and a copy of it at its best.

    Args:
        model: whose weights and float buffers are averaged.
        decay: share of the old average kept at each step; it grows towards this, so that early weights are forgotten
            soon. 0 = the average is the weights themselves.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay, self.steps = model, decay, 0
        self.weights: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.decay else 0.0
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and keep:
                self.weights[name].lerp_(tensor, 1 - keep)
            else:
                self.weights[name].copy_(tensor)

    @contextmanager
    def applied(self, best: bool = False) -> Iterator[None]:
        """The model with the averaged weights (or the best ones so far), for as long as the block lasts."""
        own = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.kept or self.weights if best else self.weights)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def keep(self) -> None:
        """Remember the average as it is now."""
        self.kept = {name: tensor.clone() for name, tensor in self.weights.items()}

    def impose(self) -> None:
        """Give the model the kept average, or the present one where none was kept."""
        self.model.load_state_dict(self.kept or self.weights)
