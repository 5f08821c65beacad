"""Examples: one image and its objects as a training sees them in an epoch."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from apiece.data.augment import Augmentation
from apiece.data.copy_paste import paste
from apiece.data.dataset import Dataset
from apiece.errors import InputError
from apiece.instances import Instances

TRIALS = 4
"""How often a crop that must show an object is cut anew if it shows none."""

Pair = tuple[Float[ndarray, "C _ _"], Instances]


class Example(NamedTuple):
    """One image of a batch: normalized and augmented."""

    name: str
    image: Float[ndarray, "C H W"]
    truth: Instances


class ExampleMaker:
    """Reads, normalizes and augments images; keeps those that fit into `room` bytes.

    What is kept stays: with every image used once an epoch in random order, half the images in RAM save half the
    reading, whereas throwing out the one used longest ago would save a sixth.

    Args:
        data, prepare, augmentation, crop, seed: as for `Batches`.
        room: bytes for images that need not be read again.
        occupied: crops of images with objects always show one, and those without get none pasted.
    """

    def __init__(
        self,
        data: Dataset,
        prepare: Callable[[ndarray], ndarray],
        augmentation: Augmentation,
        crop: int | None,
        seed: int,
        room: int,
        occupied: bool = False,
    ):
        self.data, self.prepare, self.augmentation = data, prepare, augmentation
        self.crop, self.seed, self.room, self.occupied = crop, seed, room, occupied
        self.kept: dict[int, Pair] = {}

    def __call__(self, epoch: int, index: int, copy: int = 0) -> Example:
        """The image as it is seen in this epoch, for the first time or (`copy` > 0) once more.

        Raises:
            InputError: its file or annotation cannot be read, or does not fit.
        """
        image, truth = self.prepared(index)
        # One more than the index: a trailing zero would give the generator that shuffles the epoch.
        generator = np.random.default_rng((self.seed, epoch, index + 1, *([copy] if copy else [])))
        seen = self._seen(image, truth, generator)
        if self.augmentation.copy_paste and generator.random() < self.augmentation.copy_paste:
            if not self.occupied or (~truth.ignore).any():
                seen = self._with_others(*seen, generator)
        return Example(self.data.names[index], *seen)

    def _seen(self, image: Float[ndarray, "C _ _"], truth: Instances, generator: np.random.Generator) -> Pair:
        """Image and objects changed; once more, around an object, if one must be seen and none is."""
        seen = self.augmentation(image, truth, self.crop, generator)
        if self.occupied and (~truth.ignore).any():
            around = replace(self.augmentation, centered=1.0)
            for _ in range(TRIALS):
                if (~seen[1].ignore).any():
                    break
                seen = around(image, truth, self.crop, generator)
        return seen

    def _with_others(self, image: Float[ndarray, "C _ _"], truth: Instances, generator: np.random.Generator) -> Pair:
        """With some objects of any other image on top, which is cut around an object."""
        around = replace(self.augmentation, centered=1.0)
        source, objects = self.prepared(int(generator.integers(len(self.data))))
        others = around(source, objects, self.crop, generator)
        return paste(image, truth, *others, generator, blend=self.augmentation.blend)

    def prepared(self, index: int) -> Pair:
        """The whole image, normalized, and its objects on label layers; from RAM if it was read before."""
        if index in self.kept:
            return self.kept[index]
        image, truth = self._read(index)
        size = image.nbytes + truth.layers().nbytes
        if size <= self.room:
            self.kept[index] = image, truth
            self.room -= size
        return image, truth

    def _read(self, index: int) -> Pair:
        name, image, truth = self.data[index]
        file = self.data.files[index] or name
        if not truth.has_masks:
            raise InputError(f"{file}: its annotation has boxes only, but training needs masks.")
        try:
            prepared = np.ascontiguousarray(self.prepare(image), np.float32)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        # Layers that hold the objects' numbers and nothing else need not be renumbered for each crop.
        seen = truth.with_layers(truth.layers())
        return prepared, seen if len(seen) == len(truth) else seen.with_layers(seen.layers())
