"""The network of recurrent instance segmentation for plants: the image made smaller, then four convolutions.

Romera-Paredes and Torr, ECCV 2016, as in github.com/bernard24/RIS: fivefold smaller, 30 channels, 3 x 3, ReLU.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Plants(nn.Module):
    """Features with a place for each `stride` x `stride` pixels.

    Args:
        channels: of the images.
        width: channels of the features and of all layers.
        stride: pixels of a side that are averaged; the authors weight them by a fixed bilinear kernel of 9.
    """

    def __init__(self, channels: int = 3, width: int = 30, stride: int = 5):
        super().__init__()
        self.stride = stride
        layers: list[nn.Module] = []
        for inside in (channels, width, width, width):
            layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        with torch.no_grad():
            for weight in self.parameters():
                weight.uniform_(-0.08, 0.08)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B R h w"]:
        """Features of images whose sides are multiples of the stride."""
        return self.layers(nn.functional.avg_pool2d(images, self.stride))
