"""What is said of every prior: class, box, and how much of each prototype its mask takes (Bolya et al., YOLACT, 2019).

maps B width h w -> convolutions -> logits 1+K (background first), deltas 4, coefficients k (tanh) of each prior
"""

from collections.abc import Sequence
from math import gcd
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Of a box's shifts and sides relative to its prior: their spread becomes about one."""

HeadNorm = Literal["none", "group"]


class Said(NamedTuple):
    """What is said of the priors of all maps, one after another, in float32.

    Attributes:
        logits: of the background, then of each class.
        deltas: boxes relative to priors.
        coefficients: of the prototypes, -1 to 1.
    """

    logits: Float[Tensor, "*B P C"]
    deltas: Float[Tensor, "*B P 4"]
    coefficients: Float[Tensor, "*B P k"]

    def image(self, index: int) -> "Said":
        """Of one image of a batch."""
        return Said(*(values[index] for values in self))


class PriorHead(nn.Module):
    """One small network for all maps.

    Args:
        width: channels of the maps.
        classes: how many, without the background.
        priors: how many there are at a place.
        prototypes: how many.
        layers: convolutions before the outputs.
        norm: whether "group" norm follows them.
    """

    def __init__(
        self, width: int, classes: int, priors: int, prototypes: int, layers: int = 1, norm: HeadNorm = "none"
    ):
        super().__init__()
        self.priors = priors
        self.layers = nn.Sequential(*(convolved(width, width, norm) for _ in range(layers)))
        # The background is apart, and the other rows go class by class: so they can follow classes to another model.
        sides = {"background": 1, "classes": classes, "boxes": 4, "coefficients": prototypes}
        for name, each in sides.items():
            self.add_module(name, nn.Conv2d(width, each * priors, 3, padding=1))
        xavier(self)

    def forward(self, maps: Sequence[Float[Tensor, "B C _ _"]]) -> Said:
        """Of all priors of the maps."""
        rows: list[list[Tensor]] = [[], [], []]
        for one in maps:
            features = self.layers(one)
            background, classes, boxes, coefficients = (
                getattr(self, name)(features).float() for name in ("background", "classes", "boxes", "coefficients")
            )
            logits = torch.cat([background, classes], 1)
            # B (1+K a) h w -> B (h w a) 1+K; boxes and coefficients go prior by prior.
            rows[0].append(logits.unflatten(1, (-1, self.priors)).permute(0, 3, 4, 2, 1).flatten(1, 3))
            for found, values in zip(rows[1:], (boxes, coefficients.tanh()), strict=True):
                found.append(values.unflatten(1, (self.priors, -1)).permute(0, 3, 4, 1, 2).flatten(1, 3))
        return Said(*(torch.cat(found, 1) for found in rows))


def convolved(inside: int, outside: int, norm: HeadNorm = "none") -> nn.Sequential:
    """A 3 x 3 convolution, group norm if wanted, and a rectifier."""
    convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=norm == "none")
    # Groups, not batches: the maps share this, and their statistics are not alike.
    between = [nn.GroupNorm(gcd(32, max(outside // 4, 1)), outside)] if norm == "group" else []
    return nn.Sequential(convolution, *between, nn.ReLU(inplace=True))


@torch.no_grad()
def xavier(network: nn.Module) -> None:
    """Draw all convolutions evenly between +-sqrt(6 / (fan in + fan out)), biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
