"""Features of an image at growing strides: torchvision's ResNets, timm's networks, two thin ones for small machines.

    backbone(name, channels, first, last) -> body;  body(image B C H W) -> levels first to last: B n H/2^level W/2^level

    level        1 (stride 2)       2 (4)     3 (8)     4 (16)    5 (32)
    "tiny"       16 channels        24        32        48        64          for tests
    "small"      32                 64        96        128       160         to learn from scratch on a small machine
    ResNets      the stem, 64       layer1    layer2    layer3    layer4

A body has `widths` and `strides`, one for each level it gives out, `stride`, the last of them, and `stages`, its parts
in order, the first being the stem. What lies behind the last level is left out.

Batch norm learns fastest from scratch and makes an image's features the same alone and in a padded batch, but wants
eight crops or so a step; "frozen" is for pretrained weights and few large images a step; "group" is for few large
images a step from scratch, and its statistics are of the whole image, padding included.
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from apiece.errors import CallError
from apiece.networks.unet import block
from apiece.networks.weights import for_channels, he_normal, imagenet

Norm = Literal["batch", "frozen", "group"]

THIN = {"tiny": (16, 24, 32, 48, 64), "small": (32, 64, 96, 128, 160)}
RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)


def backbone(
    name: str, channels: int = 3, first: int = 2, last: int = 5, pretrained: bool = False, **options: Any
) -> "Thin | ResNet | Timm":
    """Make a body with fresh or ImageNet weights.

    Args:
        name: "tiny", "small", one of torchvision's ResNets ("resnet50"), or any name that timm knows (where installed).
        channels: of the images.
        first: the finest level given out.
        last: the coarsest.
        pretrained: start from ImageNet; downloaded once.
        options: further arguments of `ResNet`.

    Raises:
        CallError: there is no such network, or not with these options.
        InputError: the weights cannot be downloaded.
    """
    if name in RESNETS:
        return ResNet(name, channels, first, last, pretrained, **options)
    changed = [option for option, value in options.items() if value != signature(ResNet).parameters[option].default]
    if changed:
        raise CallError(f"The backbone {name} has no {' and no '.join(changed)}: that is for ResNets.")
    if name not in THIN:
        return Timm(name, channels, first, last, pretrained)
    if pretrained:
        raise CallError(f'There are no pretrained weights of "{name}": take resnet18 or larger, or pretrained=False.')
    return Thin(channels, THIN[name], first, last)


class Thin(nn.Module):
    """Two 3 x 3 convolutions a level, as on the way down of the U-Net."""

    def __init__(self, channels: int, widths: Sequence[int], first: int, last: int):
        super().__init__()
        self.first = first
        stem = nn.Sequential(block(channels, widths[0], stride=2), block(widths[0], widths[0]))
        pairs = list(zip(widths, widths[1:last], strict=False))
        deeper = (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), block(a, b), block(b, b)) for a, b in pairs)
        self.levels = nn.ModuleList([stem, *deeper])
        self.widths = tuple(widths[first - 1 : last])
        self.strides = tuple(2**level for level in range(first, last + 1))
        self.stride = self.strides[-1]
        he_normal(self)

    @property
    def stages(self) -> list[list[nn.Module]]:
        """The parts, the finest first."""
        return [[level] for level in self.levels]

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """The levels, the finest first."""
        found = [images]
        for level in self.levels:
            found.append(level(found[-1]))
        return found[self.first :]


class ResNet(nn.Module):
    """torchvision's ResNet without its classifier; its names of weights: conv1, bn1, layer1 to layer4.

    Paper: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, https://arxiv.org/abs/1512.03385

    Args:
        name: of torchvision's function.
        channels: of the images.
        first: the finest level given out; 1 is the stem.
        last: the coarsest.
        pretrained: start from ImageNet.
        norm: kind of normalization layers.
        epsilon: of the normalization layers; torchvision's own detectors, trained on COCO, have 0.
        small_stem: a 3 x 3 convolution without pooling behind it: every level but the stem at half its stride and four
            times the cost, for objects of a few pixels. The stem starts fresh even where the rest is pretrained.
        stride_in_1x1: bottlenecks halve in their first convolution: for weights of Caffe, detectron2 and PolarMask.
    """

    def __init__(
        self,
        name: str,
        channels: int = 3,
        first: int = 2,
        last: int = 5,
        pretrained: bool = False,
        norm: Norm = "batch",
        epsilon: float = 1e-5,
        small_stem: bool = False,
        stride_in_1x1: bool = False,
    ):
        super().__init__()
        if pretrained and norm == "group":
            raise CallError('The pretrained weights belong to batch norm: norm "batch" or "frozen".')
        if small_stem and first == 1:
            raise CallError("With small_stem the stem's level is layer1's: first=2.")
        whole = _resnet(name, norm, epsilon)
        stem = 3 if small_stem else 7
        self.conv1 = nn.Conv2d(channels, whole.conv1.out_channels, stem, stride=2, padding=stem // 2, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = whole.bn1
        for number in range(1, last):
            self.add_module(f"layer{number}", getattr(whole, f"layer{number}"))
        self.first, self.small_stem = first, small_stem
        self.strides = tuple(2**level >> (small_stem and level > 1) for level in range(first, last + 1))
        self.stride = self.strides[-1]
        expansion = whole.fc.in_features // 512
        self.widths = tuple(64 if level == 1 else 32 * 2 ** (level - 1) * expansion for level in range(first, last + 1))
        if stride_in_1x1:
            self._move_strides()
        if pretrained:
            self._start_from_imagenet(name)

    def _move_strides(self) -> None:
        for module in self.modules():
            if type(module).__name__ == "Bottleneck":
                first, second = module.get_submodule("conv1"), module.get_submodule("conv2")
                first.stride, second.stride = second.stride, first.stride

    def _start_from_imagenet(self, name: str) -> None:
        state = {key: tensor for key, tensor in imagenet(name).items() if key in self.state_dict()}
        state["conv1.weight"] = for_channels(state["conv1.weight"], self.conv1.in_channels)
        if self.small_stem:
            state["conv1.weight"] = self.conv1.weight
        # Old files do not count the batches.
        self.load_state_dict(state, strict=False)

    @property
    def stages(self) -> list[list[nn.Module]]:
        """The parts, the finest first."""
        layers = [module for name, module in self.named_children() if name.startswith("layer")]
        return [[self.conv1, self.bn1], *([layer] for layer in layers)]

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """The levels, the finest first."""
        features = self.bn1(self.conv1(images)).relu()
        found = [features]
        if not self.small_stem:
            features = nn.functional.max_pool2d(features, 3, stride=2, padding=1)
        for stage in self.stages[1:]:
            for layer in stage:
                features = layer(features)
            found.append(features)
        return found[self.first - 1 :]


def _resnet(name: str, norm: Norm, epsilon: float) -> Any:
    """torchvision's network, classifier and all, with these normalization layers."""
    from torchvision.models import get_model
    from torchvision.ops.misc import FrozenBatchNorm2d

    kinds: dict[str, Callable[[int], nn.Module]] = {
        "batch": partial(nn.BatchNorm2d, eps=epsilon),
        "frozen": partial(FrozenBatchNorm2d, eps=epsilon),
        "group": lambda width: nn.GroupNorm(32, width, eps=epsilon),
    }
    return get_model(name, weights=None, norm_layer=kinds[norm])


