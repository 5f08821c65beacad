"""Discriminative loss: pixels of an object lie close together in feature space, those of two objects far apart.

Paper: De Brabandere, Neven, Van Gool: Semantic Instance Segmentation for Autonomous Driving, CVPR workshops 2017
(in full: Semantic Instance Segmentation with a Discriminative Loss Function, https://arxiv.org/abs/1708.02551)

    image B C H W -> network -> embeddings B D H W    x_i; the mean of an object's is mu_c
                             -> semantic B classes H W    logits, background's is zero
    variance = mean over objects of the mean over their pixels of [|mu_c - x_i| - d_v]+^2       pulls pixels together
    distance = mean over ordered pairs of objects of one class of [2 d_d - |mu_a - mu_b|]+^2    pushes objects apart
    regularization = mean over objects of |mu_c|                                                towards the origin
    objects: the pixels of a class, grouped by mean shift
"""

from math import ceil
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from apiece import draw
from apiece.colors import object_colors
from apiece.instances import Instances
from apiece.methods.method import Frame, Method, Recipe, Relation, Stage
from apiece.networks.dense import DenseName, dense, head_names
from apiece.networks.unet import shape_for, shape_of
from apiece.parts.batching import by_size
from apiece.parts.classes import padded_rows
from apiece.parts.embeddings import pull, push
from apiece.parts.mean_shift import EXACT, group_by_mean_shift, group_by_nearest_center
from apiece.parts.normalization import Normalization
from apiece.parts.owners import Owners
from apiece.parts.paste import enlarged
from apiece.statistics import Statistics

SURE = 20.0
"""The logit of a class that is known."""

PAPER = Recipe((Stage(crop=512, batch_size=4, lr=1e-4),), 100_000, "adam", 0.0, schedule="constant")
LIGHT = Recipe(average=0.998, augmentation={"rotation": 180.0, "scale": (0.7, 1.4)})


