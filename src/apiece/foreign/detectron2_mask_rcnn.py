"""The checkpoints of detectron2's Mask R-CNN and PointRend with a ResNet and FPN: names only.

    backbone.bottom_up.stem.conv1.{weight,norm.*}         -> boxes.backbone.body.{conv1.weight,bn1.*}
    backbone.bottom_up.res{n}.{i}.conv{j}.{weight,norm.*} -> boxes.backbone.body.layer{n - 1}.{i}.{conv{j},bn{j}}.*
    backbone.bottom_up.res{n}.{i}.shortcut.*              -> boxes.backbone.body.layer{n - 1}.{i}.downsample.{0,1}.*
    backbone.fpn_{lateral,output}{n}.*                    -> boxes.backbone.fpn.{inner,layer}_blocks.{n - 2}.0.*
    proposal_generator.rpn_head.conv.*                    -> boxes.proposals.convolutions.0.0.*
    proposal_generator.rpn_head.{objectness_logits,anchor_deltas}.* -> boxes.proposals.{logits,deltas}.*
    roi_heads.box_head.fc{1,2}.*                          -> boxes.head.linear.{0,1}.0.*
    roi_heads.box_predictor.cls_score.*                   -> boxes.head.{classes,background}.*   the last is background
    roi_heads.box_predictor.bbox_pred.*                   -> boxes.head.deltas.*
    roi_heads.mask_head.{mask_fcn{i + 1},deconv,predictor}.*        -> masks.{convolutions.{i}.0,enlarge,logits}.*
    roi_heads.mask_head.coarse_head.{reduce_spatial_dim_conv,fc{1,2},prediction}.*
                                                          -> coarse.{reduce,linear.{0,1}.0,logits}.*
    roi_heads.mask_head.point_head.{fc{i + 1},predictor}.*          -> point.{layers.{i},logits}.*

Their first layer sees blue, green, red; ours is turned to see red first. Norms are frozen and count nothing.
"""

import re
from collections.abc import Callable, Iterable

from torch import Tensor

from apiece.parts.normalization import Normalization

LICENSE = "CC BY-SA 3.0"
"""Of the model zoo's weights; the code is under Apache-2.0."""

TELLING = {
    "backbone.bottom_up.stem.conv1.weight",
    "backbone.fpn_lateral2.weight",
    "proposal_generator.rpn_head.objectness_logits.weight",
    "roi_heads.box_predictor.cls_score.weight",
}
MASKS = "roi_heads.mask_head.predictor.weight"
POINTS = "roi_heads.mask_head.point_head.predictor.weight"
FIRST = "backbone.bottom_up.stem.conv1.weight"
SCORES = "roi_heads.box_predictor.cls_score."
UNUSED = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.")
RULES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"backbone\.bottom_up\.stem\.conv1\.norm\.", lambda part: "boxes.backbone.body.bn1."),
    (r"backbone\.bottom_up\.stem\.conv1\.", lambda part: "boxes.backbone.body.conv1."),
    (
        r"backbone\.bottom_up\.res(\d)\.(\d+)\.shortcut\.(norm\.)?",
        lambda part: f"boxes.backbone.body.layer{int(part[1]) - 1}.{part[2]}.downsample.{int(bool(part[3]))}.",
    ),
    (
        r"backbone\.bottom_up\.res(\d)\.(\d+)\.conv(\d)\.(norm\.)?",
        lambda part: f"boxes.backbone.body.layer{int(part[1]) - 1}.{part[2]}.{'bn' if part[4] else 'conv'}{part[3]}.",
    ),
    (r"backbone\.fpn_lateral(\d)\.", lambda part: f"boxes.backbone.fpn.inner_blocks.{int(part[1]) - 2}.0."),
    (r"backbone\.fpn_output(\d)\.", lambda part: f"boxes.backbone.fpn.layer_blocks.{int(part[1]) - 2}.0."),
    (r"proposal_generator\.rpn_head\.conv\.", lambda part: "boxes.proposals.convolutions.0.0."),
    (r"proposal_generator\.rpn_head\.objectness_logits\.", lambda part: "boxes.proposals.logits."),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.", lambda part: "boxes.proposals.deltas."),
    (r"roi_heads\.box_head\.fc(\d)\.", lambda part: f"boxes.head.linear.{int(part[1]) - 1}.0."),
    (r"roi_heads\.box_predictor\.bbox_pred\.", lambda part: "boxes.head.deltas."),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.", lambda part: f"masks.convolutions.{int(part[1]) - 1}.0."),
    (r"roi_heads\.mask_head\.deconv\.", lambda part: "masks.enlarge."),
    (r"roi_heads\.mask_head\.predictor\.", lambda part: "masks.logits."),
    (r"roi_heads\.mask_head\.coarse_head\.reduce_spatial_dim_conv\.", lambda part: "coarse.reduce."),
    (r"roi_heads\.mask_head\.coarse_head\.fc(\d)\.", lambda part: f"coarse.linear.{int(part[1]) - 1}.0."),
    (r"roi_heads\.mask_head\.coarse_head\.prediction\.", lambda part: "coarse.logits."),
    (r"roi_heads\.mask_head\.point_head\.fc(\d)\.", lambda part: f"point.layers.{int(part[1]) - 1}."),
    (r"roi_heads\.mask_head\.point_head\.predictor\.", lambda part: "point.logits."),
)


