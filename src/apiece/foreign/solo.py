"""The checkpoints of github.com/WXinlong/SOLO: SOLO, Decoupled SOLO and SOLOv2 with a ResNet; names only.

The file holds `meta, state_dict, optimizer`; these functions take its `state_dict`.

    backbone.*                                               -> pyramid.body.*
    neck.{lateral,fpn}_convs.{i}.conv.*                      -> pyramid.fpn.{inner,layer}_blocks.{i}.0.*
    bbox_head.{cate,ins,kernel}_convs.{i}.{conv,gn}.*        -> heads.{category,mask,kernel}_tower.{i}.{0,1}.*
    bbox_head.ins_convs_{x,y}.{i}.{conv,gn}.*                -> heads.tower_{x,y}.{i}.{0,1}.*
    bbox_head.{solo_cate,dsolo_cate,solo_kernel}.*           -> heads.{category,kernel}.*
    bbox_head.{solo_ins_list,dsolo_ins_list_{x,y}}.{i}.*     -> heads.{masks,masks_x,masks_y}.{i}.*
    mask_feat_head.convs_all_levels.{l}.conv{j}.{conv,gn}.*  -> heads.shared.levels.{l}.{j}.{0,1}.*
    mask_feat_head.conv_pred.0.{conv,gn}.*                   -> heads.shared.mixed.{0,1}.*

The fifth map of their neck is a subsampling without weights. Batch-norm counters are left out: statistics are frozen.
"""

import re
from collections.abc import Iterable

from torch import Tensor

from apiece.parts.normalization import Normalization

LICENSE = "SOLO for non-commercial purposes"
"""Of the code that the weights come with."""

TELLING = {"backbone.conv1.weight", "neck.lateral_convs.0.conv.weight", "bbox_head.cate_convs.0.conv.weight"}
PARTS = ("backbone.", "neck.", "bbox_head.", "mask_feat_head.")
RULES = (
    (r"^backbone\.", "pyramid.body."),
    (r"^neck\.lateral_convs\.(\d)\.conv\.", r"pyramid.fpn.inner_blocks.\1.0."),
    (r"^neck\.fpn_convs\.(\d)\.conv\.", r"pyramid.fpn.layer_blocks.\1.0."),
    (r"^bbox_head\.cate_convs\.", "heads.category_tower."),
    (r"^bbox_head\.ins_convs_([xy])\.", r"heads.tower_\1."),
    (r"^bbox_head\.ins_convs\.", "heads.mask_tower."),
    (r"^bbox_head\.kernel_convs\.", "heads.kernel_tower."),
    (r"^bbox_head\.d?solo_cate\.", "heads.category."),
    (r"^bbox_head\.solo_kernel\.", "heads.kernel."),
    (r"^bbox_head\.solo_ins_list\.", "heads.masks."),
    (r"^bbox_head\.dsolo_ins_list_([xy])\.", r"heads.masks_\1."),
    (r"^mask_feat_head\.convs_all_levels\.(\d)\.conv(\d)\.", r"heads.shared.levels.\1.\2."),
    (r"^mask_feat_head\.conv_pred\.0\.", "heads.shared.mixed."),
    (r"^(heads\..*)\.conv\.", r"\1.0."),
    (r"^(heads\..*)\.gn\.", r"\1.1."),
)
DEPTHS = {(False, 2): 18, (False, 6): 34, (True, 6): 50, (True, 23): 101}
"""By whether blocks are bottlenecks, and how many the third layer has."""


def recognize(keys: Iterable[str]) -> bool:
    """Whether these are the names of one of the three, and nothing but its names."""
    names = set(keys)
    return names >= TELLING and all(name.startswith(PARTS) for name in names)


def rename(name: str) -> str:
    """A published name as `SOLO` has it."""
    for pattern, place in RULES:
        name = re.sub(pattern, place, name)
    return name


def translate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of a `SOLO`."""
    return {rename(name): tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def describe(state: dict[str, Tensor]) -> tuple[str, dict[str, object]]:
    """The method's name and arguments that give the authors' program: variant, grids, depth, scaling.

    Raises:
        KeyError: a network other than ResNet-50 or 101, or heads of another kind.
    """
    new = translate(state)
    variant = "v2" if "heads.kernel.weight" in new else "vanilla" if "heads.masks.0.weight" in new else "decoupled"
    grids = [40, 36, 24, 16, 12]
    if variant != "v2":
        masks, power = ("masks", 0.5) if variant == "vanilla" else ("masks_x", 1.0)
        grids = [round(new[f"heads.{masks}.{level}.weight"].shape[0] ** power) for level in range(5)]
    blocks = {name.split(".")[3] for name in new if name.startswith("pyramid.body.layer3.")}
    convolutions = {name.split(".")[2] for name in new if name.startswith("heads.category_tower.")}
    arguments = {
        "num_classes": new["heads.category.weight"].shape[0],
        "channels": 3,
        "network": f"resnet{DEPTHS['pyramid.body.layer1.0.conv3.weight' in new, len(blocks)]}",
        "norm": "frozen",
        "frozen_stages": 2,
        "variant": variant,
        "grids": tuple(grids),
        "width": new["pyramid.fpn.inner_blocks.0.0.weight"].shape[0],
        "head_width": new["heads.category.weight"].shape[1],
        "depth": len(convolutions),
        "max_objects": 100,
        "min_side": 800,
        "max_side": 1333,
        "normalization": Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    }
    if variant == "v2":
        arguments["kernel_width"], arguments["mask_width"] = new["heads.shared.mixed.0.weight"].shape[:2]
    return "SOLO", arguments
