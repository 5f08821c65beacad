"""Suppression: of several findings of one object the best keeps its score.

    N masks, each in a window -> tiles_of -> the tiles of 16 x 16 pixels that each touches       M 256
    tiles -> overlapping_pairs -> pairs of one class that share pixels, with their IoU           P, P, P
    pairs, numbered by falling score -> matrix_decay -> what each score is multiplied by         N
    N boxes with scores -> fast_nms, best_after_nms -> those that no better one covers           K

No tensor of N x H x W: masks are compared tile by tile, where they meet.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TILE = 16
AT_ONCE = 1 << 23
"""Values held at once while tiles are compared."""
PAIRS_AT_ONCE = 1 << 19
"""Pairs of boxes compared at once."""
TABLE = 2048
"""Of at most so many masks a table of all pairs is filled; of more, a list of those that meet."""
USUAL = 0.5
"""The IoU of the papers' NMS, where nothing is known of the data."""


class Tiles(NamedTuple):
    """Masks by the tiles they touch.

    Attributes:
        pixels: each tile's, row by row.
        places: row and column of tiles.
        masks: which mask it is a tile of.
    """

    pixels: Bool[Tensor, "M 256"]
    places: Int[Tensor, "M 2"]
    masks: Int[Tensor, " M"]

    def chosen(self, order: Int[Tensor, " K"], count: int) -> "Tiles":
        """Of `count` masks the tiles of some, numbered anew in their order."""
        number = torch.full((count,), -1, device=order.device)
        number[order] = torch.arange(len(order), device=order.device)
        masks = number[self.masks]
        taken = masks >= 0
        return Tiles(self.pixels[taken], self.places[taken], masks[taken])


class Pairs(NamedTuple):
    """Masks that overlap.

    Attributes:
        first, second: numbers of the masks, first < second; each pair once.
        overlap: their IoU.
    """

    first: Int[Tensor, " P"]
    second: Int[Tensor, " P"]
    overlap: Float[Tensor, " P"]


