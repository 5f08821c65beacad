"""What a sequence of found objects lacks beside the true ones of its image: the loss of recurrent segmentation.

    steps of one image + true objects -> relaxed IoU T N -> matched pairs
    mask   1 - relaxed IoU, summed over the pairs
    stop   binary cross entropy of [t < N], summed over all T
    class  cross entropy, summed over the pairs
    share  divergence of a map before its sigmoid, a share for each place, from its object's places,
           where that object, if anything, was looked at                                               (ours)
    look   - log of the part of a look that lies on objects not yet found, summed over the pairs       (ours)

Romera-Paredes and Torr, Recurrent Instance Segmentation, ECCV 2016. The constant that makes a pair's term 1 - IoU
instead of - IoU changes no gradient.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from apiece.instances import Instances
from apiece.parts.coarse_maps import covered
from apiece.parts.matching import Rule, matched, relaxed_iou

LEAST = 1e-9
"""Shares less than this are taken as it, where their logarithm is asked for."""


class Found(NamedTuple):
    """The steps of one image, as logits (see `recurrence.Steps`)."""

    maps: Float[Tensor, "T H W"]
    scores: Float[Tensor, " T"]
    classes: Float[Tensor, "T D"] | None = None
    looks: Float[Tensor, "T H W"] | None = None


def sequence_loss(found: Found, target: Instances, step: int, rule: Rule = "first") -> dict[str, Tensor]:
    """The terms of an image, without weights; "class" and "look" where there is such a thing.

    Ignored objects are not looked for, and their pixels are in no IoU.

    Args:
        found: all steps that count.
        target: with masks, at the network's size.
        step: pixels to a side of a map's place.
        rule: which steps may be matched.
    """
    truth = target[~target.ignore]
    cells = covered(truth.dense(), step, found.maps)
    overlap = relaxed_iou(*_pixels(found.maps, truth, target, step))
    # Of several objects that a map has a part of, the one that is looked at is meant.
    aim = torch.zeros_like(overlap) if found.looks is None else cells[:, found.looks.flatten(1).argmax(1)].T
    row, column = matched(overlap + aim, rule)
    # Of a look at something else no comparison can be learned.
    right = (aim[row, column] > 0) if found.looks is not None else torch.ones_like(row, dtype=torch.bool)
    wanted = (torch.arange(len(found.scores), device=row.device) < len(truth)).to(found.scores.dtype)
    losses = {
        "mask": (1 - overlap[row, column]).sum(),
        "stop": functional.binary_cross_entropy_with_logits(found.scores, wanted, reduction="sum"),
        "share": _divergence(found.maps[row][right], cells[column][right]),
    }
    if found.looks is not None:
        losses["look"] = _astray(found.looks[row], cells, column)
    if found.classes is not None:
        labels = torch.from_numpy(truth.labels).to(row.device)[column]
        losses["class"] = functional.cross_entropy(found.classes[row], labels, reduction="sum")
    return losses


def _pixels(
    maps: Float[Tensor, "T h w"], truth: Instances, target: Instances, step: int
) -> tuple[Float[Tensor, "T P"], Float[Tensor, "N P"]]:
    """Soft and true masks at the pixels that count."""
    soft, (height, width) = maps.sigmoid(), target.size
    if step > 1:
        soft = functional.interpolate(soft[None], scale_factor=step, mode="bilinear")[0]
    soft, true = soft[:, :height, :width].flatten(1), torch.from_numpy(truth.dense()).to(maps.device).flatten(1)
    if target.ignore.any():
        known = ~torch.from_numpy(target[target.ignore].dense().any(0)).to(maps.device).flatten()
        soft, true = soft[:, known], true[:, known]
    return soft, true.to(soft.dtype)


def _divergence(maps: Float[Tensor, "K h w"], cells: Float[Tensor, "K P"]) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence of each softmax over places from the matched object's cover of them."""
    shares = cells / cells.sum(1, keepdim=True).clamp(min=LEAST)
    logarithms = maps.flatten(1).log_softmax(1).clamp(min=torch.log(maps.new_tensor(LEAST)))
    return (shares.xlogy(shares) - shares * logarithms).sum()


def _astray(
    looks: Float[Tensor, "K h w"], cells: Float[Tensor, "N P"], column: Integer[Tensor, " K"]
) -> Float[Tensor, ""]:
    """An object is found when a step before is matched with it."""
    matches = (column[:, None] == torch.arange(len(cells), device=column.device)).to(cells.dtype)
    free = ((1 + matches - matches.cumsum(0)) @ cells).clamp(max=1)
    return -(free * looks.flatten(1).exp()).sum(1).clamp(min=LEAST).log().sum()
