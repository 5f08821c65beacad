"""Residual: a ResNet of torchvision with a light decoder: today's practical dense network.

    image B C H W -> ResNet: the stem and four stages              strides 2, 4, 8, 16, 32
                  -> up: doubled, joined with the ResNet's level through a 1 x 1 convolution, one block   16, 8, 4, 2
    each head     -> one convolution, its four values a place laid out as 2 x 2 pixels                    B n H W
                     (with detail: laid out first, joined with a block at full size, one block, one convolution)

As the U-Net of `unet.py` with a deeper, wider and, where asked for, pretrained way down.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from apiece.networks.backbones import Norm, backbone
from apiece.networks.unet import block


class Residual(nn.Module):
    """A ResNet encoder, a U-Net decoder, several heads at full resolution.

    Args:
        channels: of the images.
        heads: channels of each output.
        encoder: "tiny", "small", a ResNet of torchvision, or a name of timm's that has features at strides 2 to 32.
        pretrained: start the encoder from ImageNet; downloaded once.
        widths: channels of the decoder at strides 2, 4, 8, 16.
        detail: channels of a last level at full resolution, for objects of a few pixels; 0 = none, which is faster.
        norm: normalization of the encoder: "batch", "frozen", "group".

    Attributes:
        stride: of the deepest level; the sides of images are multiples of it.
        encoder_widths: channels of what `encode` gives.
    """

    def __init__(
        self,
        channels: int = 3,
        heads: Sequence[int] = (1,),
        encoder: str = "resnet18",
        pretrained: bool = False,
        widths: Sequence[int] = (32, 64, 96, 128),
        detail: int = 0,
        norm: Norm = "batch",
    ):
        super().__init__()
        self.body = backbone(encoder, channels, first=1, last=5, pretrained=pretrained, norm=norm)
        self.stride, self.encoder_widths = self.body.stride, tuple(self.body.widths)
        *finer, deepest = self.body.widths
        below = [*widths[1:], deepest]
        levels = list(zip(finer, widths, below, strict=True))[::-1]
        # Half of what a block sees is the encoder's: a ResNet-50 would hand it up to 1024 channels.
        self.sides = nn.ModuleList(nn.Conv2d(inside, outside, 1) for inside, outside, _ in levels)
        self.up = nn.ModuleList(block(coarser + outside, outside) for _, outside, coarser in levels)
        self.detail = block(channels, detail) if detail else None
        self.last = block(widths[0] // 4 + detail, detail) if detail else nn.Identity()
        inside, places = (detail, 1) if detail else (widths[0], 4)
        self.heads = nn.ModuleList(nn.Conv2d(inside, places * outputs, 3, padding=1) for outputs in heads)

    def encode(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """The encoder's features, of strides 2, 4, 8, 16, 32."""
        return list(self.body(images))

    def decode(
        self, images: Float[Tensor, "B C H W"], levels: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> list[Float[Tensor, "B n H W"]]:
        """One map for each head from the encoder's features, at the images' size."""
        *skips, joined = levels
        for side, stage, skip in zip(self.sides, self.up, reversed(skips), strict=True):
            joined = nn.functional.interpolate(joined, size=skip.shape[2:])
            joined = stage(torch.cat([joined, side(skip)], 1))
        if self.detail is None:
            return [nn.functional.pixel_shuffle(head(joined), 2) for head in self.heads]
        full = self.last(torch.cat([nn.functional.pixel_shuffle(joined, 2), self.detail(images)], 1))
        return [head(full) for head in self.heads]

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B n H W"]]:
        """One map for each head, at the images' size."""
        return self.decode(images, self.encode(images))
