"""The checkpoints of github.com/Eromera/erfnet_pytorch: names only.

The semantic network (a bare dictionary) and the encoder trained on ImageNet (`state_dict` of its file):

    [module.]encoder.*            -> encoder.*       except the unused encoder.output_conv
    [module.]decoder.*            -> decoders.0.*    the semantic head; the last class is void
    [module.]features.encoder.*   -> encoder.*       of the ImageNet file, whose classifier is left out

Images were read as RGB from 0 to 1, those of Cityscapes at 1024 x 512; those of ImageNet were normalized as usual.
"""

from collections.abc import Iterable

from torch import Tensor

from apiece.foreign import semantic
from apiece.parts.normalization import Normalization

LICENSE = "CC BY-NC 4.0"
"""Of the published weights: not for commercial use."""
UNUSED = ("encoder.output_conv.", "classifier.")
SEMANTIC = {"encoder.layers.14.conv1x3_2.weight", "decoder.output_conv.weight"}
IMAGENET = {"features.encoder.layers.14.conv1x3_2.weight", "classifier.linear.weight"}
CHANNELS = 3


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


def describe(state: dict[str, Tensor]) -> tuple[str, dict[str, object]]:
    """The method that the network can start, and its arguments; the encoder alone knows no class, so there is one."""
    logits = _logits(state)
    normalization = (
        Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
        if logits is None
        else Normalization(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
    )
    return "Discriminative", {
        "num_classes": 1 if logits is None else logits - 1,
        "channels": CHANNELS,
        "network": "erfnet",
        "normalization": normalization,
    }


def start(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of a `Discriminative`."""
    return semantic.start(translate(state), (_logits(state) or 1) - 1, transposed=True)


def fresh(state: dict[str, Tensor]) -> tuple[str, ...]:
    """Beginnings of the names of weights that are not in it."""
    return ("network.decoders.",) if _logits(state) is None else semantic.EMBEDDINGS


def classes(state: dict[str, Tensor]) -> tuple[str, ...] | None:
    """The names of Cityscapes' classes, known by their number."""
    return semantic.CITYSCAPES if _logits(state) == 20 else None


def remark(state: dict[str, Tensor]) -> str:
    """What is said of it."""
    logits = _logits(state)
    if logits is None:
        return "only an encoder, of ImageNet: both decoders are fresh, so it finds nothing yet: train it on objects."
    return semantic.remark("its last class, void,", logits - 1)


def _logits(state: dict[str, Tensor]) -> int | None:
    """How many there are in the semantic head; None without one."""
    heads = (tensor.shape[1] for key, tensor in state.items() if key.endswith("decoder.output_conv.weight"))
    return next(heads, None)
