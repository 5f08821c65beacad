"""ERFNet: factorized residual layers, fast at full resolution; one encoder, one decoder per head.

Paper: Romera et al., ERFNet: Efficient Residual Factorized ConvNet for Real-Time Semantic Segmentation, IEEE
Transactions on Intelligent Transportation Systems 19(1), 2018. Several decoders: https://arxiv.org/abs/1906.11109

    image B C H W -> Downsampler                              B 16  H/2 W/2
                  -> Downsampler, 5 residual layers           B 64  H/4 W/4
                  -> Downsampler, 8 dilated residual layers   B 128 H/8 W/8
    each head     -> Upsampler, 2 residual layers             B 64  H/4 W/4
                  -> Upsampler, 2 residual layers             B 16  H/2 W/2
                  -> transposed convolution                   B n   H   W

Attributes are named as in the published checkpoints, `encoder.layers.3.conv3x1_1` and so on.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-3


class ERFNet(nn.Module):
    """A shared encoder and one decoder per head.

    Args:
        channels: of the images, fewer than 16.
        heads: channels of each output.
        dropout: rates of whole-channel dropout in the encoder's layers at stride 4 and at stride 8.
    """

    stride: ClassVar[int] = 8

    def __init__(
        self, channels: int = 3, heads: Sequence[int] = (20,), dropout: tuple[float, float] = (0.03, 0.3)
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, dropout)
        self.decoders = nn.ModuleList(Decoder(outputs) for outputs in heads)

    @property
    def heads(self) -> list[nn.Module]:
        """The last layer of each decoder."""
        return [decoder.get_submodule("output_conv") for decoder in self.decoders]

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ H W"]]:
        """One tensor of raw outputs per head, at the size of the images.

        Raises:
            RuntimeError: where H or W is no multiple of 8 (pooled and convolved halves differ in size).
        """
        features = self.encoder(images)
        return [decoder(features) for decoder in self.decoders]


class Encoder(nn.Module):
    """Image to 128 channels at an eighth of its size."""

    def __init__(self, in_channels: int, dropout: tuple[float, float]) -> None:
        super().__init__()
        self.initial_block = Downsampler(in_channels, 16)
        self.layers = nn.Sequential(
            Downsampler(16, 64),
            *(NonBottleneck1D(64, dropout=dropout[0]) for _ in range(5)),
            Downsampler(64, 128),
            *(NonBottleneck1D(128, dropout=dropout[1], dilation=dilation) for dilation in (2, 4, 8, 16) * 2),
        )

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 128 h w"]:
        """Features at stride 8."""
        return self.layers(self.initial_block(images))


class Decoder(nn.Module):
    """Features at stride 8 to full size."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Upsampler(128, 64),
            NonBottleneck1D(64),
            NonBottleneck1D(64),
            Upsampler(64, 16),
            NonBottleneck1D(16),
            NonBottleneck1D(16),
        )
        self.output_conv = nn.ConvTranspose2d(16, out_channels, kernel_size=2, stride=2)

    def forward(self, features: Float[Tensor, "B 128 h w"]) -> Float[Tensor, "B _ H W"]:
        """Raw outputs at eight times the features' size."""
        return self.output_conv(self.layers(features))


class Downsampler(nn.Module):
    """Half the size: strided convolution and pooling side by side."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels - in_channels, kernel_size=3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(out_channels, eps=EPSILON)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B _ h w"]:
        """Convolved channels first, pooled ones after them."""
        pooled = nn.functional.max_pool2d(features, 2)
        return self.bn(torch.cat([self.conv(features), pooled], dim=1)).relu()


class Upsampler(nn.Module):
    """Twice the size by a transposed convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)
        self.bn = nn.BatchNorm2d(out_channels, eps=EPSILON)

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B _ H W"]:
        """Features of twice the size."""
        return self.bn(self.conv(features)).relu()


class NonBottleneck1D(nn.Module):
    """A residual layer of two 3 x 3 convolutions, each split into 3 x 1 and 1 x 3; the second pair may be dilated."""

    def __init__(self, channels: int, dropout: float = 0, dilation: int = 1) -> None:
        super().__init__()
        self.conv3x1_1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.conv1x3_1 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.bn1 = nn.BatchNorm2d(channels, eps=EPSILON)
        self.conv3x1_2 = nn.Conv2d(channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1))
        self.conv1x3_2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation))
        self.bn2 = nn.BatchNorm2d(channels, eps=EPSILON)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """The features and what was learned on top of them."""
        inner = self.bn1(self.conv1x3_1(self.conv3x1_1(features).relu())).relu()
        residual = self.bn2(self.conv1x3_2(self.conv3x1_2(inner).relu()))
        return (self.dropout(residual) + features).relu()
