"""Embeddings that say by their distance whether two places are of one object: what they still lack.

Paper: De Brabandere et al., 2017, https://arxiv.org/abs/1708.02551, equations 1 and 2.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from apiece.instances import Instances
from apiece.parts.coarse_maps import covered
from apiece.parts.mean_shift import EXACT
from apiece.parts.owners import Owners

VARIANCE_MARGIN, DISTANCE_MARGIN = 0.5, 1.5
"""The paper's."""


def pull(own: Float[Tensor, "P D"], means: Float[Tensor, "N D"], truth: Owners, margin: float) -> Float[Tensor, " N"]:
    """The variance term of each object: of its pixels' [distance from the mean - margin]+^2 the mean.

    Args:
        own: embeddings of the truth's `pixels`.
        means: of the objects.
    """
    distance = (own - means.index_select(0, truth.objects)).norm(dim=1)
    return truth.sums((distance - margin).relu().square()) / truth.sizes


def push(means: Float[Tensor, "N D"], labels: Int[Tensor, " N"], margin: float) -> Float[Tensor, ""]:
    """The distance term: of each class the mean over ordered pairs of [2 margin - distance]+^2, summed over classes."""
    distance, counts = torch.cdist(means, means, compute_mode=EXACT), torch.bincount(labels)
    pairs = (labels[:, None] == labels).fill_diagonal_(False)
    weight = pairs / (counts * (counts - 1)).clamp(min=1)[labels].to(means.dtype)
    return ((2 * margin - distance).relu().square() * weight).sum()


def place_loss(
    embeddings: Float[Tensor, "D h w"],
    objectness: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"],
    target: Instances,
    step: int,
) -> Float[Tensor, ""]:
    """Both terms, with the paper's margins, and the cross entropy of a place's share of objects; all objects are alike.

    Of maps with a place for each `step` pixels: a place is of the object that covers most of it, from a half on.

    Args:
        objectness: logits of being an object's.
        valid: the places that lie in the image.
        target: at the network's size; of places that its ignored objects cover by half nothing is
            learned, unless they are an object's.
    """
    known, void = (
        covered(some.dense(), step, valid[None].float()) for some in (target[~target.ignore], target[target.ignore])
    )
    truth = Owners.of_places(known, (valid.shape[0], valid.shape[1]))
    own = embeddings.flatten(1).index_select(1, truth.pixels).T
    means = truth.sums(own) / truth.sizes[:, None]
    pulled = pull(own, means, truth, VARIANCE_MARGIN).sum() / max(1, len(truth))
    share = known.sum(0).clamp(max=1)
    counted = valid.flatten() & ((void.sum(0) < 0.5) | (share >= 0.5))
    logits = objectness.flatten()[counted]
    astray = functional.binary_cross_entropy_with_logits(logits, share[counted], reduction="sum")
    astray = astray / counted.sum().clamp(min=1)
    return pulled + push(means, truth.labels, DISTANCE_MARGIN) + astray
