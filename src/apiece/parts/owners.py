"""Truth as pixel-wise losses want it: which object each pixel belongs to, and of which pixels nothing is known."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from apiece.instances import Instances


class Owners(NamedTuple):
    """The objects of one image by pixel; ignored ones are apart.

    Attributes:
        owner: which object each pixel belongs to, -1 = none.
        pixels, objects: the pixels (row * W + column) that belong to one, and to which.
        labels: class of each object.
        sizes: pixels of each object; at least one.
        ignored: for each class (or any, -1) of ignored objects the region they cover, less what objects cover.
        ignored_labels: those classes.
    """

    owner: Int[Tensor, "H W"]
    pixels: Int[Tensor, " P"]
    objects: Int[Tensor, " P"]
    labels: Int[Tensor, " N"]
    sizes: Int[Tensor, " N"]
    ignored: Bool[Tensor, "I H W"]
    ignored_labels: list[int]

    @classmethod
    def of(cls, target: Instances, device: torch.device) -> "Owners":
        """From an image's objects; of overlapping ones the smaller is seen, and those wholly hidden are left out."""
        known, void = target[~target.ignore], target[target.ignore]
        label_map = known.label_map()
        owner = torch.from_numpy(label_map.astype(np.int64)).to(device) - 1
        sizes = torch.bincount(owner.flatten() + 1, minlength=len(known) + 1)[1:]
        seen = sizes > 0
        if not bool(seen.all()):
            renumbered = torch.where(seen, seen.cumsum(0) - 1, -1)
            owner = torch.cat([renumbered.new_full((1,), -1), renumbered])[owner + 1]
        pixels = (owner.flatten() >= 0).nonzero().squeeze(1)
        labels = torch.from_numpy(known.labels).to(device)[seen]
        planes, classes = _planes(void, label_map > 0)
        ignored = torch.from_numpy(planes).to(device)
        return cls(owner, pixels, owner.flatten()[pixels], labels, sizes[seen], ignored, classes)

    @classmethod
    def of_places(cls, cells: Float[Tensor, "N P"], shape: tuple[int, int]) -> "Owners":
        """From the share of each place of a coarse map that each object covers: the one that covers most, from a half.

        Objects that own no place are left out; all are of one class.
        """
        most, which = cells.max(0) if len(cells) else (cells.new_zeros(cells.shape[1]), cells.new_zeros(0).long())
        owned = (most >= 0.5).nonzero().squeeze(1)
        present, objects = which[owned].unique(return_inverse=True)
        owner = torch.full_like(most, -1, dtype=torch.long)
        owner[owned] = objects
        sizes = torch.bincount(objects, minlength=len(present))
        nothing = torch.zeros(0, *shape, dtype=torch.bool, device=cells.device)
        return cls(owner.view(shape), owned, objects, torch.zeros_like(sizes), sizes, nothing, [])

    def __len__(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        return len(self.labels)

    def unknown(self, classes: int) -> Bool[Tensor, "C H W"]:
        """For each class the pixels of which nothing is known."""
        of_class = [[label in (-1, number) for label in self.ignored_labels] for number in range(classes)]
        return torch.stack([self.ignored[torch.tensor(chosen, dtype=torch.bool)].any(0) for chosen in of_class])

    def means(self, maps: Float[Tensor, "D H W"]) -> Float[Tensor, "N D"]:
        """Mean of each map over each object's pixels."""
        # index_select, not indexing: its backward is several times as fast on a CPU.
        return self.sums(maps.flatten(1).index_select(1, self.pixels).T) / self.sizes[:, None]

    def sums(self, values: Float[Tensor, " P *D"]) -> Float[Tensor, " N *D"]:
        """Sum over each object's pixels of one value (or row of values) for each of `pixels`."""
        return values.new_zeros(len(self), *values.shape[1:]).index_add(0, self.objects, values)

    def centroids(self) -> Float[Tensor, "N 2"]:
        """x and y of the mean of each object's pixels, in pixels."""
        width = self.owner.shape[1]
        # In double precision: the sum over a large object's coordinates passes float32's whole numbers.
        places = torch.stack([self.pixels % width, self.pixels // width], 1).double()
        return (self.sums(places) / self.sizes[:, None]).float()

    def nearest(self, places: Float[Tensor, "D H W"], aims: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """Of each object's own pixels the place that is nearest to its aim; of equal ones the first."""
        own = places.flatten(1).index_select(1, self.pixels)
        distance = (own - aims.index_select(0, self.objects).T).square().sum(0)
        order = distance.argsort(stable=True)
        by_object = order[self.objects[order].argsort(stable=True)]
        return own[:, by_object[self.sizes.cumsum(0) - self.sizes]].T


def _planes(void: Instances, covered: Bool[ndarray, "H W"]) -> tuple[Bool[ndarray, "I H W"], list[int]]:
    labels = np.unique(void.labels).tolist()
    planes = np.zeros((len(labels), *void.size), bool)
    for plane, label in zip(planes, labels, strict=True):
        for index in np.flatnonzero(void.labels == label).tolist():
            x1, y1, x2, y2 = void.mask_boxes[index].tolist()
            plane[y1:y2, x1:x2] |= void.crop(index)
    return planes & ~covered, labels
