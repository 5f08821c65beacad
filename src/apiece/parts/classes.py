"""Classes that were found one by one, put together; seeds moved to their true class."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from apiece.instances import Instances
from apiece.masks import Size
from apiece.parts.group import Groups
from apiece.parts.owners import Owners
from apiece.stores import LayerStore


def by_class(groups: Sequence[Groups], size: Size) -> Instances:
    """The objects of all classes, those of class 0 first; of different classes they may overlap."""
    counts = [len(group.scores) for group in groups]
    taken = [number for number, count in enumerate(counts) if count]
    if not taken:
        return Instances.empty(size, scored=True)
    labels = np.repeat(np.arange(len(groups)), counts)
    values = np.concatenate([np.arange(1, count + 1) for count in counts])
    maps = [groups[number].labels for number in taken]
    planes = maps[0][None] if len(maps) == 1 else np.stack(maps)
    scores = np.concatenate([group.scores for group in groups])
    store = LayerStore(planes, np.searchsorted(taken, labels), values)
    return Instances(size, labels, store=store, scores=scores)


def true_classes(seeds: Float[Tensor, "B C H W"], truths: Sequence[Owners]) -> Float[Tensor, "B C H W"]:
    """Each object pixel's highest seed moved to the pixel's true class, its other seeds zero."""
    moved = seeds.clone()
    for maps, truth in zip(moved, truths, strict=True):
        row, column = truth.pixels // truth.owner.shape[1], truth.pixels % truth.owner.shape[1]
        best = maps[:, row, column].amax(0)
        maps[:, row, column] = 0
        maps[truth.labels[truth.objects], row, column] = best
    return moved


def padded_rows(rows: Sequence[Float[Tensor, "_ D"]]) -> Float[Tensor, "B K D"]:
    """Tables of different length as one, filled up with NaN; K is at least 1."""
    longest = max([1, *map(len, rows)])
    return torch.stack([torch.nn.functional.pad(one, (0, 0, 0, longest - len(one)), value=torch.nan) for one in rows])
