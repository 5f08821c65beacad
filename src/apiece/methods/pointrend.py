"""PointRend: boxes as in Mask R-CNN, and masks told point by point, finer wherever they are uncertain.

Paper: Kirillov et al., PointRend: Image Segmentation as Rendering, CVPR 2020, https://arxiv.org/abs/1912.08193

    image B C H W -> pyramid, regions, boxes: as in Mask R-CNN                                  boxes Q 4
    boxes -> 14 x 14 points of the finest map -> convolution, linear layers -> coarse logits     Q K 7 7
    a point: the finest map's features there, and the coarse logits -> the same small network    K logits
    a mask is told at 28 x 28 points; then doubled, and told anew at its 784 most uncertain points; again, and again
    objects: masks of up to 224 x 224, each interpolated at the pixels of its box and cut at one half
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
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
from apiece.parts.box_masks import mask_targets, masks_at
from apiece.parts.detection_rules import Rules, following, shrunk
from apiece.parts.detections import announce_limit, corrected, decoded, ideal, pictures
from apiece.parts.normalization import Normalization
from apiece.parts.points import features_at, grid_points, places_of, subdivided, training_points, values_at
from apiece.parts.true_boxes import Truth
from apiece.parts.two_stage import PYRAMID, SIZES, Learned, TwoStage, drawing
from apiece.statistics import COARSE_FROM, Statistics

COARSE, POOLED = 7, 14
"""Side of the coarse masks, and of the features they are made from."""
AT_ONCE = 1 << 22
"""Numbers that the point head's inputs may take up at once."""

PAPER = Recipe((Stage(crop=800, batch_size=16, lr=0.02),), 90_000, "sgd", schedule="step", warmup=1 / 90,
               augmentation={"centered": 0.0, "quarter_turns": False})  # fmt: skip
"""The authors' "1x": the rate falls to a tenth after 60,000 and 80,000 steps."""

RECIPE = Recipe(average=0.998, augmentation={"rotation": 180.0, "scale": (0.7, 1.4)})


