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

UNUSED = "encoder.output_conv."
TELLING = {
    "encoder.initial_block.conv.weight",
    "encoder.layers.14.conv1x3_2.weight",
    "decoders.0.output_conv.weight",
    "decoders.1.output_conv.weight",
}


def recognise(keys: Iterable[str]) -> bool:
    """Whether these are the names of a branched ERFNet with two decoders, and nothing but its names."""
    names = {key.removeprefix("module.") for key in keys}
    known = all(name.startswith(("encoder.", "decoders.0.", "decoders.1.")) for name in names)
    return known and names >= TELLING


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of a method that holds its ERFNet as `network`; the unused layer is left out."""
    names = {key: key.removeprefix("module.") for key in state}
    return {f"network.{name}": state[key] for key, name in names.items() if not name.startswith(UNUSED)}
