"""Sampling: which images an epoch shows, and how often: those with rare classes more, empty ones at a chosen share.

annotations ─▶ how often each image is seen ─▶ the images of an epoch, a function of seed and epoch alone
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from apiece.data.dataset import Dataset
from apiece.errors import CallError, InputError
from apiece.instances import Instances
from apiece.progress import track


@dataclass(frozen=True)
class Order:
    """In which order, and how often, the images of a data set are seen.

    Attributes:
        images: how many there are.
        length: samples of an epoch.
        times: how often each image is seen in an epoch on average; None = once.
        occupied: must every crop of an image with objects show one?
    """

    images: int
    length: int
    times: Float[ndarray, " images"] | None = None
    occupied: bool = False

    @classmethod
    def plain(cls, images: int) -> "Order":
        """Every image once an epoch."""
        return cls(images, images)

    def epoch(self, seed: int, number: int) -> tuple[Integer[ndarray, " L"], Integer[ndarray, " L"]]:
        """The images of an epoch as indices; and for each how often it was drawn before in this epoch.

        An image that is to be seen 2.3 times is drawn two or three times, and every epoch is equally long.
        """
        generator = np.random.default_rng((seed, number))
        order = generator.permutation(self.images)
        if self.times is None:
            return order, np.zeros_like(order)
        # Systematic sampling: equidistant marks along the images, each as long as it is to be seen often.
        ends = np.cumsum(self.times[order])
        marks = np.floor(np.append(0, ends * (self.length / ends[-1])) + generator.random())
        marks[-1] = marks[0] + self.length
        drawn = np.diff(marks).astype(np.int64)
        copies = np.arange(self.length) - np.repeat(np.cumsum(drawn) - drawn, drawn)
        shuffled = generator.permutation(self.length)
        return np.repeat(order, drawn)[shuffled], copies[shuffled]


@dataclass(frozen=True)
class Sampling:
    """Which images a training sees, and how often; by default each one once an epoch.

    What is asked for here needs every image's annotation to be read once before the training begins.

    Attributes:
        repeat: images with a class that fewer than this share of the images have are seen more often, by
            sqrt(repeat / share) of their rarest class; 0 = all alike. "Repeat factor sampling" of LVIS
            (https://arxiv.org/abs/1908.03195), where it is 0.001.
        empty: share of samples that show no object, from images without objects, however many of these there are;
            crops of the other images are then cut so that they show one. None = as they come.

    Raises:
        CallError: a number that makes no sense.
    """

    repeat: float = 0.0
    empty: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.repeat <= 1:
            raise CallError(f"repeat is {self.repeat}, but must be a share of images between 0 and 1.")
        if self.empty is not None and not 0 <= self.empty < 1:
            raise CallError(f"empty is {self.empty}, but must be a share of samples, at least 0 and below 1.")

    def order(self, data: Dataset, quiet: bool = True) -> Order:
        """How often each image of a data set is seen. Annotations are read only if anything is asked for.

        Raises:
            InputError: an annotation cannot be read, or there are no images that could have the wanted share.
        """
        if not self.repeat and self.empty is None:
            return Order.plain(len(data))
        truths = (data.truth(index) for index in range(len(data)))
        labels = [np.unique(truth.labels[~truth.ignore]) for truth in track(truths, len(data), "annotations", quiet)]
        times = repeat_factors(labels, self.repeat)
        if self.empty is not None:
            times = self._with_share(times, np.array([not len(of_image) for of_image in labels]), data)
        return Order(len(data), max(1, round(times.sum())), times, occupied=self.empty is not None)

    def _with_share(self, times: Float[ndarray, " I"], empty: ndarray, data: Dataset) -> Float[ndarray, " I"]:
        """The same with images without objects at the wanted share of all that is seen."""
        share = self.empty or 0.0
        missing = "without objects" if share and not empty.any() else "with objects" if empty.all() else None
        if missing:
            raise InputError(f"{data.path}: has no image {missing}: leave the share of empty ones as it comes.")
        if not empty.any():
            return times
        wanted = times[~empty].sum() * share / (1 - share)
        return np.where(empty, wanted / max(empty.sum(), 1), times)


def repeat_factors(labels: Sequence[Integer[ndarray, " _"]], threshold: float) -> Float[ndarray, " I"]:
    """How often each image is seen in an epoch: max over its classes c of max(1, sqrt(threshold / f_c)).

    Args:
        labels: for each image the classes in it, each once.
        threshold: t; f_c is the share of images with class c.

    Source: LVIS, section 5 "repeat factor sampling", https://arxiv.org/abs/1908.03195.
    """
    times = np.ones(len(labels))
    if not threshold:
        return times
    together = np.concatenate([np.zeros(0, np.int64), *labels])
    image = np.repeat(np.arange(len(labels)), [len(of_image) for of_image in labels])
    classes, place, images = np.unique(together, return_inverse=True, return_counts=True)
    np.maximum.at(times, image, np.sqrt(threshold * len(labels) / images)[place])
    return times


def spread(data: Dataset, images: int = 200) -> list[Instances]:
    """The truth of a sample of the data, evenly spread."""
    return [data.truth(int(index)) for index in np.unique(np.linspace(0, len(data) - 1, images).astype(int))]
