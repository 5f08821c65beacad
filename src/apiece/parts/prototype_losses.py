"""What is learned of prototypes: masks in and about true boxes, how well they fit, and where each class is; and from
which priors the background is learned.

Papers: Bolya et al., YOLACT, ICCV 2019, https://arxiv.org/abs/1904.02689; YOLACT++, TPAMI 2020 (how well they fit).
"""

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from apiece.masks import Size
from apiece.parts import anchors
from apiece.parts.prior_head import WEIGHTS, Said
from apiece.parts.priors import Level, Matched
from apiece.parts.prototypes import Cells, Rescorer, mask_logits
from apiece.parts.true_boxes import Truth


class Outputs(NamedTuple):
    """What the network says of images that are padded alike.

    Attributes:
        said: of the priors.
        prototypes: in float32.
        semantic: logits of each class on the finest map.
        levels: the priors.
        canvas: height and width of the padded images.
        unused: maps without priors.
    """

    said: Said
    prototypes: Float[Tensor, "B k h w"]
    semantic: Float[Tensor, "B K _ _"]
    levels: list[Level]
    canvas: Size
    unused: Sequence[Float[Tensor, "B C _ _"]] = ()

    @property
    def cells(self) -> Size:
        """Rows and columns of the prototypes."""
        return self.prototypes.shape[2], self.prototypes.shape[3]

    @property
    def steps(self) -> tuple[float, float]:
        """Height and width of a prototype's cell in pixels."""
        return self.canvas[0] / self.cells[0], self.canvas[1] / self.cells[1]


@torch.no_grad()
def hardest(logits: Float[Tensor, "P K"], match: Matched, ratio: float = 3.0, least: int = 0) -> Int[Tensor, " M"]:
    """The background priors that say background the least.

    Args:
        logits: of the background, then of the classes.
        ratio: how many there are for each prior that stands for an object; fewer where there are not as many.
        least: how many there are at least: with 0, nothing is learned from an image without objects.
    """
    wrong = torch.logsumexp(logits, 1) - logits[:, 0]
    wrong = wrong.masked_fill(match.neutral, -1).index_fill(0, match.priors, -1)
    count = min(max(int(ratio * len(match.priors)), least), len(wrong))
    values, places = wrong.topk(count)
    return places[values > -0.5]


def prior_losses(
    outputs: Outputs, image: int, truth: Truth, match: Matched, negatives: tuple[float, int]
) -> dict[str, Any]:
    """ "class", cross entropy of matched and of mined background priors, "box", smooth L1 of matched ones, both summed,
    and how many "negatives" were mined.

    Args:
        negatives: ratio and least number of mined priors, see `hardest`.
    """
    said = outputs.said.image(image)
    mined = hardest(said.logits, match, *negatives)
    wanted = torch.cat([truth.labels[match.objects] + 1, torch.zeros_like(mined)])
    priors = torch.cat([level.boxes for level in outputs.levels])[match.priors]
    deltas = anchors.encode(truth.boxes[match.objects], priors, WEIGHTS)
    return {
        "class": functional.cross_entropy(said.logits[torch.cat([match.priors, mined])], wanted, reduction="sum"),
        "box": functional.smooth_l1_loss(said.deltas[match.priors], deltas, reduction="sum"),
        "negatives": len(mined),
    }


class Masks(NamedTuple):
    """Some masks of an image in the cells about their true boxes, one after another, beside what is wanted.

    Attributes:
        objects: the true object of each mask.
        which, places: the mask that each value is of, and its cell (row * w + column).
        logits, wanted: of each value.
        weights: of each value: one over the box's area in cells, or zero where nothing is known.
    """

    objects: Int[Tensor, " K"]
    which: Int[Tensor, " F"]
    places: Int[Tensor, " F"]
    logits: Float[Tensor, " F"]
    wanted: Float[Tensor, " F"]
    weights: Float[Tensor, " F"]


def drawn_masks(
    outputs: Outputs, image: int, truth: Truth, objects: Int[Tensor, " K"], coefficients: Tensor, binary: bool
) -> Masks:
    """The masks of some coefficients that stand for these objects.

    Args:
        binary: see `Cells.of`.
    """
    size = outputs.cells
    cells = Cells.of(truth, outputs.steps, size, binary)
    which, cell = cells.windows.repeated(objects)
    places = (cells.windows.rows * size[1] + cells.windows.columns)[cell]
    logits = mask_logits(outputs.prototypes[image], coefficients, places, which)
    # A box of less than a cell would weigh without limit.
    weights = cells.known[cell] / cells.areas.clamp(min=1)[objects][which]
    return Masks(objects, which, places, logits, cells.values[cell], weights)


def mask_loss(masks: Masks) -> Float[Tensor, ""]:
    """Cross entropy of all cells in and about the true box, divided by its area in cells; summed over the masks."""
    error = functional.binary_cross_entropy_with_logits(masks.logits, masks.wanted, reduction="none")
    return (error * masks.weights).sum()


def rescoring_loss(
    rescorer: Rescorer, masks: Masks, truth: Truth, size: Size, least: float = 25.0
) -> Float[Tensor, ""]:
    """Smooth L1 between what IoU the masks are held to have and what they have, summed over the masks.

    Args:
        size: rows and columns of the prototypes.
        least: cells; smaller true masks are left out.
    """
    count, cells = len(masks.objects), size[0] * size[1]
    soft = masks.logits.sigmoid()
    found, true = soft > 0.5, masks.wanted > 0.5
    common, area, either = (
        soft.new_zeros(count).index_add(0, masks.which, one.float()) for one in (found & true, true, found | true)
    )
    large = (area > least).nonzero().squeeze(1)
    flat = soft.new_zeros(count * cells).index_copy(0, masks.which * cells + masks.places, soft)
    if not len(large):
        # One empty mask of weight 0: every weight shall have a gradient.
        return rescorer(soft.new_zeros(1, *size)).sum() * 0
    quality = rescorer(flat.view(count, *size)[large])
    own = quality.gather(1, truth.labels[masks.objects[large], None])[:, 0]
    return functional.smooth_l1_loss(own, (common / either.clamp(min=1))[large], reduction="sum")


def semantic_loss(outputs: Outputs, image: int, truth: Truth, binary: bool) -> Float[Tensor, ""]:
    """Cross entropy of each class's region, summed over the classes, mean over the known cells of the finest map.

    Args:
        binary: see `Cells.of`.
    """
    logits = outputs.semantic[image]
    size = logits.shape[1], logits.shape[2]
    steps = outputs.canvas[0] / size[0], outputs.canvas[1] / size[1]
    cells = Cells.of(truth, steps, size, binary)
    place = (truth.labels[cells.windows.owners] * size[0] + cells.windows.rows) * size[1] + cells.windows.columns
    wanted = torch.zeros_like(logits).flatten().scatter_reduce(0, place, cells.values, "amax").view_as(logits)
    known = torch.zeros_like(logits[0])
    rows, columns = (min(n, ceil(side / step)) for n, side, step in zip(size, truth.size, steps, strict=True))
    known[:rows, :columns] = 1
    if truth.ignored is not None:
        share = functional.interpolate(truth.ignored[None, None].float(), (rows, columns), mode="area")[0, 0]
        known[:rows, :columns] = (share == 0).float()
    error = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (error * known).sum() / known.sum().clamp(min=1)
