"""Priors: boxes of set shapes at every place of every map, and which of them stand for which true box.

    Level (one map's priors) ... -> matched: the priors that stand for an object, those of which nothing is asked

Papers: Liu et al., SSD, ECCV 2016, https://arxiv.org/abs/1512.02325; Bolya et al., YOLACT, ICCV 2019. Boxes are
`x1 y1 x2 y2` in pixels. IoU is never computed for all pairs: only where shapes are alike and near enough.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from apiece.masks import Size
from apiece.parts import anchors

CELLS_AT_ONCE = 1 << 20
"""IoU values held at once, about."""


class Level(NamedTuple):
    """The priors of one map: all shapes at a place follow one another, place by place, row by row.

    Attributes:
        shapes: width and height of each.
        size: rows and columns of the map.
        steps: distance of neighboring rows and columns in pixels; a prior is centered in its cell.
        valid: rows and columns whose middle lies in the image, not in its padding.
    """

    shapes: Float[Tensor, "A 2"]
    size: Size
    steps: tuple[float, float]
    valid: Size

    def cut(self, size: Size) -> "Level":
        """Where only the upper left part of the image, of this height and width, is no padding."""
        counts = (ceil(side / step - 0.5) for side, step in zip(size, self.steps, strict=True))
        rows, columns = (min(one, most) for one, most in zip(counts, self.size, strict=True))
        return self._replace(valid=(rows, columns))

    @property
    def count(self) -> int:
        """How many priors there are."""
        return len(self.shapes) * self.size[0] * self.size[1]

    @property
    def boxes(self) -> Float[Tensor, "P 4"]:
        """All of them."""
        return anchors.grid(self.shapes, self.size, self.steps, offset=0.5)

    @property
    def inside(self) -> Bool[Tensor, " P"]:
        """Whether each is centered in the image."""
        taken = torch.zeros(*self.size, len(self.shapes), dtype=torch.bool, device=self.shapes.device)
        taken[: self.valid[0], : self.valid[1]] = True
        return taken.flatten()


def shapes(size: float, scales: Sequence[float], ratios: Sequence[float], square: bool = False) -> Float[Tensor, "A 2"]:
    """Width and height of priors: all ratios (height over width) of the first scale, then those of the next.

    Args:
        size: pixels; root of the area.
        square: as wide as the ratio says, and as high as that: a slip that the authors' published weights need.
    """
    found = torch.cat([anchors.shapes(size * scale, ratios) for scale in scales])
    return found[:, :1].repeat(1, 2) if square else found


class Matched(NamedTuple):
    """What an image's priors have to do with its objects.

    Attributes:
        priors, objects: priors that stand for an object, ascending, and which.
        neutral: priors of which nothing is asked; the others are background.
    """

    priors: Int[Tensor, " K"]
    objects: Int[Tensor, " K"]
    neutral: Bool[Tensor, " P"]


class _Pairs(NamedTuple):
    """Pairs of an object and a prior, with their IoU and the squared distance of their middles."""

    objects: Int[Tensor, " E"]
    priors: Int[Tensor, " E"]
    overlap: Float[Tensor, " E"]
    away: Float[Tensor, " E"]

    def of(self, chosen: Tensor) -> "_Pairs":
        return _Pairs(*(values[chosen] for values in self))


@torch.no_grad()
def matched(
    levels: Sequence[Level],
    boxes: Float[Tensor, "N 4"],
    limits: tuple[float, float] = (0.4, 0.5),
    ignored: Bool[Tensor, "H W"] | None = None,
    ignored_share: float = 0.7,
) -> Matched:
    """Each prior stands for the object that it overlaps most, if enough; and each object has a prior of its own.

    That is found one to one: of all pairs the one with the greatest IoU comes first, then the greatest of those whose
    object and prior are both free, and so on; of equal ones, the many priors within a long object, the nearest to its
    middle (in the authors' program rounding decides). An object that overlaps no free prior at all gets none (there it
    gets an arbitrary one).

    Args:
        boxes: of the objects.
        limits: IoU below which a prior is background, and from which it stands for an object; between it is neutral.
        ignored: the region where nothing is known; priors of which more than `ignored_share` lies there are neutral
            unless they stand for an object, as are all beyond the image.
    """
    pairs = _overlapping(levels, boxes, limits[0])
    used, compact = pairs.priors.unique(return_inverse=True)
    ranks = _ranked(pairs)
    chosen = pairs.of(_one_to_one(pairs._replace(priors=compact), ranks, len(boxes), len(used)))
    best = pairs.of(_is_greatest(ranks, compact, len(used)))
    best = best.of(best.overlap >= limits[1])
    # The pairs above the limit decide most; the rest concerns objects that are left over.
    over = torch.ones_like(boxes[:, 0], dtype=torch.bool).index_fill(0, chosen.objects, False).nonzero().squeeze(1)
    late = _left_over(levels, boxes[over], chosen.priors)
    count = sum(level.count for level in levels)
    objects = torch.full((count,), -1, device=boxes.device)
    objects[best.priors] = best.objects
    objects[chosen.priors] = chosen.objects
    objects[late.priors] = over[late.objects]
    neutral = torch.zeros(count, dtype=torch.bool, device=boxes.device).index_fill(0, used, True)
    if any(level.valid != level.size for level in levels):
        neutral |= ~torch.cat([level.inside for level in levels])
    if ignored is not None:
        share = anchors.share_within(torch.cat([level.boxes for level in levels]), ignored)
        neutral |= share > ignored_share
    priors = (objects >= 0).nonzero().squeeze(1)
    return Matched(priors, objects[priors], neutral.index_fill(0, priors, False))


def _left_over(levels: Sequence[Level], boxes: Float[Tensor, "N 4"], taken: Int[Tensor, " K"]) -> _Pairs:
    """One to one, objects without a prior that overlaps enough, and priors that are not taken."""
    pairs = _overlapping(levels, boxes, 0.0) if len(boxes) else _Pairs(taken[:0], taken[:0], boxes[:, 0], boxes[:, 0])
    pairs = pairs.of(torch.isin(pairs.priors, taken, invert=True))
    used, compact = pairs.priors.unique(return_inverse=True)
    return pairs.of(_one_to_one(pairs._replace(priors=compact), _ranked(pairs), len(boxes), len(used)))


class _Kinds(NamedTuple):
    """All shapes of all levels: width and height, steps and numbers of valid places along x and y, how to count."""

    sides: Float[Tensor, "S 2"]
    steps: Float[Tensor, "S 2"]
    valid: Int[Tensor, "S 2"]
    first: Int[Tensor, " S"]
    down: Int[Tensor, " S"]
    across: Int[Tensor, " S"]

    @classmethod
    def of(cls, levels: Sequence[Level]) -> "_Kinds":
        rows, begin = [], 0
        for level in levels:
            each = len(level.shapes)
            steps, valid = level.steps[::-1], level.valid[::-1]
            rows += [(*steps, *valid, begin + number, level.size[1] * each, each) for number in range(each)]
            begin += level.count
        sides = torch.cat([level.shapes for level in levels])
        table = torch.tensor(rows, dtype=torch.float64).to(sides.device)
        return cls(sides, table[:, :2].to(sides), table[:, 2:4].long(), *table[:, 4:].long().unbind(1))


def _overlapping(levels: Sequence[Level], boxes: Float[Tensor, "N 4"], least: float) -> _Pairs:
    """All pairs whose IoU is at least so, or above 0; object by object."""
    kinds = _Kinds.of(levels)
    sides, middles = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    common = torch.minimum(sides[:, None], kinds.sides).prod(2)
    areas = sides.prod(1)[:, None] + kinds.sides.prod(1)
    # Even with their middles together, most shapes could not overlap enough; the slack is for rounding.
    one, kind = (common >= (least - 1e-4) * (areas - common)).nonzero().unbind(1)
    # Nor can those whose middles are farther apart than this along x or y.
    both = (sides[one] + kinds.sides[kind]) / 2
    reach = both * ((1 - least) / (1 + least) + 1e-4)
    steps = kinds.steps[kind]
    low = ((middles[one] - reach) / steps - 0.5).ceil().clamp(min=0).long()
    high = torch.minimum(((middles[one] + reach) / steps - 0.5).floor().long() + 1, kinds.valid[kind])
    spans = (high - low).clamp(min=0)
    counts = spans.prod(1)
    # So many at once that memory does not grow with the number of objects.
    part = torch.div(counts.cumsum(0), CELLS_AT_ONCE, rounding_mode="floor").unique_consecutive(return_counts=True)[1]
    found = [_Pairs(one[:0], one[:0], boxes[:0, 0], boxes[:0, 0])]
    for of_part in torch.arange(len(one), device=boxes.device).split(part.tolist()):
        which = of_part.repeat_interleave(counts[of_part])
        ends = counts[of_part].cumsum(0)
        within = torch.arange(len(which), device=boxes.device) - (ends - counts[of_part])[which - of_part[0]]
        down = torch.div(within, spans[which, 0], rounding_mode="floor")
        cells = low[which] + torch.stack([within - down * spans[which, 0], down], 1)
        away = ((cells + 0.5) * steps[which] - middles[one[which]]).abs()
        inner = 2 * torch.minimum(both, torch.minimum(sides[one], kinds.sides[kind]) / 2)[which]
        shared = torch.minimum(inner, both[which] - away).clamp(min=0).prod(1)
        overlap = shared / (areas[one, kind][which] - shared)
        enough = (overlap >= least if least else overlap > 0).nonzero().squeeze(1)
        which, cells = which[enough], cells[enough]
        shape = kind[which]
        place = kinds.first[shape] + cells[:, 1] * kinds.down[shape] + cells[:, 0] * kinds.across[shape]
        found.append(_Pairs(one[which], place, overlap[enough], away[enough].square().sum(1)))
    return _Pairs(*(torch.cat(each) for each in zip(*found, strict=True)))


def _ranked(pairs: _Pairs) -> Int[Tensor, " E"]:
    """A number for each pair, greater for more overlap; of equal ones for nearer middles, then for the first."""
    order = torch.argsort(pairs.away, stable=True)
    place = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
    # Positive floats compare as their bits do.
    return (pairs.overlap.float().view(torch.int32).long() << 32) - place


def _is_greatest(ranks: Int[Tensor, " E"], groups: Int[Tensor, " E"], count: int) -> Bool[Tensor, " E"]:
    """Whether each has the greatest rank of its group."""
    return ranks == ranks.new_full((count,), -1 << 62).scatter_reduce(0, groups, ranks, "amax")[groups]


def _one_to_one(pairs: _Pairs, ranks: Int[Tensor, " E"], objects: int, priors: int) -> Int[Tensor, " K"]:
    """Pairs in the order of falling ranks, each taken if its object and its prior are free.

    In rounds: a pair that is the greatest of its object's and of its prior's is taken whatever else is.

    Args:
        priors: how many there are; here they may be numbered otherwise.
    """
    left, taken = torch.arange(len(ranks), device=ranks.device), []
    sides = [(pairs.objects, objects), (pairs.priors, priors)]
    while len(left):
        won = torch.stack([_is_greatest(ranks[left], groups[left], count) for groups, count in sides]).all(0)
        taken.append(left[won])
        gone = [groups.new_zeros(count).index_fill(0, groups[taken[-1]], 1) for groups, count in sides]
        left = left[(gone[0][pairs.objects[left]] + gone[1][pairs.priors[left]]) == 0]
    return torch.cat(taken) if taken else left
