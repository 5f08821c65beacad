"""SOLO: every cell of a grid says what object has its center there, and which pixels are the object's.

Papers: Wang et al., SOLO: Segmenting Objects by Locations, ECCV 2020, https://arxiv.org/abs/1912.04488 ("vanilla",
"decoupled"); SOLOv2: Dynamic and Fast Instance Segmentation, NeurIPS 2020, https://arxiv.org/abs/2003.10152 ("v2").

    image B C H W -> pyramid -> a feature for each grid, with coordinates -> heads
    category B K R C of each grid: focal loss; a cell is in charge of an object if the middle of its box touches it
    masks: a cell's weighted sum of maps through a sigmoid, the weights its own ("v2": predicted); dice loss
    objects: cells above a score -> masks -> score times mean mask -> Matrix NMS lowers the scores of duplicates
"""

from collections.abc import Sequence
from math import lcm
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from apiece import draw
from apiece.errors import CallError
from apiece.instances import Instances
from apiece.masks import Size
from apiece.methods.method import Frame, Method, Recipe, Stage
from apiece.networks.backbones import THIN, Norm
from apiece.networks.pyramid import Pyramid
from apiece.parts.batching import of_one_size
from apiece.parts.cell_heads import CellHeads, Variant, resized
from apiece.parts.cell_masks import stacked
from apiece.parts.cell_objects import Rules, decoded, ideal_objects, objects_of
from apiece.parts.cell_outputs import Said, Truths
from apiece.parts.cells import LONGEST, Grid, Shapes, assigned, cells_for, numbered_grids, ranges_of, sized_grids
from apiece.parts.coordinates import periodic, spread
from apiece.parts.detection_rules import shrunk
from apiece.parts.normalization import Normalization
from apiece.parts.pictures import soft_masks
from apiece.progress import say
from apiece.statistics import COARSE_FROM, Statistics

PAPER_RANGES = ((1.0, 96.0), (48.0, 192.0), (96.0, 384.0), (192.0, 768.0), (384.0, 2048.0))
PAPER_STRIDES = (8, 8, 16, 32, 32)
OCTAVES = 4
"""Grids of cells of constant size at most, each with cells twice as large as those of the one before."""

PAPER = Recipe((Stage(crop=800, batch_size=16, lr=0.01),), 90_000, "sgd", schedule="step", warmup=0.006, clip=35.0)
"""12 epochs of COCO, 16 images a step, a tenth after 8 and 11. The papers show whole images, 800 x 1333."""
LIGHT = Recipe((Stage(lr=4e-3),), average=0.998, augmentation={"rotation": 180.0, "scale": (0.7, 1.4)})