class PointRend(Method):
    """A mask in each box that is found, as fine as is needed.

    Masks are learned in the boxes as the box head refines them, as in the authors' program. Unlike there, anchors are
    centered in their cells (`anchor_offset`), regions that mostly lie where truth is ignored are not background, and a
    mask keeps only the logits of its object's class while it is subdivided: the same mask in a K-th of the memory.

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
        pyramid_norm, head_norm: "batch" norm or "none" behind the convolutions of the pyramid, and of the box head.
        hidden: width of the linear layers of the box head and of the coarse masks.
        proposal_layers: convolutions of the proposals' head.
        box_layers: convolutions of the box head (3 x 3) before its linear layers.
        box_linear: linear layers of the box head.
        point_levels: how many of the finest maps points look at.
        point_layers: hidden layers of the points' network.
        points: of each region that masks are learned at.
        oversampling: how many times as many are drawn, for the most uncertain ones of them.
        important: share of the most uncertain ones.
        subdivisions: how often a mask of 7 x 7 doubles; None = until a cell is a pixel of the data's larger objects.
        subdivision_points: points that are told anew each time.
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
        binary_targets: cells of the true coarse masks are 0 or 1, not shares. None = shares with a light network, to
            which thin objects, no cell of 7 x 7 half covered, would be nothing.
        score_threshold: regions and classes that are less sure are no objects.
        nms: IoU of boxes above which of two objects of a class the lesser goes; None = 0.5 (the papers'), or a
            little more than what a twentieth of the data's objects exceed with another, at most 0.8.
        max_objects: the most objects of an image; None = twice the data's most, at least 100.
        box_beta: error at which smooth L1 becomes linear; 0 = L1.
        ignored_share: share of an anchor or region that may lie where truth is ignored, if it is to be background.
        min_side, max_side: images are resized so that the shorter side is as given, the longer no more; 0 = never.
        normalization: pixel values to network input.
    """

    class_heads: ClassVar[tuple[str, ...]] = (
        "boxes.head.classes.",
        "boxes.head.deltas.",
        "coarse.logits.",
        "point.logits.",
    )

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
        head_norm: Literal["none", "batch"] = "none",
        hidden: int | None = None,
        proposal_layers: int = 1,
        box_layers: int = 0,
        box_linear: int = 2,
        point_levels: int = 1,
        point_layers: int = 3,
        points: int = 196,
        oversampling: float = 3.0,
        important: float = 0.75,
        subdivisions: int | None = None,
        subdivision_points: int = 784,
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
        binary_targets: bool | None = None,
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
        seen = self.width * point_levels
        self.coarse = CoarseHead(seen, self.width, num_classes, self.hidden)
        self.point = PointHead(seen, self.width, num_classes, point_layers)

    def _settle_sizes(self) -> None:
        chosen = {**SIZES.get(self.network, SIZES[""]), "binary_targets": self.network not in SIZES}
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
        if len(statistics.sides):
            large = np.percentile(statistics.sides.max(1), 95)
            chosen["subdivisions"] = int(np.clip(np.ceil(np.log2(large / COARSE)), 1, 5))
        self.settle(**{name: value for name, value in chosen.items() if getattr(self, name) is None})

    def frame(self, original: Size) -> Frame:
        """The image with its shorter side as asked for."""
        return Frame(original, shrunk(original, self.min_side, self.max_side))

    @property
    def steps(self) -> int:
        """How often a mask doubles."""
        return 5 if self.subdivisions is None else self.subdivisions

    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Boxes B Q 4 in pixels, scores B Q, labels B Q and masks B Q S S (0..1), the surest first, then zeros.

        Images of different sizes go through the network apart: an image's objects are the same alone and in any batch.
        """
        return each_apart(self._find, images, sizes, self.stride)

    def _find(self, images: Tensor, sizes: list[list[int]]) -> list[dict[str, Tensor]]:
        maps, found = self.boxes.find(images, sizes, self.rules)
        rows = []
        for image, one in enumerate(found):
            own = [map_[image : image + 1] for map_ in maps]
            masks = self.masks(own, one.boxes, one.labels).sigmoid()
            rows.append({**one._asdict(), "masks": masks})
        return rows

    def masks(
        self, maps: list[Tensor], boxes: Float[Tensor, "R 4"], labels: Integer[Tensor, " R"]
    ) -> Float[Tensor, "R S S"]:
        """Logits of the masks in the boxes of one image, by adaptive subdivision."""
        each = self.subdivision_points * (self.width * self.point_levels + self.num_classes)
        step = max(1, AT_ONCE // each)
        parts = [
            self._part(maps, boxes[first : first + step], labels[first : first + step])
            for first in range(0, max(len(boxes), 1), step)
        ]
        return torch.cat(parts)

    def _part(self, maps: list[Tensor], boxes: Tensor, labels: Tensor) -> Float[Tensor, "R S S"]:
        coarse = self._coarse(maps, [boxes])

        def logits_at(points: Float[Tensor, "R P 2"]) -> Float[Tensor, "R P"]:
            # The network of points reads the coarse map, never the growing one: other classes are not needed.
            logits = self._told(maps, [boxes], coarse, points)
            return logits[torch.arange(len(labels), device=labels.device), labels]

        return subdivided(logits_at, len(boxes), COARSE, self.steps, self.subdivision_points, boxes.device)

    def _coarse(self, maps: list[Tensor], boxes: Sequence[Tensor]) -> Float[Tensor, "R K 7 7"]:
        points = grid_points(POOLED, maps[0].device)
        places = [places_of(points.expand(len(of_image), -1, -1), of_image) for of_image in boxes]
        return self.coarse(self._seen(maps, places).unflatten(2, (POOLED, POOLED)))

    def _told(
        self, maps: list[Tensor], boxes: Sequence[Tensor], coarse: Tensor, points: Float[Tensor, "R P 2"]
    ) -> Float[Tensor, "R K P"]:
        """Logits of all classes at points of the boxes."""
        split = points.split([len(of_image) for of_image in boxes])
        places = [places_of(one, of_image) for one, of_image in zip(split, boxes, strict=True)]
        return self.point(self._seen(maps, places), values_at(coarse, points)).float()

    def _seen(self, maps: list[Tensor], places: list[Tensor]) -> Float[Tensor, "R D P"]:
        levels = self.point_levels
        return features_at(maps[:levels], self.boxes.backbone.strides[:levels], places)

    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """The terms "objectness", "proposal", "class", "box", "mask" (coarse) and "point".

        The last two are cross entropies, means over positive regions' cells and points.
        """
        return self.loss_of(images, [Truth.of(target, images.device) for target in targets], drawing(images))

    def loss_of(self, images: Tensor, truths: list[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss with given randomness: which anchors, regions and points are drawn."""
        learned = self.boxes.learn(images, truths, self.rules, generator)
        boxes = learned.at_least_one(learned.refined)
        coarse = self._coarse(learned.maps, boxes)
        labels = learned.labels if len(learned.labels) else learned.labels.new_zeros(len(coarse))
        rows = torch.arange(len(labels), device=labels.device)
        points = training_points(coarse[rows, labels], self.points, self.oversampling, self.important, generator)
        told = self._told(learned.maps, boxes, coarse, points)[rows, labels]
        with torch.autocast(images.device.type, enabled=False):
            return {**learned.losses, **self._mask_losses(coarse[rows, labels], told, points, learned, truths)}

    def _mask_losses(
        self, coarse: Tensor, told: Tensor, points: Tensor, learned: Learned, truths: list[Truth]
    ) -> dict[str, Tensor]:
        if not len(learned.labels):
            return {"mask": coarse.sum() * 0, "point": told.sum() * 0}
        cells, shares = [], []
        split = points.split([len(of_image) for of_image in learned.refined])
        for truth, objects, boxes, own in zip(truths, learned.objects, learned.refined, split, strict=True):
            cells.append(mask_targets(truth.masks, objects, boxes, COARSE, binary=bool(self.binary_targets)))
            shares.append(masks_at(truth.masks, objects, places_of(own, boxes)))
        entropy = functional.binary_cross_entropy_with_logits
        return {"mask": entropy(coarse, torch.cat(cells)), "point": entropy(told, torch.cat(shares))}

    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Each mask stretched over its box at the original size; boxes are the network's."""
        announce_limit(outputs["scores"], self.rules.max_objects, self.card.threshold)
        return decoded(outputs, frames)

    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """True boxes and masks: lost is what their cells cannot show, and what NMS takes for another object."""
        return ideal(targets, frames, COARSE * 2**self.steps, self.rules.nms)

    def oracle(self, outputs: dict[str, Tensor], targets: list[Instances], known: str) -> dict[str, Tensor]:
        """The true "boxes", "masks" or "classes" for what was found, where its box has IoU 0.5 with a true one's."""
        changed = corrected(outputs, targets, known)
        return super().oracle(outputs, targets, known) if changed is None else changed

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """The boxes and the masks before they are cut."""
        return pictures(outputs, frames)


