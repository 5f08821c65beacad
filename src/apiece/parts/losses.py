"""Losses over flat, ragged sets of (pixel, object) pairs: no H x W tensor per object and no loop over objects.

    owner map H W, embeddings 2 H W -> instance_windows -> pairs (pixel, object) that can matter      P, P
    pairs -> gaussian_membership -> phi of each pair                                                   P
    2 phi - 1, whether the pixel is the object's own -> lovasz_hinge -> one loss per object            N

Spatial embeddings: Neven et al., CVPR 2019. Lovász hinge: Yu and Blaschko, ICML 2015.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

TILE = 8
PARTIAL_SUMS = 64
CANDIDATES_AT_ONCE = 1 << 18


def lovasz_hinge(
    logits: Float[Tensor, " P"],
    labels: Bool[Tensor, " P"],
    segments: Int[Tensor, " P"],
    positives: Int[Tensor, " N"],
) -> Float[Tensor, " N"]:
    """Lovász hinge of N binary masks at once: the convex surrogate of 1 - IoU of each.

    With errors e_i = 1 - logit_i (2 y_i - 1) in descending order, P the positives of the mask, and p_j, n_j the
    positives and negatives among the first j, the loss is the sum of max(e_j, 0) w_j. The weights w_j are the steps of
    the Jaccard loss 1 - (P - p_j) / (P + n_j), in closed form, without the cancellation that costs float32 3 digits:

        1 / (P + n_j) for a positive,   (P - p_j) / ((P + n_j) (P + n_j - 1)) for a negative.

    Elements whose error is not positive add nothing and move no other weight, so the caller may leave them out, and
    only the others are sorted here. Of equal errors the order is unspecified (the value does not depend on it).

    Args:
        logits: one number per (element, mask) pair, in any order; half precisions are computed in float32.
        labels: whether the element belongs to the mask.
        segments: which of the N masks the pair is about, 0..N-1.
        positives: elements of each whole mask, those left out included.

    Returns:
        The N losses: 0 for a mask without pairs; for a mask without positives, its greatest positive error.

    Raises:
        RuntimeError: when a segment is not below N (as an index error of torch, on the CPU).

    Source: Yu and Blaschko, Learning Submodular Losses with the Lovász Hinge, ICML 2015, eq. 14; Berman et al., The
    Lovász-Softmax Loss, CVPR 2018, algorithm 1. The gradient does not run through the order, as there.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    errors = 1 - torch.where(labels, logits, -logits)
    weights = _lovasz_weights(errors.detach(), labels, segments, positives)
    # Many partial sums instead of one: a float32 sum of one pixel after another loses a digit or two.
    partial = segments.long() * PARTIAL_SUMS + torch.arange(len(segments), device=segments.device) % PARTIAL_SUMS
    sums = errors.new_zeros(len(positives) * PARTIAL_SUMS).index_add(0, partial, functional.relu(errors) * weights)
    return sums.view(-1, PARTIAL_SUMS).sum(1)


def _lovasz_weights(errors: Tensor, labels: Tensor, segments: Tensor, positives: Tensor) -> Tensor:
    """The steps of the Jaccard loss, in the order of the input; zero where the error is not positive."""
    wrong = (errors > 0).nonzero().squeeze(1)
    segments = segments.long()
    order = _descending_within(errors.index_select(0, wrong), segments.index_select(0, wrong))
    order = wrong.index_select(0, order)
    segment, positive = segments.index_select(0, order), labels.index_select(0, order)
    first = torch.searchsorted(segment, torch.arange(len(positives), device=segment.device))

    seen = torch.cat([segment.new_zeros(1), positive.cumsum(0)])
    seen_positives = seen[1:] - seen[first].index_select(0, segment)
    rank = torch.arange(1, len(segment) + 1, device=segment.device) - first.index_select(0, segment)
    seen_negatives = rank - seen_positives
    total = positives.long().index_select(0, segment)

    union = (total + seen_negatives).to(errors.dtype)
    missing = (total - seen_positives).to(errors.dtype)
    step = torch.where(positive, 1 / union, missing / (union * (union - 1).clamp(min=1)))
    # The Jaccard loss of an empty mask jumps from 0 to 1 at the first wrong pixel.
    step = torch.where(total == 0, (rank == 1).to(errors.dtype), step)
    return torch.zeros_like(errors).index_copy(0, order, step)


