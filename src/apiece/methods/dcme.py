"""DCME: every pixel says how far its object's center of mass is; blocks of the encoder say what lies there.

Papers: Watanabe and Wolf: Distance to Center of Mass Encoding for Instance Segmentation, ITSC 2018,
https://arxiv.org/abs/1711.09060; and Instance Segmentation as Image Segmentation Annotation,
https://arxiv.org/abs/1902.05498 (the extension: blocks, independent outputs, bounded gradients).

    image B C H W -> encoder -> features of stride 2^n -> classes of blocks    B classes+1 H/2^n W/2^n     (eq. 1, 2)
                  -> decoder -> displacement in pixels, 0 on the background    B 2 H W
    error e = displacement - truth: gradient A (1 / (1 + exp(-e)) - 1/2), mean over all outputs            (eq. 3, 4)
    objects: pixels vote where they arrive; a peak of votes is an object; its block, or a network of crops, its class
"""

from math import ceil, log
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torchvision.ops import roi_align

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.methods.method import Frame, Method, Recipe
from apiece.networks.dense import dense
from apiece.networks.segnet import Level
from apiece.networks.unet import shape_for, shape_of
from apiece.parts.batching import by_size, valid
from apiece.parts.blocks import IGNORED, block_target, picture_of_blocks
from apiece.parts.classes import padded_rows
from apiece.parts.normalization import Normalization
from apiece.parts.owners import Owners
from apiece.parts.paste import enlarged
from apiece.parts.pictures import pointing
from apiece.parts.votes import Votes, group_by_votes
from apiece.statistics import THIN, Statistics
from apiece.stores import LayerStore

VOTES = (3.0, 15.0)
"""Pixels; least and greatest size of objects that the votes' window and slack follow."""


