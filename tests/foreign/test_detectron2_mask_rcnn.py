"""Names of the published checkpoints: made from our network's own, and a few spelled out as they were read.

Once, by hand: detectron2 (commit 02b5c4e2's successors, its compiled operators left out) and its PointRend project were
run on a CPU with random weights beside ours: boxes agree to 4e-4 pixels, scores to 1e-6, labels and pasted masks to the
pixel, all five (six) losses to 2e-5 and their gradients to 1e-3 relative, with the same draws.
"""

import re

import pytest
import torch

from apiece import checkpoint, methods
from apiece.foreign import detectron2_mask_rcnn as layout
from apiece.methods.mask_rcnn import MaskRCNN
from apiece.methods.pointrend import PointRend

SHARED = [
    "backbone.bottom_up.stem.conv1.weight",
    "backbone.bottom_up.stem.conv1.norm.running_mean",
    "backbone.bottom_up.res2.0.shortcut.weight",
    "backbone.bottom_up.res2.0.shortcut.norm.running_var",
    "backbone.bottom_up.res4.5.conv3.norm.bias",
    "backbone.fpn_lateral2.weight",
    "backbone.fpn_output5.bias",
    "proposal_generator.rpn_head.conv.weight",
    "proposal_generator.rpn_head.anchor_deltas.bias",
    "roi_heads.box_head.fc2.weight",
    "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.box_predictor.bbox_pred.bias",
]
MASK = ["roi_heads.mask_head.mask_fcn4.bias", "roi_heads.mask_head.deconv.weight", "roi_heads.mask_head.predictor.bias"]
POINT = [
    "roi_heads.mask_head.coarse_head.reduce_spatial_dim_conv.weight",
    "roi_heads.mask_head.coarse_head.fc1.bias",
    "roi_heads.mask_head.coarse_head.prediction.weight",
    "roi_heads.mask_head.point_head.fc3.weight",
    "roi_heads.mask_head.point_head.predictor.bias",
]


def their_name(name: str) -> str:
    """The way back, written anew."""
    name = name.removeprefix("boxes.").replace("backbone.body.conv1.", "backbone.bottom_up.stem.conv1.")
    name = name.replace("backbone.body.bn1.", "backbone.bottom_up.stem.conv1.norm.")
    name = re.sub(r"backbone\.body\.layer(\d)", lambda part: f"backbone.bottom_up.res{int(part[1]) + 1}", name)
    name = re.sub(r"\.bn(\d)\.", r".conv\1.norm.", name)
    name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    for ours, theirs in (("inner", "lateral"), ("layer", "output")):
        pattern = rf"fpn\.{ours}_blocks\.(\d)\.0"
        name = re.sub(pattern, lambda part, theirs=theirs: f"fpn_{theirs}{int(part[1]) + 2}", name)
    name = name.replace("proposals.convolutions.0.0", "proposal_generator.rpn_head.conv")
    name = name.replace("proposals.logits", "proposal_generator.rpn_head.objectness_logits")
    name = name.replace("proposals.deltas", "proposal_generator.rpn_head.anchor_deltas")
    name = re.sub(r"^head\.linear\.(\d)\.0", lambda part: f"roi_heads.box_head.fc{int(part[1]) + 1}", name)
    name = name.replace("head.deltas", "roi_heads.box_predictor.bbox_pred")
    name = re.sub(r"masks\.convolutions\.(\d)\.0", lambda part: f"roi_heads.mask_head.mask_fcn{int(part[1]) + 1}", name)
    name = name.replace("masks.enlarge", "roi_heads.mask_head.deconv").replace(
        "masks.logits", "roi_heads.mask_head.predictor"
    )
    name = name.replace("coarse.reduce", "roi_heads.mask_head.coarse_head.reduce_spatial_dim_conv")
    name = re.sub(
        r"coarse\.linear\.(\d)\.0", lambda part: f"roi_heads.mask_head.coarse_head.fc{int(part[1]) + 1}", name
    )
    name = name.replace("coarse.logits", "roi_heads.mask_head.coarse_head.prediction")
    name = re.sub(r"point\.layers\.(\d)", lambda part: f"roi_heads.mask_head.point_head.fc{int(part[1]) + 1}", name)
    return name.replace("point.logits", "roi_heads.mask_head.point_head.predictor")


def published(kind: type) -> tuple[dict, dict]:
    """A checkpoint in their layout, and our state that it comes from."""
    torch.manual_seed(0)
    ours = kind(5, 3, "resnet50", norm="frozen", width=32, hidden=48).state_dict()
    theirs = {
        their_name(name): tensor
        for name, tensor in ours.items()
        if not name.startswith(("boxes.head.c", "boxes.head.b"))
    }
    for leaf in ("weight", "bias"):
        scores = [ours[f"boxes.head.{part}.{leaf}"] for part in ("classes", "background")]
        theirs[f"roi_heads.box_predictor.cls_score.{leaf}"] = torch.cat(scores)
    theirs["backbone.bottom_up.stem.conv1.weight"] = theirs["backbone.bottom_up.stem.conv1.weight"].flip(1)
    return theirs, ours


@pytest.mark.parametrize(("kind", "names"), [(MaskRCNN, MASK), (PointRend, POINT)])
def test_a_published_checkpoint_fits_exactly(kind, names):
    theirs, ours = published(kind)
    assert {*SHARED, *names} <= set(theirs)
    assert layout.recognize(theirs) and layout.recognize([*theirs, "pixel_mean", "pixel_std"])
    translated = layout.translate(theirs)
    assert translated.keys() == ours.keys()
    assert all(torch.equal(translated[name], ours[name]) for name in ours)
    name, arguments = layout.describe(theirs)
    assert name == kind.__name__
    model = checkpoint.build(methods.find(name), {**arguments, "width": 32}, translated)
    assert (model.num_classes, model.aligned, model.sampling, model.stride) == (5, True, 0, 32)
    assert model.boxes.backbone.body.layer2[0].conv1.stride == (2, 2)


def test_old_names_of_pointrend_are_known():
    theirs, _ = published(PointRend)
    old = {
        name.replace("mask_head.coarse_head.fc", "mask_coarse_head.coarse_mask_fc")
        .replace("mask_head.coarse_head.", "mask_coarse_head.")
        .replace("mask_head.point_head.", "mask_point_head."): tensor
        for name, tensor in theirs.items()
    }
    assert old.keys() != theirs.keys() and layout.recognize(old)
    assert layout.translate(old).keys() == layout.translate(theirs).keys()


def test_other_checkpoints_are_not_taken_for_it():
    theirs, _ = published(MaskRCNN)
    assert not layout.recognize([])
    assert not layout.recognize([name for name in theirs if "mask_head" not in name])
    assert not layout.recognize([*theirs, "roi_heads.keypoint_head.conv_fcn1.weight"])
    with pytest.raises(KeyError):
        layout.translate({"roi_heads.keypoint_head.conv_fcn1.weight": torch.zeros(1)})


def test_coco_models_know_their_classes():
    found = layout.classes({"roi_heads.box_predictor.cls_score.weight": torch.zeros(81, 4)})
    assert found is not None and len(set(found)) == 80 and found[0] == "person" and found[79] == "toothbrush"
    assert layout.classes({"roi_heads.box_predictor.cls_score.weight": torch.zeros(5, 4)}) is None
