"""Pyramid: maps of one width at growing strides, each knowing what the coarser ones see.

Paper: Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017, https://arxiv.org/abs/1612.03144

    image B C H W -> body: levels first to last                   B n_l   H/2^l W/2^l     `backbones.py`
                  -> from the coarsest down: 1 x 1 convolution, plus the coarser sum enlarged
                  -> a 3 x 3 convolution each                     B width H/2^l W/2^l
                  -> coarser levels yet, by subsampling ("pool") or strided convolutions ("p6p7", "p6p7_linear")

    Mask R-CNN, PointRend, SOLO     first=2, extra="pool"                                                     P2 to P6
    PolarMask, FCOS                 first=3, extra="p6p7", stride_in_1x1=True (for Caffe's weights)           P3 to P7
    YOLACT                          first=3, extra="p6p7_linear", upsampling="bilinear", rectified=True       P3 to P7
    small objects, small machine    backbone="small", first=1, last=4, width=64 to 128, pyramid_norm="batch"

Weights have the names of torchvision's detectors behind their `backbone.`: `body.conv1.weight`, `body.layer1.0...`,
`fpn.inner_blocks.0.0.weight`, `fpn.layer_blocks.0.0.weight`, `fpn.extra_blocks.p6.weight`.
"""

from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from apiece.networks.backbones import Norm, backbone

Extra = Literal["none", "pool", "p6p7", "p6p7_linear"]


class Pyramid(nn.Module):
    """A backbone with a feature pyramid on top.

    Args:
        backbone_name: "tiny", "small", a ResNet of torchvision, or a name of timm's: see `backbones.backbone`.
        channels: of the images.
        first: the finest level; level l has stride 2^l (half of it with a small stem).
        last: the coarsest level of the body.
        width: channels of every map.
        extra: what follows the coarsest: nothing; every other pixel of it ("pool", one level); two strided
            convolutions, with a rectifier between them ("p6p7") or without ("p6p7_linear").
        pretrained: start the body from ImageNet.
        norm: normalization of the body: "batch", "frozen", "group".
        frozen_stages: parts of the body that do not learn, from the stem on, batch statistics included (2 = stem and
            first stage, usual with pretrained weights).
        upsampling: how coarser sums are enlarged.
        rectified: whether a rectifier follows each 3 x 3 convolution, before the extra levels.
        pyramid_norm: whether batch norm follows the pyramid's convolutions ("batch"; learns faster from scratch; also
            torchvision's second Mask R-CNN) or their bias ("none", as in the papers).
        options: further arguments of `backbones.ResNet`: `small_stem`, `epsilon`, `stride_in_1x1`.

    Attributes:
        strides: of each map, the finest first.
        width: channels of each map.
        stride: of the body's coarsest level; the sides of images are multiples of it.
    """

    def __init__(
        self,
        backbone_name: str = "resnet50",
        channels: int = 3,
        first: int = 2,
        last: int = 5,
        width: int = 256,
        extra: Extra = "none",
        pretrained: bool = False,
        norm: Norm = "batch",
        frozen_stages: int = 0,
        upsampling: Literal["nearest", "bilinear"] = "nearest",
        rectified: bool = False,
        pyramid_norm: Literal["none", "batch"] = "none",
        **options: Any,
    ):
        super().__init__()
        self.body = backbone(backbone_name, channels, first, last, pretrained, norm=norm, **options)
        self.fpn = TopDown(self.body.widths, width, extra, upsampling, rectified, pyramid_norm)
        finest, coarsest = self.body.strides, self.body.stride
        self.strides = (*finest, *(coarsest * 2 ** (step + 1) for step in range(self.fpn.added)))
        self.width, self.stride = width, coarsest
        self.frozen = [module for stage in self.body.stages[:frozen_stages] for module in stage]
        for module in self.frozen:
            module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Pyramid":
        """As of any module; frozen stages keep their batch statistics."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B width _ _"]]:
        """Maps at `strides`, the finest first."""
        return self.fpn(self.body(images))


class TopDown(nn.Module):
    """The pyramid's own layers, named and (by default) computed as torchvision's `FeaturePyramidNetwork`.

    That one enlarges to the nearest only and has no rectifiers, both of which YOLACT's differ in.
    """

    def __init__(
        self,
        widths: Sequence[int],
        width: int,
        extra: Extra = "none",
        upsampling: Literal["nearest", "bilinear"] = "nearest",
        rectified: bool = False,
        norm: Literal["none", "batch"] = "none",
    ):
        super().__init__()
        self.extra, self.upsampling, self.rectified = extra, upsampling, rectified
        self.added = {"none": 0, "pool": 1, "p6p7": 2, "p6p7_linear": 2}[extra]
        self.inner_blocks = nn.ModuleList(_layer(inside, width, 1, norm) for inside in widths)
        self.layer_blocks = nn.ModuleList(_layer(width, width, 3, norm) for _ in widths)
        if self.added == 2:
            convolutions = {name: nn.Conv2d(width, width, 3, stride=2, padding=1) for name in ("p6", "p7")}
            self.extra_blocks = nn.ModuleDict(convolutions)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, levels: list[Float[Tensor, "B _ _ _"]]) -> list[Float[Tensor, "B width _ _"]]:
        """One map for each level, the finest first, and the extra ones."""
        sums = [inner(level) for inner, level in zip(self.inner_blocks, levels, strict=True)]
        for index in range(len(sums) - 2, -1, -1):
            size = sums[index].shape[2:]
            sums[index] = sums[index] + nn.functional.interpolate(sums[index + 1], size=size, mode=self.upsampling)
        maps = [outer(total) for outer, total in zip(self.layer_blocks, sums, strict=True)]
        if self.rectified:
            maps = [one.relu() for one in maps]
        if self.extra == "pool":
            maps.append(nn.functional.max_pool2d(maps[-1], 1, stride=2))
        if self.added == 2:
            maps.append(self.extra_blocks["p6"](maps[-1]))
            maps.append(self.extra_blocks["p7"](maps[-1].relu() if self.extra == "p6p7" else maps[-1]))
        return maps


def _layer(inside: int, outside: int, kernel: int, norm: Literal["none", "batch"]) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=norm == "none")
    return nn.Sequential(convolution, nn.BatchNorm2d(outside)) if norm == "batch" else nn.Sequential(convolution)
