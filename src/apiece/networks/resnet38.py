"""ResNet-38: few, very wide residual blocks, dilated to stride 8 (Model A1 of its paper).

Paper: Wu et al., Wider or Deeper: Revisiting the ResNet Model for Visual Recognition, 2016,
https://arxiv.org/abs/1611.10080, as built by the authors (github.com/itijyou/ademxapp); their names are mapped by
`foreign/ademxapp.py`.

    image B C H W -> 3 x 3 convolution                                       B 64   H   W
                  -> level2: 3 blocks of 128, 128                            B 128  H/2 W/2
                  -> level3: 3 of 256, 256                                   B 256  H/4 W/4
                  -> level4: 6 of 512, 512                                   B 512  H/8 W/8
                  -> level5: 3 of 512, 1024, dilation 2                      B 1024
                  -> level6: 512, 1024, 2048, dilation 4                     B 2048   kernels 1, 3, 1
                  -> level7: 1024, 2048, 4096, dilation 4                    B 4096   kernels 1, 3, 1
                  -> 3 x 3 convolution, dilation 12                          B 512
    each head     -> 3 x 3 convolution, dilation 12, enlarged eightfold      B n    H   W

124 million parameters for 19 classes. It has no pooling: its wide first levels make it hungry for memory. A training
step keeps about 6 kB of features a pixel (768 x 384: 1.8 GB an image) beside 2 GB of weights, gradients and moments;
the U-Net keeps 0.5 kB a pixel.
"""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from apiece.networks.weights import he_normal

EPSILON = 1.001e-5


class ResNet38(nn.Module):
    """A shared trunk with one hidden layer on top, and one dilated convolution a head.

    Args:
        channels: of the images.
        heads: channels of each output.
        dropout: rates before the last convolution of levels 6 and 7.
        thinner: divisor of all widths.
    """

    stride: ClassVar[int] = 8

    def __init__(
        self,
        channels: int = 3,
        heads: Sequence[int] = (1,),
        dropout: tuple[float, float] = (0.3, 0.5),
        thinner: int = 1,
    ):
        super().__init__()
        self.conv1a = nn.Conv2d(channels, 64 // thinner, 3, padding=1, bias=False)
        level = _Levels(64 // thinner, thinner)
        self.level2 = level(3, (128, 128), stride=2)
        self.level3 = level(3, (256, 256), stride=2)
        self.level4 = level(6, (512, 512), stride=2)
        self.level5 = level(3, (512, 1024), dilation=2)
        self.level6 = level(1, (512, 1024, 2048), dilation=4, dropout=dropout[0])
        self.level7 = level(1, (1024, 2048, 4096), dilation=4, dropout=dropout[1])
        self.bn7 = nn.BatchNorm2d(level.width, eps=EPSILON)
        self.conv6a = nn.Conv2d(level.width, 512 // thinner, 3, padding=12, dilation=12)
        self.heads = nn.ModuleList(nn.Conv2d(512 // thinner, outputs, 3, padding=12, dilation=12) for outputs in heads)
        he_normal(self)

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B n H W"]]:
        """One map for each head, at the images' size, interpolated from stride 8."""
        features = self.conv1a(images)
        for level in (self.level2, self.level3, self.level4, self.level5, self.level6, self.level7):
            features = level(features)
        hidden = self.conv6a(self.bn7(features).relu()).relu()
        return [nn.functional.interpolate(head(hidden), size=images.shape[2:], mode="bilinear") for head in self.heads]


class _Levels:
    """Makes levels one after another, each as wide at its start as the last one at its end."""

    def __init__(self, width: int, thinner: int):
        self.width, self.thinner = width, thinner

    def __call__(
        self, blocks: int, filters: Sequence[int], stride: int = 1, dilation: int = 1, dropout: float = 0.0
    ) -> nn.Sequential:
        filters = [number // self.thinner for number in filters]
        # The first 3 x 3 of the first dilated level sees features of the old density.
        first = 1 if dilation == 2 else dilation
        made = [Block(self.width, filters, stride, (first, dilation), dropout, project=True)]
        made += [Block(filters[-1], filters, 1, (dilation, dilation), dropout) for _ in range(blocks - 1)]
        self.width = filters[-1]
        return nn.Sequential(*made)


class Block(nn.Module):
    """Batch norm and rectifier before each convolution; added to the input, or to a projection of it once rectified.

    Args:
        inside: channels that come in.
        filters: channels of each convolution: two of 3 x 3, or three of 1 x 1, 3 x 3 and 1 x 1.
        stride: of the first convolution and the projection.
        dilations: of the first convolution and of the others.
        dropout: rate before the last convolution.
        project: whether there is a projection.
    """

    def __init__(
        self,
        inside: int,
        filters: Sequence[int],
        stride: int,
        dilations: tuple[int, int],
        dropout: float,
        project: bool = False,
    ):
        super().__init__()
        kernels = (3, 3) if len(filters) == 2 else (1, 3, 1)
        widths = (inside, *filters)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, eps=EPSILON) for width in widths[:-1])
        self.convolutions = nn.ModuleList()
        for number, kernel in enumerate(kernels):
            dilation = dilations[number > 0] if kernel == 3 else 1
            self.convolutions.append(
                nn.Conv2d(
                    widths[number],
                    widths[number + 1],
                    kernel,
                    stride=1 if number else stride,
                    padding=dilation * (kernel // 2),
                    dilation=dilation,
                    bias=False,
                )
            )
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv2d(inside, filters[-1], 1, stride=stride, bias=False) if project else None

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B n h w"]:
        """The features, or their projection, and what was learned on top of them."""
        rectified = self.norms[0](features).relu()
        learned = rectified
        for number, (norm, convolution) in enumerate(zip(self.norms, self.convolutions, strict=True)):
            if number:
                learned = norm(learned).relu()
            if number == len(self.convolutions) - 1:
                learned = self.dropout(learned)
            learned = convolution(learned)
        return learned + (features if self.shortcut is None else self.shortcut(rectified))
