"""The weights of github.com/itijyou/ademxapp (ResNet-38, Model A1, as a semantic network): names only.

Its files are MXNet's `.params` (`mxnet_params.py` reads them); as a dictionary of tensors (names kept, with or without
`arg:` and `aux:`) they are

    conv1a_weight, conv6a_{weight,bias}                   -> conv1a.weight, conv6a.{weight,bias}
    linear{classes}_{weight,bias}                         -> heads.0.{weight,bias}
    bn7_{gamma,beta,moving_mean,moving_var}               -> bn7.{weight,bias,running_mean,running_var}
    res{L}{a|b1|b2...}_branch2{a|b1|b2}_weight            -> level{L}.{0|1|2...}.convolutions.{0|1|2}.weight
    bn{L}{a|b1|b2...}_branch2{a|b1|b2}_{gamma,...}        -> level{L}.{0|1|2...}.norms.{0|1|2}.{weight,...}
    res{L}a_branch1_weight                                -> level{L}.0.shortcut.weight

Images were read as RGB and normalized as ImageNet's. Class 0 is VOC's background, Cityscapes' road, ADE20K's wall.
"""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from apiece.foreign import semantic
from apiece.parts.normalization import Normalization

LICENSE = "Apache-2.0"
TELLING = {"conv1a_weight", "bn7_gamma", "conv6a_weight", "res7a_branch2b2_weight"}
LEAVES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_var": "running_var"}
VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def recognize(keys: Iterable[str]) -> bool:
    """Whether these are the names of that network."""
    return {_bare(key) for key in keys} >= TELLING


def rename(key: str) -> str:
    """A published name as `networks.resnet38.ResNet38` has it.

    Raises:
        KeyError: it is no such name.
    """
    name, _, leaf = _bare(key).partition("_")
    if name in ("conv1a", "conv6a", "bn7"):
        return f"{name}.{LEAVES.get(leaf, leaf)}"
    if re.fullmatch(r"linear\d+", name):
        return f"heads.0.{leaf}"
    parts = re.fullmatch(r"(res|bn)(\d)(a|b\d+)_branch(1|2a|2b\d)_(\w+)", _bare(key))
    if parts is None:
        raise KeyError(key)
    kind, level, block, branch, leaf = parts.groups()
    place = f"level{level}.{_index(block)}"
    if branch == "1":
        return f"{place}.shortcut.{leaf}"
    return f"{place}.{'convolutions' if kind == 'res' else 'norms'}.{_index(branch[1:])}.{LEAVES.get(leaf, leaf)}"


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of a `ResNet38(3, (classes,))`; batch counters are not among them."""
    return {rename(key): tensor for key, tensor in state.items()}


def describe(state: dict[str, Tensor]) -> tuple[str, dict[str, object]]:
    """The method that the network can start, and its arguments."""
    first = next(tensor for key, tensor in state.items() if _bare(key) == "conv1a_weight")
    return "Discriminative", {
        "num_classes": _logits(state) - 1,
        "channels": first.shape[1],
        "network": "resnet38",
        "normalization": Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    }


def start(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of a `Discriminative`."""
    counters = {name.replace("running_mean", "num_batches_tracked") for name in map(rename, state) if "mean" in name}
    weights = {**translate(state), **{name: torch.tensor(0) for name in counters}}
    return semantic.start(weights, 0, transposed=False)


def fresh(state: dict[str, Tensor]) -> tuple[str, ...]:
    """Beginnings of the names of weights that are not in it."""
    return semantic.EMBEDDINGS


def classes(state: dict[str, Tensor]) -> tuple[str, ...] | None:
    """The names of Cityscapes' or VOC's classes, known by their number."""
    return {19: semantic.CITYSCAPES[1:], 21: VOC}.get(_logits(state))


def remark(state: dict[str, Tensor]) -> str:
    """What is said of it."""
    first = {19: ' ("road")', 150: ' ("wall")'}.get(_logits(state), "")
    return semantic.remark(f"its first class{first}", _logits(state) - 1)


def _logits(state: dict[str, Tensor]) -> int:
    return next(len(tensor) for key, tensor in state.items() if re.fullmatch(r"linear\d+_weight", _bare(key)))


def _bare(key: str) -> str:
    return key.removeprefix("arg:").removeprefix("aux:")


def _index(letter: str) -> int:
    """Their numbering of blocks and branches: a, b1, b2, ..."""
    return int(letter[1:] or 0)