class DCME(Method):
    """Pixels that say how far their object's center of mass is.

    Where the posters are silent, this is decided: a mixed block is of the class of the center that lies in it, else of
    that with the most pixels; the class term is a cross entropy, its background weighted; a score is the class's
    probability at the center's block times how well the votes agree (1 - mean error). Unlike the authors' program,
    decoding has limits relative to the votes' way in place of 50 votes, 15 pixels and gaps of 10, counts each pixel
    once, and does not wrap displacements beyond 127 pixels.

    Args:
        num_classes: how many kinds of object.
        channels: of the images.
        network: "unet" (light), "segnet" (the first paper's), "resnet18", "34", "50", or "tiny" (for tests).
        pretrained: start the encoder from ImageNet; downloaded once.
        widths: channels of the U-Net at strides 2, 4, 8, ...; None = as many levels as the data's larger objects need.
        detail: channels of the U-Net at full resolution, 0 = none, faster; None = 16 for objects below 48 pixels.
        classes_from: "blocks" of the encoder (the extension: one network does the whole job), or "crops" about found
            objects through a second network (2018). With one class neither is needed: "nothing" leaves them out.
        block: side of a block in pixels, a power of two.
        block_rule: class of a block: "centers", "majority" of all its pixels, background included, or "any" object's,
            that with most pixels in it.
        error: "logistic" (equation 4), or "squared" (2018; divided by the number of outputs too).
        amplitude: A of equation 4: the gradient of a far output is A/2.
        class_weight: of the class term.
        background_weight: of background blocks in the class term.
        crop_size: pixels; the side of the second network's crops.
        smallest_crop: pixels; crops are squares about an object's box, at least this wide.
        still: pixels; what is displaced by less does not vote.
        slack: pixels by which a vote may miss its center; None = 2/7 of the data's smaller objects' radius, or 1.
        tolerance: share of a pixel's distance from the center by which its vote may miss it besides.
        window: side of the square over which votes are summed, odd; None = the radius of the data's smaller objects, of
            thin ones, which have centers near each other where they cross, half their breadth.
        min_size: pixels of the smallest object; None = half the size of the data's smallest percent of objects.
        max_objects: the most objects an image's crops are classified of; the weakest are left out.
        normalization: pixel values to network input.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 3,
        network: Literal["unet", "segnet", "resnet18", "resnet34", "resnet50", "tiny"] = "unet",
        pretrained: bool = False,
        widths: tuple[int, ...] | None = None,
        detail: int | None = None,
        classes_from: Literal["blocks", "crops", "nothing"] = "blocks",
        block: int = 16,
        block_rule: Literal["centers", "majority", "any"] = "centers",
        error: Literal["logistic", "squared"] = "logistic",
        amplitude: float = 4.0,
        class_weight: float = 1.0,
        background_weight: float = 0.5,
        crop_size: int = 64,
        smallest_crop: int = 50,
        still: float = 1.0,
        slack: float | None = None,
        tolerance: float = 0.3,
        window: int | None = None,
        min_size: int | None = None,
        max_objects: int = 1000,
        normalization: Normalization = Normalization(),  # noqa: B008
    ):
        super().__init__()
        self.keep(locals())
        if classes_from == "nothing" and num_classes > 1:
            raise CallError(f"{num_classes} classes are told apart by classes_from='blocks' or 'crops'.")
        if block < 2 or block & (block - 1):
            raise CallError(f"blocks of {block} pixels: give a power of two.")
        shape: Any = {} if network in ("tiny", "segnet") else shape_of(widths, detail)
        shape |= {"pretrained": True} if pretrained else {}
        self.network: Any = dense(network, channels, (2,), **shape)
        self.settle(pretrained=False)
        self.stride = max(self.network.stride, block)
        # The encoder's features of the blocks' stride; of a shallower encoder the deepest, of a finer block its own.
        inside = self.network.encoder_widths
        self.level = min(block.bit_length() - 1, len(inside)) - 1
        if classes_from == "blocks":
            self.blocks = nn.Conv2d(inside[self.level], 1 + num_classes, 1)
        elif classes_from == "crops":
            self.crops = _CropNetwork(channels, 1 + num_classes)
        self._initialize()

    @property
    def recipe(self) -> Recipe:
        """The light training of the house; the posters name none but plain gradient descent of the first program."""
        return Recipe(average=0.998, augmentation={"rotation": 180.0, "scale": (0.7, 1.4)})

    def adapt(self, statistics: Statistics) -> None:
        """Fit the smallest size, the window and the slack to the data's objects, where they were left open."""
        if not len(statistics.areas):
            return
        if self.arguments["network"] == "unet":
            self.rebuild(**shape_for(statistics.small, statistics.large))
        least, quarter = np.percentile(statistics.areas, (1, 25))
        wide, thin = (int(np.clip(one, *VOTES)) // 2 * 2 + 1 for one in (np.sqrt(quarter / np.pi), statistics.narrow))
        window = thin if statistics.elongation > THIN else wide
        chosen = {"min_size": max(1, int(least / 2)), "window": window, "slack": round(wide * 2 / 7, 2)}
        self.settle(**{name: value for name, value in chosen.items() if getattr(self, name) is None})

    @torch.no_grad()
    def _initialize(self) -> None:
        """Displacements begin at zero: the background's."""
        for weight in self.network.heads[0].parameters():
            weight.zero_()

    def _maps(self, images: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Displacements in pixels, and the logits of blocks where they are asked for."""
        levels = self.network.encode(images)
        (displacement,) = self.network.decode(images, levels)
        if self.classes_from != "blocks":
            return [displacement]
        features = levels[self.level]
        logits = self.blocks(features.features if isinstance(features, Level) else features)
        step = self.block // (images.shape[2] // logits.shape[2])
        return [displacement, nn.functional.avg_pool2d(logits, step) if step > 1 else logits]

    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Displacements B 2 H W in pixels (0 in the padding), and probabilities of background and classes.

        These are of blocks, B classes+1 h w, or of the found objects in the order in which they are decoded, B K
        classes+1, filled up with zeros. Images of different sizes go through the network apart.
        """
        maps = by_size(self._maps, images, sizes, self.stride)
        outputs = {"displacement": maps[0] * valid(sizes, images)}
        if self.classes_from == "blocks":
            outputs["blocks"] = maps[1].softmax(1)
        if self.classes_from == "crops":
            found = [self._votes(one, size) for one, size in zip(outputs["displacement"], sizes.tolist(), strict=True)]
            boxes = [_boxes(one.labels, len(one.peaks))[: self.max_objects] for one in found]
            outputs["crops"] = _filled([
                self._crop_logits(image, mine).softmax(1) for image, mine in zip(images, boxes, strict=True)
            ])  # fmt: skip
        return outputs

    def _crop_logits(self, image: Float[Tensor, "C H W"], boxes: Float[Tensor, "Q 4"]) -> Float[Tensor, "Q D"]:
        """The classes of square crops about boxes."""
        center, side = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True)
        half = side.clamp(min=self.smallest_crop) / 2
        squares = torch.cat([center - half, center + half], 1).to(image.device)
        crops = roi_align(image[None].float(), [squares], self.crop_size, sampling_ratio=2, aligned=True)
        return self.crops(crops).float()

    # --- learning -------------------------------------------------------------------------------------------------

    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """The terms "displacement" (equations 3 and 4) and "class"; ignored objects' pixels are in neither."""
        maps = [one.float() for one in self._maps(images)]
        with torch.autocast(images.device.type, enabled=False):
            truths = [Owners.of(target, images.device) for target in targets]
            losses = {"displacement": self.displacement_loss(maps[0], truths)}
            if self.classes_from == "blocks":
                losses["class"] = self.class_weight * self._block_loss(maps[1], truths)
            elif self.classes_from == "crops":
                losses["class"] = self.class_weight * self._crop_loss(images, truths)
        return losses

    def displacement_loss(self, displacement: Float[Tensor, "B 2 H W"], truths: list[Owners]) -> Float[Tensor, ""]:
        """The mean error of all outputs that are known, A ln cosh(e/2), whose gradient is equation 4; or e^2 / 2."""
        total, count = displacement.sum() * 0, 0
        for index, truth in enumerate(truths):
            height, width = truth.owner.shape
            known = ~truth.ignored.any(0)
            error = (displacement[index, :, :height, :width] - displacement_target(truth))[:, known]
            total, count = total + self._error(error).sum(), count + error.numel()
        return total / max(count, 1)

    def _error(self, error: Tensor) -> Tensor:
        if self.error == "squared":
            return error.square() / 2
        size = error.abs()
        return self.amplitude * (size / 2 + torch.log1p(torch.exp(-size)) - log(2))

    def _block_loss(self, logits: Float[Tensor, "B C h w"], truths: list[Owners]) -> Float[Tensor, ""]:
        each = [block_target(truth, self.block, self.num_classes, self.block_rule) for truth in truths]
        target = logits.new_full((len(each), *logits.shape[2:]), IGNORED, dtype=torch.long)
        for index, one in enumerate(each):
            target[index, : one.shape[0], : one.shape[1]] = one
        return self._cross_entropy(logits, target)

    def _crop_loss(self, images: Tensor, truths: list[Owners]) -> Float[Tensor, ""]:
        """Of crops about the true objects, and about as many random places, which are background where no object is."""
        logits, target = [], []
        for image, truth in zip(images, truths, strict=True):
            owner = truth.owner.cpu()
            places = (torch.rand(max(len(truth), 1), 2) * torch.tensor(owner.shape)).long()
            owners = owner[places[:, 0], places[:, 1]]
            boxes = _boxes(owner.numpy() + 1, len(truth))
            logits.append(self._crop_logits(image, torch.cat([boxes, places.flip(1).repeat(1, 2).float()])))
            target += [truth.labels.cpu() + 1, torch.where(owners < 0, 0, IGNORED)]
        return self._cross_entropy(torch.cat(logits), torch.cat(target).to(images.device))

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Float[Tensor, ""]:
        weights = logits.new_ones(1 + self.num_classes)
        weights[0] = self.background_weight
        each = nn.functional.cross_entropy(logits, target, weights, ignore_index=IGNORED, reduction="sum")
        known = target[target != IGNORED]
        return each / weights[known].sum().clamp(min=1)

    # --- finding --------------------------------------------------------------------------------------------------

    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Objects by their pixels' votes, at network size; of a resized image each one's agreement is interpolated."""
        maps = {name: map_.detach().float().cpu().numpy() for name, map_ in outputs.items()}
        each = [{name: array[index] for name, array in maps.items()} for index in range(len(frames))]
        return [self._objects(one, frame) for one, frame in zip(each, frames, strict=True)]

    def _objects(self, maps: dict[str, ndarray], frame: Frame) -> Instances:
        votes = self._votes(torch.from_numpy(maps["displacement"]), list(frame.size), maps.get("centers"))
        store = LayerStore(votes.labels[None], np.zeros(len(votes.peaks), np.int64), np.arange(1, len(votes.peaks) + 1))
        labels, certain = self._classes(maps, votes)
        found = Instances(frame.size, labels, store=store, scores=votes.scores * certain)
        if frame.size != frame.original:
            agreement = (1 - votes.errors / 2) * (votes.labels > 0)

            def soft(index: int, window: tuple[slice, slice]) -> Float[ndarray, "h w"]:
                return agreement[window]

            found = enlarged(found, soft, frame.original)
        return found[found.mask_areas > 0]

    def _votes(self, displacement: Tensor, size: list[int], centers: ndarray | None = None) -> Votes:
        known = displacement[:, : size[0], : size[1]].detach().float().cpu().numpy()
        window = self.window or 3
        return group_by_votes(
            known,
            still=self.still,
            slack=1.0 if self.slack is None else self.slack,
            tolerance=self.tolerance,
            window=window,
            min_votes=max(3.0, (self.min_size or 1) / 4),
            min_size=self.min_size or 1,
            peaks=None if centers is None else centers[~np.isnan(centers[:, 0])].astype(np.float64),
        )

    def _classes(self, maps: dict[str, ndarray], votes: Votes) -> tuple[Integer[ndarray, " N"], Float[ndarray, " N"]]:
        """The most probable class of each object, and its probability."""
        if self.classes_from == "nothing":
            return np.zeros(len(votes.peaks), np.int64), np.ones(len(votes.peaks))
        if self.classes_from == "crops":
            probabilities = np.zeros((len(votes.peaks), 1 + self.num_classes))
            probabilities[: len(maps["crops"])] = maps["crops"][: len(votes.peaks)]
        else:
            column, row = (np.rint(votes.peaks).astype(np.int64) // self.block).T
            probabilities = maps["blocks"][:, row, column].T
        of_classes = probabilities[:, 1:]
        labels = of_classes.argmax(1)
        return labels, of_classes[np.arange(len(labels)), labels]

    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """True displacements and classes of blocks.

        Lost are pixels under a smaller object, objects of a few pixels, of two with one center the lesser, and the
        class of an object whose center lies in the block of a greater one of another class.
        """
        height, width = (max(ceil(frame.size[axis] / self.stride) * self.stride for frame in frames) for axis in (0, 1))
        resized = (target.resized(frame.size) for target, frame in zip(targets, frames, strict=True))
        truths = [Owners.of(target, torch.device("cpu")) for target in resized]
        displacement = torch.zeros(len(frames), 2, height, width)
        for index, truth in enumerate(truths):
            displacement[index, :, : truth.owner.shape[0], : truth.owner.shape[1]] = displacement_target(truth)
        outputs = {"displacement": displacement}
        if self.classes_from == "blocks":
            outputs["blocks"] = self._true_blocks(truths, (height // self.block, width // self.block))
        elif self.classes_from == "crops":
            outputs["crops"] = self._true_crops(truths, displacement)
        return outputs

    def _true_blocks(self, truths: list[Owners], shape: tuple[int, int]) -> Float[Tensor, "B C h w"]:
        blocks = torch.zeros(len(truths), *shape, dtype=torch.long)
        for index, truth in enumerate(truths):
            target = block_target(truth, self.block, self.num_classes, self.block_rule).clamp(min=0)
            blocks[index, : target.shape[0], : target.shape[1]] = target
        return nn.functional.one_hot(blocks, 1 + self.num_classes).permute(0, 3, 1, 2).float()

    def _true_crops(self, truths: list[Owners], displacement: Tensor) -> Float[Tensor, "B K D"]:
        """The class of the true object that has most of each found one's pixels."""
        rows = []
        for truth, one in zip(truths, displacement, strict=True):
            found = self._votes(one, list(truth.owner.shape))
            pixels = torch.from_numpy((found.labels > 0) & (truth.owner.cpu().numpy() >= 0))
            pairs = torch.zeros(len(found.peaks), max(len(truth), 1), dtype=torch.long)
            places = torch.from_numpy(found.labels.astype(np.int64))[pixels] - 1, truth.owner[pixels]
            pairs.index_put_(places, torch.ones(len(places[0]), dtype=torch.long), accumulate=True)
            labels = truth.labels[pairs.argmax(1)] + 1 if len(truth) else pairs[:, 0]
            rows.append(nn.functional.one_hot(labels[: self.max_objects], 1 + self.num_classes).float())
        return _filled(rows)

    def oracle(self, outputs: dict[str, Tensor], targets: list[Instances], known: str) -> dict[str, Tensor]:
        """ "centers": votes join the true centers; "classes": blocks are of their true class."""
        truths = [Owners.of(target[~target.ignore], torch.device("cpu")) for target in targets]
        device = outputs["displacement"].device
        if known == "centers":
            rows = [truth.centroids() for truth in truths]
            return {**outputs, "centers": padded_rows(rows).to(device)}
        if known == "classes" and self.classes_from == "blocks":
            shape = outputs["blocks"].shape
            return {**outputs, "blocks": self._true_blocks(truths, (shape[2], shape[3])).to(device)}
        return super().oracle(outputs, targets, known)

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """The field of displacements, where they lead, and the classes of blocks."""
        pictures = []
        for index, (height, width) in enumerate(frame.size for frame in frames):
            displacement = outputs["displacement"][index, :, :height, :width].float().cpu().numpy()
            row, column = np.indices((height, width), np.float32)
            moving = np.hypot(*displacement) >= self.still
            shown = pointing(displacement, displacement + np.stack([column, row]) + 0.5, moving)
            if "blocks" in outputs:
                blocks = outputs["blocks"][index].float().cpu().numpy()
                picture = picture_of_blocks(blocks)
                shown["blocks"] = picture.repeat(self.block, 0).repeat(self.block, 1)[:height, :width]
            pictures.append(shown)
        return pictures


def displacement_target(truth: Owners) -> Float[Tensor, "2 H W"]:
    """From each object's pixels to the mean of them, x and y in pixels; 0 elsewhere."""
    height, width = truth.owner.shape
    target = torch.zeros(2, height * width, device=truth.owner.device)
    places = torch.stack([truth.pixels % width, truth.pixels // width]).float()
    target[:, truth.pixels] = truth.centroids()[truth.objects].T - places
    return target.reshape(2, height, width)


# --- classes from crops (2018) ------------------------------------------------------------------------------------


class _CropNetwork(nn.Sequential):
    """A small classifier of crops, in the place of the first paper's GoogLeNet."""

    def __init__(self, channels: int, classes: int):
        widths = (channels, 32, 64, 128)
        blocks = [_block(inside, outside) for inside, outside in zip(widths, widths[1:], strict=False)]
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


def _block(inside: int, outside: int) -> nn.Sequential:
    # Groups, not batches: the number of crops is anything from one on.
    convolution = nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, outside), nn.ReLU(inplace=True))


def _boxes(labels: Integer[ndarray, "H W"], count: int) -> Float[Tensor, "N 4"]:
    """Boxes `x1 y1 x2 y2` of the objects 1..count of a label map."""
    from scipy.ndimage import find_objects

    rows = [[x.start, y.start, x.stop, y.stop] for y, x in find_objects(labels.astype(np.int32), count)]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def _filled(rows: list[Float[Tensor, "_ D"]]) -> Float[Tensor, "B K D"]:
    """Tables of different length as one, filled up with zeros; K is at least 1."""
    longest = max([1, *map(len, rows)])
    return torch.stack([nn.functional.pad(one, (0, 0, 0, longest - len(one))) for one in rows])
