"""The checkpoints of github.com/Eromera/erfnet_pytorch: names only.

The semantic network (a bare dictionary) and the encoder trained on ImageNet (`state_dict` of its file):

    [module.]encoder.*            -> encoder.*       except the unused encoder.output_conv
    [module.]decoder.*            -> decoders.0.*    the semantic head
    [module.]features.encoder.*   -> encoder.*       of the ImageNet file, whose classifier is left out
"""

from collections.abc import Iterable

from torch import Tensor

LICENSE = "CC BY-NC 4.0"
"""Of the published weights: not for commercial use."""
UNUSED = ("encoder.output_conv.", "classifier.")
SEMANTIC = {"encoder.layers.14.conv1x3_2.weight", "decoder.output_conv.weight"}
IMAGENET = {"features.encoder.layers.14.conv1x3_2.weight", "classifier.linear.weight"}


def recognize(keys: Iterable[str]) -> bool:
    """Whether these are the names of a plain ERFNet, or of its encoder as an ImageNet classifier."""
    names = {key.removeprefix("module.") for key in keys}
    if names >= SEMANTIC:
        return all(name.startswith(("encoder.", "decoder.")) for name in names)
    return names >= IMAGENET and all(name.startswith(("features.encoder.", "classifier.")) for name in names)


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of `networks.erfnet.ERFNet`; the ImageNet file gives its encoder only."""
    renamed = {}
    for key, tensor in state.items():
        name = key.removeprefix("module.").removeprefix("features.")
        if not name.startswith(UNUSED):
            renamed[name.replace("decoder.", "decoders.0.", 1) if name.startswith("decoder.") else name] = tensor
    return renamed