class SOLO(Method):
    """Cells that are in charge of the object whose center lies in them.

    By default, and unlike the papers, cells have a constant size in pixels, coordinates repeat after `period` cells,
    and a mask lies in a window of that size about its cell: a network that has learned on crops works on images of any
    size, the vanilla head needs no channel for each cell of an image, and masks cost what their windows do. They begin
    as bumps: a polynomial of the place relative to the cell is part of each, in "v2" a predicted one (compare CondInst,
    Tian et al., ECCV 2020). With `grids` all is as in the papers: a set number of cells over the image, masks likewise.

    Where the authors' code is odd, this is decided: an image without objects costs zero; of two objects in one cell the
    smaller has it, not the later; coordinates and cells belong to the image padded to the stride, not to its batch
    (prediction; a batch in training is one canvas, as theirs); ignored objects are in no term; padding beyond the image
    neither; masks are interpolated once, to the original size; the linear kernel of Matrix NMS gives no NaN.

    Args:
        num_classes, channels: how many kinds of object; of the images.
        network: "small" (from scratch on a small machine), "tiny" (for tests), "resnet18" to "resnet101", or timm's.
        pretrained: start the network from ImageNet; downloaded once.
        norm, frozen_stages: of a ResNet: "batch", "frozen", "group"; parts that do not learn (the papers: 2).
        variant: "v2" (predicted kernels), "vanilla" (a channel for each cell), "decoupled" (for each row and column).
        finest: stride of the finest feature; None = 4, or (four times as dear) 2 of "small" below 32 pixels, "tiny".
        width: channels of the pyramid; None = 64 of "small" and "tiny", 256 (the papers') of others.
        head_width, depth: channels and convolutions before each output; None = 64, 2, or the papers': 512, 4; 256, 7.
        mask_width, kernel_width: channels before the shared maps of "v2", and of these; None = 64 and 64, or 128, 256.
        period: cells after which coordinates, and the channels of vanilla and decoupled heads, repeat.
        cells: side of the cells of each grid in pixels, each twice the one before; None = so that the smallest objects
            are two cells long, and the largest as long as they can reach.
        grids: the papers' way instead: cells along the sides of an image for each of five grids: 40, 36, 24, 16, 12.
        reach: cells; longest objects of a grid, by their longer side; None = 6, or up to 0.9 of a period for thin ones.
        ranges: the least and greatest size of the objects of each grid; None = from a quarter of the reach on, or the
            papers' (roots of box areas) with `grids`.
        sigma: share of an object's box, about its center of mass, whose cells are in charge.
        mask_weight, category_weight, alpha, gamma: of the terms; of the focal loss.
        legacy: the authors' targets: cells by their division, the later object has a cell ("v2": it learns both), masks
            of bytes shrunk linearly, where objects of a pixel's width vanish.
        score_threshold, peaks: cells that score less find nothing, nor (None = with the papers' `grids` only) those
            that score less than their upper or left neighbor: this may be of another object.
        mask_threshold: pixels above it are the object's.
        min_size: pixels; smaller masks are no objects; None = half the size of the data's smallest percent, or theirs.
        kernel, decay: Matrix NMS: "gaussian" with its factor in the exponent, or "linear".
        final_threshold: objects with a lower score after that are left out.
        max_objects: the most objects of an image, and a fifth of the cells that are compared; None = twice the most
            of an image of the data, at least 100 (the papers').
        min_side, max_side: images are resized so that the shorter side is as given, the longer no more; 0 = never.
        normalization: pixel values to network input.
    """

    class_heads: ClassVar[tuple[str, ...]] = ("heads.category.",)

    def __init__(
        self,
        num_classes: int,
        channels: int = 3,
        network: str = "small",
        pretrained: bool = False,
        norm: Norm = "batch",
        frozen_stages: int = 0,
        variant: Variant = "v2",
        finest: Literal[2, 4] | None = None,
        width: int | None = None,
        head_width: int | None = None,
        depth: int | None = None,
        mask_width: int | None = None,
        kernel_width: int | None = None,
        period: int = 12,
        cells: tuple[int, ...] | None = None,
        grids: tuple[int, ...] | None = None,
        reach: float | None = None,
        ranges: tuple[tuple[float, float], ...] | None = None,
        sigma: float = 0.2,
        mask_weight: float = 3.0,
        category_weight: float = 1.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        legacy: bool = False,
        score_threshold: float = 0.1,
        peaks: bool | None = None,
        mask_threshold: float = 0.5,
        min_size: int | None = None,
        kernel: Literal["gaussian", "linear"] = "gaussian",
        decay: float = 2.0,
        final_threshold: float = 0.05,
        max_objects: int | None = None,
        min_side: int = 0,
        max_side: int = 0,
        normalization: Normalization = Normalization(),  # noqa: B008
    ):
        super().__init__()
        self.keep(locals())
        self.thin = network in THIN
        self._check()
        width = width or (64 if self.thin else 256)
        body = {"first": 2, "last": 5, "extra": "pool"} if grids else self._body()
        body["pyramid_norm"] = "batch" if self.thin else "none"
        if not self.thin:
            body.update(norm=norm, pretrained=pretrained, frozen_stages=frozen_stages)
        self.pyramid = Pyramid(network, channels, width=width, **body)
        # A model file has its own weights.
        self.settle(pretrained=False, peaks=bool(grids) if peaks is None else peaks)
        papers = (64, 2) if self.thin else (512, 4) if variant == "v2" else (256, 7)
        self.heads = CellHeads(
            variant,
            num_classes,
            width,
            4 if grids else len(self.pyramid.strides),
            width=head_width or papers[0],
            depth=depth or papers[1],
            mask_width=mask_width or (64 if self.thin else 128),
            kernel_width=kernel_width or (64 if self.thin else 256),
            numbers=grids or (period,),
            coordinates=2 if grids else 4,
            fine_coordinates=0 if grids else 4 * OCTAVES,
            near=not grids,
        )
        self.shift: Size = (0, 0)
        self.full = False

    def _check(self) -> None:
        """Refuse what does not go together."""
        if self.grids is not None and (self.cells is not None or len(self.grids) != len(PAPER_STRIDES)):
            raise CallError(f"grids: give the cells along a side for {len(PAPER_STRIDES)} grids, and no cells.")
        sides = self.sides
        if len(sides) > OCTAVES or any(large != 2 * small for small, large in zip(sides, sides[1:], strict=False)):
            raise CallError(f"cells {sides}: give at most {OCTAVES} sides, each twice the one before.")
        if self.ranges is not None and len(self.ranges) != len(self.grids or sides):
            raise CallError(f"{len(self.ranges)} ranges for {len(self.grids or sides)} grids: give one for each.")

    def _body(self) -> dict:
        """The levels of the pyramid under cells of constant size."""
        finest = self.finest or (2 if self.thin else 4)
        if self.thin:
            return {"first": finest // 2, "last": 4}
        return {"first": 2, "last": 5, "small_stem": finest == 2}

    @property
    def sides(self) -> tuple[int, ...]:
        """Of the cells of each grid, in pixels."""
        return tuple(self.cells or (4, 8, 16))

    @property
    def stride(self) -> int:
        """Sides of images are multiples of it: of the network's, and of the largest cell."""
        return self.pyramid.stride if self.grids else lcm(self.pyramid.stride, *self.sides)

    @property
    def limit(self) -> int:
        """The most objects of an image."""
        return self.max_objects or 1000

    @property
    def recipe(self) -> Recipe:
        """The papers' for large networks; a shorter one-cycle training for the light ones."""
        return LIGHT if self.thin else PAPER

    def adapt(self, statistics: Statistics) -> None:
        """Fit features, cells, smallest size and number of objects to the data, where they were left open."""
        if not len(statistics.areas):
            return
        if self.network == "small" and not self.grids and statistics.small >= COARSE_FROM:
            self.rebuild(finest=4)
        if self.cells is None and self.grids is None:
            found = cells_for(statistics, self.period, OCTAVES)
            self.settle(**{name: value for name, value in found.items() if getattr(self, name) is None})
            self._check()
        if self.min_size is None and self.grids is None:
            self.settle(min_size=max(1, int(np.percentile(statistics.areas, 1) / 2)))
        if self.max_objects is None:
            self.settle(max_objects=max(100, 2 * int(statistics.counts.max())))

    def at(self, progress: float) -> None:
        """Where the periods of cells begin changes from step to step: all of them are learned, whatever the crop."""
        down, across = np.random.default_rng(int(progress * 1e9)).integers(self.period, size=2).tolist()
        self.shift = (0, 0) if self.grids else (down, across)

    def frame(self, original: Size) -> Frame:
        """The image with its shorter side as asked for."""
        return Frame(original, shrunk(original, self.min_side, self.max_side))

    # --- the network ----------------------------------------------------------------------------------------------

    def _grids(self, canvas: Size) -> list[Grid]:
        """The grids over an image of a padded size."""
        if self.grids:
            steps = [4 if self.variant == "v2" else stride // 2 for stride in PAPER_STRIDES]
            return numbered_grids(self.grids, canvas, self.ranges or PAPER_RANGES, steps)
        strides = self.pyramid.strides
        steps = [strides[0] if self.variant == "v2" else strides[level] // 2 for level in self._levels()]
        ranges = self.ranges or ranges_of(self.sides, self.reach or LONGEST)
        return sized_grids(self.sides, canvas, ranges, steps, self.period)

    def _levels(self) -> list[int]:
        """The level of the pyramid for each size of cells: of that stride, or of half of it for masks of its own."""
        wanted = [side if self.variant == "v2" else side // 2 for side in self.sides]
        return [max(1, sum(stride <= want for stride in self.pyramid.strides)) - 1 for want in wanted]

    def heard(self, images: Float[Tensor, "B C H W"], shift: Size = (0, 0)) -> Said:
        """What the network says of images of one padded size, periods beginning `shift` cells earlier."""
        pyramid = self.pyramid(images)
        canvas: Size = (images.shape[2], images.shape[3])
        grids, fine = self._grids(canvas), None
        if self.grids:
            half = interpolate(pyramid[0], scale_factor=0.5, mode="bilinear")
            features = [half, *pyramid[1:4], resized(pyramid[4], pyramid[3].shape[2:])]
            pyramid = pyramid[:4]
        else:
            features = [pyramid[level] for level in self._levels()]
            periods = [self.sides[0] * 2**octave for octave in range(OCTAVES)]
            fine = torch.cat([self._places(side, shift, canvas, pyramid[0].shape[2:]) for side in periods])

        def coordinates(number: int, size: Size) -> Float[Tensor, "D h w"]:
            return spread(size) if self.grids else self._places(self.sides[number], shift, canvas, size)

        return Said(self.heads, self.heads(features, pyramid, grids, coordinates, fine), grids, shift)

    def _places(self, side: int, shift: Size, canvas: Size, size: Size) -> Float[Tensor, "4 h w"]:
        moved = shift[0] * side, shift[1] * side
        return periodic(size, canvas[0] // size[0], self.period * side, moved)

    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Objects, after Matrix NMS, and the scores of cells; images of different sizes go through the network apart.

        Returns:
            masks: B Q h w, probabilities, each about its object; scores: B Q, 0 where there is none; labels: B Q;
            corners: B Q 2, row and column of each mask, in samples of the finest grid's step;
            cells: B L R C, the highest score over classes in each grid, enlarged to the first grid.
        """
        rows: list[dict[str, Tensor]] = [{} for _ in images]
        for members, alike in of_one_size(images, sizes, self.stride):
            said = self.heard(alike)
            with torch.autocast(images.device.type, enabled=False):
                for number, member in enumerate(members):
                    height_width = sizes[member].tolist()
                    size: Size = (height_width[0], height_width[1])
                    heats = said.heats(number, size)
                    found = objects_of(heats, said.masks_of(number, size), self._rules(said.grids))
                    rows[member] = {**found, "cells": _enlarged(heats)}
        return self._packed(rows, (images.shape[2], images.shape[3]))

    def _rules(self, grids: list[Grid]) -> Rules:
        """What becomes an object."""
        limits = [(self.min_size or 1) / self.step**2 - 1e-3] * len(grids)
        if self.grids and self.min_size is None:
            limits = PAPER_STRIDES
        windows = tuple(grid.window[0] * grid.window[1] * (grid.step // self.step) ** 2 for grid in grids)
        given = self.score_threshold, self.peaks, self.mask_threshold, self.kernel, self.decay, self.final_threshold
        return Rules(tuple(map(float, limits)), windows, *given, self.limit)

    @property
    def step(self) -> int:
        """Pixels from one sample of a mask to the next."""
        return self._grids((self.stride, self.stride))[0].step

    def _padded(self, size: Sequence[int]) -> Size:
        height, width = (-(-side // self.stride) * self.stride for side in size)
        return height, width

    def _packed(self, rows: list[dict[str, Tensor]], canvas: Size) -> dict[str, Tensor]:
        """The rows of all images as one, filled up."""
        whole = {name: stacked([one[name] for one in rows]) for name in ("masks", "scores", "labels", "corners")}
        shape = self._grids(canvas)[0].shape
        cells = whole["masks"].new_zeros(len(rows), len(rows[0]["cells"]), *shape)
        for index, one in enumerate(rows):
            cells[index, :, : one["cells"].shape[1], : one["cells"].shape[2]] = one["cells"]
        return {**whole, "cells": cells}

    # --- learning -------------------------------------------------------------------------------------------------

    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """The terms "category" (focal, over the number of cells in charge and one) and "mask" (dice, their mean).

        Of ignored objects and of the padding nothing is in either. All is computed in float32.
        """
        down, right = ((-side) % self.stride for side in images.shape[2:])
        said = self.heard(pad(images, (0, right, 0, down)), self.shift)
        with torch.autocast(images.device.type, enabled=False):
            return self.loss_of(said, targets)

    def loss_of(self, said: Said, targets: list[Instances]) -> dict[str, Tensor]:
        """The loss terms of given outputs."""
        # Zero times every weight: an image without objects gives each a gradient all the same.
        nothing = torch.stack([weight.sum() for weight in self.parameters() if weight.requires_grad]).sum() * 0
        category, dice, positives = nothing, [nothing.new_zeros(0)], 0
        said = said._replace(maps=said.maps.apart())
        for image, target in enumerate(targets):
            shapes = Shapes.of(target, ordered=not self.legacy)
            truths = Truths(shapes, self.legacy)
            for number, grid in enumerate(said.grids):
                repeated = self.legacy and self.variant == "v2"
                cells = assigned(shapes, grid, self.num_classes, self.sigma, self.legacy, repeated)
                category = category + said.category_loss(image, number, cells, self.alpha, self.gamma)
                positives += int((cells.labels >= 0).sum())
                if len(cells.rows):
                    dice.append(said.mask_losses(image, number, cells, truths))
        each = torch.cat(dice)
        mask = each.sum() / max(len(each), 1) + nothing
        return {"category": self.category_weight * category / (positives + 1), "mask": self.mask_weight * mask}

    # --- finding --------------------------------------------------------------------------------------------------

    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Masks interpolated once, each in its box, to the original size."""
        arrays = {name: rows.detach().float().cpu().numpy() for name, rows in outputs.items() if name != "cells"}
        found = []
        for index, frame in enumerate(frames):
            rows = {name: array[index] for name, array in arrays.items()}
            found.append(decoded(rows, frame.size, frame.original, step=self.step, threshold=self.mask_threshold))
        sure = [int((one.scores >= self.card.threshold).sum()) for one in found if one.scores is not None]
        if not self.full and max(sure, default=0) >= self.limit:
            self.full = True
            say(f"An image has {self.limit} objects or more, the most that this model gives: see max_objects.")
        return found

    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """The outputs for the true objects' cells, with the masks that interpolation brings nearest to theirs.

        Lost are objects of which every cell is a smaller one's, and what lies outside of an object's window.
        """
        rows = []
        for target, frame in zip(targets, frames, strict=True):
            shapes = Shapes.of(target[~target.ignore].resized(frame.size))
            grids = self._grids(self._padded(frame.size))
            cells = [assigned(shapes, grid, self.num_classes, self.sigma) for grid in grids]
            shown = _enlarged([(one.labels >= 0).float()[None] for one in cells])
            rows.append({**ideal_objects(shapes, grids, cells), "cells": shown})
        height, width = (max(sides) for sides in zip(*(self._padded(frame.size) for frame in frames), strict=True))
        return self._packed(rows, (height, width))

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """The scores of each grid's cells, and the soft masks of the objects that are left, each in its color."""
        pictures = []
        for index, frame in enumerate(frames):
            cell = self._grids(self._padded(frame.size))[0].cell
            row, column = ((np.arange(side) // size).astype(int) for side, size in zip(frame.size, cell, strict=True))
            cells = outputs["cells"][index].float().cpu().numpy()
            shown = {f"cells {number + 1}": draw.heat(one[row][:, column], 0, 1) for number, one in enumerate(cells)}
            taken = outputs["scores"][index] > 0
            masks = outputs["masks"][index, taken].float().cpu().numpy()
            corners = outputs["corners"][index, taken].cpu().numpy()
            small = soft_masks(list(masks), corners, (-(-frame.size[0] // self.step), -(-frame.size[1] // self.step)))
            large = small.repeat(self.step, 0).repeat(self.step, 1)[: frame.size[0], : frame.size[1]]
            pictures.append({**shown, "masks": large})
        return pictures


def _enlarged(heats: Sequence[Float[Tensor, "K _ _"]]) -> Float[Tensor, "L R C"]:
    """The highest score over classes, at the first grid's shape."""
    return torch.stack([interpolate(heat.amax(0)[None, None], heats[0].shape[1:])[0, 0] for heat in heats])
