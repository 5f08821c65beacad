"""PolarMask: a point inside an object says how far its border is in every direction.

Paper: Xie et al., PolarMask: Single Shot Instance Segmentation with Polar Representation, CVPR 2020,
https://arxiv.org/abs/1909.13226

    image B C H W -> pyramid -> at every point: classes, centerness        B classes h w, B 1 h w
                             -> lengths of n rays at even angles           B n h w        (of each level, one head)
    points near an object's center of mass learn: the class; centerness = root of shortest over longest ray (2);
    the rays, by polar IoU: log of (sum of the greater / sum of the lesser of found and true length)      (7, 8)
    objects: points with a sure class, score = class x (centerness + 0.5) / 1.5; NMS; the polygon of the rays' ends
"""

from typing import Any, ClassVar, Literal, NamedTuple
from warnings import warn

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from apiece.colors import object_colors
from apiece.errors import CallError
from apiece.instances import Instances
from apiece.masks import Size
from apiece.methods.method import Frame, Method, Recipe, Stage
from apiece.networks.backbones import Norm
from apiece.networks.pyramid import Extra, Pyramid
from apiece.parts.batching import by_size, filled
from apiece.parts.center_sampling import cells_within, map_points, owners
from apiece.parts.normalization import Normalization
from apiece.parts.polar_head import Head, Said, box_iou_loss, lengths, polar_iou_loss
from apiece.parts.rays import Rule, borders_of, boxes_of, polar_centerness, polygon_nms, ray_lengths, vertices
from apiece.parts.suppress import USUAL, best_after_nms
from apiece.statistics import Statistics

TINY = {"first": 2, "last": 4, "extra": "none", "width": 16, "layers": 1, "pyramid_norm": "batch"}
LIGHT = {"first": 2, "last": 5, "extra": "none", "width": 64, "layers": 2, "pyramid_norm": "batch"}
LARGE = {"first": 3, "last": 5, "extra": "p6p7", "width": 256, "layers": 4, "pyramid_norm": "none"}
"""What is left open for the network to decide: the last is the paper's."""

PAPER = Recipe((Stage(crop=768, batch_size=16, lr=0.01),), 88_000, "sgd", schedule="step", warmup=1 / 176, clip=35.0,
               augmentation={"centered": 0.0, "quarter_turns": False})  # fmt: skip
"""12 epochs of COCO; the rate falls to a tenth after 8 and 11 of them."""

RECIPE = Recipe((Stage(lr=4e-3),), average=0.998, augmentation={"rotation": 180.0, "scale": (0.7, 1.4)})


