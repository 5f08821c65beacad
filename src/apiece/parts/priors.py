"""Priors: boxes of set shapes at every place of every map, and which of them stand for which true box.

    Level (one map's priors) ... -> matched: the priors that stand for an object, those of which nothing is asked

Papers: Liu et al., SSD, ECCV 2016, https://arxiv.org/abs/1512.02325; Bolya et al., YOLACT, ICCV 2019. Boxes are
`x1 y1 x2 y2` in pixels. IoU is never computed for all pairs: only where shapes are alike and near enough.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer, Num
from numpy import ndarray
from torch import Tensor

from apiece.masks import Size
from apiece.parts import anchors
from apiece.parts.prior_pairs import Kinds, Pairs, kinds, one_to_one, overlapping, ranked


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


def fitting(sides: Num[ndarray, "N 2"], strides: Sequence[int]) -> tuple[float, ...]:
    """Sizes of the priors of each level for objects with boxes of such sides; 0 = none there.

    They double from level to level, from the tenth percentile of the objects' sizes (the roots of their boxes' areas)
    to the largest, on levels whose strides are a third of them at most, as far as there are any.
    """
    small, large = np.percentile(np.sqrt(sides.prod(1)), (10, 99))
    first = max([0, *(level for level, stride in enumerate(strides) if 3 * stride <= small)])
    finest = max(float(small), 1.5 * strides[first])
    doubled = [finest * 2.0 ** (level - first) for level in range(len(strides))]
    # One level more, where half of it is not large enough.
    used = [level == first or level > first and size < 1.42 * large for level, size in enumerate(doubled)]
    return tuple(round(size, 1) if taken else 0.0 for size, taken in zip(doubled, used, strict=True))


class Matched(NamedTuple):
    """What an image's priors have to do with its objects.

    Attributes:
        priors, objects: priors that stand for an object, ascending, and which.
        neutral: priors of which nothing is asked; the others are background.
    """

    priors: Int[Tensor, " K"]
    objects: Int[Tensor, " K"]
    neutral: Bool[Tensor, " P"]


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
    gets an arbitrary one). All this is done in NumPy, whose small steps cost a fraction of torch's.

    Args:
        boxes: of the objects.
        limits: IoU below which a prior is background, and from which it stands for an object; between it is neutral.
        ignored: the region where nothing is known; priors of which more than `ignored_share` lies there are neutral
            unless they stand for an object, as are all beyond the image.
    """
    edges, device = boxes.cpu().numpy(), boxes.device
    table = kinds(tuple((tuple(map(tuple, level.shapes.tolist())), *level[1:]) for level in levels))
    count = sum(level.count for level in levels)
    pairs = overlapping(table, edges, limits[0])
    order = ranked(pairs)
    objects = np.full(count, -1)
    # Of several objects the last that is written stays: the one that a prior overlaps most.
    strong = order[: np.count_nonzero(pairs.overlap >= limits[1])][::-1]
    objects[pairs.priors[strong]] = pairs.objects[strong]
    chosen = pairs.of(one_to_one(pairs, order, len(edges)))
    # The pairs above the limit decide most; the rest concerns objects that are left over.
    if len(chosen.objects) < len(edges):
        left = np.ones(len(edges), bool)
        left[chosen.objects] = False
        over = np.flatnonzero(left)
        late = _left_over(table, edges[over], chosen.priors, count)
        objects[late.priors] = over[late.objects]
    objects[chosen.priors] = chosen.objects
    near = np.zeros(count, bool)
    near[pairs.priors] = True
    neutral = torch.from_numpy(near).to(device)
    if any(level.valid != level.size for level in levels):
        neutral |= ~torch.cat([level.inside for level in levels])
    if ignored is not None:
        share = anchors.share_within(torch.cat([level.boxes for level in levels]), ignored)
        neutral |= share > ignored_share
    taken = np.flatnonzero(objects >= 0)
    priors = torch.from_numpy(taken).to(device)
    neutral[priors] = False
    return Matched(priors, torch.from_numpy(objects[taken]).to(device), neutral)


def _left_over(table: Kinds, boxes: Float[ndarray, "N 4"], taken: Integer[ndarray, " K"], count: int) -> Pairs:
    """One to one, objects without a prior that overlaps enough, and priors (of so many) that are not taken."""
    pairs, free = overlapping(table, boxes, 0.0), np.ones(count, bool)
    free[taken] = False
    pairs = pairs.of(free[pairs.priors])
    return pairs.of(one_to_one(pairs, ranked(pairs), len(boxes)))
