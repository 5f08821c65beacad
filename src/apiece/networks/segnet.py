"""SegNet: VGG16 down, its mirror image up; values go back to the places of the maxima.

Paper: Badrinarayanan et al., SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation, TPAMI
2017, https://arxiv.org/abs/1511.00561

    image B C H W -> 5 blocks of 2, 2, 3, 3, 3 convolutions, pooled after each       64, 128, 256, 512, 512 channels
                  -> 5 unpoolings with a block of 3, 3, 3, 2, 1 convolutions each    512, 256, 128, 64, 64
    each head     -> one convolution                                                 B n H W

29.4 million parameters. Half of the time goes into the layers at full resolution.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from apiece.networks.weights import fill, he_normal, imagenet

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))


class Level(NamedTuple):
    """What a block of the encoder leaves: pooled features, where its maxima lay, and the size before."""

    features: Tensor
    maxima: Tensor
    size: list[int]


class SegNet(nn.Module):
    """A shared encoder and decoder, and one convolution a head.

    Args:
        channels: of the images.
        heads: channels of each output.
        pretrained: start the encoder from torchvision's VGG16 with batch norm (ImageNet); the paper starts from VGG16.
        thinner: divisor of all widths.
    """

    stride: ClassVar[int] = 32

    def __init__(self, channels: int = 3, heads: Sequence[int] = (1,), pretrained: bool = False, thinner: int = 1):
        super().__init__()
        self.encoder_widths = tuple(block[-1] // thinner for block in ENCODER)
        self.encoder, width = _blocks(channels, ENCODER, thinner)
        self.decoder, width = _blocks(width, DECODER, thinner)
        self.heads = nn.ModuleList(nn.Conv2d(width, outputs, 3, padding=1) for outputs in heads)
        he_normal(self)
        if pretrained:
            features = {name: tensor for name, tensor in imagenet("vgg16_bn").items() if name.startswith("features.")}
            fill(
                *([one[name] for name in one if "batches" not in name] for one in (self.encoder.state_dict(), features))
            )

    def encode(self, images: Float[Tensor, "B C H W"]) -> list[Level]:
        """The encoder's levels, of strides 2, 4, 8, 16, 32."""
        features, levels = images, []
        for block in self.encoder:
            features = block(features)
            size = list(features.shape[2:])
            features, maxima = nn.functional.max_pool2d_with_indices(features, (2, 2))
            levels.append(Level(features, maxima, size))
        return levels

    def decode(self, images: Float[Tensor, "B C H W"], levels: Sequence[Level]) -> list[Float[Tensor, "B n H W"]]:
        """One map for each head from the encoder's levels, at the images' size."""
        features = levels[-1].features
        for block, level in zip(self.decoder, reversed(levels), strict=True):
            features = block(nn.functional.max_unpool2d(features, level.maxima, (2, 2), output_size=level.size))
        return [head(features) for head in self.heads]

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B n H W"]]:
        """One map for each head, at the images' size, which may be any of 32 pixels or more."""
        return self.decode(images, self.encode(images))


def _blocks(width: int, table: Sequence[Sequence[int]], thinner: int) -> tuple[nn.ModuleList, int]:
    """Blocks of 3 x 3 convolutions with a bias, batch norm and rectifier; and the width that comes out."""
    blocks = nn.ModuleList()
    for widths in table:
        layers: list[nn.Module] = []
        for wanted in widths:
            outside = wanted // thinner
            layers += [nn.Conv2d(width, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]
            width = outside
        blocks.append(nn.Sequential(*layers))
    return blocks, width