class PolarMask(Method):
    """Rays from a point in each object to its border.

    A star about its point is all that rays can tell: holes, what lies behind a bay, and all parts but the largest are
    lost (`ideal` says what is left). Decided differently from the authors' program, unless arguments say so: rays end
    where they cross the pixels' edges (there at pixels within 3 degrees, so that many rays of a small object are lost);
    each object has a point; scores are divided by 1.5; there is no second branch for boxes. Points where truth is
    ignored, and beyond the image, are in no term; no object is left out for its size.

    Args:
        num_classes: how many kinds of object.
        channels: of the images.
        network: "small" (light, to learn from scratch), "tiny" (for tests), "resnet18" to "resnet101" or any other
            backbone of `Pyramid`. Arguments that are None are as it needs them.
        pretrained: start the network from ImageNet.
        norm: of the network: "batch", "frozen" (usual with pretrained weights), "group".
        frozen_stages: parts of the network that do not learn, from the stem on.
        stride_in_1x1: bottlenecks halve in their first convolution, as Caffe's, which the authors start from.
        first, last: the network's finest and coarsest level; level n has stride 2^n.
        extra: coarser levels yet: "p6p7", "none".
        width: channels of pyramid and heads.
        pyramid_norm: "batch" norm or "none" behind the convolutions of the pyramid.
        layers: convolutions in each branch of the head, with group norm.
        rays: how many there are.
        ray_rule: where rays end: "edges" of the object's pixels, or "pixels", as in the authors' program.
        centerness: what says how good a point is: "polar", or that of the "box" (FCOS), or "none".
        radius: strides from the center of mass within which points stand for an object; None = its whole box.
        limits: pixels; the largest distance of a box's side that is learned on each level but the last; None = from the
            data's sizes (8 strides each before these are known, as in the paper).
        at_least_one: the point nearest to the center stands for an object that otherwise would have none.
        boxes: a branch for boxes, in which NMS is done then.
        alpha, gamma: of the focal loss of classes.
        class_weight, ray_weight, box_weight, centerness_weight: of the terms.
        score_threshold: points and classes that are less sure are no objects.
        centerness_bonus: what is added to the centerness, which is low, in a score.
        candidates: points of each level that go into NMS; None = at least 1000 and 20 times the data's most objects.
        suppression: NMS by the "boxes" of the rays (or those of their branch), or by the "masks".
        nms: IoU above which of two objects of a class the lesser goes; None = 0.5 (the papers'), or of boxes a little
            more than what a twentieth of the data's objects exceed with another, at most 0.8.
        max_objects: the most objects of an image; None = twice the data's most, at least 100.
        normalization: pixel values to network input.
    """

    class_heads: ClassVar[tuple[str, ...]] = ("head.classes.",)

    def __init__(
        self,
        num_classes: int,
        channels: int = 3,
        network: str = "small",
        pretrained: bool = False,
        norm: Norm = "batch",
        frozen_stages: int = 0,
        stride_in_1x1: bool = False,
        first: int | None = None,
        last: int | None = None,
        extra: Extra | None = None,
        width: int | None = None,
        pyramid_norm: Literal["none", "batch"] | None = None,
        layers: int | None = None,
        rays: int = 36,
        ray_rule: Rule = "edges",
        centerness: Literal["polar", "box", "none"] = "polar",
        radius: float | None = 1.5,
        limits: tuple[float, ...] | None = None,
        at_least_one: bool = True,
        boxes: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        class_weight: float = 1.0,
        ray_weight: float = 1.0,
        box_weight: float = 1.0,
        centerness_weight: float = 1.0,
        score_threshold: float = 0.05,
        centerness_bonus: float = 0.5,
        candidates: int | None = None,
        suppression: Literal["boxes", "masks"] = "boxes",
        nms: float | None = None,
        max_objects: int | None = None,
        normalization: Normalization = Normalization(),  # noqa: B008
    ):
        super().__init__()
        self.keep(locals())
        shape = {"tiny": TINY, "small": LIGHT}.get(network, LARGE)
        self.settle(**{name: value for name, value in shape.items() if getattr(self, name) is None})
        options: dict[str, Any] = {name: getattr(self, name) for name in ("first", "last", "extra", "pyramid_norm")}
        options |= {"norm": norm, "frozen_stages": frozen_stages, "stride_in_1x1": stride_in_1x1}
        self.backbone = Pyramid(network, channels, width=self.width, pretrained=pretrained, **options)
        # A model file holds all weights: nobody shall need ImageNet's to open it.
        self.settle(pretrained=False)
        self.strides = self.backbone.strides
        self.stride = self.strides[-1]
        if limits is not None and len(limits) != len(self.strides) - 1:
            raise CallError(f"{len(limits)} limits for {len(self.strides)} levels: give one for each but the last.")
        if rays < 3:
            raise CallError(f"{rays} rays make no polygon: give 3 or more.")
        self.head = Head(self.width, num_classes, rays, len(self.strides), self.layers, boxes)

    @property
    def recipe(self) -> Recipe:
        """The paper's for ResNets; a shorter one-cycle training for the light network."""
        return RECIPE if self.network in ("tiny", "small") else PAPER

    @property
    def level_limits(self) -> tuple[float, ...]:
        """The largest distance of a box's side on each level but the last."""
        return tuple(8.0 * stride for stride in self.strides[:-1]) if self.limits is None else self.limits

    def adapt(self, statistics: Statistics) -> None:
        """Fit levels, limits and the rays' first lengths to the data's objects, where they were left open."""
        most = int(statistics.counts.max(initial=0))
        chosen: dict[str, Any] = {
            "nms": USUAL if self.suppression == "masks" else statistics.sharing,
            "max_objects": max(100, 2 * most),
            "candidates": max(1000, 20 * most),
        }
        if len(statistics.sides):
            # The farthest side is a little more than half a box away. Half of the objects for the finest level.
            middle = 0.6 * float(np.median(statistics.sides.max(1)))
            finest = float(np.clip(middle, 2 * self.strides[0], 8 * self.strides[0]))
            chosen["limits"] = tuple(round(finest * 2.0**level, 1) for level in range(len(self.strides) - 1))
            self.head.begin_at([max(0.5 * finest * 2.0**level, 1.5) for level in range(len(self.strides))])
        self.settle(**{name: value for name, value in chosen.items() if getattr(self, name) is None})

    # --- learning -------------------------------------------------------------------------------------------------

    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """The terms "class" (focal), "rays" (equation 8), "centerness" and "box" (-log IoU), where there are any.

        Rays and boxes weigh as much as their point's centerness.
        """
        down, right = ((-side) % self.stride for side in images.shape[2:])
        said = Said.of(self._maps(functional.pad(images, (0, right, 0, down))), len(self.strides))
        with torch.autocast(images.device.type, enabled=False):
            shapes = self._shapes((images.shape[2] + down, images.shape[3] + right))
            return self.loss_of(said, [self.learned(target, shapes) for target in targets])

    def loss_of(self, said: Said, truths: list["Learned"]) -> dict[str, Tensor]:
        """The loss of given outputs."""
        device = said.classes.device
        together = {name: torch.cat([getattr(one, name) for one in truths]).to(device) for name in Learned._fields}
        counts = torch.tensor([len(truth.locations) for truth in truths], device=device)
        place = torch.repeat_interleave(counts), together["locations"]
        weight = self._weights(together["rays"], together["boxes"])
        wanted = torch.zeros_like(said.classes)
        wanted[*place, together["labels"]] = 1
        focal = sigmoid_focal_loss(said.classes, wanted, self.alpha, self.gamma)
        focal = focal * together["known"].view(*said.classes.shape[:2], 1)
        total, count = weight.sum().clamp(min=1e-6), len(weight)
        # Nothing but zero times every output: without objects every weight has a gradient all the same.
        nothing = sum(one.sum() for one in said if one is not None) * 0
        ray_error = polar_iou_loss(lengths(said.rays[place]), together["rays"])
        losses = {
            "class": self.class_weight * focal.sum() / (count + len(truths)) + nothing,
            "rays": self.ray_weight * (ray_error * weight).sum() / total,
        }
        if self.centerness != "none":
            logits = said.centerness[place][:, 0]
            error = functional.binary_cross_entropy_with_logits(logits, weight, reduction="sum")
            losses["centerness"] = self.centerness_weight * error / max(count, 1)
        if said.boxes is not None:
            box_error = box_iou_loss(lengths(said.boxes[place]), together["boxes"])
            losses["box"] = self.box_weight * (box_error * weight).sum() / total
        return losses

    def _weights(self, lengths: Float[Tensor, "M R"], boxes: Float[Tensor, "M 4"]) -> Float[Tensor, " M"]:
        """The true centerness."""
        if self.centerness == "polar":
            return polar_centerness(lengths)
        if self.centerness == "none":
            return boxes.new_ones(len(boxes))
        # Equation 3 of FCOS. The nearest point of a tiny object may lie off its box.
        sides = torch.stack([boxes[:, 0::2], boxes[:, 1::2]], 1).clamp(min=0)
        return (sides.amin(2) / sides.amax(2).clamp(min=1e-6)).prod(1).sqrt()

    def learned(self, target: Instances, shapes: list[Size]) -> "Learned":
        """What there is to learn from an image, on maps of these sizes."""
        known = target[~target.ignore & (target.mask_areas > 0)]
        borders = borders_of(known, self.ray_rule)
        # Of pixels with their centers at whole numbers; the authors' boxes end at these.
        half = 0.5 if self.ray_rule == "edges" else 0.0
        boxes = known.mask_boxes + np.array([-half, -half, half - 1, half - 1])
        radius = np.inf if self.radius is None else self.radius
        sizes = shapes, self.strides, self.level_limits, radius, self.at_least_one
        owner = owners(boxes, borders.centers, *sizes)
        points = map_points(shapes, self.strides)
        known_points = (owner >= 0) | cells_within(shapes, self.strides, target.size) & ~_ignored(target, points)
        taken = np.flatnonzero(owner >= 0)
        place, objects = torch.from_numpy(points[taken]), torch.from_numpy(owner[taken])
        of_box = torch.from_numpy(boxes.astype(np.float32))[objects]
        return Learned(
            torch.from_numpy(taken),
            objects,
            torch.from_numpy(known.labels.astype(np.int64))[objects],
            ray_lengths(place, objects, borders, self.rays, self.ray_rule),
            torch.cat([place - of_box[:, :2], of_box[:, 2:] - place], 1),
            torch.from_numpy(known_points),
        )

    # --- the network ----------------------------------------------------------------------------------------------

    def _maps(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        return self.head(self.backbone(images))

    def _shapes(self, canvas: Size) -> list[Size]:
        """The maps' sizes for a canvas that is a multiple of the stride."""
        return [(canvas[0] // stride, canvas[1] // stride) for stride in self.strides]

    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Points B K 2 (x, y), rays B K n in pixels, scores B K and labels B K, the surest first, then zeros.

        Images of different sizes go through the network apart: an image's objects are the same alone and in any batch.
        """
        said = Said.of(by_size(self._maps, images, sizes, self.stride), len(self.strides))
        shapes = self._shapes((images.shape[2], images.shape[3]))
        with torch.autocast(images.device.type, enabled=False):
            each = enumerate(sizes.tolist())
            return filled([self._objects(said.image(index), shapes, (size[0], size[1])) for index, size in each])

    def _objects(self, said: Said, shapes: list[Size], size: Size) -> dict[str, Tensor]:
        """The objects of one image."""
        points = torch.from_numpy(map_points(shapes, self.strides)).to(said.classes.device)
        within = torch.from_numpy(cells_within(shapes, self.strides, size)).to(points.device)
        levels = [height * width for height, width in shapes]
        certain = said.classes.sigmoid() * within[:, None]
        centered = said.centerness[:, 0].sigmoid() if self.centerness != "none" else torch.ones_like(points[:, 0])
        # The best of each level.
        quality = (certain.amax(1) * centered).split(levels)
        bases = np.cumsum([0, *levels]).tolist()
        count = self.candidates or 1000
        best = [one.topk(min(count, len(one)))[1] + base for one, base in zip(quality, bases, strict=False)]
        chosen = torch.cat(best)
        row, labels = (certain[chosen] > self.score_threshold).nonzero().unbind(1)
        chosen = chosen[row]
        sides = None if said.boxes is None else lengths(said.boxes[chosen])
        given = points[chosen], lengths(said.rays[chosen]), sides, certain[chosen, labels], centered[chosen], labels
        return self.suppressed(*given, size)

    def suppressed(
        self, points: Tensor, rays: Tensor, sides: Tensor | None, certain: Tensor, centered: Tensor, labels: Tensor,
        size: Size,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The candidates that overlap no better one, the surest first."""
        scores = certain * (centered + self.centerness_bonus) / (1 + self.centerness_bonus)
        overlap = USUAL if self.nms is None else self.nms
        if self.suppression == "masks":
            kept = polygon_nms(points, rays, scores, labels, overlap)
        else:
            boxes = boxes_of(vertices(points, rays))
            if sides is not None:
                boxes = torch.cat([points - sides[:, :2], points + sides[:, 2:]], 1)
            limit = boxes.new_tensor([size[1] - 0.5, size[0] - 0.5]).repeat(2)
            boxes = boxes.clamp(min=-0.5).minimum(limit)
            kept = best_after_nms(boxes, scores, labels, overlap, self.max_objects or 1000)
        kept = kept[: self.max_objects or 1000]
        return {"points": points[kept], "rays": rays[kept], "scores": scores[kept], "labels": labels[kept]}

    # --- finding --------------------------------------------------------------------------------------------------

    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """The polygons of the rays' ends, drawn at the original size."""
        arrays = {name: rows.detach().float().cpu() for name, rows in outputs.items()}
        each = [{name: rows[index] for name, rows in arrays.items()} for index in range(len(frames))]
        return [self._drawn(rows, frame) for rows, frame in zip(each, frames, strict=True)]

    def _drawn(self, rows: dict[str, Tensor], frame: Frame) -> Instances:
        taken = rows["scores"] > 0
        if self.max_objects and int(taken.sum()) >= self.max_objects:
            scores = rows["scores"][taken]
            if scores[-1] >= self.card.threshold:
                warn(f"an image has {len(scores)} objects, which is max_objects: there may be more.", stacklevel=2)
        # Rays to the centers of border pixels end half a pixel early.
        rays = rows["rays"][taken] + (0.5 if self.ray_rule == "pixels" else 0.0)
        corners = (vertices(rows["points"][taken], rays) + 0.5).double().numpy()
        corners *= np.array(frame.original[::-1]) / np.array(frame.size[::-1])
        labels, scores = rows["labels"][taken].long().numpy(), rows["scores"][taken].numpy()
        found = Instances.from_polygons([[one] for one in corners], frame.original, labels, scores=scores)
        return found[found.mask_areas > 0]

    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """The true rays from the best of each object's points.

        Lost are holes, all parts but the largest, what a star about the point does not reach, corners between rays,
        objects whose points all stand for smaller ones, and those that NMS takes for another.
        """
        rows = []
        for target, frame in zip(targets, frames, strict=True):
            canvas = tuple(-(-side // self.stride) * self.stride for side in frame.size)
            truth = self.learned(target.resized(frame.size), self._shapes((canvas[0], canvas[1])))
            centered = self._weights(truth.rays, truth.boxes)
            order = centered.argsort(descending=True, stable=True)
            # The first of each object's points, the best ones first.
            best = order[np.unique(truth.objects[order].numpy(), return_index=True)[1]]
            points = torch.from_numpy(map_points(self._shapes((canvas[0], canvas[1])), self.strides))[truth.locations]
            certain = torch.ones(len(best))
            sides = truth.boxes[best] if self.boxes else None
            given = points[best], truth.rays[best], sides, certain, centered[best], truth.labels[best]
            rows.append(self.suppressed(*given, frame.size))
        return filled(rows)

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """The rays of the objects at or above the operating point, each object in its own color."""
        pictures = []
        for index, (height, width) in enumerate(frame.size for frame in frames):
            picture = np.zeros((height, width, 3), np.uint8)
            sure = outputs["scores"][index] >= max(self.card.threshold, 1e-9)
            points, rays = (outputs[name][index][sure].float().cpu() for name in ("points", "rays"))
            ends = vertices(points, rays)
            colors = object_colors(np.arange(len(points)))
            for point, corners, color in reversed(list(zip(points, ends, colors, strict=True))):
                steps = torch.linspace(0, 1, 2 + int((corners - point).norm(dim=1).max().clamp(max=height + width)))
                column, row = (point + steps[:, None, None] * (corners - point)).round().long().reshape(-1, 2).T.numpy()
                seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                picture[row[seen], column[seen]] = color
            pictures.append({"rays": picture})
        return pictures


class Learned(NamedTuple):
    """What the points of an image that stand for objects shall say, and of which of all P points something is known."""

    locations: Integer[Tensor, " M"]
    objects: Integer[Tensor, " M"]
    labels: Integer[Tensor, " M"]
    rays: Float[Tensor, "M R"]
    boxes: Float[Tensor, "M 4"]
    known: Bool[Tensor, " P"]


def _ignored(target: Instances, points: Float[ndarray, "P 2"]) -> Bool[ndarray, " P"]:
    """Which points lie where truth is ignored; of those beyond the image, which are nearest to such a place."""
    if not target.ignore.any():
        return np.zeros(len(points), bool)
    column, row = points.astype(np.int64).clip(0, np.array(target.size[::-1]) - 1).T
    return (target[target.ignore].label_map() > 0)[row, column]
