"""Method: the contract of every family; Recipe: how it is trained; Frame: how a network image came from its file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, ClassVar, Literal, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Integer, Num, UInt8
from numpy import ndarray
from torch import Tensor, nn

from apiece.errors import CallError, InputError
from apiece.instances import Instances
from apiece.masks import Size


@dataclass(frozen=True)
class Frame:
    """How a network image was made from its file: resized from `original` to `size`, then padded at the bottom and right.

    Attributes:
        original: height and width of the file's image.
        size: height and width of its valid part in the network image.
    """

    original: Size
    size: Size


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Attributes:
        share: part of the whole budget, the stages' shares adding up to 1.
        crop: side of the square crops in pixels.
        batch_size: crops a step.
        lr: highest learning rate.
        freeze_batch_norm: keep batch-norm statistics as they are.
    """

    share: float = 1.0
    crop: int = 256
    batch_size: int = 8
    lr: float = 1e-3
    freeze_batch_norm: bool = False


@dataclass(frozen=True)
class Recipe:
    """How a method is trained unless told otherwise.

    Attributes:
        stages: one after another.
        steps: length where neither steps nor minutes are given.
        schedule: of the learning rate within a stage: "polynomial" (power 0.9), "one_cycle", "step" (a tenth after 2/3 and 8/9), "constant".
        warmup: share of a stage over which the rate rises from a hundredth.
        clip: largest gradient norm, None for none.
        average: decay of the weights' moving average (EMA), 0 for none.
        augmentation: names of `data.augment.Augmentation`'s arguments with their values.
    """

    stages: tuple[Stage, ...] = (Stage(),)
    steps: int = 10_000
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    momentum: float = 0.9
    schedule: Literal["polynomial", "one_cycle", "step", "constant"] = "one_cycle"
    warmup: float = 0.0
    clip: float | None = None
    average: float = 0.0
    augmentation: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Statistics:
    """What a sample of the training data says of its objects, ignored ones left out.

    Attributes:
        areas: pixels of each object.
        sides: height and width of each object's box.
        counts: objects of each image.
    """

    areas: Integer[ndarray, " N"]
    sides: Integer[ndarray, "N 2"]
    counts: Integer[ndarray, " I"]


class Relation(NamedTuple):
    """Points of a plot, with what its axes show."""

    x_label: str
    y_label: str
    x: Num[ndarray, " N"]
    y: Num[ndarray, " N"]


@dataclass
class Card:
    """What a model knows about itself beside its weights; kept in its file.

    Attributes:
        classes: names of the classes.
        threshold: the operating point: objects below this score are not counted where a decision is needed.
        metrics: figures on validation data, with what they were measured on.
        data: fingerprint and path name of the training set.
        license: licence of the weights, as their maker states it.
        training: what it was trained with: steps, seconds, options.
    """

    classes: tuple[str, ...] = ()
    threshold: float = 0.5
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    license: str = ""
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Card":
        """The card of a file, where tuples have become lists."""
        return cls(**{**fields, "classes": tuple(fields["classes"])})


