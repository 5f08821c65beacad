"""Recurrent instance segmentation: one object after another, until a probability says that there is no more.

Paper: Romera-Paredes and Torr: Recurrent Instance Segmentation, ECCV 2016, https://arxiv.org/abs/1511.08250

    image B C H W -> network -> features B C h w, the same at each step
    step t: features, memory -> ConvLSTM layers -> h B R h w
            h -> a value for each place -> log-softmax over all places + b -> sigmoid: the map of one object   B h w
            h -> max-pooled -> linear -> sigmoid: the probability s that it is one                             B
    loss = sum of 1 - relaxed IoU of matched pairs + weight * sum over t of BCE(s_t, t <= n) (+ ours: see the arguments)
    objects: the maps of the steps before s falls below one half, enlarged and cut; the earlier one owns what two claim
"""

from collections.abc import Sequence
from itertools import islice
from math import ceil, lcm, log
from typing import Any, ClassVar, Literal, cast
from warnings import warn

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.masks import Size
from apiece.methods.method import Frame, Method, Recipe, Stage
from apiece.networks.dense import DenseName, dense
from apiece.networks.plants import Plants
from apiece.parts.batching import each_apart, filled, resized
from apiece.parts.coarse_maps import coverage, covered, cut_out, leveled
from apiece.parts.embeddings import place_loss
from apiece.parts.matching import Rule
from apiece.parts.normalization import Normalization
from apiece.parts.order_pictures import order_pictures
from apiece.parts.recurrence import Feedback, Recurrence, Start, Steps, places
from apiece.parts.sequence_loss import Found, sequence_loss
from apiece.statistics import Statistics

THIN, FAINT, USUAL_MOST = 8, 0.02, 20
"""Pixels of thin objects; a score below which no more is to be expected; objects that are usually looked for."""

PAPER = Recipe((Stage(crop=1024, batch_size=1, lr=1e-4),), 200_000, "adam", 0.0, schedule="constant",
               augmentation={"rotation": 180.0, "quarter_turns": False})  # fmt: skip
"""The authors' program for plants, without its clamp of the gradient's elements to -5..5 (`clip=5` is near to it)."""

LIGHT = Recipe((Stage(crop=1024, batch_size=4, lr=2e-3),), clip=5.0, average=0.998,
               augmentation={"rotation": 180.0, "centered": 0.0})  # fmt: skip