class Timm(nn.Module):
    """Any network of timm that gives out features at strides 2 to 32 (or 4 to 32)."""

    def __init__(self, name: str, channels: int, first: int, last: int, pretrained: bool):
        super().__init__()
        try:
            timm: Any = import_module("timm")
        except ImportError as error:
            raise CallError(
                f"There is no backbone {name!r}: take one of tiny, small, {', '.join(RESNETS[:5])}, "
                "or install timm for its networks (pip install timm)."
            ) from error
        wanted = [2**level for level in range(first, last + 1)]
        try:
            whole: Any = timm.create_model(name, features_only=True)
            indices = [list(whole.feature_info.reduction()).index(stride) for stride in wanted]
            self.model: Any = timm.create_model(
                name, features_only=True, out_indices=indices, in_chans=channels, pretrained=pretrained
            )
        except (RuntimeError, ValueError, AttributeError) as error:
            raise CallError(f"timm has no {name!r} with features at strides {wanted}: {error}") from error
        self.widths = tuple(self.model.feature_info.channels())
        self.strides, self.stride = tuple(wanted), wanted[-1]

    @property
    def stages(self) -> list[list[nn.Module]]:
        """The whole: timm's networks are frozen all or not at all."""
        return [[self.model]]

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """The levels, the finest first."""
        found = self.model(images)
        # Some transformers put their channels last.
        return [
            maps if maps.shape[1] == width else maps.permute(0, 3, 1, 2)
            for maps, width in zip(found, self.widths, strict=True)
        ]
