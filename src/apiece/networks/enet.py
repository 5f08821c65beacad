"""ENet: early downsampling and thin bottlenecks; what pooling forgets is put back where it was.

Paper: Paszke et al., ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation, 2016,
https://arxiv.org/abs/1606.02147, in the form of github.com/davidtvs/PyTorch-ENet, whose checkpoints have the names of
`foreign/enet.py`.

    image B C H W -> convolution and pooling side by side                       B 16  H/2 W/2
                  -> stage1: down, 4 regular                                    B 64  H/4 W/4
                  -> stage2: down, 8 regular, dilated or asymmetric             B 128 H/8 W/8
                  -> stage3: 8 more
                  -> stage4: up to the places of the maxima, 2 regular          B 64  H/4 W/4
                  -> stage5: up, 1 regular                                      B 16  H/2 W/2
    each head     -> transposed convolution                                     B n   H   W

352 thousand parameters for 20 classes. Rectifiers learn their slope (PReLU) in the encoder only.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from apiece.masks import Size

Pair = tuple[int, int]
SERIES = ("regular", 2, "asymmetric", 4, "regular", 8, "asymmetric", 16)
"""Stages 2 and 3: numbers are dilations."""


class ENet(nn.Module):
    """A shared encoder and decoder, and one transposed convolution a head.

    Args:
        channels: of the images, fewer than 16.
        heads: channels of each output.
        bias: whether heads have one; the published ones have none.
    """

    stride: ClassVar[int] = 8

    def __init__(self, channels: int = 3, heads: Sequence[int] = (1,), bias: bool = True):
        super().__init__()
        self.initial_block = Initial(channels, 16)
        self.stage1 = nn.ModuleList([Down(16, 64, dropout=0.01), *(Regular(64, dropout=0.01) for _ in range(4))])
        self.stage2 = nn.ModuleList([Down(64, 128), *(_of_series(kind) for kind in SERIES)])
        self.stage3 = nn.ModuleList(_of_series(kind) for kind in SERIES)
        self.stage4 = nn.ModuleList([Up(128, 64), *(Regular(64, rectifier=nn.ReLU) for _ in range(2))])
        self.stage5 = nn.ModuleList([Up(64, 16), Regular(16, rectifier=nn.ReLU)])
        self.heads = nn.ModuleList(
            nn.ConvTranspose2d(16, outputs, 3, stride=2, padding=1, bias=bias) for outputs in heads
        )

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B n H W"]]:
        """One map for each head, at the images' size, which may be any of 8 pixels or more."""
        features = self.initial_block(images)
        places: list[tuple[Tensor, Size]] = []
        for stage in (self.stage1, self.stage2, self.stage3, self.stage4, self.stage5):
            for block in stage:
                if isinstance(block, Down):
                    size = (features.shape[2], features.shape[3])
                    features, maxima = block(features)
                    places.append((maxima, size))
                elif isinstance(block, Up):
                    features = block(features, *places.pop())
                else:
                    features = block(features)
        # pyright knows the heads as plain modules, which take no output_size.
        return [head.forward(features, output_size=list(images.shape[2:])) for head in self.heads]  # type: ignore


def _of_series(kind: str | int) -> "Regular":
    """A block of stages 2 and 3."""
    return Regular(128, dilation=kind) if isinstance(kind, int) else Regular(128, asymmetric=kind == "asymmetric")


def _convolved(inside: int, outside: int, kernel: int | Pair, rectifier: Callable[[], nn.Module], **options) -> list:
    convolution = nn.Conv2d(inside, outside, kernel, bias=False, **options)
    return [convolution, nn.BatchNorm2d(outside), rectifier()]


class Initial(nn.Module):
    """Half the size: 16 channels, of which the last are the image's own maxima."""

    def __init__(self, channels: int, outside: int):
        super().__init__()
        self.main_branch = nn.Conv2d(channels, outside - channels, 3, stride=2, padding=1, bias=False)
        self.batch_norm = nn.BatchNorm2d(outside)
        self.out_activation = nn.PReLU()

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 16 h w"]:
        """Convolved channels first, pooled ones after them."""
        pooled = nn.functional.max_pool2d(images, 3, stride=2, padding=1)
        return self.out_activation(self.batch_norm(torch.cat([self.main_branch(images), pooled], 1)))


