"""Mask R-CNN: boxes are proposed, classified and refined, and each gets a mask of 28 x 28 that is stretched over it.

Paper: He et al., Mask R-CNN, ICCV 2017, https://arxiv.org/abs/1703.06870; with FPN: Lin et al., CVPR 2017.

    image B C H W -> pyramid -> at every place: objectness, box     -> NMS -> regions               R 4
    regions -> RoIAlign   7 x 7 -> linear layers -> class, finer box -> NMS -> objects' boxes       Q 4
    boxes   -> RoIAlign 14 x 14 -> convolutions -> a mask for each class, of which the found one's  Q 28 28
    objects: each mask interpolated at the pixels of its box, at the original size, and cut at one half
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from apiece.instances import Instances
from apiece.masks import Size
from apiece.methods.method import Frame, Method, Recipe, Stage
from apiece.networks.backbones import Norm
from apiece.networks.pyramid import Pyramid
from apiece.parts.batching import each_apart
from apiece.parts.box_head import rectified
from apiece.parts.box_masks import mask_targets
from apiece.parts.detection_rules import Rules, following, shrunk
from apiece.parts.detections import announce_limit, corrected, decoded, ideal, pictures
from apiece.parts.normalization import Normalization
from apiece.parts.true_boxes import Truth
from apiece.parts.two_stage import PYRAMID, SIZES, Learned, TwoStage, drawing
from apiece.statistics import COARSE_FROM, Statistics

POOLED = 14
"""Side of the features that a mask is made from; the mask's is twice that."""

MASK_LAYERS = {"tiny": (1, "none"), "small": (4, "batch"), "": (4, "none")}
"""Convolutions of the mask head and their norm, where they are left open; the last is the paper's."""

PAPER = Recipe((Stage(crop=800, batch_size=16, lr=0.02),), 90_000, "sgd", schedule="step", warmup=1 / 90,
               augmentation={"centered": 0.0, "quarter_turns": False})  # fmt: skip
"""The authors' "1x": the rate falls to a tenth after 60,000 and 80,000 steps."""

RECIPE = Recipe(average=0.998, augmentation={"rotation": 180.0, "scale": (0.7, 1.4)})


