"""YOLACT: prototypes of the whole image, and for each object how much of each its mask takes.

Papers: Bolya et al., YOLACT: Real-time Instance Segmentation, ICCV 2019, https://arxiv.org/abs/1904.02689; the
rescoring of masks: YOLACT++: Better Real-time Instance Segmentation, TPAMI 2020, https://arxiv.org/abs/1912.06218

    image B C H W -> pyramid -> finest map -> prototypes B k h w
                             -> each map   -> of every prior: class, box, k coefficients     `parts/prior_head.py`
    Fast NMS, or exact -> boxes; mask = sigmoid(coefficients * prototypes), cut to the box, cut at one half at full size
"""

from collections.abc import Sequence
from math import ceil
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import clip_boxes_to_image

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.masks import Size
from apiece.methods.method import Frame, Method, Recipe, Stage
from apiece.networks.backbones import THIN, Norm
from apiece.networks.pyramid import Extra, Pyramid
from apiece.parts import anchors
from apiece.parts.batching import filled, of_one_size
from apiece.parts.detections import announce_limit, corrected
from apiece.parts.normalization import Normalization
from apiece.parts.prior_head import WEIGHTS, HeadNorm, PriorHead
from apiece.parts.priors import Level, Matched, fitting, matched, shapes
from apiece.parts.prototype_losses import Outputs, drawn_masks, mask_loss, prior_losses, rescoring_loss, semantic_loss
from apiece.parts.prototype_masks import Raster, mosaic, objects_of, perfect, together
from apiece.parts.prototypes import ProtoNet, Rescorer, rescored
from apiece.parts.suppress import USUAL, best_after_nms, best_of_each, fast_nms
from apiece.parts.true_boxes import Truth
from apiece.parts.two_stage import drawing
from apiece.statistics import Statistics

TINY = {"first": 2, "last": 4, "extra": "none", "pyramid_norm": "batch", "head_norm": "none", "width": 16,
        "prototypes": 8, "proto_width": 16, "proto_layers": 1, "proto_rectified": False,
        "suppression": "exact", "least_negatives": 8}  # fmt: skip
LIGHT = {"first": 2, "last": 5, "extra": "none", "pyramid_norm": "batch", "head_norm": "group", "width": 64,
         "prototypes": 32, "proto_width": 32, "proto_layers": 2, "proto_rectified": False,
         "suppression": "exact", "least_negatives": 16}  # fmt: skip
LARGE = {"first": 3, "last": 5, "extra": "p6p7_linear", "pyramid_norm": "none", "head_norm": "none", "width": 256,
         "prototypes": 32, "proto_width": 256, "proto_layers": 3, "proto_rectified": True,
         "suppression": "fast", "least_negatives": 0}  # fmt: skip
"""What is left open for the network to decide: the last is the paper's."""

PAPER = Recipe(
    (Stage(0.35, 550, 8, 1e-3), Stage(0.4, 550, 8, 1e-4), Stage(0.125, 550, 8, 1e-5), Stage(0.125, 550, 8, 1e-6)),
    800_000, "sgd", weight_decay=5e-4, schedule="constant", warmup=500 / 280_000,
    augmentation={"centered": 0.0, "quarter_turns": False, "scale": (0.5, 1.5)},
)  # fmt: skip
"""The authors': the rate falls to a tenth after 280,000, 600,000 and 700,000 steps (and after 750,000, left out)."""

RECIPE = Recipe((Stage(lr=8e-3),), average=0.998, augmentation={"rotation": 180.0, "scale": (0.7, 1.4)})


NAMES = ("boxes", "scores", "labels", "coefficients")
"""Of the outputs that have a row for each object."""