def _descending_within(values: Tensor, segments: Tensor) -> Tensor:
    """The order by segment, and in each segment by falling value; the values are positive."""
    if values.dtype == torch.float32:
        # Positive floats compare as their bits do: one integer sort, several times as fast as two of floats.
        return (((segments + 1) << 32) - values.view(torch.int32)).argsort()
    order = values.argsort(descending=True)
    return order[segments[order].argsort(stable=True)]


def gaussian_membership(
    embeddings: Float[Tensor, "2 H W"],
    centers: Float[Tensor, "N 2"],
    precisions: Float[Tensor, "N D"],
    pixels: Int[Tensor, " P"],
    objects: Int[Tensor, " P"],
) -> Float[Tensor, " P"]:
    """phi = exp(-sum_d k_d (e_d - C_d)^2): how much each pixel belongs to the object it is paired with, 0..1.

    Differentiable in embeddings, centers and precisions, each of them used in at least float32.

    Args:
        embeddings: where each pixel points to, x then y, in units of the coordinates.
        centers: C, x then y.
        precisions: k = 1 / (2 sigma^2), in units of the coordinates to the power -2; D is 1 (circle) or 2 (x, y).
        pixels: row * W + column.
        objects: 0..N-1.

    Source: Neven et al., CVPR 2019, eq. 5 (D = 1), 8 (D = 2) and 9 (centers that are means of embeddings).
    """
    at = _at_least_float32(embeddings).flatten(1).index_select(1, pixels)
    center = _at_least_float32(centers).T.index_select(1, objects)
    precision = _at_least_float32(precisions).T.index_select(1, objects)
    return torch.exp(-((at - center).square() * precision).sum(0))


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


@torch.no_grad()
def instance_windows(
    embeddings: Float[Tensor, "2 H W"],
    centers: Float[Tensor, "N 2"],
    precisions: Float[Tensor, "N D"],
    owner: Int[Tensor, "H W"],
    negligible: float = 1e-6,
) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
    """The (pixel, object) pairs on which the Lovász hinge of 2 phi - 1 depends.

    These are each object's own pixels, and those others whose phi is at least 1 - (the greatest phi of its own pixels):
    a wrong pixel that ranks after all of the mask's own has weight zero, so leaving it out is exact, in value and in
    gradient. Only where that bound falls below `negligible` does leaving out cost something: at most 2 `negligible` of
    an object's loss. An object that owns no pixel gets no pair.

    Pixels are looked up by tiles of 8 x 8, through the bounding boxes of their embeddings, so the work follows the
    pixels in reach and not objects times image. On CUDA it synchronizes a few times per image, never per object.

    Args:
        embeddings, centers, precisions: as `gaussian_membership` takes them.
        owner: the object that each pixel belongs to, 0..N-1, or -1.
        negligible: the phi below which a pixel is left out in any case.

    Returns:
        Pixels (row * W + column) and objects, both int64; each object's own pixels come first, in raster order.
    """
    embeddings, centers, precisions = (_at_least_float32(x) for x in (embeddings, centers, precisions))
    precisions = precisions.expand(-1, 2)
    own_pixels = (owner.flatten() >= 0).nonzero().squeeze(1)
    own_objects = owner.flatten().index_select(0, own_pixels).long()
    own_phi = gaussian_membership(embeddings, centers, precisions, own_pixels, own_objects)
    best = own_phi.new_zeros(len(centers)).scatter_reduce(0, own_objects, own_phi, "amax")
    # The slack covers the rounding of 1 - phi. Nothing is within a negative reach.
    reach = torch.where(best > 0, -(1 - best - 1e-6).clamp(min=negligible).log(), -1)
    far_pixels, far_objects = _in_reach(embeddings, centers, precisions, owner, reach)
    return torch.cat([own_pixels, far_pixels]), torch.cat([own_objects, far_objects])


