"""The checkpoints of github.com/davyneven/SpatialEmbeddings: names only.

The file holds `epoch, best_iou, model_state_dict, optim_state_dict, logger_data`; these functions take its
`model_state_dict`, whose names start with `module.` where it was trained on several GPUs.

    [module.]encoder.*      -> network.encoder.*       except the unused encoder.output_conv
    [module.]decoders.0.*   -> network.decoders.0.*    head 0: offset x, offset y, then one or two sigmas
    [module.]decoders.1.*   -> network.decoders.1.*    head 1: seed maps

Their sigma is used as exp(10 sigma), and their coordinates are linspace(0, 2, 2048) and linspace(0, 1, 1024).
"""

from collections.abc import Iterable

from torch import Tensor

from apiece.parts.normalization import Normalization

LICENSE = "CC BY-NC 4.0"
"""Of the published weights: not for commercial use."""
UNUSED = "encoder.output_conv."
TELLING = {
    "encoder.initial_block.conv.weight",
    "encoder.layers.14.conv1x3_2.weight",
    "decoders.0.output_conv.weight",
    "decoders.1.output_conv.weight",
}


def recognize(keys: Iterable[str]) -> bool:
    """Whether these are the names of a branched ERFNet with two decoders, and nothing but its names."""
    names = {key.removeprefix("module.") for key in keys}
    known = all(name.startswith(("encoder.", "decoders.0.", "decoders.1.")) for name in names)
    return known and names >= TELLING


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of a method that holds its ERFNet as `network`; the unused layer is left out."""
    names = {key: key.removeprefix("module.") for key in state}
    return {f"network.{name}": state[key] for key, name in names.items() if not name.startswith(UNUSED)}


def describe(state: dict[str, Tensor]) -> tuple[str, dict[str, object]]:
    """The method's name and arguments that give the authors' program: network, coordinates, scaling, stopping rules."""
    shapes = {key.removeprefix("module."): tensor.shape for key, tensor in state.items()}
    return "SpatialEmbedding", {
        "num_classes": shapes["decoders.1.output_conv.weight"][1],
        "channels": 3,
        "network": "erfnet",
        "sigma": {1: "scalar", 2: "elliptical"}[shapes["decoders.0.output_conv.weight"][1] - 2],
        "legacy_coordinates": True,
        "foreground_threshold": 0.5,
        "seed_threshold": 0.9,
        "min_size": 129,
        "refine": 0,
        "normalization": Normalization(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
    }
