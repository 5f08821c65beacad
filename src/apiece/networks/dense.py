"""Dense networks by name: an image in, one map of its size a head out.

    dense("unet", channels=3, heads=(2, 1)) -> network;  network(images B 3 H W) -> [B 2 H W, B 1 H W]

Each has `stride`, of which the images' sides are multiples, and `heads`, the last layer of each head with its `weight`
and `bias`: a (transposed) convolution. Those of "unet", "tiny" and the ResNets make four values a place, 2 x 2 pixels,
unless they have `detail`: outputs lie side by side, so that `bias.view(outputs, -1)` has a row for each.
"""

from collections.abc import Sequence
from functools import partial
from inspect import signature
from typing import Any, Literal, get_args

from apiece.errors import CallError
from apiece.networks.dilation import Dilation
from apiece.networks.enet import ENet
from apiece.networks.erfnet import ERFNet
from apiece.networks.residual import Residual
from apiece.networks.resnet38 import ResNet38
from apiece.networks.segnet import SegNet
from apiece.networks.unet import UNet

DenseName = Literal[
    "unet", "tiny", "erfnet", "enet", "segnet", "dilation", "resnet38", "resnet18", "resnet34", "resnet50"
]
"""The networks `dense` makes; "tiny" is a U-Net for tests."""

Dense = UNet | ERFNet | ENet | SegNet | Dilation | ResNet38 | Residual
"""What `dense` makes."""

KINDS: dict[str, Any] = {
    "unet": UNet,
    "tiny": partial(UNet, widths=(8, 16)),
    "erfnet": ERFNet,
    "enet": ENet,
    "segnet": SegNet,
    "dilation": Dilation,
    "resnet38": ResNet38,
    **{name: partial(Residual, encoder=name) for name in ("resnet18", "resnet34", "resnet50")},
}


def dense(name: str, channels: int = 3, heads: Sequence[int] = (1,), **options: Any) -> Dense:
    """Make a network with fresh weights, or ImageNet's where `pretrained=True` is among the options.

    Args:
        name: which network, one of `DenseName`.
        channels: of the images.
        heads: channels of each output.
        options: further arguments of that network's constructor, such as `widths`, `detail`, `pretrained`.

    Raises:
        CallError: there is no such network, or it has no such option.
        InputError: pretrained weights cannot be downloaded.
    """
    if name not in KINDS:
        raise CallError(f"There is no dense network {name!r}: choose one of {', '.join(get_args(DenseName))}.")
    kind = KINDS[name]
    unknown = sorted(set(options) - set(signature(kind).parameters))
    if unknown:
        raise CallError(f"The network {name} has no {' and no '.join(unknown)}.")
    return kind(channels, tuple(heads), **options)


def head_names(head: int, prefix: str = "network.") -> tuple[str, ...]:
    """Beginnings of the names of a head's last layer in any of the networks, for `Method.class_heads`."""
    return f"{prefix}heads.{head}.", f"{prefix}decoders.{head}.output_conv."