class MaskRCNN(Method):
    """A mask in each box that is found.

    Decided differently from one or the other of the authors' and torchvision's programs, unless arguments say so:
    anchors are centered in their cells and not rounded, features and targets are aligned, the means of the proposals'
    losses are over the drawn anchors, NMS ranks by logits, its IoU follows the data. What is drawn depends on the
    images only. Regions that mostly lie where truth is ignored are not background (Detectron's rule; its successors and
    torchvision have none).

    Args:
        num_classes: how many kinds of object.
        channels: of the images.
        network: "small" (light, to learn from scratch), "tiny" (for tests), "resnet18" to "resnet101" or any other
            backbone of `Pyramid`. Arguments that are None are as it needs them.
        pretrained: start the network from ImageNet.
        norm: of the network: "batch", "frozen" (usual with pretrained weights), "group".
        frozen_stages: parts of the network that do not learn, from the stem on.
        epsilon: of its normalization; torchvision's first detectors have 0.
        stride_in_1x1: bottlenecks halve in their first convolution, as Caffe's.
        first, last: the network's finest and coarsest level; level n has stride 2^n. First None = 2, and 1 of "small"
            for objects below 32 pixels.
        extra: "pool": a yet coarser level, for proposals only; "none".
        width: channels of the pyramid.
        pyramid_norm, head_norm: "batch" norm or "none" behind the convolutions of the pyramid, and of the heads.
        hidden: width of the box head's linear layers.
        proposal_layers: convolutions of the proposals' head.
        box_layers: convolutions of the box head (3 x 3) before its linear layers.
        box_linear: linear layers of the box head.
        mask_layers: convolutions of the mask head.
        fusion: whether a mask's cells are also told from all of its box, by a linear layer (after PANet, Liu et al.,
            CVPR 2018): of two crossing objects a box means the one that reaches its corners. None = of "small" only.
        anchor_sizes: pixels; root of the anchors' area on each level, from the finest; None = from the data's sizes.
        anchor_ratios: height over width of the anchors.
        anchor_offset: where in its cell an anchor is centered; 0 = in the corner, as in the paper's code.
        anchor_rule: "torchvision" rounds anchors to whole pixels and spreads them over the padded image.
        anchor_iou: below the first an anchor is negative, from the second on positive.
        anchor_samples, anchor_positive: anchors an image that are learned from, and the share of positive ones.
        candidates, training_candidates: anchors of each level that go into NMS.
        proposals, training_proposals: regions of an image; None = at least 1000 and four times the data's most objects.
        proposal_nms: IoU above which of two proposals the lesser goes.
        smallest_proposal, smallest_box: pixels; the least side.
        region_iou: from which on a region is of its object's class.
        region_samples, region_positive: regions an image that are learned from, and the share of those with objects.
        pooling: "align", or "pool", the rounding RoIPool of Fast R-CNN.
        aligned: whether RoIAlign's samples are where pixels are; torchvision's are half a feature off.
        sampling: samples each way in a cell of RoIAlign; 0 = by the region's size.
        binary_targets: cells of the true masks are 0 or 1, not shares.
        score_threshold: regions and classes that are less sure are no objects.
        nms: IoU of boxes above which of two objects of a class the lesser goes; None = 0.5 (the papers'), or a
            little more than what a twentieth of the data's objects exceed with another, at most 0.8.
        max_objects: the most objects of an image; None = twice the data's most, at least 100.
        box_beta: error at which smooth L1 becomes linear; 0 = L1.
        ignored_share: share of an anchor or region that may lie where truth is ignored, if it is to be background.
        min_side, max_side: images are resized so that the shorter side is as given, the longer no more; 0 = never.
        normalization: pixel values to network input.
    """

    class_heads: ClassVar[tuple[str, ...]] = ("boxes.head.classes.", "boxes.head.deltas.", "masks.logits.")

    def __init__(
        self,
        num_classes: int,
        channels: int = 3,
        network: str = "small",
        pretrained: bool = False,
        norm: Norm = "batch",
        frozen_stages: int = 0,
        epsilon: float = 1e-5,
        stride_in_1x1: bool = False,
        first: int | None = None,
        last: int | None = None,
        extra: Literal["none", "pool"] | None = None,
        width: int | None = None,
        pyramid_norm: Literal["none", "batch"] | None = None,
        head_norm: Literal["none", "batch"] | None = None,
        hidden: int | None = None,
        proposal_layers: int = 1,
        box_layers: int = 0,
        box_linear: int = 2,
        mask_layers: int | None = None,
        fusion: bool | None = None,
        anchor_sizes: tuple[float, ...] | None = None,
        anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        anchor_offset: float = 0.5,
        anchor_rule: Literal["exact", "torchvision"] = "exact",
        anchor_iou: tuple[float, float] = (0.3, 0.7),
        anchor_samples: int = 256,
        anchor_positive: float = 0.5,
        candidates: int = 1000,
        training_candidates: int | None = None,
        proposals: int | None = None,
        training_proposals: int | None = None,
        proposal_nms: float = 0.7,
        smallest_proposal: float = 1e-3,
        region_iou: float = 0.5,
        region_samples: int | None = None,
        region_positive: float = 0.25,
        pooling: Literal["align", "pool"] = "align",
        aligned: bool = True,
        sampling: int = 2,
        binary_targets: bool = True,
        score_threshold: float = 0.05,
        nms: float | None = None,
        max_objects: int | None = None,
        smallest_box: float = 1e-2,
        box_beta: float = 1 / 9,
        ignored_share: float = 0.5,
        min_side: int = 0,
        max_side: int = 0,
        normalization: Normalization = Normalization(),  # noqa: B008
    ):
        super().__init__()
        self.keep(locals())
        self._settle_sizes()
        pyramid = Pyramid(network, channels, **{name: getattr(self, name) for name in PYRAMID})
        self.boxes = TwoStage(pyramid, self)
        # A model file holds all weights: nobody shall need ImageNet's to open it.
        self.settle(pretrained=False)
        self.stride = pyramid.stride
        self.masks = MaskHead(self.width, num_classes, self.mask_layers, self.head_norm, self.fusion)

    def _settle_sizes(self) -> None:
        kind = self.network if self.network in SIZES else ""
        layers, norm = MASK_LAYERS[kind]
        chosen = {**SIZES[kind], "mask_layers": layers, "head_norm": norm, "fusion": kind == "small"}
        self.settle(**{name: value for name, value in chosen.items() if getattr(self, name) is None})

    @property
    def recipe(self) -> Recipe:
        """The paper's for ResNets; a shorter one-cycle training for the light network."""
        return RECIPE if self.network in ("tiny", "small") else PAPER

    @property
    def rules(self) -> Rules:
        """The numbers of the boxes' detector."""
        return Rules.of(self)

    def adapt(self, statistics: Statistics) -> None:
        """Fit finest level, anchors and limits to the data's objects, where they were left open."""
        if self.network == "small" and statistics.small >= COARSE_FROM:
            self.rebuild(first=2)
        chosen = following(statistics, self.boxes.backbone.strides)
        self.settle(**{name: value for name, value in chosen.items() if getattr(self, name) is None})

    def frame(self, original: Size) -> Frame:
        """The image with its shorter side as asked for."""
        return Frame(original, shrunk(original, self.min_side, self.max_side))

    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Boxes B Q 4 in pixels, scores B Q, labels B Q and masks B Q 28 28 (0..1), the surest first, then zeros.

        Images of different sizes go through the network apart: an image's objects are the same alone and in any batch.
        """
        return each_apart(self._find, images, sizes, self.stride)

    def _find(self, images: Tensor, sizes: list[list[int]]) -> list[dict[str, Tensor]]:
        maps, found = self.boxes.find(images, sizes, self.rules)
        logits = self.masks(self.boxes.pool(maps, [one.boxes for one in found], POOLED, self.rules))
        labels = torch.cat([one.labels for one in found])
        masks = logits[torch.arange(len(labels), device=labels.device), labels].float().sigmoid()
        each = zip(found, masks.split([len(one.labels) for one in found]), strict=True)
        return [{**one._asdict(), "masks": mask} for one, mask in each]

    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """The terms "objectness", "proposal", "class", "box" and "mask" (cross entropy, mean over positive regions)."""
        return self.loss_of(images, [Truth.of(target, images.device) for target in targets], drawing(images))

    def loss_of(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss with given randomness: which anchors and regions are drawn."""
        learned = self.boxes.learn(images, truths, self.rules, generator)
        boxes = learned.at_least_one(learned.boxes)
        logits = self.masks(self.boxes.pool(learned.maps, boxes, POOLED, self.rules))
        with torch.autocast(images.device.type, enabled=False):
            return {**learned.losses, "mask": self._mask_loss(logits.float(), learned, truths)}

    def _mask_loss(self, logits: Tensor, learned: Learned, truths: list[Truth]) -> Float[Tensor, ""]:
        if not len(learned.labels):
            return logits.sum() * 0
        rules = {"side": logits.shape[-1], "aligned": self.aligned, "binary": self.binary_targets}
        each = zip(truths, learned.objects, learned.boxes, strict=True)
        target = torch.cat([mask_targets(truth.masks, objects, boxes, **rules) for truth, objects, boxes in each])
        own = logits[torch.arange(len(logits), device=logits.device), learned.labels]
        return functional.binary_cross_entropy_with_logits(own, target)

    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Each mask stretched over its box at the original size; boxes are the network's."""
        announce_limit(outputs["scores"], self.rules.max_objects, self.card.threshold)
        return decoded(outputs, frames)

    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """True boxes and masks: lost is what 28 x 28 cells cannot show, and what NMS takes for another object."""
        return ideal(targets, frames, 2 * POOLED, self.rules.nms)

    def oracle(self, outputs: dict[str, Tensor], targets: list[Instances], known: str) -> dict[str, Tensor]:
        """The true "boxes", "masks" or "classes" for what was found, where its box has IoU 0.5 with a true one's."""
        changed = corrected(outputs, targets, known)
        return super().oracle(outputs, targets, known) if changed is None else changed

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """The boxes and the masks before they are cut."""
        return pictures(outputs, frames)


