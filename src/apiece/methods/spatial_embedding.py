"""Spatial embeddings: every pixel points at its object's center and says how near is near enough.

Paper: Neven et al.: Instance Segmentation by Jointly Optimizing Spatial Embeddings and Clustering Bandwidth, CVPR 2019,
https://arxiv.org/abs/1906.11109

    image B C H W -> network -> offsets B 2 H W, sigma B n H W      embedding e = pixel coordinate + offset
                             -> seeds B classes H W                 how near an embedding is to its center, 0..1
    phi_k(e) = exp(-sum_d k_d (e_d - C_d)^2), k = exp(10 sigma): a pixel belongs to object k where phi_k > 0.5
    objects: the highest seed's embedding and sigma; all pixels with phi > 0.5 are one object; the next free seed
"""

from math import ceil, log
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray
from torch import Tensor

from apiece import draw
from apiece.instances import Instances
from apiece.masks import Size
from apiece.methods.method import Frame, Method, Recipe, Relation, Stage
from apiece.networks.dense import DenseName, dense, head_names
from apiece.networks.unet import shape_for, shape_of
from apiece.parts.batching import by_size, valid
from apiece.parts.centers import density_centers, graded, group_by_given_centers, group_by_nearest
from apiece.parts.classes import by_class, padded_rows, true_classes
from apiece.parts.coordinates import pixel_axes
from apiece.parts.group import Groups, group_by_center
from apiece.parts.losses import gaussian_membership, instance_windows, lovasz_hinge
from apiece.parts.normalization import Normalization
from apiece.parts.owners import Owners
from apiece.parts.paste import enlarged
from apiece.parts.pictures import pointing
from apiece.statistics import Statistics

SIGMA_SCALE = 10.0
"""k = exp(10 sigma): the paper writes exp(sigma), the authors' code has the ten, and its weights need it."""

TWO_STAGES = (Stage(0.8, crop=500, batch_size=12, lr=5e-4), Stage(0.2, 1024, 2, 5e-5, freeze_batch_norm=True))
AROUND_OBJECTS = {"centered": 1.0, "quarter_turns": False}
PAPER = Recipe(TWO_STAGES, 62_500, "adam", schedule="polynomial", augmentation=AROUND_OBJECTS)
"""Section 4.1: 200 epochs of 500 x 500 crops around an object, then 50 of 1024 x 1024 at a tenth of the rate with
batch-norm statistics frozen. An epoch is taken as 3000 crops, as in the authors' code."""

LIGHT = Recipe(average=0.998, augmentation={"rotation": 180.0, "scale": (0.7, 1.4)})


