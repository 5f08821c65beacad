"""The checkpoints of github.com/dbolya/yolact with a ResNet: a bare dictionary.

    backbone.layers.N.*                          -> backbone.body.layer(N+1).*
    fpn.lat_layers.N, fpn.pred_layers.N          -> backbone.fpn.inner_blocks, layer_blocks, from the other end
    fpn.downsample_layers.0, 1                   -> backbone.fpn.extra_blocks.p6, p7      v1.0 has more, unused ones
    proto_net.0, 2, 4, 8, 10                     -> protonet.*
    prediction_layers.0.*                        -> head.*      classes and background apart, class by class
    semantic_seg_conv, maskiou_net.maskiou_net.* -> semantic, rescorer.*

Which input size a file is for is not in it: 550 is taken. YOLACT++'s deformable convolutions are not known.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from apiece.parts.normalization import Normalization

LICENSE = "MIT"
"""Of the published weights; the images they were trained on have their own."""
REQUIRED = {"prediction_layers.0.conf_layer.weight", "semantic_seg_conv.weight", "fpn.lat_layers.0.weight"}
COCO_SIZES, PASCAL_SIZES = (24.0, 48.0, 96.0, 192.0, 384.0), (32.0, 64.0, 128.0, 256.0, 512.0)
PASCAL_CLASSES = 20
NAMES = {
    r"backbone\.(conv1|bn1)\.": r"backbone.body.\1.",
    r"proto_net\.10\.": "protonet.prototypes.",
    r"proto_net\.8\.": "protonet.last.0.",
    r"prediction_layers\.0\.upfeature\.(\d+)\.": r"head.layers.\1.0.",
    r"prediction_layers\.0\.bbox_layer\.": "head.boxes.",
    r"prediction_layers\.0\.mask_layer\.": "head.coefficients.",
    r"semantic_seg_conv\.": "semantic.",
    r"maskiou_net\.maskiou_net\.10\.": "rescorer.classes.",
    r"fpn\.downsample_layers\.0\.": "backbone.fpn.extra_blocks.p6.",
    r"fpn\.downsample_layers\.1\.": "backbone.fpn.extra_blocks.p7.",
}


def recognize(keys: Iterable[str]) -> bool:
    """Whether these are the names of a YOLACT with a ResNet."""
    names = set(keys)
    return names >= REQUIRED and any(name.startswith("backbone.layers.3.") for name in names)


def describe(state: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Public name of the method, and the arguments it was published with.

    Raises:
        ValueError: it has deformable convolutions.
    """
    if any(".conv_offset_mask." in name for name in state):
        raise ValueError("it has deformable convolutions, which YOLACT has not here.")
    classes = len(state["semantic_seg_conv.weight"])
    priors = len(state["prediction_layers.0.bbox_layer.weight"]) // 4
    pascal, plus = classes == PASCAL_CLASSES, priors == 9
    blocks = len({name.split(".")[3] for name in state if name.startswith("backbone.layers.2.")})
    return "YOLACT", {
        "num_classes": classes,
        "channels": state["backbone.conv1.weight"].shape[1],
        "network": {6: "resnet50", 23: "resnet101"}[blocks],
        "norm": "frozen",
        "prototypes": len(state["proto_net.10.weight"]),
        "anchor_sizes": PASCAL_SIZES if pascal else COCO_SIZES,
        "anchor_scales": (1.0, 2 ** (1 / 3), 2 ** (2 / 3)) if plus else (1.0,),
        "square_anchors": not (pascal or plus),
        "rescoring": any(name.startswith("maskiou_net.") for name in state),
        "binary_targets": True,
        "candidates": 200,
        "max_objects": 100,
        "warp": 550,
        "normalization": Normalization(mean=(123.68, 116.78, 103.94), std=(58.4, 57.12, 57.38)),
    }


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of `methods.yolact.YOLACT`."""
    priors = len(state["prediction_layers.0.bbox_layer.weight"]) // 4
    levels = sum(name.startswith("fpn.lat_layers.") and name.endswith(".weight") for name in state)
    renamed = {}
    for key, tensor in state.items():
        kind, _, ending = key.rpartition(".")
        if kind == "prediction_layers.0.conf_layer":
            rows = tensor.unflatten(0, (priors, -1))
            renamed["head.background." + ending] = rows[:, 0]
            renamed["head.classes." + ending] = torch.cat(list(rows[:, 1:].unbind(1)))
        # A frozen norm counts no batches. Coarser levels yet are v1.0's, and unused.
        elif ending != "num_batches_tracked" and not re.match(r"fpn\.downsample_layers\.[2-9]|backbone\.layer\d", key):
            renamed[_renamed(key, levels)] = tensor
    return renamed


def _renamed(key: str, levels: int) -> str:
    for pattern, name in NAMES.items():
        key, found = re.subn("^" + pattern, name, key)
        if found:
            return key
    key = re.sub(r"^backbone\.layers\.(\d)\.", lambda found: f"backbone.body.layer{int(found[1]) + 1}.", key)
    key = re.sub(r"^proto_net\.(\d+)\.", lambda found: f"protonet.layers.{int(found[1]) // 2}.0.", key)
    key = re.sub(r"^maskiou_net\.maskiou_net\.(\d+)\.", lambda found: f"rescorer.layers.{int(found[1]) // 2}.0.", key)
    sides = {"lat_layers": "inner_blocks", "pred_layers": "layer_blocks"}
    pattern = r"^fpn\.(lat_layers|pred_layers)\.(\d)\."
    return re.sub(pattern, lambda one: f"backbone.fpn.{sides[one[1]]}.{levels - 1 - int(one[2])}.0.", key)