class MaskHead(nn.Module):
    """A mask for each class from the features of boxes.

    Args:
        width: channels of the features and of all layers.
        classes: how many there are.
        layers: 3 x 3 convolutions.
        norm: whether batch norm follows them.
        fusion: whether all of a box's features, then 14 x 14, tell each cell.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        layers: int = 4,
        norm: Literal["none", "batch"] = "none",
        fusion: bool = False,
    ):
        super().__init__()
        self.fusion = None
        if fusion:
            half, side = width // 2, POOLED // 2
            told = nn.Linear(half * side**2, (2 * POOLED) ** 2)
            nn.init.normal_(told.weight, std=0.001)
            nn.init.zeros_(told.bias)
            self.fusion = nn.Sequential(nn.AvgPool2d(2), rectified(width, half, norm), nn.Flatten(), told)
        self.convolutions = nn.Sequential(*(rectified(width, width, norm) for _ in range(layers)))
        self.enlarge = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.logits = nn.Conv2d(width, classes, 1)
        nn.init.kaiming_normal_(self.enlarge.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.logits.weight, std=0.001)
        for layer in (self.enlarge, self.logits):
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, features: Float[Tensor, "R C h w"]) -> Float[Tensor, "R K _ _"]:
        """Logits, at twice the features' size."""
        features = self.convolutions(features)
        logits = self.logits(self.enlarge(features).relu())
        if self.fusion is None:
            return logits
        return logits + self.fusion(features).view(-1, 1, *logits.shape[2:])