class Regular(nn.Module):
    """A residual bottleneck: 1 x 1 to a quarter of the channels, 3 x 3 (dilated) or 5 x 1 and 1 x 5, and 1 x 1 back."""

    def __init__(
        self,
        channels: int,
        dilation: int = 1,
        asymmetric: bool = False,
        dropout: float = 0.1,
        rectifier: Callable[[], nn.Module] = nn.PReLU,
    ):
        super().__init__()
        thin = channels // 4
        self.ext_conv1 = nn.Sequential(*_convolved(channels, thin, 1, rectifier))
        if asymmetric:
            column = _convolved(thin, thin, (5, 1), rectifier, padding=(2, 0))
            self.ext_conv2 = nn.Sequential(*column, *_convolved(thin, thin, (1, 5), rectifier, padding=(0, 2)))
        else:
            self.ext_conv2 = nn.Sequential(*_convolved(thin, thin, 3, rectifier, padding=dilation, dilation=dilation))
        # The published blocks rectify here and once more after the sum.
        self.ext_conv3 = nn.Sequential(*_convolved(thin, channels, 1, rectifier))
        self.dropout = nn.Dropout2d(dropout)
        self.out_activation = rectifier()

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """The features and what was learned on top of them."""
        learned = self.ext_conv3(self.ext_conv2(self.ext_conv1(features)))
        return self.out_activation(features + self.dropout(learned))


class Down(nn.Module):
    """Half the size and more channels; remembers where each maximum was."""

    def __init__(self, inside: int, outside: int, dropout: float = 0.1):
        super().__init__()
        thin = inside // 4
        self.ext_conv1 = nn.Sequential(*_convolved(inside, thin, 2, nn.PReLU, stride=2))
        self.ext_conv2 = nn.Sequential(*_convolved(thin, thin, 3, nn.PReLU, padding=1))
        self.ext_conv3 = nn.Sequential(*_convolved(thin, outside, 1, nn.PReLU))
        self.dropout = nn.Dropout2d(dropout)
        self.out_activation = nn.PReLU()

    def forward(
        self, features: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B n h w"], Integer[Tensor, "B C h w"]]:
        """Features of half the size, and the places of the maxima."""
        pooled, places = nn.functional.max_pool2d_with_indices(features, (2, 2))
        learned = self.dropout(self.ext_conv3(self.ext_conv2(self.ext_conv1(features))))
        fresh = learned.shape[1] - pooled.shape[1]
        return self.out_activation(nn.functional.pad(pooled, (0, 0, 0, 0, 0, fresh)) + learned), places


class Up(nn.Module):
    """Twice the size and fewer channels: values go back to where the maxima came from."""

    def __init__(self, inside: int, outside: int, dropout: float = 0.1):
        super().__init__()
        thin = inside // 4
        self.main_conv1 = nn.Sequential(nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside))
        self.ext_conv1 = nn.Sequential(*_convolved(inside, thin, 1, nn.ReLU))
        self.ext_tconv1 = nn.ConvTranspose2d(thin, thin, 2, stride=2, bias=False)
        self.ext_tconv1_bnorm = nn.BatchNorm2d(thin)
        self.ext_conv2 = nn.Sequential(nn.Conv2d(thin, outside, 1, bias=False), nn.BatchNorm2d(outside))
        self.dropout = nn.Dropout2d(dropout)

    def forward(
        self, features: Float[Tensor, "B C h w"], places: Integer[Tensor, "B n h w"], size: Size
    ) -> Float[Tensor, "B n H W"]:
        """Features of the size that the maxima were taken from."""
        main = nn.functional.max_unpool2d(self.main_conv1(features), places, (2, 2), output_size=list(size))
        learned = self.ext_tconv1(self.ext_conv1(features), output_size=list(size))
        learned = self.ext_conv2(self.ext_tconv1_bnorm(learned).relu())
        return (main + self.dropout(learned)).relu()
