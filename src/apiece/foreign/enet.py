"""The checkpoints of github.com/davidtvs/PyTorch-ENet (CamVid, Cityscapes): names only.

The file holds `epoch, miou, state_dict, optimizer`; these functions take its `state_dict`.

    initial_block.*                           -> initial_block.*
    downsample1_0.*, regular1_1.*, ...        -> stage1.0.*, stage1.1.*, ...    kind, stage and number in the name
    transposed_conv.weight                    -> heads.0.weight                 the semantic head, without a bias

Which class is "unlabeled" is not in it: Cityscapes has it first of 20, CamVid last of 12. Images were read as RGB from
0 to 1 at 1024 x 512 and 480 x 360.
"""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from apiece.foreign import semantic
from apiece.parts.normalization import Normalization

LICENSE = "MIT"
"""Of the code that the weights come with; the images they were trained on have their own."""
TELLING = {"initial_block.main_branch.weight", "dilated3_7.out_activation.weight", "transposed_conv.weight"}
HEAD = "transposed_conv.weight"
CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian",
          "bicyclist")  # fmt: skip


def recognize(keys: Iterable[str]) -> bool:
    """Whether these are the names of that ENet, and nothing but its names."""
    names = set(keys)
    return names >= TELLING and all(rename(name) != name or name.startswith("initial_block.") for name in names)


def rename(name: str) -> str:
    """A published name as `networks.enet.ENet` has it; any other name stays."""
    if name == HEAD:
        return "heads.0.weight"
    return re.sub(r"^(?:downsample|regular|dilated|asymmetric|upsample)(\d)_(\d)\.", r"stage\1.\2.", name)


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of an `ENet(channels, (classes,), bias=False)`."""
    return {rename(name): tensor for name, tensor in state.items()}


def describe(state: dict[str, Tensor]) -> tuple[str, dict[str, object]]:
    """The method that the network can start, and its arguments."""
    return "Discriminative", {
        "num_classes": state[HEAD].shape[1] - 1,
        "channels": state["initial_block.main_branch.weight"].shape[1],
        "network": "enet",
        "normalization": Normalization(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
    }


def start(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of a `Discriminative`; the head's bias, which it had not, is zero."""
    bias = torch.zeros(state[HEAD].shape[1])
    return semantic.start({**translate(state), "heads.0.bias": bias}, _unlabeled(state), transposed=True)


def fresh(state: dict[str, Tensor]) -> tuple[str, ...]:
    """Beginnings of the names of weights that are not in it."""
    return semantic.EMBEDDINGS


def classes(state: dict[str, Tensor]) -> tuple[str, ...] | None:
    """The names of Cityscapes' or CamVid's classes, known by their number."""
    return {20: semantic.CITYSCAPES, 12: CAMVID}.get(state[HEAD].shape[1])


def remark(state: dict[str, Tensor]) -> str:
    """What is said of it."""
    unlabeled = '"unlabeled"' if classes(state) else "its first class"
    return semantic.remark(unlabeled, state[HEAD].shape[1] - 1)


def _unlabeled(state: dict[str, Tensor]) -> int:
    return 11 if state[HEAD].shape[1] == 12 else 0