class Method(nn.Module, ABC):
    """A network that learns and finds objects.

    A constructor takes `num_classes`, `channels` and `normalization` besides its own options and hands every argument on with
    `self.keep(...)`, so that a model file is class name + arguments + weights.
    """

    stride: int
    """Image sides are padded to a multiple of it; it may depend on the network that was chosen."""

    class_heads: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the names of weights with a block of rows for each class: these follow the class names to another model."""

    num_classes: int
    channels: int
    normalization: "Normalization"

    def __init__(self) -> None:
        super().__init__()
        self.card = Card()
        self.arguments: dict[str, Any] = {}

    @final
    def keep(self, given: dict[str, Any]) -> None:
        """Store the constructor's arguments under their own names. Call it first with `locals()`."""
        self.arguments = {name: given[name] for name in signature(type(self).__init__).parameters if name != "self"}
        for name, value in self.arguments.items():
            setattr(self, name, value)
        self.card.classes = tuple(str(number) for number in range(self.num_classes))

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """How the method, with these arguments, is trained."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "B C H W"], sizes: Integer[Tensor, "B 2"]) -> dict[str, Tensor]:
        """Tensors out of normalized images and their unpadded sizes; everything up to the last weight."""

    @abstractmethod
    def loss(self, images: Float[Tensor, "B C H W"], targets: list[Instances]) -> dict[str, Tensor]:
        """Named scalars, each with its weight in it; training minimizes their sum. `targets[i].size` is image i's unpadded size."""

    @abstractmethod
    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Objects at the original size, from the outputs alone."""

    @abstractmethod
    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """The outputs of a perfect network: `decode(ideal(truth))` is the best this representation can do."""

    def at(self, progress: float) -> None:  # noqa: B027
        """Called before each step with the share of training done, 0 to 1: for curricula."""

    def adapt(self, statistics: Statistics) -> None:  # noqa: B027
        """Called once before a training from scratch: sets what was left to follow the data, and stores it with `self.settle`."""

    @final
    def settle(self, **chosen: Any) -> None:
        """Set arguments that were left open, so that the model file holds them."""
        self.arguments.update(chosen)
        for name, value in chosen.items():
            setattr(self, name, value)

    def oracle(self, outputs: dict[str, Tensor], targets: list[Instances], known: str) -> dict[str, Tensor]:
        """The outputs with a part of the truth in place of the network's own: what the rest is worth (AP_gt).

        Raises:
            CallError: this method knows no such part.
        """
        raise CallError(f"{type(self).__name__} has no oracle for {known!r}.")

    def inside(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[dict[str, UInt8[ndarray, "_ _ 3"]]]:
        """Pictures of what the network says, by name, for each image. By default none."""
        return [{} for _ in frames]

    def relations(self, outputs: dict[str, Tensor], targets: list[Instances]) -> dict[str, "Relation"]:
        """What the outputs say of the true objects, one point for each: for plots. By default nothing."""
        return {}

    def frame(self, original: Size) -> Frame:
        """The method's resize rule: the network's size for an image of the original size. By default the same."""
        return Frame(original, original)

    @final
    @torch.no_grad()
    def predict(self, images: Float[Tensor, "B C H W"], frames: Sequence[Frame] | None = None) -> list[Instances]:
        """Objects of a batch of normalized images. Sides need not be multiples of the stride. Leaves the training mode as it was."""
        frames = (
            list(frames)
            if frames is not None
            else [Frame(size, size) for size in [tuple(images.shape[2:])] * len(images)]
        )
        training = self.training
        self.eval()
        try:
            return self.decode(self.infer(images, frames), frames)
        finally:
            self.train(training)

    @final
    @torch.no_grad()
    def infer(self, images: Float[Tensor, "B C H W"], frames: Sequence[Frame]) -> dict[str, Tensor]:
        """`forward` on images padded to the stride, on the weights' device."""
        down, right = ((-side) % self.stride for side in images.shape[2:])
        device = next(self.parameters()).device
        sizes = torch.tensor([frame.size for frame in frames], device=device).reshape(-1, 2)
        return self.forward(nn.functional.pad(images.to(device), (0, right, 0, down)), sizes)

    @property
    @final
    def preparation(self) -> "Preparation":
        """What makes whole images ready for this network; small, for processes that load them."""
        return Preparation(self.channels, self.normalization)

    @final
    def normalize(self, image: ndarray) -> Float[ndarray, "C H W"]:
        """A whole image as the network wants it (see `Preparation`)."""
        return self.preparation(image)


@dataclass(frozen=True)
class Preparation:
    """From an image of any number type to network input: its channels, normalized, float32.

    It is done to whole images, before cropping, because a crop does not know the image's percentiles.
    """

    channels: int
    normalization: "Normalization"

    def __call__(self, image: ndarray) -> Float[ndarray, "C H W"]:
        """Prepare an image H W or H W C. One channel is repeated and alpha dropped to fit the channels.

        Raises:
            InputError: the channels do not fit.
        """
        return self.normalization(fit_channels(image, self.channels))


@dataclass(frozen=True)
class Normalization:
    """From pixel values to network input, per channel.

    Attributes:
        low, high: percentiles of the image's own values that become 0 and 1. Lower values become 0, higher ones stay above 1.
        power: exponent after that; a root shows faint borders of bright objects, and changes little where light is even.
        mean, std: fixed figures for each channel, in units of the file's values, used instead of percentiles where given.
    """

    low: float = 1.0
    high: float = 99.8
    power: float = 0.5
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __call__(self, image: ndarray) -> Float[ndarray, "C H W"]:
        """Normalize a whole image H W C. An even channel becomes zero."""
        channels = np.nan_to_num(np.moveaxis(image, 2, 0).astype(np.float32), copy=False)
        if self.mean is not None and self.std is not None:
            shift, scale = (np.asarray(figures, np.float32).reshape(-1, 1, 1) for figures in (self.mean, self.std))
            return (channels - shift) / scale
        if not channels.size:
            return channels
        shift, top = np.percentile(_thinned(channels), (self.low, self.high), axis=1).astype(np.float32)[
            :, :, None, None
        ]
        channels -= shift
        channels /= np.where(top > shift, top - shift, 1)
        np.maximum(channels, 0, out=channels)
        return channels if self.power == 1 else np.power(channels, np.float32(self.power), out=channels)


def _thinned(channels: Float[ndarray, "C H W"], pixels: int = 1 << 20) -> Float[ndarray, "C P"]:
    """At most about a million evenly spread pixels: enough for percentiles."""
    flat = channels.reshape(len(channels), -1)
    return flat[:, :: max(1, flat.shape[1] // pixels)]


def fit_channels(image: ndarray, channels: int) -> ndarray:
    """An image H W or H W C with the channels that a model takes: grey is repeated, alpha dropped.

    Raises:
        InputError: it cannot be made to fit.
    """
    image = image[:, :, None] if image.ndim == 2 else image
    found = image.shape[2]
    if found == channels:
        return image
    if found == 2 and channels in (1, 3) or found == 4 and channels == 3:
        return fit_channels(image[:, :, : found - 1], channels)
    if found == 1:
        return np.repeat(image, channels, 2)
    raise InputError(f"the image has {found} channels, but the model was trained on {channels}.")
