"""Method: the contract of every family; Recipe: how it is trained; Frame: how a network image came from its file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Float, Integer, Num, UInt8
from numpy import ndarray
from torch import Tensor, nn

from apiece.errors import CallError
from apiece.instances import Instances
from apiece.masks import Size
from apiece.parts.normalization import Normalization, Preparation
from apiece.statistics import Statistics


@dataclass(frozen=True)
class Frame:
    """How a network image came from its file: resized from `original` to `size`, padded at the bottom and right.

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

    Raises:
        CallError: a number that makes no sense.
    """

    share: float = 1.0
    crop: int = 128
    batch_size: int = 8
    lr: float = 2e-3
    freeze_batch_norm: bool = False

    def __post_init__(self) -> None:
        for name in ("share", "crop", "batch_size", "lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise CallError(f"{name} {getattr(self, name)} of a stage: must be more than 0.")


@dataclass(frozen=True)
class Recipe:
    """How a method is trained unless told otherwise.

    Attributes:
        stages: one after another.
        steps: length where neither steps nor minutes are given.
        schedule: of the learning rate within a stage: "polynomial" (power 0.9), "one_cycle", "step" (a tenth after 2/3
            and again after 8/9), "constant".
        warmup: share of a stage over which the rate rises from a hundredth.
        clip: largest gradient norm, None or 0 for none.
        average: decay of the weights' moving average (EMA), 0 for none.
        augmentation: names of `data.augment.Augmentation`'s arguments with their values.
    """

    stages: tuple[Stage, ...] = (Stage(),)
    steps: int = 20_000
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    momentum: float = 0.9
    schedule: Literal["polynomial", "one_cycle", "step", "constant"] = "one_cycle"
    warmup: float = 0.0
    clip: float | None = None
    average: float = 0.0
    augmentation: dict[str, Any] = field(default_factory=dict)


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

    A constructor takes `num_classes`, `channels` and `normalization` besides its own options and hands every argument
    on with `self.keep(...)`, so that a model file is class name + arguments + weights.
    """

    stride: int
    """Image sides are padded to a multiple of it; it may depend on the network that was chosen."""

    class_heads: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the names of weights with a block of rows for each class; rows follow classes to another model."""

    num_classes: int
    channels: int
    normalization: Normalization

    if TYPE_CHECKING:
        # Arguments are attributes by `keep`; torch.nn.Module would have each be a tensor or a module.
        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        super().__init__()
        self.card = Card()
        self.arguments: dict[str, Any] = {}
        self.left_open: set[str] = set()

    @final
    def keep(self, given: dict[str, Any]) -> None:
        """Store the constructor's arguments under their own names. Call it first with `locals()`."""
        self.arguments = {name: given[name] for name in signature(type(self).__init__).parameters if name != "self"}
        self.left_open = {name for name, value in self.arguments.items() if value is None}
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
        """Named scalars, weights included; training minimizes their sum. `targets[i].size` is image i's own size."""

    @abstractmethod
    def decode(self, outputs: dict[str, Tensor], frames: list[Frame]) -> list[Instances]:
        """Objects at the original size, from the outputs alone."""

    @abstractmethod
    def ideal(self, targets: list[Instances], frames: list[Frame]) -> dict[str, Tensor]:
        """The outputs of a perfect network: `decode(ideal(truth))` is the best this representation can do."""

    def at(self, progress: float) -> None:  # noqa: B027
        """Called before each step with the share of training done, 0 to 1: for curricula."""

    def adapt(self, statistics: Statistics) -> None:  # noqa: B027
        """Called once before a training from scratch: settles what was left to follow the data.

        That is `self.settle`, or `self.rebuild` for what shapes the network.
        """

    @final
    def settle(self, **chosen: Any) -> None:
        """Set arguments that were left open, so that the model file holds them."""
        self.arguments.update(chosen)
        for name, value in chosen.items():
            setattr(self, name, value)

    @final
    def rebuild(self, **chosen: Any) -> None:
        """Settle arguments, those that were left open, where they shape the network: it is made anew, weights fresh."""
        chosen = {name: value for name, value in chosen.items() if name in self.left_open and value is not None}
        if any(self.arguments[name] != value for name, value in chosen.items()):
            card, left_open, given = self.card, self.left_open, {**self.arguments, **chosen}
            type(self).__init__(self, **given)
            self.card, self.left_open = card, left_open

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
        """Objects of a batch of normalized images of any size. The training mode stays as it was."""
        height, width = images.shape[2:]
        frames = [Frame((height, width), (height, width))] * len(images) if frames is None else list(frames)
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
    def preparation(self) -> Preparation:
        """What makes whole images ready for this network; small, for processes that load them."""
        return Preparation(self.channels, self.normalization)

    @final
    def normalize(self, image: ndarray) -> Float[ndarray, "C H W"]:
        """A whole image as the network wants it (see `Preparation`)."""
        return self.preparation(image)