def recognize(keys: Iterable[str]) -> bool:
    """Whether these are the names of such a detector with masks, and nothing but its names."""
    names = {_modern(key) for key in keys if not key.startswith(UNUSED)}
    known = all(name.startswith(SCORES) or _rule(name) for name in names)
    return known and names >= TELLING and (MASKS in names) != (POINTS in names)


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of a `MaskRCNN` or `PointRend`.

    Raises:
        KeyError: a name is none of theirs.
    """
    renamed = {}
    for key, tensor in state.items():
        name = _modern(key)
        if name.startswith(UNUSED):
            continue
        if name.startswith(SCORES):
            leaf = name.removeprefix(SCORES)
            renamed[f"boxes.head.classes.{leaf}"] = tensor[:-1]
            renamed[f"boxes.head.background.{leaf}"] = tensor[-1:]
            continue
        if name == FIRST:
            tensor = tensor.flip(1)
        rule = _rule(name)
        if rule is None:
            raise KeyError(key)
        renamed[re.sub(rule[0], rule[1], name, count=1)] = tensor
    return renamed


def _rule(name: str) -> tuple[str, Callable[[re.Match[str]], str]] | None:
    return next(((pattern, place) for pattern, place in RULES if re.match(pattern, name)), None)


def _modern(key: str) -> str:
    """A name of an old PointRend file as newer ones have it."""
    key = key.replace("roi_heads.mask_coarse_head.", "roi_heads.mask_head.coarse_head.")
    key = key.replace("roi_heads.mask_point_head.", "roi_heads.mask_head.point_head.")
    return key.replace(".coarse_head.coarse_mask_fc", ".coarse_head.fc")


def describe(state: dict[str, Tensor]) -> tuple[str, dict[str, object]]:
    """The method's name and arguments that give detectron2's program: Caffe's strides, anchors, alignment, scaling.

    Its configuration is not in the file: they are those of the model zoo's ResNet-50 and -101, trained 1x or 3x.
    """
    shapes = {_modern(key): tensor.shape for key, tensor in state.items()}
    blocks = [len({name.split(".")[3] for name in shapes if f"bottom_up.res{n}." in name}) for n in range(2, 6)]
    arguments: dict[str, object] = {
        "num_classes": shapes[SCORES + "weight"][0] - 1,
        "channels": 3,
        "network": {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101"}[blocks[0], blocks[1], blocks[2], blocks[3]],
        "norm": "frozen",
        "stride_in_1x1": True,
        "hidden": shapes[SCORES + "weight"][1],
        "anchor_sizes": (32.0, 64.0, 128.0, 256.0, 512.0),
        "anchor_offset": 0.0,
        "proposals": 1000,
        "smallest_proposal": 1e-9,
        "smallest_box": 0.0,
        "sampling": 0,
        "box_beta": 0.0,
        "max_objects": 100,
        "min_side": 800,
        "max_side": 1333,
        "normalization": Normalization(mean=(123.675, 116.28, 103.53), std=(1.0, 1.0, 1.0)),
    }
    if MASKS in shapes:
        layers = [name for name in shapes if re.fullmatch(r"roi_heads\.mask_head\.mask_fcn\d\.weight", name)]
        return "MaskRCNN", {**arguments, "mask_layers": len(layers), "head_norm": "none"}
    layers = [name for name in shapes if re.fullmatch(r"roi_heads\.mask_head\.point_head\.fc\d\.weight", name)]
    seen = shapes[POINTS.replace("predictor", "fc1")][1] - shapes[POINTS][0]
    return "PointRend", {
        **arguments,
        "point_layers": len(layers),
        "point_levels": seen // shapes["backbone.fpn_output2.weight"][0],
        "subdivisions": 5,
    }


def classes(state: dict[str, Tensor]) -> tuple[str, ...] | None:
    """The names of COCO's 80 classes; None for weights of other data."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    numbered = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    names = tuple(name for name in numbered[1:] if name != "N/A")
    return names if len(state[SCORES + "weight"]) == len(names) + 1 else None
