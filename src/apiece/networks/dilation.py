"""The front end of the dilation network: VGG16 without its last two poolings, its later layers dilated instead.

Paper: Yu and Koltun, Multi-Scale Context Aggregation by Dilated Convolutions, ICLR 2016,
https://arxiv.org/abs/1511.07122. Without the context module, as in the paper of the discriminative loss: its count of
134.3 million parameters is the front end's.

    image B C H W -> blocks of 2, 2, 3 convolutions, pooled after each, then 3    B 64, 128, 256, 512 channels, H/8 W/8
                  -> 3 convolutions, dilation 2                                   B 512
                  -> 7 x 7 convolution, dilation 4; 1 x 1 convolution             B 4096, dropped out by half after each
    each head     -> 1 x 1 convolution, enlarged eightfold                        B n H W

The original works without padding on an image mirrored by 186 pixels a side; here every layer is padded with zeros and
keeps its size, which gives the same away from the border at a fraction of the cost.
"""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from apiece.networks.weights import fill, he_normal, imagenet

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
POOLED = 3
"""Blocks with a pooling behind them; from the fifth on, layers are dilated."""


class Dilation(nn.Module):
    """Dense features at stride 8 and one linear layer a head.

    Args:
        channels: of the images.
        heads: channels of each output.
        pretrained: start from torchvision's VGG16 (ImageNet), as the paper does: both fully connected layers, too.
        thinner: divisor of all widths.
    """

    stride: ClassVar[int] = 8

    def __init__(self, channels: int = 3, heads: Sequence[int] = (1,), pretrained: bool = False, thinner: int = 1):
        super().__init__()
        layers: list[nn.Module] = []
        width = channels
        for number, widths in enumerate(BLOCKS, start=1):
            dilation = 2 if number == len(BLOCKS) else 1
            for wanted in widths:
                outside = wanted // thinner
                convolution = nn.Conv2d(width, outside, 3, padding=dilation, dilation=dilation)
                layers += [convolution, nn.ReLU(inplace=True)]
                width = outside
            if number <= POOLED:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
        hidden = 4096 // thinner
        layers += [nn.Conv2d(width, hidden, 7, padding=12, dilation=4), nn.ReLU(inplace=True), nn.Dropout()]
        layers += [nn.Conv2d(hidden, hidden, 1), nn.ReLU(inplace=True), nn.Dropout()]
        self.front = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Conv2d(hidden, outputs, 1) for outputs in heads)
        # Without batch norm, weights must be drawn as large as keeps the features' size.
        he_normal(self)
        if pretrained:
            theirs = [tensor for name, tensor in imagenet("vgg16").items() if not name.startswith("classifier.6.")]
            fill(self.front.state_dict().values(), theirs)

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B n H W"]]:
        """One map for each head, at the images' size, interpolated from stride 8."""
        features = self.front(images)
        return [
            nn.functional.interpolate(head(features), size=images.shape[2:], mode="bilinear") for head in self.heads
        ]
