"""A detector of boxes in two stages: pyramid, region proposals, box head; Mask R-CNN and PointRend add masks to it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from apiece.errors import CallError
from apiece.parts import anchors as boxes_at
from apiece.parts.box_head import WEIGHTS, BoxHead, Found, box_losses, detect, sample_regions
from apiece.parts.detection_rules import Rules
from apiece.parts.proposals import ProposalHead, proposal_losses, propose
from apiece.parts.regions import pooled
from apiece.parts.true_boxes import Truth

POOLED = 7
"""Side of the features that a box's class is told from."""

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"first": 2, "last": 4, "extra": "none", "pyramid_norm": "batch", "width": 16, "hidden": 32,
             "region_samples": 32, "training_candidates": 100, "training_proposals": 100},
    "small": {"first": 1, "last": 5, "extra": "none", "pyramid_norm": "batch", "width": 64, "hidden": 256,
              "region_samples": 64, "training_candidates": 500, "training_proposals": 500},
    "": {"first": 2, "last": 5, "extra": "pool", "pyramid_norm": "none", "width": 256, "hidden": 1024,
         "region_samples": 512, "training_candidates": 2000, "training_proposals": 1000},
}  # fmt: skip
"""What a method leaves open for its network to decide; the last is for all larger ones, the papers'."""

PYRAMID = (
    "first",
    "last",
    "extra",
    "width",
    "pyramid_norm",
    "pretrained",
    "norm",
    "frozen_stages",
    "epsilon",
    "stride_in_1x1",
)
"""Arguments that are handed on to the backbone."""


class Learned(NamedTuple):
    """What the masks' heads learn from: regions that are objects, of all images one after another.

    Attributes:
        losses: of the boxes.
        maps: the features.
        boxes: of each image's regions.
        refined: the same boxes as the box head would have them, without gradient.
        objects: of each image, the true object of each region.
        labels: the class of each region.
    """

    losses: dict[str, Tensor]
    maps: list[Float[Tensor, "B C _ _"]]
    boxes: list[Float[Tensor, "_ 4"]]
    refined: list[Float[Tensor, "_ 4"]]
    objects: list[Int[Tensor, " _"]]
    labels: Int[Tensor, " R"]

    def at_least_one(self, boxes: Sequence[Float[Tensor, "_ 4"]]) -> list[Float[Tensor, "_ 4"]]:
        """The boxes; or a pixel of each image where there are none at all: every weight shall have a gradient."""
        return list(boxes) if len(self.labels) else [one.new_tensor([[0, 0, 1, 1]]) for one in boxes]


class TwoStage(nn.Module):
    """Boxes, scores and classes.

    Args:
        backbone: a `networks.pyramid.Pyramid`; of an added level ("pool") only proposals come.
        method: Mask R-CNN or PointRend; its arguments say what is built.

    Raises:
        CallError: there is not an anchor size for each level.
    """

    def __init__(self, backbone: Any, method: Any):
        super().__init__()
        self.backbone = backbone
        self.proposals = ProposalHead(method.width, len(method.anchor_ratios), method.proposal_layers)
        self.head = BoxHead(
            method.width,
            method.num_classes,
            POOLED,
            convolutions=method.box_layers,
            linear=method.box_linear,
            hidden=method.hidden,
            norm=method.head_norm,
        )
        levels, sizes = len(backbone.strides), method.anchor_sizes
        self.levels = levels - backbone.fpn.added
        if sizes is not None and len(sizes) != levels:
            raise CallError(f"{len(sizes)} anchor sizes for {levels} levels: give one for each.")

    def pool(self, maps: list[Tensor], boxes: list[Tensor], side: int, rules: Rules) -> Float[Tensor, "R C s s"]:
        """Features of the boxes of all images."""
        kind, own = rules.pooling, self.levels
        return pooled(maps[:own], self.backbone.strides[:own], boxes, side, kind, rules.aligned, rules.sampling)

    def find(
        self, images: Float[Tensor, "B C H W"], sizes: list[list[int]], rules: Rules
    ) -> tuple[list[Tensor], list[Found]]:
        """The maps, and the boxes of each image, from images that are padded to the stride only."""
        maps = self.backbone(images)
        proposed = self.proposals(maps, self.backbone.strides, rules)
        regions = propose(proposed, sizes, rules.candidates, rules.proposals, rules)
        logits, deltas = self.head(self.pool(maps, regions, POOLED, rules))
        counts = [len(one) for one in regions]
        each = zip(logits.split(counts), deltas.split(counts), regions, sizes, strict=True)
        return maps, [detect(*one, rules) for one in each]

    def learn(
        self, images: Float[Tensor, "B C H W"], truths: list[Truth], rules: Rules, generator: torch.Generator
    ) -> Learned:
        """The losses of boxes, and what those of masks need."""
        maps = self.backbone(images)
        proposed = self.proposals(maps, self.backbone.strides, rules)
        sizes = [list(truth.size) for truth in truths]
        regions = propose(proposed, sizes, rules.training_candidates, rules.training_proposals, rules)
        with torch.autocast(images.device.type, enabled=False):
            losses = proposal_losses(proposed, truths, rules, generator)
            sampled = [sample_regions(one, truth, rules, generator) for one, truth in zip(regions, truths, strict=True)]
        logits, deltas = self.head(self.pool(maps, [one.boxes for one in sampled], POOLED, rules))
        with torch.autocast(images.device.type, enabled=False):
            losses |= box_losses(logits, deltas, sampled, truths, rules)
        labels, counts = torch.cat([one.labels for one in sampled]), [len(one.labels) for one in sampled]
        own = deltas.detach()[torch.arange(len(labels), device=labels.device), labels.clamp(min=0)]
        boxes = torch.cat([one.boxes for one in sampled])
        refined = boxes_at.decode(own, boxes, WEIGHTS).split(counts)
        chosen = [one.labels >= 0 for one in sampled]
        return Learned(
            losses,
            maps,
            [one.boxes[mine] for one, mine in zip(sampled, chosen, strict=True)],
            [one[mine] for one, mine in zip(refined, chosen, strict=True)],
            [one.objects[mine] for one, mine in zip(sampled, chosen, strict=True)],
            labels[labels >= 0],
        )


def drawing(images: Tensor) -> torch.Generator:
    """Random numbers for a batch that depend on its pixels only: the same batch is always learned from alike."""
    seed = int(images.detach().double().sum().cpu().view(torch.int64)) & (2**63 - 1)
    return torch.Generator().manual_seed(seed)
