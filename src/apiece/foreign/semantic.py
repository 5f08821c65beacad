"""Semantic networks as starts of a `Discriminative`: their classes are kept, embeddings are still to be learned.

They tell the class of a pixel by a softmax over C logits l, of which one, r, stands for what is no object: "void",
"background", or the first ("road") where there is none such. Ours has logits s beside a background of zero:

    s_c = l_c - l_r     so that exp(s_c) / (1 + sum over the others of exp(s)) = exp(l_c) / sum of all exp(l)

Every class has the probability that it had, and the background has that of r. Last layers being linear, it is their
rows that are subtracted:

    heads.0.*, decoders.0.output_conv.*     -> network.{heads.1,decoders.1.output_conv}.*     C - 1 classes
    decoders.0.layers.*                     -> network.decoders.{0,1}.layers.*    embeddings begin from classes
    the rest                                -> network.*
"""

import torch
from torch import Tensor

EMBEDDINGS = ("network.heads.0.", "network.decoders.0.output_conv.")
"""Beginnings of names of what a semantic network has not."""

CITYSCAPES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)


def start(weights: dict[str, Tensor], left_out: int, transposed: bool) -> dict[str, Tensor]:
    """Weights of a network with one head, of classes, under the names of a `Discriminative`.

    Args:
        weights: by the network's own names.
        left_out: the class that becomes the background.
        transposed: whether the head is a transposed convolution, with its outputs along the second dimension.
    """
    renamed = {}
    for name, tensor in weights.items():
        beginning, _, rest = name.partition(".0.")
        if beginning not in ("heads", "decoders"):
            renamed[f"network.{name}"] = tensor
        elif beginning == "decoders" and rest.startswith("layers."):
            renamed |= {f"network.decoders.{head}.{rest}": tensor for head in (0, 1)}
        else:
            along = int(transposed and tensor.ndim > 1)
            renamed[f"network.{beginning}.1.{rest}"] = _beside(tensor, left_out, along)
    return renamed


def _beside(tensor: Tensor, left_out: int, along: int) -> Tensor:
    """What is left of each row when one is taken from all; that one is left out."""
    before, own, behind = tensor.split([left_out, 1, tensor.shape[along] - left_out - 1], along)
    return torch.cat([before, behind], along) - own


def remark(left_out: str, count: int) -> str:
    """What is said of such a start."""
    return (
        f"{count} classes are known, and {left_out} has become the background; embeddings are fresh, so it finds no "
        "objects yet: train it on some, which may be of other classes."
    )