class YOLACT(Method):
    """Masks as sums of prototypes.

    Decided differently from the authors' program, unless arguments say so: true masks are learned as shares of cells,
    so that none vanishes; images without objects teach a few negatives; classes below the score threshold are never
    found; sizes of priors, NMS and numbers of objects follow the data; images keep their size and aspect; light
    networks have prototypes of both signs and exact NMS. Always: priors in the padding are not used; of ignored objects
    the pixels count, not their boxes; they are left out of the masks' and the semantic losses too; an object that
    overlaps no free prior has none. YOLACT++ is `rescoring` with three `anchor_scales` (1, 1.26, 1.587); its deformable
    convolutions are not here.

    Args:
        num_classes: how many kinds of object.
        channels: of the images.
        network: "small" (light, to learn from scratch), "tiny" (for tests), "resnet18" to "resnet101" or any other
            backbone of `Pyramid`. Arguments that are None are as it needs them.
        pretrained: start the network from ImageNet.
        norm: of the network: "batch", "frozen" (usual with few images a step), "group".
        frozen_stages: parts of the network that do not learn, from the stem on.
        first, last: the network's finest and coarsest level; level n has stride 2^n.
        extra: coarser levels yet: "p6p7_linear" (two), "none".
        width: channels of the pyramid.
        pyramid_norm: "batch" norm or "none" behind the pyramid's convolutions.
        head_norm: "group" norm or "none" behind those of ProtoNet and of the heads.
        head_layers: convolutions shared by classes, boxes and coefficients.
        prototypes: how many, k.
        proto_width, proto_layers: channels of ProtoNet, and its convolutions before it enlarges.
        proto_enlarged: whether prototypes have twice the size of the finest level.
        proto_rectified: whether they are never negative, as in the paper; light networks lose a third of them that way.
        anchor_sizes: pixels; root of the priors' area on each level, from the finest, 0 = no priors there; None = from
            the data's sizes.
        anchor_scales: factors of the size, each for all ratios.
        anchor_ratios: height over width of the priors.
        square_anchors: make them all square, as wide as the ratio says: the authors' published weights need this slip.
        match_iou: IoU below which a prior is background, and from which on it stands for the object.
        negatives: mined background priors for each that stands for an object.
        least_negatives: mined in any image at least.
        mask_samples: the most priors of an image whose masks are learned from.
        binary_targets: cells of the true masks are 0 or 1; tiny objects then vanish.
        class_weight, box_weight, mask_weight, semantic_weight, rescoring_weight: of the terms.
        rescoring: learn how well masks fit (YOLACT++); scores are multiplied by that.
        rescored_area: cells; of masks that are not larger it is not learned.
        ignored_share: share of a prior that may lie where truth is ignored, if it is to be background.
        score_threshold: classes of priors that are less sure are no objects.
        suppression: "fast" (the paper's, where what was suppressed suppresses) or "exact" NMS (of light networks).
        nms: IoU of boxes above which of two objects of a class the lesser goes; None = 0.5 (the papers'), or a
            little more than what a twentieth of the data's objects exceed with another, at most 0.8.
        candidates: the most priors of a class that go into it; None = 20 times the data's most objects, at least 200.
        max_objects: the most objects of an image; None = twice the data's most, at least 100.
        warp: side of the square that every image is warped to for prediction; the paper's is 550; 0 = never.
        normalization: pixel values to network input.
    """

    class_heads: ClassVar[tuple[str, ...]] = ("head.classes.", "semantic.", "rescorer.classes.")

    def __init__(
        self,
        num_classes: int,
        channels: int = 3,
        network: str = "small",
        pretrained: bool = False,
        norm: Norm = "batch",
        frozen_stages: int = 0,
        first: int | None = None,
        last: int | None = None,
        extra: Extra | None = None,
        width: int | None = None,
        pyramid_norm: Literal["none", "batch"] | None = None,
        head_norm: HeadNorm | None = None,
        head_layers: int = 1,
        prototypes: int | None = None,
        proto_width: int | None = None,
        proto_layers: int | None = None,
        proto_enlarged: bool = True,
        proto_rectified: bool | None = None,
        anchor_sizes: tuple[float, ...] | None = None,
        anchor_scales: tuple[float, ...] = (1.0,),
        anchor_ratios: tuple[float, ...] = (1.0, 2.0, 0.5),
        square_anchors: bool = False,
        match_iou: tuple[float, float] = (0.4, 0.5),
        negatives: float = 3.0,
        least_negatives: int | None = None,
        mask_samples: int = 100,
        binary_targets: bool = False,
        class_weight: float = 1.0,
        box_weight: float = 1.5,
        mask_weight: float = 6.125,
        semantic_weight: float = 1.0,
        rescoring_weight: float = 25.0,
        rescoring: bool = False,
        rescored_area: float = 25.0,
        ignored_share: float = 0.7,
        score_threshold: float = 0.05,
        suppression: Literal["fast", "exact"] | None = None,
        nms: float | None = None,
        candidates: int | None = None,
        max_objects: int | None = None,
        warp: int = 0,
        normalization: Normalization = Normalization(),  # noqa: B008
    ):
        super().__init__()
        self.keep(locals())
        shape = {"tiny": TINY, "small": LIGHT}.get(network, LARGE)
        self.settle(**{name: value for name, value in shape.items() if getattr(self, name) is None})
        options: dict[str, Any] = {name: getattr(self, name) for name in ("first", "last", "extra", "pyramid_norm")}
        options |= {"norm": norm, "frozen_stages": frozen_stages, "upsampling": "bilinear", "rectified": True}
        self.backbone = Pyramid(network, channels, width=self.width, pretrained=pretrained, **options)
        # A model file holds all weights: nobody shall need ImageNet's to open it.
        self.settle(pretrained=False)
        # What is warped is not padded.
        self.stride = 1 if warp else self.backbone.stride
        levels, priors = len(self.backbone.strides), len(anchor_scales) * len(anchor_ratios)
        if anchor_sizes is not None and (len(anchor_sizes) != levels or max(anchor_sizes) <= 0):
            raise CallError(f"anchor_sizes {anchor_sizes}: give one for each of {levels} levels, and not only zeros.")
        shaped = self.proto_width, self.prototypes, self.proto_layers, proto_enlarged, self.head_norm
        self.protonet = ProtoNet(self.width, *shaped, rectified=self.proto_rectified)
        self.head = PriorHead(self.width, num_classes, priors, self.prototypes, head_layers, self.head_norm)
        self.semantic = nn.Conv2d(self.width, num_classes, 1)
        nn.init.xavier_uniform_(self.semantic.weight)
        nn.init.zeros_(self.semantic.bias)  # pyright: ignore[reportArgumentType]
        self.rescorer = Rescorer(num_classes) if rescoring else None

    @property
    def recipe(self) -> Recipe:
        """The paper's for ResNets; a shorter one-cycle training for the light network."""
        return RECIPE if self.network in THIN else PAPER

    @property
    def sizes(self) -> tuple[float, ...]:
        """Of the priors of each level; three times the stride, as the paper's, where nothing is known."""
        return self.anchor_sizes or tuple(3.0 * stride for stride in self.backbone.strides)

    def adapt(self, statistics: Statistics) -> None:
        """Fit priors and limits to the data's objects, where they were left open."""
        most = int(statistics.counts.max(initial=0))
        chosen: dict[str, Any] = {
            "nms": statistics.sharing,
            "max_objects": max(100, 2 * most),
            "candidates": max(200, 20 * most),
        }
        if len(statistics.sides):
            chosen["anchor_sizes"] = fitting(statistics.sides, self.backbone.strides)
        self.settle(**{name: value for name, value in chosen.items() if getattr(self, name) is None})

    def frame(self, original: Size) -> Frame:
        """The image as it is, or warped to a square."""
        return Frame(original, (self.warp, self.warp) if self.warp else original)

    # --- the network ----------------------------------------------------------------------------------------------

    def network_of(self, images: Float[Tensor, "B C H W"]) -> Outputs:
        """What the network says of images on one canvas."""
        maps, canvas = self.backbone(images), (images.shape[2], images.shape[3])
        used = [(one, size) for one, size in zip(maps, self.sizes, strict=True) if size > 0]
        levels = []
        for one, size in used:
            cells = one.shape[2], one.shape[3]
            own = shapes(size, self.anchor_scales, self.anchor_ratios, self.square_anchors).to(one.device)
            levels.append(Level(own, cells, (canvas[0] / cells[0], canvas[1] / cells[1]), cells))
        said = self.head([one for one, _ in used])
        unused = [one for one, size in zip(maps, self.sizes, strict=True) if size <= 0]
        return Outputs(said, self.protonet(maps[0]), self.semantic(maps[0]).float(), levels, canvas, unused)

    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Boxes B Q 4 in pixels, scores B Q, labels B Q and coefficients B Q k, the surest first, then zeros; and
        prototypes B k h w.

        Images of different sizes go through the network apart: an image's objects are the same alone and in any batch.
        """
        rows: list[dict[str, Tensor]] = [{} for _ in images]
        whole = images.new_zeros(len(images), self.prototypes, *self._cells(images.shape[2], images.shape[3]))
        for members, alike in of_one_size(images, sizes, self.stride):
            outputs = self.network_of(alike)
            whole[members, :, : outputs.cells[0], : outputs.cells[1]] = outputs.prototypes.to(whole.dtype)
            for place, index in enumerate(members):
                rows[index] = self.found(outputs, place, (int(sizes[index, 0]), int(sizes[index, 1])))
        return {**filled(rows), "prototypes": whole}

    def _cells(self, height: int, width: int) -> Size:
        """How many cells of prototypes there are on a canvas."""
        times = 2 if self.proto_enlarged else 1
        stride = self.backbone.strides[0]
        return times * -(-height // stride), times * -(-width // stride)

    @torch.no_grad()
    def found(self, outputs: Outputs, index: int, size: Size) -> dict[str, Tensor]:
        """The objects of one image, the surest first."""
        with torch.autocast(outputs.prototypes.device.type, enabled=False):
            said = outputs.said.image(index)
            inside = torch.cat([level.cut(size).inside for level in outputs.levels])
            certain = said.logits.softmax(1)[:, 1:] * inside[:, None]
            prior, labels = (certain > self.score_threshold).nonzero().unbind(1)
            priors = torch.cat([level.boxes for level in outputs.levels])
            boxes, scores = anchors.decode(said.deltas[prior], priors[prior], WEIGHTS), certain[prior, labels]
            kept = self._suppressed(boxes, scores, labels, self.candidates or 1000, self.max_objects or 1000)
            boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
            coefficients, prototypes = said.coefficients[prior[kept]], outputs.prototypes[index]
            if self.rescorer is not None:
                quality = rescored(self.rescorer, prototypes, coefficients, boxes, labels, outputs.steps)
                scores = scores * quality
            boxes = clip_boxes_to_image(boxes, size)
            return {"boxes": boxes, "scores": scores, "labels": labels, "coefficients": coefficients}

    def _suppressed(self, boxes: Tensor, scores: Tensor, labels: Tensor, most: int, limit: int) -> Tensor:
        """Which boxes NMS leaves of so many of a class, the best first, at most so many."""
        overlap = USUAL if self.nms is None else self.nms
        if self.suppression == "fast":
            return fast_nms(boxes, scores, labels, overlap, most, limit)
        best = best_of_each(scores, labels, most)
        return best[best_after_nms(boxes[best], scores[best], labels[best], overlap, limit)]

    # --- learning -------------------------------------------------------------------------------------------------

    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """The terms "class", "box", "mask", "semantic" and, with rescoring, "rescoring"; sums over the priors that
        stand for an object, divided by their number in the batch; "semantic" is a mean over images.

        Which masks are drawn depends on the images only.
        """
        down, right = ((-side) % self.stride for side in images.shape[2:])
        outputs = self.network_of(functional.pad(images, (0, right, 0, down)))
        with torch.autocast(images.device.type, enabled=False):
            truths = [Truth.of(target, images.device) for target in targets]
            return self.loss_of(outputs, truths, drawing(images))

    def loss_of(self, outputs: Outputs, truths: Sequence[Truth], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of given outputs with given randomness: which masks are drawn."""
        matches = [self.matched(outputs, truth) for truth in truths]
        each = [
            self._image_loss(outputs, index, truth, match, generator)
            for index, (truth, match) in enumerate(zip(truths, matches, strict=True))
        ]
        positive = sum(len(match.priors) for match in matches)
        # Of images without objects the negatives alone would be divided by nothing.
        count = max(positive, sum(one["negatives"] for one in each) / max(self.negatives, 1), 1)
        weights = {"class": self.class_weight, "box": self.box_weight, "mask": self.mask_weight}
        if self.rescorer is not None:
            weights["rescoring"] = self.rescoring_weight
        losses = {name: weight / count * sum(one[name] for one in each) for name, weight in weights.items()}
        # Nothing but zero times every output: an image without objects gives every weight a gradient all the same.
        whole = *outputs.said, outputs.prototypes, outputs.semantic, *outputs.unused
        nothing = sum(values.sum() for values in whole) * 0
        losses["class"] = losses["class"] + nothing
        losses["semantic"] = self.semantic_weight / len(truths) * sum(one["semantic"] for one in each)
        return losses

    def matched(self, outputs: Outputs, truth: Truth) -> Matched:
        """Which priors stand for the objects of an image."""
        levels = [level.cut(truth.size) for level in outputs.levels]
        return matched(levels, truth.boxes, self.match_iou, truth.ignored, self.ignored_share)

    def _image_loss(
        self, outputs: Outputs, index: int, truth: Truth, match: Matched, generator: torch.Generator
    ) -> dict[str, Any]:
        """The sums of one image, and how many negatives were mined."""
        sums = {
            **prior_losses(outputs, index, truth, match, (self.negatives, self.least_negatives)),
            "semantic": semantic_loss(outputs, index, truth, self.binary_targets),
        }
        count = len(match.priors)
        # Drawn on the CPU, so that every device draws the same.
        drawn = torch.randperm(count, generator=generator)[: self.mask_samples].to(match.priors.device)
        coefficients = outputs.said.coefficients[index, match.priors[drawn]]
        masks = drawn_masks(outputs, index, truth, match.objects[drawn], coefficients, self.binary_targets)
        if self.rescorer is not None:
            sums["rescoring"] = rescoring_loss(self.rescorer, masks, truth, outputs.cells, self.rescored_area)
        return {**sums, "mask": mask_loss(masks) * max(1.0, count / self.mask_samples)}

    # --- objects --------------------------------------------------------------------------------------------------

    def raster(self, frame: Frame, original: bool = True) -> Raster:
        """How the prototypes' cells lie on an image, at its original or network size, without a batch's padding."""
        canvas = [ceil(side / self.stride) * self.stride for side in frame.size]
        cells, size = self._cells(canvas[0], canvas[1]), frame.original if original else frame.size
        steps = [side / n * to / own for side, n, to, own in zip(canvas, cells, size, frame.size, strict=True)]
        return Raster(cells, (steps[0], steps[1]), size)

    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Each mask about its box at the original size; boxes are the network's."""
        if self.max_objects:
            announce_limit(outputs["scores"], self.max_objects, self.card.threshold)
        arrays = {name: rows.detach().float().cpu().numpy() for name, rows in outputs.items()}
        found = []
        for index, frame in enumerate(frames):
            boxes, scores, labels, coefficients = (arrays[name][index] for name in NAMES)
            taken, raster = scores > 0, self.raster(frame)
            scale = np.tile(np.array(frame.original[::-1]) / np.array(frame.size[::-1]), 2)
            places, kinds = boxes[taken].astype(np.float64) * scale, labels[taken].astype(np.int64)
            prototypes = arrays["prototypes"][index, :, : raster.cells[0], : raster.cells[1]]
            found.append(objects_of(prototypes, coefficients[taken], places, raster, kinds, scores[taken]))
        return found

    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """True boxes that NMS leaves, and prototypes that show the true masks as cells can, objects apart on one."""
        size = [ceil(max(frame.size[axis] for frame in frames) / self.stride) * self.stride for axis in (0, 1)]
        whole, rows = np.zeros((len(frames), self.prototypes, *self._cells(*size)), np.float32), []
        for index, (target, frame) in enumerate(zip(targets, frames, strict=True)):
            truth, raster = Truth.of(target, torch.device("cpu")), self.raster(frame)
            prototypes, coefficients = perfect(truth, raster, self.prototypes)
            whole[index, :, : raster.cells[0], : raster.cells[1]] = prototypes
            scale = np.tile(np.array(frame.size[::-1]) / np.array(frame.original[::-1]), 2).astype(np.float32)
            boxes, scores = truth.boxes * torch.from_numpy(scale), torch.ones(len(truth.boxes))
            left = self._suppressed(boxes, scores, truth.labels, len(boxes), len(boxes)).sort()[0]
            fields = boxes, scores, truth.labels, torch.from_numpy(coefficients)
            rows.append(dict(zip(NAMES, (each[left] for each in fields), strict=True)))
        return {**filled(rows), "prototypes": torch.from_numpy(whole)}

    def oracle(self, outputs: dict[str, Tensor], targets: list[Instances], known: str) -> dict[str, Tensor]:
        """The true "boxes" or "classes" of what was found, where its box has IoU 0.5 with a true one's."""
        changed = corrected(outputs, targets, known)
        return super().oracle(outputs, targets, known) if changed is None else changed

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """The prototypes (the paper's figure 5), and all masks before they are cut, the surer on top."""
        pictures = []
        for index, raster in enumerate(self.raster(frame, original=False) for frame in frames):
            arrays = {name: rows[index].detach().float().cpu().numpy() for name, rows in outputs.items()}
            prototypes, taken = arrays["prototypes"][:, : raster.cells[0], : raster.cells[1]], arrays["scores"] > 0
            places = raster.bounds(arrays["boxes"][taken].astype(np.float64))
            masks = together(prototypes, arrays["coefficients"][taken], places)
            rows, columns = (ceil(side / step) for side, step in zip(raster.size, raster.steps, strict=True))
            shown = {"prototypes": mosaic(prototypes[:, :rows, :columns]), "soft masks": masks[:rows, :columns]}
            pictures.append(shown)
        return pictures
