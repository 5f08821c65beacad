"""torchvision's own detectors, with random weights, and ours with the same: names, boxes, scores, masks, losses."""

from functools import cache

import numpy as np
import pytest
import torch
from torchvision.models import detection

from apiece import checkpoint, methods
from apiece.foreign import torchvision_mask_rcnn
from apiece.instances import Instances
from apiece.parts.true_boxes import Truth

FUNCTIONS = ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"]
SIDES = {"min_size": 128, "max_size": 200}


@cache
def pair(function: str):
    """One of torchvision's detectors, with weights under which much is found, and ours made of its checkpoint."""
    torch.manual_seed(0)
    theirs = getattr(detection, function)(weights=None, weights_backbone=None, **SIDES, num_classes=4).eval()
    for module in theirs.backbone.body.modules():
        # As in the trained ones: v1's norms have no epsilon (torch 2.11 takes none that is nothing in this layer).
        if isinstance(module, torch.nn.BatchNorm2d) and not function.endswith("v2"):
            module.eps = 1e-30
    for name, tensor in theirs.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.8, 1.2)
        elif name.endswith("running_mean") or name.endswith("bias"):
            tensor.normal_(0, 0.1)
        elif name.endswith("bn3.weight"):
            tensor.fill_(0.3)
        elif name.endswith(("cls_score.weight", "cls_logits.weight", "logits.weight")):
            tensor.mul_(10)
    state = theirs.state_dict()
    kind, arguments = torchvision_mask_rcnn.describe(state)
    arguments |= {"min_side": SIDES["min_size"], "max_side": SIDES["max_size"]}
    return theirs, checkpoint.build(methods.find(kind), arguments, torchvision_mask_rcnn.translate(state)).eval()


def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (81, 100, 3)).astype(np.uint8)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_checkpoints_of_torchvision_are_recognized_and_others_are_not(function):
    state = pair(function)[0].state_dict()
    assert torchvision_mask_rcnn.recognize(state)
    assert not torchvision_mask_rcnn.recognize([])
    assert not torchvision_mask_rcnn.recognize([name for name in state if "mask" not in name])
    assert not torchvision_mask_rcnn.recognize([*state, "roi_heads.keypoint_head.0.weight"])


@pytest.mark.parametrize("function", FUNCTIONS)
@torch.no_grad()
def test_boxes_scores_and_masks_are_torchvisions_own(function):
    theirs, ours = pair(function)
    pixels = torch.from_numpy(ours.normalize(image()))[None]
    frame = ours.frame((81, 100))
    assert frame.size == (128, 158)
    pixels = torch.nn.functional.interpolate(pixels, frame.size, mode="bilinear", antialias=True)
    found = ours.infer(pixels, [frame])
    maps = []
    hook = theirs.roi_heads.mask_predictor.register_forward_hook(lambda module, given, made: maps.append(made))
    (expected,) = theirs([torch.from_numpy(image()).permute(2, 0, 1) / 255])
    hook.remove()
    count = len(expected["scores"])
    assert count > 20 and int((found["scores"] > 0).sum()) == count
    scale = torch.tensor([100 / 158, 81 / 128]).repeat(2)
    torch.testing.assert_close(found["boxes"][0] * scale, expected["boxes"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found["scores"][0], expected["scores"], rtol=1e-4, atol=1e-5)
    assert torch.equal(found["labels"][0] + 1, expected["labels"])
    masks = maps[0].sigmoid()[torch.arange(count), expected["labels"]]
    torch.testing.assert_close(found["masks"][0], masks, rtol=1e-4, atol=1e-4)


def test_the_losses_and_their_gradients_are_torchvisions_own():
    theirs, ours = pair(FUNCTIONS[0])
    label_map = np.zeros((128, 160), np.uint8)
    label_map[20:50, 10:60], label_map[30:110, 80:130], label_map[60:100, 20:40] = 1, 2, 3
    truth = Truth.of(Instances.from_label_map(label_map, [0, 2, 1]), torch.device("cpu"))
    pixels = torch.randn(1, 3, 128, 160)
    target = {"boxes": truth.boxes, "labels": truth.labels + 1, "masks": torch.from_numpy(truth.masks.dense())}
    theirs.transform.normalize = lambda image: image
    # It would draw a size, from one.
    theirs.transform._skip_resize = True
    theirs.train()
    # torchvision reads its numbers of proposals from the training mode; batch norm is to stay as it is.
    theirs.backbone.eval()
    torch.manual_seed(7)
    expected = theirs(list(pixels), [{**target, "masks": target["masks"].to(torch.uint8)}])
    found = ours.loss_of(pixels, [truth], torch.Generator().manual_seed(7))
    names = {
        "objectness": "objectness",
        "proposal": "rpn_box_reg",
        "class": "classifier",
        "box": "box_reg",
        "mask": "mask",
    }
    for name, other in names.items():
        torch.testing.assert_close(found[name], expected[f"loss_{other}"], rtol=1e-4, atol=1e-6)
    torch.stack(list(expected.values())).sum().backward()
    torch.stack(list(found.values())).sum().backward()
    gradients = {name: weight.grad for name, weight in theirs.named_parameters()}
    wanted = torchvision_mask_rcnn.translate(gradients)
    for name, weight in ours.named_parameters():
        assert weight.grad is not None
        assert (weight.grad - wanted[name]).abs().max() < 1e-3 * wanted[name].abs().max(), name
    theirs.zero_grad()
    theirs.eval()


def test_names_of_old_files_are_known_too():
    state = pair(FUNCTIONS[0])[0].state_dict()
    old = {}
    for name, tensor in state.items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for number in range(4):
            name = name.replace(f"roi_heads.mask_head.{number}.0.", f"roi_heads.mask_head.mask_fcn{number + 1}.")
            name = name.replace(f"blocks.{number}.0.", f"blocks.{number}.")
        if not name.endswith("num_batches_tracked"):
            old[name] = tensor
    assert torchvision_mask_rcnn.recognize(old)
    assert torchvision_mask_rcnn.describe(old) == torchvision_mask_rcnn.describe(state)
    translated, expected = torchvision_mask_rcnn.translate(old), torchvision_mask_rcnn.translate(state)
    assert translated.keys() == expected.keys()
    assert all(torch.equal(translated[name], expected[name]) for name in expected)


def test_coco_models_know_their_classes():
    found = torchvision_mask_rcnn.classes({"roi_heads.box_predictor.cls_score.weight": torch.zeros(91, 4)})
    assert found is not None and len(found) == len(set(found)) == 90
    assert found[0] == "person" and found[16] == "cat" and found[11] == "unused 12"
    assert torchvision_mask_rcnn.classes({"roi_heads.box_predictor.cls_score.weight": torch.zeros(5, 4)}) is None