class Recurrent(Method):
    """Objects found one after another by a network with a memory.

    Ours, with what makes it the paper's in brackets: the `focus` (False), which chooses one of many objects alike by
    looking at it, its embeddings; `share_weight` (0), `feedback` ("none"), `coordinates` (False), the `network`
    ("plants"), class head (one class has none), enlarged maps. The published checkpoints are graphs of Torch7 alone.

    Args:
        num_classes: how many kinds of object; with more than one a class head is learned.
        channels: of the images.
        network: "unet" (light), any other dense one, "plants" (the authors' four convolutions on the image made
            smaller by `step`), or "tiny" (for tests).
        widths: channels of the U-Net at strides 2, 4, 8, ...
        canvas: height and width in pixels of what the network sees: larger images are made to fit.
        fixed: whether all images are made as large as fits the canvas, and padded to it.
        step: pixels from one place of a map to the next; None = 4, 2 for objects thinner than 8 pixels (authors: 5, 8).
        width: R, channels of features and memory; None = 32 (8 with the tiny network; the authors' 30 and 100).
        layers, kernel: of the ConvLSTM; the side of its convolutions.
        focus: whether one place is looked at first and the others are compared with it, or each place's value comes
            from its own memory.
        coarse: places of a map to a side of one of the memory; None = 2 with a focus, else 1, as it must be.
        feedback: what the memory is told beside the features: "none", the "last" map, or "all" that is found so far.
        coordinates: whether features hold each place's x and y, -1 to 1.
        stop: how h becomes a score: "pooled" (maxima of its four quarters), or "whole" (each value has a weight, the
            authors' for plants, of one size: it needs `fixed`).
        bias: b, to begin with; None = so that a map may hold the data's larger objects. The authors have 1.
        stop_bias: of the score, to begin with; the authors have 10.
        matching: "first": the first n of the steps are matched with the n objects (the authors' program, which trains
            the later ones to stop); "any": the best n of all (the paper's formula).
        stop_weight, class_weight: lambda, of the scores' cross entropy; of the classes'.
        share_weight: of the divergence of a map before its sigmoid, a share for each place, from its object's places.
        embed_weight: with a focus, of places' discriminative loss and their cross entropy of being an object's.
        embed_first: share of a training in which only that is learned; validations until then say little (`patience`).
        look_weight: of looking at objects not yet found, minus the logarithm of the part that does.
        extra_steps: steps that are learned beyond the last object.
        first_steps: steps that are learned at first, when sequences begin to be.
        curriculum: share of what then is left of the training, over which they grow to all.
        taught: share of it in which the feedback "all" of a focus is the true masks of objects looked at, not yet maps.
        longest: the most steps that are learned; None = all. Later objects of an image are then learned as the first.
        truncation: steps through which gradients go back; None = all.
        checkpointing: steps whose inner values are computed again for the gradient, together; None = all are kept.
        count: objects are those before a score below `stop_threshold` ("threshold", the paper), or as many as are
            expected, the sum of all scores down to one below 0.02 ("expected", ours; some steps more).
        mask_threshold: pixels of a map above it are the object's: 0.5 makes them fat; the authors' for plants is 0.9.
        exclusive: whether a pixel belongs to the earliest of the objects that claim it, or to all.
        max_objects: the most objects looked for in an image; None = a quarter more than the data's most.
        normalization: pixel values to network input.
    """

    class_heads: ClassVar[tuple[str, ...]] = ("recurrence.classifier.",)

    def __init__(
        self,
        num_classes: int,
        channels: int = 3,
        network: DenseName | Literal["plants"] = "unet",
        widths: tuple[int, ...] = (32, 64, 96, 128),
        canvas: tuple[int, int] = (256, 256),
        fixed: bool = False,
        step: int | None = None,
        width: int | None = None,
        layers: int = 2,
        kernel: int = 3,
        focus: bool = True,
        coarse: int | None = None,
        feedback: Feedback = "all",
        coordinates: bool = True,
        stop: Literal["pooled", "whole"] = "pooled",
        bias: float | None = None,
        stop_bias: float = 2.0,
        matching: Rule = "first",
        stop_weight: float = 1.0,
        class_weight: float = 1.0,
        share_weight: float = 0.2,
        look_weight: float = 0.5,
        embed_weight: float = 1.0,
        embed_first: float = 0.4,
        extra_steps: int = 1,
        first_steps: int = 2,
        curriculum: float = 0.2,
        taught: float = 0.5,
        longest: int | None = 50,
        truncation: int | None = None,
        checkpointing: int | None = None,
        count: Literal["threshold", "expected"] = "threshold",
        stop_threshold: float = 0.5,
        mask_threshold: float = 0.65,
        exclusive: bool = True,
        max_objects: int | None = None,
        normalization: Normalization = Normalization(),  # noqa: B008
    ):
        super().__init__()
        self.keep(locals())
        if stop == "whole" and not fixed:
            raise CallError("stop='whole' has a weight for each place of a map: it needs fixed=True.")
        small = network == "tiny"
        self.settle(step=step or (1 if small else 4), width=width or (8 if small else 32), coarse=coarse or 1 + focus)
        if self.coarse > 1 and not focus:
            raise CallError(f"coarse={coarse}: without a focus maps are as fine as the memory, coarse=1.")
        shape: dict[str, Any] = {"widths": widths} if network == "unet" else {}
        if network == "plants":
            features, self.network = self.width, cast(Any, Plants(channels, self.width, self.step))
        else:
            # Each place holds the outputs of all its pixels.
            outputs = max(4, ceil(self.width / self.step**2))
            features, self.network = outputs * self.step**2, dense(network, channels, (outputs,), **shape)
        self.stride = lcm(self.network.stride, self.step * self.coarse)
        rows, columns = (side // (self.step * self.coarse) for side in self._extent(canvas))
        self.recurrence = Recurrence(
            features + 2 * coordinates, self.width, layers, kernel, num_classes, feedback, focus, self.coarse,
            rows * columns if stop == "whole" else None, truncation, checkpointing,
        )  # fmt: skip
        self.embeds = focus and embed_weight > 0
        self.progress, self.sequential = 1.0, True
        self._initialize()

    @property
    def recipe(self) -> Recipe:
        """The authors' for their network; a shorter one-cycle training for others. Images are seen whole."""
        return PAPER if self.arguments["network"] == "plants" else LIGHT

    def adapt(self, statistics: Statistics) -> None:
        """Fit the step, the most objects and the bias of maps to the data's objects, where they were left open."""
        if self.arguments["network"] != "tiny" and len(statistics.areas):
            self.rebuild(step=2 if np.median(statistics.areas / statistics.sides.max(1)) < THIN else self.step)
        if self.max_objects is None and len(statistics.counts):
            self.settle(max_objects=max(4, ceil(1.25 * int(statistics.counts.max()))))
        if self.bias is None and len(statistics.areas):
            self.settle(bias=log(max(1.0, float(np.percentile(statistics.areas, 90)) / self.step**2)) + 2)
        self._initialize()

    def at(self, progress: float) -> None:
        """Sequences are learned once `embed_first` of the training is done, and then grow."""
        first = self.embed_first if self.embeds else 0.0
        self.sequential = progress >= first
        self.progress = max(0.0, (progress - first) / max(1 - first, 1e-9))

    @torch.no_grad()
    def _initialize(self) -> None:
        self.recurrence.bias.fill_(4.0 if self.bias is None else self.bias)
        self.recurrence.score.bias.fill_(self.stop_bias)

    @property
    def most(self) -> int:
        """The most objects that are looked for in an image."""
        return self.max_objects or USUAL_MOST

    @property
    def learned_steps(self) -> int:
        """The most steps that are learned at this time of the training."""
        every = self.most + self.extra_steps
        most = min(self.longest or every, every)
        grown = min(1.0, self.progress / self.curriculum) if self.curriculum else 1.0
        return min(most, self.first_steps + int((most - self.first_steps) * grown + 0.5))

    def frame(self, original: Size) -> Frame:
        """The image made to fit the canvas."""
        scale = min(most / side for most, side in zip(self.canvas, original, strict=True))
        if scale >= 1 and not self.fixed:
            return Frame(original, original)
        height, width = (
            min(max(1, round(side * scale)), most) for side, most in zip(original, self.canvas, strict=True)
        )
        return Frame(original, (height, width))

    # --- the steps ------------------------------------------------------------------------------------------------

    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Maps B T h w (0..1), scores B T and, of several classes, classes B T C: T steps, in their order.

        Beyond the steps that are objects (see `count`) an image's scores and maps are zero; T is as many as any needs.
        """
        canvas = self._padded(images)
        rows, columns = (side // self.step for side in canvas.shape[2:])

        def find(part: Tensor, own: list[list[int]]) -> list[dict[str, Tensor]]:
            found = self._find(part, torch.tensor(own, device=part.device))
            down, right = found["maps"].shape[2:]
            found["maps"] = functional.pad(found["maps"], (0, columns - right, 0, rows - down))
            return [dict(zip(found, one, strict=True)) for one in zip(*found.values(), strict=True)]

        return filled(find(canvas, sizes.tolist())) if self.fixed else each_apart(find, canvas, sizes, self.stride)

    def _extent(self, size: Sequence[int]) -> Size:
        """Height and width to which an image is padded."""
        height, width = (ceil(side / self.stride) * self.stride for side in (self.canvas if self.fixed else size))
        return height, width

    def _padded(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C _ _"]:
        """Images on the fixed canvas, if there is one.

        Raises:
            CallError: they are larger.
        """
        if not self.fixed:
            return images
        down, right = (most - side for most, side in zip(self._extent(self.canvas), images.shape[2:], strict=True))
        if min(down, right) < 0:
            raise CallError(f"images of {tuple(images.shape[2:])} pixels on a canvas of {self.canvas}: resize them.")
        return functional.pad(images, (0, right, 0, down))

    def _find(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """Maps, scores and classes of images of one padded size, until all of them have stopped."""
        going = torch.ones(len(images), 1, dtype=torch.bool, device=images.device)
        found: list[dict[str, Tensor]] = []
        least = FAINT if self.count == "expected" else self.stop_threshold
        for maps, logits, classes, _ in islice(self.recurrence.each(self._start(images, sizes)), self.most):
            scores = logits.sigmoid()
            going = going & (scores >= least)
            found.append({"maps": maps.sigmoid() * going[..., None, None], "scores": scores * going})
            if classes is not None:
                found[-1]["classes"] = classes.softmax(2) * going[..., None]
            if not bool(going.any()):
                break
        steps = {name: torch.cat([one[name] for one in found], 1) for name in found[0]}
        if self.count == "expected":
            counted = torch.arange(len(found), device=images.device) + 0.5 < steps["scores"].sum(1, keepdim=True)
            steps = {name: torch.einsum("bt...,bt->bt...", one, counted.to(one)) for name, one in steps.items()}
        return steps

    def _start(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> Start:
        """The features of images, and of which places they are."""
        features = self.network(images)
        if isinstance(features, list):
            features = functional.pixel_unshuffle(features[0], self.step)
        rows, columns = features.shape[2:]
        valid, coordinates = places(sizes, self.step, (rows, columns))
        features = features.float()
        return self.recurrence.start(torch.cat([features, coordinates], 1) if self.coordinates else features, valid)

    # --- learning -------------------------------------------------------------------------------------------------

    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """The terms of `sequence_loss` with their weights: sums over steps, means over images; and "embed", at first
        alone: steps are not run, and their weights have no gradient, as zeros would mislead Adam's bias correction.
        """
        images, targets = self._fitted(images, targets)
        sizes = torch.tensor([target.size for target in targets], device=images.device)
        start = self._start(images, sizes)
        with torch.autocast(images.device.type, enabled=False):
            embed = self._embedding_loss(start, targets)
        if not self.sequential:
            return embed
        found = self.recurrence(self._taught(start, targets), max(self._steps_of(target) for target in targets))
        with torch.autocast(images.device.type, enabled=False):
            return self.loss_of(found, targets) | embed

    def _embedding_loss(self, start: Start, targets: list[Instances]) -> dict[str, Tensor]:
        """The term "embed" of what the focus compares, before any step: the mean over images."""
        focus = self.recurrence.focus
        if focus is None or not self.embeds:
            return {}
        each = zip(*focus.embedded(start.begun), start.valid, targets, strict=True)
        term = torch.stack([place_loss(*one, self.step) for one in each]).mean()
        if not self.sequential and torch.distributed.is_initialized():  # several processes want all gradients
            term = term + 0 * sum(weight.sum() for weight in self.recurrence.parameters())
        return {"embed": self.embed_weight * term}

    def _taught(self, start: Start, targets: list[Instances]) -> Start:
        """With the true objects, for the first `taught` of the sequences' time."""
        if not (self.focus and self.feedback == "all" and self.progress < self.taught):
            return start
        rows = [covered(target[~target.ignore].dense(), self.step, start.told[0]) for target in targets]
        return start._replace(
            taught=pad_sequence([functional.pad(row, (0, 0, 0, 1)) for row in rows], batch_first=True)
        )

    def _steps_of(self, target: Instances) -> int:
        return max(1, min(self.learned_steps, int((~target.ignore).sum()) + self.extra_steps))

    def _fitted(self, images: Tensor, targets: list[Instances]) -> tuple[Tensor, list[Instances]]:
        """Images and objects on the canvas."""
        images, targets = resized(images, targets, [self.frame(target.size).size for target in targets], self.stride)
        return self._padded(images), targets

    def loss_of(self, found: Steps, targets: list[Instances]) -> dict[str, Tensor]:
        """The loss terms of given steps and objects at the network's size."""
        weights = {"mask": 1.0} | {name: getattr(self, f"{name}_weight") for name in ("stop", "share", "look", "class")}
        each = []
        for index, target in enumerate(targets):
            parts: list[Any] = [part if part is None else part[index, : self._steps_of(target)] for part in found]
            each.append(sequence_loss(Found(*parts), target, self.step, self.matching))
        # Nothing but zero times every output: an image without objects gives every weight a gradient all the same.
        finite = found.maps.sigmoid(), found.scores, found.classes, None if found.looks is None else found.looks.exp()
        nothing = sum(part.sum() * 0 for part in finite if part is not None)
        means = {name: torch.stack([one[name] for one in each]).mean() + nothing for name in each[0]}
        return {name: weights[name] * term for name, term in means.items() if weights[name]}

    # --- finding --------------------------------------------------------------------------------------------------

    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Objects at the original size, each map interpolated once; column "order" has their steps, from 0."""
        arrays = {name: part.detach().float().cpu().numpy() for name, part in outputs.items()}
        found = []
        for index, frame in enumerate(frames):
            one = {name: part[index] for name, part in arrays.items()}
            found.append(self._objects(one, frame))
            scores = found[-1].scores
            if scores is not None and (scores >= self.card.threshold).sum() >= self.most:
                warn(f"an image has {self.most} objects, which is max_objects: there may be more.", stacklevel=2)
        return found

    def _objects(self, outputs: dict[str, ndarray], frame: Frame) -> Instances:
        steps = np.flatnonzero(outputs["scores"] > 0)
        free = np.ones(frame.original, bool)
        crops, boxes = [], []
        for number in steps.tolist():
            crop, box = cut_out(outputs["maps"][number], self.step, frame, self.mask_threshold)
            if self.exclusive:
                window = np.s_[box[1] : box[3], box[0] : box[2]]
                crop &= free[window]
                free[window] &= ~crop
            crops.append(crop)
            boxes.append(box)
        labels = outputs["classes"][steps].argmax(1) if "classes" in outputs else np.zeros(len(steps), np.int64)
        scores, columns = outputs["scores"][steps], {"order": steps}
        found = Instances.from_crops(
            crops, np.array(boxes).reshape(-1, 4), frame.original, labels, scores=scores, columns=columns
        )
        return found[found.mask_areas > 0]

    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """What objects cover of places as maps, half as the threshold, the smaller, seen, first; lost is the rest."""
        extents = [self._extent(frame.size) for frame in frames]
        height, width = (max(sides) // self.step for sides in zip(*extents, strict=True))
        steps = max([1, *(int((~target.ignore).sum()) for target in targets)])
        maps, scores = torch.zeros(len(targets), steps, height, width), torch.zeros(len(targets), steps)
        classes = torch.zeros(len(targets), steps, self.num_classes)
        for index, (target, frame) in enumerate(zip(targets, frames, strict=True)):
            truth = target[~target.ignore].resized(frame.size)
            truth = truth[np.argsort(truth.mask_areas, kind="stable")]
            for place, mask in enumerate(truth.dense()):
                cells = coverage(mask, self.step)
                maps[index, place, : cells.shape[0], : cells.shape[1]] = leveled(cells, self.mask_threshold)
            scores[index, : len(truth)] = 1
            classes[index, torch.arange(len(truth)), torch.from_numpy(truth.labels)] = 1
        return {"maps": maps, "scores": scores} | ({"classes": classes} if self.num_classes > 1 else {})

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """The order in which objects are found, and the map of each step."""
        pictures = []
        for index, (height, width) in enumerate(frame.size for frame in frames):
            scores, maps = (outputs[name][index].float().cpu().numpy() for name in ("scores", "maps"))
            steps = np.flatnonzero(scores > 0)
            maps = maps[steps].repeat(self.step, 1).repeat(self.step, 2)[:, :height, :width]
            pictures.append(order_pictures(maps, steps + 1, self.mask_threshold))
        return pictures