class SpatialEmbedding(Method):
    """Pixels that point at their object's center, grouped within a learned margin.

    Args:
        num_classes: how many kinds of object.
        channels: of the images.
        network: "unet" (light, stride-2 stem), "erfnet" (the paper's), "tiny" (for tests), or any other dense one.
        widths: channels of the U-Net at strides 2, 4, 8, ...; None = as many levels as the data's larger objects need.
        detail: channels of the U-Net at full resolution, 0 = none, faster; None = 16 for objects below 48 pixels.
        objective: "gaussian" (equations 5 to 9), "hinge" (3, 4), or "regression" (1, 2, with density clustering).
        sigma: "scalar" (5), "elliptical" (8), or "fixed" (the margin, not learned).
        center: center of attraction: "centroid" of the pixels, or "learnable": mean of their embeddings (9).
        margin: pixels; the margin where it is fixed ("hinge", "fixed"), and the radius of density clustering.
        offset_range: the farthest an offset reaches, in coordinate units (one unit is 1 / coordinate_step pixels).
        coordinate_step: coordinate difference of neighboring pixels; None = so that offsets reach over the training
            data's largest objects (1/1024, the paper's, before that is known).
        initial_margin: pixels; the margin training starts from; None = radius of a disc of the median object's area.
        legacy_coordinates: the authors' steps 2/2047 and 1/1023 in place of coordinate_step, for their checkpoints.
        instance_weight: of the instance term.
        smoothness_weight: of the term that makes sigma even within an object.
        seed_weight: of the seed term.
        foreground_weight: of object pixels in the seed term.
        regression_weight: of a direct pull of offsets to their center (equation 1), which fades until the middle of the
            training. Not in the paper (0); large or crossing objects are learned much sooner with it.
        foreground_threshold: pixels whose seed is lower belong to no object (the authors' code has 0.5).
        seed_threshold: no object starts from a lower seed (the code has 0.9; 0 = the paper's: until all are masked).
        min_size: pixels; smaller groups are no objects (of one or two pixels none ever is); None = half the size of the
            data's smallest percent of objects (the code has 129).
        min_unclustered: share of a group's pixels that must not have been grouped before.
        refine: times that center and sigma are averaged over a found group, and the group is found anew.
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
        objective: Literal["gaussian", "hinge", "regression"] = "gaussian",
        sigma: Literal["scalar", "elliptical", "fixed"] = "scalar",
        center: Literal["centroid", "learnable"] = "centroid",
        margin: float = 20.0,
        offset_range: float = 1.0,
        coordinate_step: float | None = None,
        initial_margin: float | None = None,
        legacy_coordinates: bool = False,
        instance_weight: float = 1.0,
        smoothness_weight: float = 10.0,
        seed_weight: float = 1.0,
        foreground_weight: float = 10.0,
        regression_weight: float = 5.0,
        foreground_threshold: float = 0.2,
        seed_threshold: float = 0.5,
        min_size: int | None = None,
        min_unclustered: float = 0.5,
        refine: int = 1,
        normalization: Normalization = Normalization(),  # noqa: B008
    ):
        super().__init__()
        self.keep(locals())
        if objective != "gaussian":
            self.sigma = "fixed"
        self.sigmas = {"scalar": 1, "elliptical": 2, "fixed": 0}[self.sigma]
        shape: Any = shape_of(widths, detail) if network == "unet" else {}
        self.network = dense(network, channels, (2 + self.sigmas, num_classes), **shape)
        self.stride = self.network.stride
        self.progress = 1.0
        self._initialize()

    @property
    def recipe(self) -> Recipe:
        """The paper's two stages for ERFNet; a shorter one-cycle training for the light network."""
        return PAPER if self.arguments["network"] == "erfnet" else LIGHT

    def adapt(self, statistics: Statistics) -> None:
        """Fit reach, first margin and smallest size to the data's objects, where they were left open."""
        if not len(statistics.areas):
            return
        if self.arguments["network"] == "unet":
            self.rebuild(**shape_for(statistics.small, statistics.large))
        largest = np.percentile(statistics.sides.max(1), 99)
        if self.coordinate_step is None:
            # A center lies at most about a side away; powers of two are for readable figures only.
            self.settle(coordinate_step=2.0 ** -ceil(np.log2(np.clip(largest / self.offset_range, 64, 4096))))
        if self.initial_margin is None:
            self.settle(initial_margin=max(1.0, float(np.sqrt(np.median(statistics.areas) / np.pi))))
        if self.min_size is None:
            self.settle(min_size=max(1, int(np.percentile(statistics.areas, 1) / 2)))
        self._initialize()

    def at(self, progress: float) -> None:
        """The direct pull fades with the share of the training that is done."""
        self.progress = progress

    @torch.no_grad()
    def _initialize(self) -> None:
        """Offsets begin at zero and sigma at one margin: otherwise every pixel belongs to every object, or to none."""
        # The pixel shuffle of the U-Net makes a map from four channels; the paper's head ends at full size.
        weights = dict(self.network.heads[0].named_parameters())
        maps = weights["bias"].view(2 + self.sigmas, -1)
        maps[:2] = 0
        maps[2:] = _sigma_of((self.initial_margin or 5.7) * self.step)
        weights["weight"].zero_()

    @property
    def step(self) -> float:
        """Coordinate difference of neighboring pixels."""
        return self.coordinate_step or 1 / 1024

    @property
    def fixed_precision(self) -> float:
        """k of the fixed margin: phi falls to a half at its distance (equation 6)."""
        return log(2) / (self.margin * self.step) ** 2

    def coordinates(self, size: Size, device: torch.device | str = "cpu") -> Float[Tensor, "2 H W"]:
        """x and y of each pixel in coordinate units."""
        x, y = pixel_axes(size, None if self.legacy_coordinates else self.step, device)
        return torch.stack([x.expand(size), y[:, None].expand(size)])

    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Offsets B 2 H W in coordinate units, raw sigma B n H W and seeds B classes H W (0..1; 0 in the padding).

        Images of different sizes go through the network apart: an image's objects are the same alone and in any batch.
        """
        first, seeds = by_size(self.network, images, sizes, self.stride)
        return {
            "offsets": first[:, :2].tanh() * self.offset_range,
            "sigma": first[:, 2:],
            "seeds": seeds.sigmoid() * valid(sizes, images),
        }

    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """The terms "instance" (1, 3, or 5, 8, 9 in a Lovász hinge), "smoothness" (12), "seed" (10): means over images;
        and "regression" (1) in the first half of a training.

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
        weights = {"instance": self.instance_weight, "smoothness": self.smoothness_weight, "seed": self.seed_weight}
        weights["regression"] = self.regression_weight * max(0.0, 1 - 2 * self.progress)
        # Nothing but zero times every output: an image without objects gives every weight a gradient all the same.
        nothing = sum(map_.sum() for map_ in outputs.values()) * 0
        return {
            name: weight * torch.stack([one[name] for one in each]).mean() + nothing for name, weight in weights.items()
        }

    def _image_loss(self, outputs: dict[str, Tensor], target: Instances) -> dict[str, Tensor]:
        height, width = target.size
        offsets, sigma, seeds = (outputs[name][:, :height, :width] for name in ("offsets", "sigma", "seeds"))
        truth = Owners.of(target, seeds.device)
        coordinates = self.coordinates(target.size, offsets.device).to(offsets.dtype)
        embeddings = offsets + coordinates
        phi = offsets.new_zeros(0)
        instance = smoothness = regression = offsets.sum() * 0
        if len(truth):
            centers = truth.means(coordinates if self.center == "centroid" else embeddings)
            precision, smoothness = self._precision(sigma, truth)
            phi = gaussian_membership(embeddings, centers, precision, truth.pixels, truth.objects).detach()
            own = embeddings.flatten(1).index_select(1, truth.pixels)
            distance = (own - centers.index_select(0, truth.objects).T).norm(dim=0)
            regression = (truth.sums(distance) / truth.sizes).mean()
            instance = self._instance_loss(embeddings, centers, precision, truth, distance)
        seed = self._seed_loss(seeds, phi, truth)
        return {"instance": instance, "smoothness": smoothness, "seed": seed, "regression": regression}

    def _precision(self, sigma: Tensor, truth: Owners) -> tuple[Float[Tensor, "N n"], Tensor]:
        """k of each object from the mean of its raw sigma (7), and how far its pixels are from that mean (12)."""
        if not self.sigmas:
            return truth.means(sigma.new_full((1, *truth.owner.shape), self.fixed_precision)), sigma.sum() * 0
        means = truth.means(sigma)
        # As in the authors' code the mean is not pulled towards its pixels.
        own = sigma.flatten(1).index_select(1, truth.pixels)
        spread = (own - means.detach()[truth.objects].T).square().mean(0)
        return torch.exp(SIGMA_SCALE * means), (truth.sums(spread) / truth.sizes).mean()

    def _instance_loss(
        self, embeddings: Tensor, centers: Tensor, precision: Tensor, truth: Owners, distance: Tensor
    ) -> Tensor:
        """Equation 1, 3, or the Lovász hinge of 2 phi - 1 over all pixels but ignored ones; mean over objects."""
        if self.objective != "gaussian":
            free = self.margin * self.step if self.objective == "hinge" else 0.0
            return (truth.sums((distance - free).relu()) / truth.sizes).mean()
        pixels, objects = instance_windows(embeddings, centers, precision, truth.owner)
        if len(truth.ignored):
            known = ~truth.ignored.any(0).flatten()[pixels]
            pixels, objects = pixels[known], objects[known]
        phi = gaussian_membership(embeddings, centers, precision, pixels, objects)
        return lovasz_hinge(2 * phi - 1, truth.owner.flatten()[pixels] == objects, objects, truth.sizes).mean()

    def _seed_loss(self, seeds: Float[Tensor, "C H W"], phi: Tensor, truth: Owners) -> Tensor:
        """Seeds of a class are phi on its objects and zero elsewhere (10), summed over the classes."""
        count = seeds[0].numel()
        places = truth.labels[truth.objects] * count + truth.pixels
        background = ~truth.unknown(len(seeds)).flatten()
        background[places] = False
        on_objects = (seeds.flatten().index_select(0, places) - phi).square().sum()
        return ((seeds.flatten().square() * background).sum() + self.foreground_weight * on_objects) / count

    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Objects grouped class by class at network size; scores are mean seeds.

        Where the image was resized, each object's phi is interpolated inside its box and cut at one half at full size.
        """
        maps = {name: map_.detach().float().cpu().numpy() for name, map_ in outputs.items()}
        each = [{name: array[index] for name, array in maps.items()} for index in range(len(frames))]
        return [self._objects(one, frame) for one, frame in zip(each, frames, strict=True)]

    def _objects(self, maps: dict[str, ndarray], frame: Frame) -> Instances:
        centers = maps.pop("centers", None)
        maps = {name: map_[:, : frame.size[0], : frame.size[1]] for name, map_ in maps.items()}
        groups = [self._groups(maps, number, centers) for number in range(self.num_classes)]
        found = by_class(groups, frame.size)
        if frame.size != frame.original:
            found = self._resized(found, groups, maps, frame)
        return found[found.mask_areas > 0]

    def _groups(self, maps: dict[str, ndarray], number: int, centers: Float[ndarray, "K 5"] | None) -> Groups:
        """The objects of one class."""
        offsets, seeds = maps["offsets"], maps["seeds"][number]
        axes = pixel_axes(seeds.shape, None if self.legacy_coordinates else self.step)
        places = axes[0].numpy(), axes[1].numpy()
        if centers is not None:
            mine = centers[centers[:, 4] == number]
            labels = group_by_given_centers(offsets, mine[:, :2], mine[:, 2:4], coordinates=places)
            return graded(labels, seeds, mine[:, :2], mine[:, 2:4])
        if self.objective == "regression":
            radius, foreground = self.margin * self.step, seeds > self.foreground_threshold
            piles = density_centers(offsets, foreground, radius, coordinates=places, min_pixels=self.min_size or 1)
            labels = group_by_nearest(offsets, piles, foreground, coordinates=places)
            return graded(labels, seeds, piles, np.full_like(piles, self.fixed_precision))
        fixed = np.float32(log(self.fixed_precision) / SIGMA_SCALE)
        return group_by_center(
            offsets,
            maps["sigma"] if self.sigmas else np.broadcast_to(fixed, (1, *seeds.shape)),
            seeds,
            coordinates=places,
            scale=SIGMA_SCALE,
            foreground=self.foreground_threshold,
            seed_threshold=self.seed_threshold,
            min_size=max(self.min_size or 1, 1) - 1,
            min_fresh=self.min_unclustered,
            score="mean",
            refine=self.refine,
        )

    def _resized(self, found: Instances, groups: list[Groups], maps: dict[str, ndarray], frame: Frame) -> Instances:
        """The found objects at the original size, by each one's phi."""
        centers = np.concatenate([group.centers for group in groups])
        precisions = np.concatenate([group.precisions for group in groups])
        embeddings = maps["offsets"] + self.coordinates(frame.size).numpy()

        def phi(index: int, window: tuple[slice, slice]) -> Float[ndarray, "h w"]:
            distance = (embeddings[:, *window] - centers[index][:, None, None]) ** 2
            return np.exp(-(distance * precisions[index][:, None, None]).sum(0))

        return enlarged(found, phi, frame.original)

    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """Every object's pixels point at one place, with half a pixel of margin where it is learned; seeds are one.

        Lost are pixels under a smaller object or farther from the center than offsets reach, and objects whose centers
        fall together. A learnable center lies on the object's pixel nearest to its centroid: it is the object's alone.
        """
        height, width = (max(ceil(frame.size[axis] / self.stride) * self.stride for frame in frames) for axis in (0, 1))
        outputs = {
            "offsets": torch.zeros(len(frames), 2, height, width),
            "sigma": torch.full((len(frames), self.sigmas, height, width), _sigma_of(0.5 * self.step)),
            "seeds": torch.zeros(len(frames), self.num_classes, height, width),
        }
        for index, (target, frame) in enumerate(zip(targets, frames, strict=True)):
            truth = Owners.of(target.resized(frame.size), torch.device("cpu"))
            coordinates = self.coordinates(frame.size)
            centers = truth.means(coordinates)
            row, column = truth.pixels // frame.size[1], truth.pixels % frame.size[1]
            if self.center == "learnable":
                centers = truth.nearest(coordinates, centers)
            offsets = centers[truth.objects].T - coordinates.flatten(1)[:, truth.pixels]
            outputs["offsets"][index, :, row, column] = offsets.clamp(-self.offset_range, self.offset_range)
            outputs["seeds"][index, truth.labels[truth.objects], row, column] = 1
        return outputs

    def oracle(self, outputs: dict[str, Tensor], targets: list[Instances], known: str) -> dict[str, Tensor]:
        """AP_gt of the paper's table 2, from targets at network size.

        "centers" groups around the true objects' mean embeddings (or centroids) with their mean sigma and their class;
        "classes" moves each pixel's highest seed to its true class.
        """
        truths = [Owners.of(target[~target.ignore], outputs["seeds"].device) for target in targets]
        if known == "classes":
            return {**outputs, "seeds": true_classes(outputs["seeds"], truths)}
        if known != "centers":
            return super().oracle(outputs, targets, known)
        rows = []
        for index, truth in enumerate(truths):
            height, width = truth.owner.shape
            offsets, sigma = (outputs[name][index, :, :height, :width] for name in ("offsets", "sigma"))
            place = truth.means(
                self.coordinates((height, width), offsets.device) + offsets * (self.center == "learnable")
            )
            precision = self._precision(sigma, truth)[0].expand(-1, 2)
            rows.append(torch.cat([place, precision, truth.labels[:, None].float()], 1))
        return {**outputs, "centers": padded_rows(rows)}

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """The paper's figures 1 and 2: offsets (color is angle, brightness length), where they lead, margins, seeds."""
        pictures = []
        for index, (height, width) in enumerate(frame.size for frame in frames):
            maps = (outputs[name][index, :, :height, :width].float().cpu() for name in ("offsets", "sigma", "seeds"))
            offsets, sigma, seeds = maps
            points = (offsets + self.coordinates((height, width), offsets.device)) / self.step
            objects = (seeds.amax(0) > self.foreground_threshold).numpy()
            shown = pointing(offsets.numpy(), points.numpy(), objects)
            if self.sigmas:
                margin = (log(2) / torch.exp(SIGMA_SCALE * sigma)).sqrt().mean(0) / self.step
                shown["margin"] = draw.heat(np.where(objects, margin.numpy(), 0))
            pictures.append({**shown, "seeds": draw.heat(seeds.amax(0).numpy(), 0, 1)})
        return pictures

    def relations(self, outputs: dict[str, Tensor], targets: list[Instances]) -> dict[str, Relation]:
        """Learned margin against object size (figure 4), both in pixels."""
        if not self.sigmas:
            return {}
        sizes, margins = [], []
        for index, target in enumerate(targets):
            sigma = outputs["sigma"][index, :, : target.size[0], : target.size[1]].float()
            truth = Owners.of(target[~target.ignore], sigma.device)
            sizes.append(truth.sizes.cpu().numpy())
            margins.append((log(2) / self._precision(sigma, truth)[0]).sqrt().mean(1).cpu().numpy() / self.step)
        figure = Relation("area (pixels)", "learned margin (pixels)", np.concatenate(sizes), np.concatenate(margins))
        return {"margin against size": figure}


def _sigma_of(margin: float) -> float:
    """The raw sigma of a margin in coordinate units (equation 6)."""
    return log(log(2) / margin**2) / SIGMA_SCALE
