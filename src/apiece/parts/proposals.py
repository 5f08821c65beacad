"""Region proposals: at every place of every map, how likely an object is, and where its box would be.

Paper: Ren et al., Faster R-CNN, NIPS 2015, https://arxiv.org/abs/1506.01497

    maps B width h w -> 3 x 3 convolutions -> objectness B A h w, deltas B 4A h w     A anchors at a place
    the best of each map -> boxes, cut at the image -> NMS within each map -> the best of all are proposed
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from apiece.parts import anchors as boxes_at
from apiece.parts.detection_rules import Rules
from apiece.parts.true_boxes import Truth

WEIGHTS = (1.0, 1.0, 1.0, 1.0)
"""Of a proposal's shifts and sides relative to its anchor."""


class Proposed(NamedTuple):
    """What the head says of every anchor, map by map.

    Attributes:
        logits: of there being an object, each B P.
        deltas: boxes relative to the anchors, each B P 4.
        anchors: each P 4.
    """

    logits: list[Float[Tensor, "B _"]]
    deltas: list[Float[Tensor, "B _ 4"]]
    anchors: list[Float[Tensor, "_ 4"]]


class ProposalHead(nn.Module):
    """One small network for all maps.

    Args:
        width: channels of the maps.
        anchors: how many there are at a place.
        convolutions: before the two outputs.
    """

    def __init__(self, width: int, anchors: int, convolutions: int = 1):
        super().__init__()
        layers = (nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(True)) for _ in range(convolutions))
        self.convolutions = nn.Sequential(*layers)
        self.logits = nn.Conv2d(width, anchors, 1)
        self.deltas = nn.Conv2d(width, 4 * anchors, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Sequence[Float[Tensor, "B C _ _"]], strides: Sequence[int], rules: Rules) -> Proposed:
        """What is said of every anchor, in float32."""
        found = Proposed([], [], [])
        # The images' size: the finest map has a row for each stride.
        canvas = [side * strides[0] for side in maps[0].shape[2:]]
        for one, stride, size in zip(maps, strides, rules.anchor_sizes, strict=True):
            features = self.convolutions(one)
            height, width = one.shape[2:]
            found.logits.append(self.logits(features).float().permute(0, 2, 3, 1).flatten(1))
            deltas = self.deltas(features).float().unflatten(1, (-1, 4))
            found.deltas.append(deltas.permute(0, 3, 4, 1, 2).flatten(1, 3))
            whole = rules.anchor_rule == "torchvision"
            steps = (canvas[0] // height, canvas[1] // width) if whole else (stride, stride)
            shapes = boxes_at.shapes(size, rules.anchor_ratios, whole).to(one.device)
            found.anchors.append(boxes_at.grid(shapes, (height, width), steps, rules.anchor_offset))
        return found


@torch.no_grad()
def propose(
    found: Proposed, sizes: list[list[int]], candidates: int, count: int, rules: Rules
) -> list[Float[Tensor, "_ 4"]]:
    """At most `count` boxes an image, the likeliest first.

    Args:
        sizes: height and width of each image's valid part, at which boxes are cut; what lies beyond is left out.
        candidates: from how many of each map.
    """
    logits, boxes, levels = [], [], []
    for level, (score, deltas, anchors) in enumerate(zip(*found, strict=True)):
        top, places = score.topk(min(candidates, score.shape[1]), 1)
        chosen = deltas.gather(1, places[:, :, None].expand(-1, -1, 4)).flatten(0, 1)
        boxes.append(boxes_at.decode(chosen, anchors[places.flatten()], WEIGHTS).unflatten(0, places.shape))
        logits.append(top)
        levels.append(torch.full_like(places, level))
    rows = []
    together = (torch.cat(each, 1) for each in (logits, boxes, levels))
    for score, of_image, level, (height, width) in zip(*together, sizes, strict=True):
        of_image = clip_boxes_to_image(of_image, (height, width))
        # Boxes of outputs that are no numbers are not kept either.
        large = remove_small_boxes(of_image, rules.smallest_proposal)
        kept = large[batched_nms(of_image[large], score[large], level[large], rules.proposal_nms)]
        rows.append(of_image[kept[:count]])
    return rows


def proposal_losses(
    found: Proposed,
    truths: Sequence[Truth],
    rules: Rules,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """ "objectness", cross entropy, and "proposal", smooth L1 of positive anchors' deltas: means over sampled anchors.

    An anchor is positive if its IoU with a true box reaches the upper limit, or no other has more with some true box;
    negative if it stays below the lower one with all, its center lies in the image, and of the part of it where nothing
    is known there is less than the rules' share.
    """
    anchors, logits, deltas = torch.cat(found.anchors), torch.cat(found.logits, 1), torch.cat(found.deltas, 1)
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    objectness, box, total = logits.sum() * 0, deltas.sum() * 0, 0
    for image, truth in enumerate(truths):
        match = boxes_at.matches(anchors, truth.boxes)
        positive = (match.overlap >= rules.anchor_iou[1]) | match.best
        negative = (match.overlap < rules.anchor_iou[0]) & ~positive
        negative &= (centers < centers.new_tensor(truth.size[::-1])).all(1)
        if truth.ignored is not None:
            negative &= boxes_at.share_within(anchors, truth.ignored) < rules.ignored_share
        taken, others = boxes_at.sample(positive, negative, rules.anchor_samples, rules.anchor_positive, generator)
        total += len(taken) + len(others)
        drawn = logits[image, torch.cat([taken, others])]
        wanted = (torch.arange(len(drawn), device=drawn.device) < len(taken)).float()
        objectness = objectness + functional.binary_cross_entropy_with_logits(drawn, wanted, reduction="sum")
        if len(taken):
            target = boxes_at.encode(truth.boxes[match.objects[taken]], anchors[taken], WEIGHTS)
            error = functional.smooth_l1_loss(deltas[image, taken], target, reduction="sum", beta=rules.box_beta)
            box = box + error
    return {"objectness": objectness / max(total, 1), "proposal": box / max(total, 1)}