def tiles_of(windows: Bool[Tensor, "N h w"], corners: Int[Tensor, "N 2"]) -> Tiles:
    """The tiles of masks that are given in windows of one size, with the row and column of each window's corner."""
    count, height, width = windows.shape
    shift = corners % TILE
    down, across = ((side + 2 * TILE - 2) // TILE for side in (height, width))
    row = torch.arange(height, device=corners.device) + shift[:, :1]
    column = torch.arange(width, device=corners.device) + shift[:, 1:]
    index = row[:, :, None] * (across * TILE) + column[:, None]
    aligned = windows.new_zeros(count, down * TILE * across * TILE).scatter(1, index.flatten(1), windows.flatten(1))
    tiles = aligned.view(count, down, TILE, across, TILE).transpose(2, 3).reshape(count, down, across, TILE * TILE)
    mask, row, column = tiles.any(3).nonzero(as_tuple=True)
    return Tiles(tiles[mask, row, column], corners[mask] // TILE + torch.stack([row, column], 1), mask)


def joined(pieces: Sequence[Tiles], counts: Sequence[int]) -> Tiles:
    """The tiles of several lots of masks, numbered on; `counts` says how many masks each lot has."""
    firsts = [sum(counts[:index]) for index in range(len(pieces))]
    masks = [piece.masks + first for piece, first in zip(pieces, firsts, strict=True)]
    return Tiles(torch.cat([p.pixels for p in pieces]), torch.cat([p.places for p in pieces]), torch.cat(masks))


def overlapping_pairs(tiles: Tiles, labels: Int[Tensor, " N"]) -> Pairs:
    """The pairs of masks of one class that share pixels."""
    count, device = len(labels), labels.device
    areas = torch.zeros(count, device=device).index_add(0, tiles.masks, tiles.pixels.sum(1).float())
    keys, shared = _intersections(tiles, labels)
    first, second = keys // max(count, 1), keys % max(count, 1)
    return Pairs(first, second, shared / (areas[first] + areas[second] - shared))


def _intersections(tiles: Tiles, labels: Int[Tensor, " N"]) -> tuple[Int[Tensor, " P"], Float[Tensor, " P"]]:
    """Pairs as first * N + second, ascending, and the pixels they share."""
    count = len(labels)
    table = torch.zeros(count * count if count <= TABLE else 0, device=labels.device)
    keys, shared = [tiles.masks[:0]], [table[:0]]
    for pixels, masks in _batches(tiles, labels):
        common = (pixels @ pixels.transpose(1, 2)).triu(1)
        pair = masks[:, :, None] * count + masks[:, None]
        if count <= TABLE:
            table.index_add_(0, pair.flatten(), common.flatten())
        else:
            meeting = common > 0
            keys.append(pair[meeting])
            shared.append(common[meeting])
    if count <= TABLE:
        pairs = table.nonzero().squeeze(1)
        return pairs, table[pairs]
    pairs, which = torch.cat(keys).unique(return_inverse=True)
    return pairs, table.new_zeros(len(pairs)).index_add(0, which, torch.cat(shared))


def _batches(tiles: Tiles, labels: Int[Tensor, " N"]) -> Iterator[tuple[Float[Tensor, "t k 256"], Int[Tensor, "t k"]]]:
    """Places where several masks of a class meet: their pixels and numbers; about equally full ones go together."""
    if not len(tiles.masks):
        return
    rows, columns = (int(side) for side in tiles.places.amax(0) + 1)
    place = (labels[tiles.masks] * rows + tiles.places[:, 0]) * columns + tiles.places[:, 1]
    # Masks in their order within each place.
    order = (place * len(labels) + tiles.masks).argsort()
    _, size = place[order].unique_consecutive(return_counts=True)
    begin, step = size.cumsum(0) - size, torch.arange(int(size.max()), device=labels.device)
    width = 2
    while width < 2 * len(step):
        members = ((size > width // 2) & (size <= width) & (size > 1)).nonzero().squeeze(1)
        for part in members.split(max(1, AT_ONCE // (width * max(width, TILE * TILE)))) if len(members) else ():
            within = step[:width]
            filled = within < size[part, None]
            which = order[torch.where(filled, begin[part, None] + within, 0)]
            yield (tiles.pixels[which] & filled[:, :, None]).float(), tiles.masks[which]
        width *= 2


def matrix_decay(
    pairs: Pairs, count: int, kernel: Literal["gaussian", "linear"] = "gaussian", sigma: float = 2.0
) -> Float[Tensor, " N"]:
    """Matrix NMS: what the scores of masks, numbered by falling score, are multiplied by.

    With c_i the greatest overlap of mask i with a better one, mask j decays by the least over all better i of
    exp(-sigma o_ij^2) / exp(-sigma c_i^2), or of (1 - o_ij) / (1 - c_i). Masks without overlap keep their score.

    Source: Wang et al., SOLOv2, NeurIPS 2020, equation 6. (In the authors' code three equal masks make 0 / 0 with the
    linear kernel; here, as there in effect, the second and third fall to zero.)
    """
    covered = pairs.overlap.new_zeros(count).scatter_reduce(0, pairs.second, pairs.overlap, "amax")[pairs.first]
    if kernel == "gaussian":
        decay = torch.exp(sigma * (covered.square() - pairs.overlap.square()))
    else:
        decay = (1 - pairs.overlap) / (1 - covered).clamp(min=1e-9)
    return pairs.overlap.new_ones(count).scatter_reduce(0, pairs.second, decay, "amin")


@torch.no_grad()
def fast_nms(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    labels: Int[Tensor, " N"],
    overlap: float = 0.5,
    most: int = 200,
    limit: int | None = None,
) -> Int[Tensor, " K"]:
    """Boxes whose IoU with every better one of their class is at most so, the best first.

    Faster than the exact suppression on a GPU, and harsher: what is itself suppressed suppresses all the same.

    Args:
        boxes: `x1 y1 x2 y2`.
        most: of each class only so many best ones are looked at, the others are gone.
        limit: only the best so many of all are wanted; None = all.

    Source: Bolya et al., YOLACT, ICCV 2019, section 3.4.
    """
    order, kept = scores.argsort(descending=True, stable=True), [labels[:0]]
    for label in labels.unique().tolist():
        mine = order[labels[order] == label][:most]
        x1, y1, x2, y2 = boxes[mine].T.contiguous()
        areas, step, found = (x2 - x1) * (y2 - y1), max(1, PAIRS_AT_ONCE // max(1, len(mine))), 0
        for first in range(0, len(mine), step):
            last = min(first + step, len(mine))
            part = slice(first, last)
            # In place: a table is walked through as often as it is written.
            down = torch.minimum(y2[part, None], y2[:last]).sub_(torch.maximum(y1[part, None], y1[:last])).clamp_(min=0)
            table = torch.minimum(x2[part, None], x2[:last]).sub_(torch.maximum(x1[part, None], x1[:last]))
            table = table.clamp_(min=0).mul_(down)
            table = table.div_((areas[part, None] + areas[:last]).sub_(table))
            # Column j is better than row i of this part where j < first + i.
            kept.append(mine[part][table.tril_(first - 1).amax(1) <= overlap])
            found += len(kept[-1])
            if limit is not None and found >= limit:
                break
    chosen = torch.cat(kept)
    return chosen[scores[chosen].argsort(descending=True, stable=True)][:limit]


@torch.no_grad()
def best_of_each(scores: Float[Tensor, " N"], labels: Int[Tensor, " N"], most: int) -> Int[Tensor, " K"]:
    """The best so many of each class, the best first."""
    order = scores.argsort(descending=True, stable=True)
    if len(order) <= most:
        return order
    rows = torch.zeros_like(order)
    for label in labels.unique().tolist():
        mine = labels[order] == label
        rows += mine * mine.cumsum(0)
    return order[rows <= most]


@torch.no_grad()
def best_after_nms(
    boxes: Float[Tensor, "N 4"], scores: Float[Tensor, " N"], labels: Int[Tensor, " N"], overlap: float, limit: int
) -> Int[Tensor, " K"]:
    """The best so many of the boxes that exact suppression within classes leaves, the best first.

    What is left of the best ones does not depend on the others: mostly few have to be looked at, however many a network
    gives that has not learned yet.
    """
    from torchvision.ops import batched_nms

    order, count = scores.argsort(descending=True, stable=True), 2 * limit
    while True:
        part = order[:count]
        kept = part[batched_nms(boxes[part], scores[part], labels[part], overlap)]
        if len(kept) >= limit or count >= len(order):
            return kept[:limit]
        count *= 4
