"""First weights of networks: drawn for rectifiers, or ImageNet's from torchvision."""

from collections.abc import Iterable
from pickle import UnpicklingError

import torch
from jaxtyping import Float
from torch import Tensor, nn

from apiece.errors import InputError


@torch.no_grad()
def he_normal(network: nn.Module) -> None:
    """Draw all convolutions from N(0, 2 / fan in), biases zero: a deep network without batch norm learns only so.

    Source: He et al., Delving Deep into Rectifiers, ICCV 2015, equation 10.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def imagenet(name: str) -> dict[str, Tensor]:
    """torchvision's weights of one of its classifiers (IMAGENET1K_V1, which its detectors start from, too).

    They are downloaded once and kept in torch's cache; they expect color images scaled to 0..1, from which the means
    (0.485, 0.456, 0.406) are taken and which are divided by (0.229, 0.224, 0.225).

    Raises:
        InputError: they are not in the cache and cannot be downloaded, or are damaged.
    """
    from torchvision.models import get_model_weights

    weights = get_model_weights(name)["IMAGENET1K_V1"]
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    # All but the first: what came is damaged, or what lies in the cache is cut off or no file of weights.
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"The pretrained weights of {name} could not be had from {weights.url} ({reason}): put that file "
            f"into {torch.hub.get_dir()}/checkpoints, or train from scratch with pretrained=False."
        ) from error


def for_channels(weight: Float[Tensor, "n 3 h w"], channels: int) -> Float[Tensor, "n _ h w"]:
    """A first layer for images of any number of channels: the mean over colors, scaled so that responses stay."""
    return weight if channels == 3 else weight.mean(1, keepdim=True).mul(3 / channels).repeat(1, channels, 1, 1)


@torch.no_grad()
def fill(own: Iterable[Tensor], theirs: Iterable[Tensor]) -> None:
    """Copy tensors in the order in which both networks have them; a convolution may be the other's linear layer.

    A first layer made for color images fits any number of channels.
    """
    for mine, yours in zip(own, theirs, strict=True):
        if mine.ndim == 4 and yours.ndim == 4 and mine.shape[1] != yours.shape[1]:
            yours = for_channels(yours, mine.shape[1])
        mine.copy_(yours.view(mine.shape))