def _in_reach(
    embeddings: Tensor, centers: Tensor, precisions: Tensor, owner: Tensor, reach: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs of an object and a pixel that is not its own, with sum_d k_d (e_d - C_d)^2 <= reach."""
    height, width = owner.shape
    x, y = _tiled(embeddings[0], float("inf")), _tiled(embeddings[1], float("inf"))
    owners = _tiled(owner, -1)
    index = _tiled(torch.arange(height * width, device=owner.device).view(height, width), 0)
    objects, tiles = _tiles_in_reach(embeddings, centers, (reach[:, None] / precisions).sqrt())
    pairs = []
    for chunk in torch.arange(len(tiles), device=owner.device).split(CANDIDATES_AT_ONCE // TILE**2):
        tile, candidate = tiles[chunk], objects[chunk]
        center, precision = centers.index_select(0, candidate), precisions.index_select(0, candidate)
        distance = (x.index_select(0, tile) - center[:, :1]).square_().mul_(precision[:, :1])
        distance += (y.index_select(0, tile) - center[:, 1:]).square_().mul_(precision[:, 1:])
        near = distance <= reach.index_select(0, candidate)[:, None]
        near &= owners.index_select(0, tile) != candidate[:, None]
        position = near.flatten().nonzero().squeeze(1)
        row = position // TILE**2
        pixel = tile.index_select(0, row) * TILE**2 + position % TILE**2
        pairs.append((index.take(pixel), candidate.index_select(0, row)))
    if not pairs:
        return objects, objects
    return torch.cat([pixel for pixel, _ in pairs]), torch.cat([candidate for _, candidate in pairs])


def _tiled(values: Tensor, fill: float) -> Tensor:
    """H W -> tiles, 64: the pixels of one tile side by side, borders filled up."""
    height, width = values.shape
    padded = functional.pad(values, (0, -width % TILE, 0, -height % TILE), value=fill)
    split = padded.view(padded.shape[0] // TILE, TILE, padded.shape[1] // TILE, TILE)
    return split.transpose(1, 2).reshape(-1, TILE * TILE)


def _tiles_in_reach(embeddings: Tensor, centers: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of an object and a tile whose embeddings' bounding box meets the box of that radius around the center."""
    both = torch.cat([embeddings, -embeddings])[None]
    high_x, high_y, low_x, low_y = functional.max_pool2d(both, TILE, ceil_mode=True)[0].flatten(1)
    low_x, low_y = -low_x, -low_y
    pairs = []
    at_once = max(1, CANDIDATES_AT_ONCE // max(1, len(low_x)))
    for chunk in torch.arange(len(centers), device=centers.device).split(at_once):
        low, high = (centers - radius)[chunk, :, None], (centers + radius)[chunk, :, None]
        meets = (high_x >= low[:, 0]) & (low_x <= high[:, 0]) & (high_y >= low[:, 1]) & (low_y <= high[:, 1])
        row, tile = meets.nonzero(as_tuple=True)
        pairs.append((chunk[row], tile))
    if not pairs:
        nothing = torch.zeros(0, dtype=torch.long, device=centers.device)
        return nothing, nothing
    return torch.cat([row for row, _ in pairs]), torch.cat([tile for _, tile in pairs])


def dice_loss(
    probabilities: Float[Tensor, " P *size"], target: Float[Tensor, " P *size"], epsilon: float = 1e-3
) -> Float[Tensor, " P"]:
    """1 - 2 sum(p t) / (sum p^2 + sum t^2) of each mask, with `epsilon` added to either sum of squares.

    Where nothing is known both are to be zero.

    Source: Milletari et al., V-Net, 3DV 2016; the epsilon is that of SOLO's authors.
    """
    p, t = probabilities.flatten(1), target.flatten(1)
    return 1 - 2 * (p * t).sum(1) / (p.square().sum(1) + t.square().sum(1) + 2 * epsilon)
