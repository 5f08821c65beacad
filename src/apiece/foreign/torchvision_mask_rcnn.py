"""The checkpoints of torchvision's Mask R-CNN: names only.

`maskrcnn_resnet50_fpn` (v1), `maskrcnn_resnet50_fpn_v2`, and any ResNet of torchvision in their place:

    backbone.{body,fpn}.*                                 -> boxes.backbone.*
    rpn.head.conv.{i}.0.*  (before 0.14: rpn.head.conv.*) -> boxes.proposals.convolutions.{i}.0.*
    rpn.head.{cls_logits,bbox_pred}.*                     -> boxes.proposals.{logits,deltas}.*
    roi_heads.box_head.fc{6,7}.*                          -> boxes.head.linear.{0,1}.0.*
    roi_heads.box_head.{i}.{0,1}.*, .{last}.* (v2)        -> boxes.head.convolutions.{i}.*, boxes.head.linear.0.0.*
    roi_heads.box_predictor.cls_score.*                   -> boxes.head.{background,classes}.*   row 0 is background
    roi_heads.box_predictor.bbox_pred.*                   -> boxes.head.deltas.*                 without background's
    roi_heads.mask_head.{i}.* (or mask_fcn{i + 1}.*)      -> masks.convolutions.{i}.*
    roi_heads.mask_predictor.{conv5_mask,mask_fcn_logits} -> masks.{enlarge,logits}.*            without background's

Their 90 classes are COCO's numbers, those that stand for nothing among them.
"""

import re
from collections.abc import Iterable

from torch import Tensor

from apiece.parts.normalization import Normalization

LICENSE = "BSD-3-Clause"
"""Of the code that the weights come with; they were trained on COCO, whose images are under their owners' licences."""

