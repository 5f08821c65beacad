"""The checkpoints of github.com/davidtvs/PyTorch-ENet: names only.

The file holds `epoch, miou, state_dict, optimizer`; these functions take its `state_dict`.

    initial_block.*                           -> initial_block.*
    downsample1_0.*, regular1_1.*, ...        -> stage1.0.*, stage1.1.*, ...    kind, stage and number in the name
    transposed_conv.weight                    -> heads.0.weight                 the semantic head, without a bias
"""

import re
from collections.abc import Iterable

from torch import Tensor

TELLING = {"initial_block.main_branch.weight", "dilated3_7.out_activation.weight", "transposed_conv.weight"}


def recognize(keys: Iterable[str]) -> bool:
    """Whether these are the names of that ENet, and nothing but its names."""
    names = set(keys)
    return names >= TELLING and all(rename(name) != name or name.startswith("initial_block.") for name in names)


def rename(name: str) -> str:
    """A published name as `networks.enet.ENet` has it; any other name stays."""
    if name == "transposed_conv.weight":
        return "heads.0.weight"
    return re.sub(r"^(?:downsample|regular|dilated|asymmetric|upsample)(\d)_(\d)\.", r"stage\1.\2.", name)


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of an `ENet(channels, (classes,), bias=False)`."""
    return {rename(name): tensor for name, tensor in state.items()}
