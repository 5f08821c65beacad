"""Batch norm folded into the convolution before it: the same outputs in fewer steps, for inference only."""

from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import nn


@torch.no_grad()
def folded(network: nn.Module) -> Any:
    """A copy in eval mode where every batch norm, frozen or not, right behind a convolution has become part of it.

    Right behind means: registered next in the same module, with as many channels, as in all of `networks/` and in
    torchvision's ResNets. A norm of what was joined or rectified in between, or before a convolution, stays.
    """
    copy = deepcopy(network).eval()
    for parent in list(copy.modules()):
        for (_, convolution), (name, norm) in pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d) and _fits(norm, convolution):
                _fold(convolution, norm)
                setattr(parent, name, nn.Identity())
    return copy


def _fits(norm: Any, convolution: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    from torchvision.ops.misc import FrozenBatchNorm2d

    if not isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm2d):
        return False
    variance: Any = norm.running_var
    return variance is not None and len(variance) == convolution.out_channels


def _fold(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: Any) -> None:
    """conv' = scale conv, bias' = scale (bias - mean) + shift, with scale = weight / sqrt(variance + epsilon)."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    # A transposed convolution has its outputs along the second dimension of its weight.
    shape = (1, -1, 1, 1) if isinstance(convolution, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    bias = -norm.running_mean if convolution.bias is None else convolution.bias - norm.running_mean
    convolution.weight = nn.Parameter(convolution.weight * scale.view(shape), requires_grad=False)
    convolution.bias = nn.Parameter(bias * scale + norm.bias, requires_grad=False)