TELLING = {
    "backbone.body.conv1.weight",
    "backbone.fpn.inner_blocks.0.0.weight",
    "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.mask_predictor.conv5_mask.weight",
}
PARTS = ("backbone.", "rpn.head.", "roi_heads.box_", "roi_heads.mask_")
RULES = (
    (r"backbone\.(body|fpn)\.", r"boxes.backbone.\1."),
    (r"rpn\.head\.conv\.", "boxes.proposals.convolutions."),
    (r"rpn\.head\.cls_logits\.", "boxes.proposals.logits."),
    (r"rpn\.head\.bbox_pred\.", "boxes.proposals.deltas."),
    (r"roi_heads\.box_head\.fc6\.", "boxes.head.linear.0.0."),
    (r"roi_heads\.box_head\.fc7\.", "boxes.head.linear.1.0."),
    (r"roi_heads\.box_head\.(\d+)\.(\d)\.", r"boxes.head.convolutions.\1.\2."),
    (r"roi_heads\.box_head\.\d+\.", "boxes.head.linear.0.0."),
    (r"roi_heads\.box_predictor\.bbox_pred\.", "boxes.head.deltas."),
    (r"roi_heads\.mask_head\.(\d+)\.", r"masks.convolutions.\1."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", "masks.enlarge."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "masks.logits."),
)
SCORES = "roi_heads.box_predictor.cls_score."
OF_CLASSES = {"boxes.head.deltas.": 4, "masks.logits.": 1}
"""Rows of each class, the background's first."""


def recognize(keys: Iterable[str]) -> bool:
    """Whether these are the names of such a Mask R-CNN, and nothing but its names."""
    names = {_modern(key) for key in keys}
    return names >= TELLING and all(name.startswith(PARTS) for name in names)


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of a `MaskRCNN`; what is of the background's box and mask is left out.

    Raises:
        KeyError: a name is none of theirs.
    """
    renamed = {}
    for key, tensor in state.items():
        name = _modern(key)
        if name.startswith(SCORES):
            leaf = name.removeprefix(SCORES)
            renamed[f"boxes.head.background.{leaf}"] = tensor[:1]
            renamed[f"boxes.head.classes.{leaf}"] = tensor[1:]
            continue
        name = _renamed(name)
        for beginning, rows in OF_CLASSES.items():
            if name.startswith(beginning):
                tensor = tensor[rows:]
        renamed[name] = tensor
    if _second(renamed):
        return renamed
    return {name: tensor for name, tensor in renamed.items() if not name.endswith("num_batches_tracked")}


def _modern(key: str) -> str:
    """A name of an old file as newer ones have it."""
    key = re.sub(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", key)
    key = re.sub(r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", key)
    block = re.fullmatch(r"roi_heads\.mask_head\.mask_fcn(\d)\.(weight|bias)", key)
    return f"roi_heads.mask_head.{int(block[1]) - 1}.0.{block[2]}" if block else key


def _renamed(name: str) -> str:
    for pattern, place in RULES:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", place, name)
    raise KeyError(name)


def _second(names: Iterable[str]) -> bool:
    """Whether it is the second version: with norms behind its pyramid, and none of them frozen."""
    return any(name.endswith("fpn.inner_blocks.0.1.running_var") for name in names)


def describe(state: dict[str, Tensor]) -> tuple[str, dict[str, object]]:
    """The method's name and arguments that give torchvision's program: anchors, alignment, limits, resizing, scaling.

    The first version's norms were frozen, without an epsilon; the second's, which it has in its heads too, were not.
    """
    names = {_modern(key): tensor for key, tensor in state.items()}
    second = _second(names)
    layers = {int(found[1]) for name in names if (found := re.match(r"roi_heads\.mask_head\.(\d+)\.", name))}
    convolutions = {int(found[1]) for name in names if (found := re.match(r"roi_heads\.box_head\.(\d+)\.0\.", name))}
    proposing = {int(found[1]) for name in names if (found := re.match(r"rpn\.head\.conv\.(\d+)\.", name))}
    return "MaskRCNN", {
        "num_classes": names["roi_heads.box_predictor.cls_score.weight"].shape[0] - 1,
        "channels": names["backbone.body.conv1.weight"].shape[1],
        "network": _resnet(names),
        "norm": "batch" if second else "frozen",
        "epsilon": 1e-5 if second else 0.0,
        "pyramid_norm": "batch" if second else "none",
        "head_norm": "batch" if second else "none",
        "hidden": names["roi_heads.box_predictor.cls_score.weight"].shape[1],
        "proposal_layers": len(proposing),
        "box_layers": len(convolutions),
        "box_linear": 1 if second else 2,
        "mask_layers": len(layers),
        "anchor_sizes": (32.0, 64.0, 128.0, 256.0, 512.0),
        "anchor_offset": 0.0,
        "anchor_rule": "torchvision",
        "proposals": 1000,
        "training_proposals": 2000,
        "aligned": False,
        "binary_targets": False,
        "max_objects": 100,
        "min_side": 800,
        "max_side": 1333,
        "normalization": Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    }


def classes(state: dict[str, Tensor]) -> tuple[str, ...] | None:
    """The names of COCO's numbers from 1, as torchvision lists them; None for weights of other data."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    if len(state[SCORES + "weight"]) != len(names):
        return None
    return tuple(f"unused {number}" if name == "N/A" else name for number, name in enumerate(names) if number)


def _resnet(names: dict[str, Tensor]) -> str:
    """Which ResNet it is, by its blocks."""
    blocks = [
        len({name.split(".")[3] for name in names if name.startswith(f"backbone.body.layer{layer}.")})
        for layer in range(1, 5)
    ]
    deep = "backbone.body.layer1.0.conv3.weight" in names
    known = {(2, 2, 2, 2): "resnet18", (3, 4, 6, 3): "resnet50" if deep else "resnet34", (3, 4, 23, 3): "resnet101",
             (3, 8, 36, 3): "resnet152"}  # fmt: skip
    return known[blocks[0], blocks[1], blocks[2], blocks[3]]