class CoarseHead(nn.Module):
    """A mask of 7 x 7 for each class, from the features of a box.

    Args:
        seen: channels of the features.
        width: of the convolution.
        classes: how many there are.
        hidden: width of the linear layers.
    """

    def __init__(self, seen: int, width: int, classes: int, hidden: int):
        super().__init__()
        self.reduce = nn.Conv2d(seen, width, 2, stride=2)
        self.linear = nn.Sequential(*(
            nn.Sequential(nn.Linear(inside, hidden), nn.ReLU(True)) for inside in (width * COARSE**2, hidden)
        ))  # fmt: skip
        self.logits = nn.Linear(hidden, classes * COARSE**2)
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.logits.weight, std=0.001)
        for layer in (self.reduce, self.logits):
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, features: Float[Tensor, "R C 14 14"]) -> Float[Tensor, "R K 7 7"]:
        """Logits, in float32."""
        hidden = self.linear(self.reduce(features).relu().flatten(1))
        return self.logits(hidden).float().unflatten(1, (-1, COARSE, COARSE))


class PointHead(nn.Module):
    """The classes of points, one by one; every layer reads the coarse logits anew.

    Args:
        seen: channels of the features.
        width: of the layers.
        classes: how many there are.
        layers: how many, before the last.
    """

    def __init__(self, seen: int, width: int, classes: int, layers: int):
        super().__init__()
        inside = [seen, *[width] * layers]
        self.layers = nn.ModuleList(nn.Conv1d(one + classes, width, 1) for one in inside[:-1])
        self.logits = nn.Conv1d(inside[-1] + classes, classes, 1)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
        nn.init.normal_(self.logits.weight, std=0.001)
        nn.init.zeros_(self.logits.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, features: Float[Tensor, "R C P"], coarse: Float[Tensor, "R K P"]) -> Float[Tensor, "R K P"]:
        """Logits at points, from what is seen there and the coarse logits there."""
        for layer in self.layers:
            features = layer(torch.cat([features, coarse], 1)).relu()
        return self.logits(torch.cat([features, coarse], 1))