class Discriminative(Method):
    """Pixels embedded so that objects are clusters, and a class for each pixel.

    Args:
        num_classes: how many kinds of object.
        channels: of the images.
        network: "unet" (light, stride-2 stem), one of the paper's, or "tiny" (for tests).
        widths: channels of the U-Net at strides 2, 4, 8, ...; None = as many levels as the data's larger objects need.
        detail: channels of the U-Net at full resolution, 0 = none, faster; None = 16 for objects below 48 pixels.
        dimensions: of the feature space.
        coordinates: what is added to the first two dimensions with each pixel to the right and down. Not in the paper
            (0): without it a network, seeing equal surroundings alike, cannot tell apart two equal objects. None = so
            that equal objects side by side begin as far apart as they should be.
        variance_margin: d_v; pixels nearer to their object's mean are not pulled.
        distance_margin: d_d; means farther than twice this from each other are not pushed.
        variance_weight: of the variance term.
        distance_weight: of the distance term.
        regularization_weight: of the regularization.
        semantic_weight: of the classes' cross-entropy.
        semantic_first: share of the training in which only classes are learned, from which embeddings then begin.
        foreground_threshold: pixels belong to no object where all classes together are less probable.
        bandwidth: of the mean shift. The paper has d_v; as at zero loss any bandwidth from d_v to 2 d_d - d_v gives the
            same objects, and before that d_v splits them, None = 2 d_v.
        reach: pixels go to the nearest mode within this distance; None = d_d (the paper has the bandwidth).
        min_size: pixels; smaller groups are no objects; None = half the size of the data's smallest percent of objects.
        normalization: pixel values to network input.
    """

    class_heads: ClassVar[tuple[str, ...]] = head_names(1)

    def __init__(
        self,
        num_classes: int,
        channels: int = 3,
        network: DenseName = "unet",
        widths: tuple[int, ...] | None = None,
        detail: int | None = None,
        dimensions: int = 8,
        coordinates: float | None = None,
        variance_margin: float = 0.5,
        distance_margin: float = 1.5,
        variance_weight: float = 1.0,
        distance_weight: float = 1.0,
        regularization_weight: float = 0.001,
        semantic_weight: float = 1.0,
        semantic_first: float = 0.0,
        foreground_threshold: float = 0.5,
        bandwidth: float | None = None,
        reach: float | None = None,
        min_size: int | None = None,
        normalization: Normalization = Normalization(),  # noqa: B008
    ):
        super().__init__()
        self.keep(locals())
        options: Any = shape_of(widths, detail) if network == "unet" else {}
        self.network = dense(network, channels, (dimensions, num_classes), **options)
        self.stride = self.network.stride
        self.progress = 1.0

    @property
    def recipe(self) -> Recipe:
        """The paper's rate for its networks; a shorter one-cycle training for the light one."""
        return LIGHT if self.arguments["network"] in ("unet", "tiny") else PAPER

    def adapt(self, statistics: Statistics) -> None:
        """Fit the coordinates and the smallest size to the data's objects, where they were left open."""
        if not len(statistics.areas):
            return
        if self.arguments["network"] == "unet":
            self.rebuild(**shape_for(statistics.small, statistics.large))
        if self.coordinates is None:
            diameter = 2 * np.sqrt(np.median(statistics.areas) / np.pi)
            self.settle(coordinates=float(2 * self.distance_margin / max(1.0, diameter)))
        if self.min_size is None:
            self.settle(min_size=max(1, int(np.percentile(statistics.areas, 1) / 2)))

    def at(self, progress: float) -> None:
        """Embeddings are learned once `semantic_first` of the training is done."""
        self.progress = progress

    def places(self, height: int, width: int, device: torch.device | str = "cpu") -> Float[Tensor, "D H W"]:
        """What the coordinates add to the embeddings."""
        step = 2 * self.distance_margin / 32 if self.coordinates is None else self.coordinates
        x, y = torch.arange(width, device=device) * step, torch.arange(height, device=device) * step
        axes = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[: self.dimensions]
        return pad(axes, (0, 0, 0, 0, 0, self.dimensions - len(axes)))

    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Embeddings B D H W, coordinates added, and logits B classes H W ("semantic") beside a background of zero.

        Images of different sizes go through the network apart: an image's objects are the same alone and in any batch.
        """
        embeddings, semantic = by_size(self.network, images, sizes, self.stride)
        height, width = images.shape[2:]
        return {"embeddings": embeddings + self.places(height, width, images.device), "semantic": semantic}

    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """The terms "variance", "distance", "regularization" and "semantic": means over images.

        Classes are apart: their objects may lie in one place. Of the classes that an image has the mean is taken.
        Ignored objects' pixels are in no term. All is computed in float32.
        """
        # The whole canvas at once, padding included: batch norm should see all images together.
        sizes = torch.tensor(images.shape[2:], device=images.device).expand(len(images), 2)
        outputs = self.forward(images, sizes)
        with torch.autocast(images.device.type, enabled=False):
            return self.loss_of(outputs, targets)

    def loss_of(self, outputs: dict[str, Tensor], targets: list[Instances]) -> dict[str, Tensor]:
        """The loss terms of given outputs."""
        each = [
            self._image_loss({name: map_[index] for name, map_ in outputs.items()}, target)
            for index, target in enumerate(targets)
        ]
        started = float(self.progress >= self.semantic_first)
        weights = {
            "variance": started * self.variance_weight,
            "distance": started * self.distance_weight,
            "regularization": started * self.regularization_weight,
            "semantic": self.semantic_weight,
        }
        # Nothing but zero times every output: an image without objects gives every weight a gradient all the same.
        nothing = sum(map_.sum() for map_ in outputs.values()) * 0
        return {
            name: weight * torch.stack([one[name] for one in each]).mean() + nothing for name, weight in weights.items()
        }

    def _image_loss(self, outputs: dict[str, Tensor], target: Instances) -> dict[str, Tensor]:
        height, width = target.size
        embeddings, semantic = (outputs[name][:, :height, :width] for name in ("embeddings", "semantic"))
        truth = Owners.of(target, semantic.device)
        terms = {"semantic": self._semantic_loss(semantic, truth)}
        own = embeddings.flatten(1).index_select(1, truth.pixels).T.contiguous()
        means = truth.sums(own) / truth.sizes[:, None]
        # Where an object lies in the image is not drift.
        places = truth.means(self.places(height, width, own.device).to(own.dtype))
        counts = torch.bincount(truth.labels, minlength=self.num_classes)
        classes = (counts > 0).sum().clamp(min=1)
        # Each object's share of the mean over classes of the mean over objects.
        share = 1 / (counts[truth.labels] * classes).to(own.dtype)
        terms["variance"] = (pull(own, means, truth, self.variance_margin) * share).sum()
        terms["distance"] = push(means, truth.labels, self.distance_margin) / classes
        terms["regularization"] = ((means - places).norm(dim=1) * share).sum()
        return terms

    def _semantic_loss(self, semantic: Float[Tensor, "C H W"], truth: Owners) -> Tensor:
        """Cross-entropy of classes and background, the mean over all pixels of which something is known."""
        target = torch.zeros(semantic[0].numel(), dtype=torch.long, device=semantic.device)
        target[truth.pixels] = truth.labels[truth.objects] + 1
        target[truth.ignored.any(0).flatten()] = -1
        logits = pad(semantic.flatten(1), (0, 0, 1, 0)).T
        return cross_entropy(logits, target, ignore_index=-1, reduction="sum") / (target >= 0).sum().clamp(min=1)

    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Pixels grouped class by class at network size; scores are the mean probability of the object's class.

        Where the image was resized, each object's foreground probability is interpolated inside its box.
        """
        return [
            self._objects({name: map_[index].detach().float() for name, map_ in outputs.items()}, frame)
            for index, frame in enumerate(frames)
        ]

    def _objects(self, maps: dict[str, Tensor], frame: Frame) -> Instances:
        height, width = frame.size
        centers = maps.pop("centers", None)
        embeddings, semantic = (maps[name][:, :height, :width].flatten(1) for name in ("embeddings", "semantic"))
        probability = pad(semantic, (0, 0, 1, 0)).softmax(0)
        foreground = 1 - probability[0]
        best, of_class = probability[1:].max(0)
        label_map, labels, scores = np.zeros(height * width, np.int32), [], []
        for number in range(self.num_classes):
            pixels = ((of_class == number) & (foreground > self.foreground_threshold)).nonzero().squeeze(1)
            if not len(pixels):
                continue
            mine = None if centers is None else centers[centers[:, -1] == number, :-1]
            groups = self._groups(embeddings.index_select(1, pixels).T, mine)
            count = int(groups.max(initial=0))
            place, sure = pixels.cpu().numpy(), best[pixels].cpu().numpy()
            label_map[place] = np.where(groups > 0, groups + len(labels), 0)
            areas = np.bincount(groups, minlength=count + 1)[1:]
            scores += (np.bincount(groups, sure, minlength=count + 1)[1:] / np.maximum(areas, 1)).tolist()
            labels += [number] * count
        label_map = label_map.reshape(height, width)
        found = Instances.from_label_map(label_map, labels=labels, values=np.arange(1, len(labels) + 1), scores=scores)
        if frame.size != frame.original:
            found = self._resized(found, label_map, foreground.view(height, width).cpu().numpy(), frame)
        return found[found.mask_areas > 0]

    def _groups(self, points: Float[Tensor, "P D"], centers: Tensor | None) -> Int[ndarray, " P"]:
        """The number of each pixel's object of one class, from 1; 0 for none."""
        bandwidth = 2 * self.variance_margin if self.bandwidth is None else self.bandwidth
        reach = max(self.distance_margin, bandwidth) if self.reach is None else self.reach
        if centers is not None:
            return group_by_nearest_center(points, centers, reach).cpu().numpy()
        return group_by_mean_shift(points, bandwidth, reach=reach, min_size=self.min_size or 1).labels.cpu().numpy()

    def _resized(self, found: Instances, label_map: ndarray, foreground: ndarray, frame: Frame) -> Instances:
        """The found objects at the original size, by the probability of being an object at all."""
        # One half at the threshold; pixels of the foreground that are no object's stay out.
        soft = foreground - self.foreground_threshold + 0.5
        soft[(label_map == 0) & (foreground > self.foreground_threshold)] = 0
        return enlarged(found, lambda _, window: soft[window], frame.original)

    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """Every object's embeddings in one point, farther than they must be from the next object's.

        Lost are pixels under a smaller object, and what is smaller than min_size.
        """
        height, width = (max(ceil(frame.size[axis] / self.stride) * self.stride for frame in frames) for axis in (0, 1))
        outputs = {
            "embeddings": torch.zeros(len(frames), self.dimensions, height, width),
            "semantic": torch.full((len(frames), self.num_classes, height, width), -SURE),
        }
        for index, (target, frame) in enumerate(zip(targets, frames, strict=True)):
            truth = Owners.of(target.resized(frame.size), torch.device("cpu"))
            row, column = truth.pixels // frame.size[1], truth.pixels % frame.size[1]
            apart = 3 * max(self.distance_margin, self.bandwidth or 0, self.reach or 0)
            outputs["embeddings"][index, 0, row, column] = apart * truth.objects.float()
            outputs["semantic"][index, truth.labels[truth.objects], row, column] = SURE
        return outputs

    def oracle(self, outputs: dict[str, Tensor], targets: list[Instances], known: str) -> dict[str, Tensor]:
        """AP_gt of the paper's table 2, from targets at network size.

        "classes" puts the true classes in place of the network's; "centers" groups around the true objects' mean
        embeddings instead of by mean shift.
        """
        if known not in ("classes", "centers"):
            return super().oracle(outputs, targets, known)
        truths = [Owners.of(target[~target.ignore], outputs["semantic"].device) for target in targets]
        semantic, rows = torch.full_like(outputs["semantic"], -SURE), []
        for index, truth in enumerate(truths):
            height, width = truth.owner.shape
            row, column = truth.pixels // width, truth.pixels % width
            semantic[index, truth.labels[truth.objects], row, column] = SURE
            means = truth.means(outputs["embeddings"][index, :, :height, :width])
            rows.append(torch.cat([means, truth.labels[:, None].float()], 1))
        if known == "classes":
            return {**outputs, "semantic": semantic}
        return {**outputs, "centers": padded_rows(rows)}

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """Foreground probability, embeddings as colors (three principal components), and the paper's figure 1.

        In that, "feature space", each pixel is a point in the first two components, in the color of its object.
        """
        pictures = []
        for index, frame in enumerate(frames):
            size = frame.size
            maps = {name: map_[index, :, : size[0], : size[1]].float().cpu() for name, map_ in outputs.items()}
            foreground = 1 - pad(maps["semantic"], (0, 0, 0, 0, 1, 0)).softmax(0)[0]
            seen = (foreground > self.foreground_threshold).numpy()
            flat = self._components(maps["embeddings"][:, torch.from_numpy(seen)].T)
            colors = np.zeros((*size, 3), np.uint8)
            colors[seen] = flat[:, :3] * 255
            label_map = self._objects(maps, Frame(size, size)).label_map()
            points = flat[:, :2] * (np.array(size[::-1]) - 1) + 0.5
            space = draw.pile(points, size, object_colors(label_map[seen].astype(np.int64)))
            shown = {"foreground": draw.heat(foreground.numpy(), 0, 1), "embeddings": colors, "feature space": space}
            pictures.append(shown)
        return pictures

    @staticmethod
    def _components(points: Float[Tensor, "P D"]) -> Float[ndarray, "P 3"]:
        """The three principal components, each from 0 to 1 in the middle 98 % of the points; zero what D lacks."""
        if not len(points):
            return np.zeros((0, 3), np.float32)
        centered = points - points.mean(0)
        axes = torch.linalg.eigh(centered.T @ centered).eigenvectors.flip(1)[:, :3]
        values = pad(centered @ axes, (0, 3 - axes.shape[1])).numpy()
        low, high = np.percentile(values, (1, 99), axis=0)
        return ((values - low) / np.where(high > low, high - low, 1)).clip(0, 1).astype(np.float32)

    def relations(self, outputs: dict[str, Tensor], targets: list[Instances]) -> dict[str, Relation]:
        """What the loss is about: the distance of an object's pixels from their mean, and of the next object's mean."""
        nearest, spread = [], []
        for index, target in enumerate(targets):
            embeddings = outputs["embeddings"][index, :, : target.size[0], : target.size[1]].float()
            truth = Owners.of(target[~target.ignore], embeddings.device)
            own = embeddings.flatten(1).index_select(1, truth.pixels).T
            means = truth.means(embeddings)
            distance = (own - means[truth.objects]).norm(dim=1)
            between = torch.cdist(means, means, compute_mode=EXACT).fill_diagonal_(torch.inf)
            between[truth.labels[:, None] != truth.labels] = torch.inf
            several = between.isfinite().any(1)
            nearest.append(between.amin(1)[several].cpu().numpy() if len(truth) else np.zeros(0, np.float32))
            spread.append((truth.sums(distance) / truth.sizes)[several].cpu().numpy())
        axes = "distance of the next object's mean", "mean distance of an object's pixels from their own"
        return {"pixels against objects": Relation(*axes, np.concatenate(nearest), np.concatenate(spread))}
