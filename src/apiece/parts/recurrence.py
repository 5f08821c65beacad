"""The steps of recurrent instance segmentation: features and memory make the map of one object, and its probability.

    features B C H W, the same at each step; memory -> ConvLSTM -> h B R h w
    h -> 1 x 1 convolution -> log-softmax over all places + b          log-odds of each place for this object   B H W
    h -> all of it, or its maxima in four quarters -> linear           logit of its being an object             B
    h -> mean within the map -> linear                                 logits of its class (ours)               B D

Romera-Paredes and Torr, Recurrent Instance Segmentation, ECCV 2016. There h w is H W; with a focus (ours), which says
the values of places in place of the first convolution, the memory may be coarser than the maps.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from apiece.parts.conv_lstm import FIRST, ConvLSTM, State
from apiece.parts.focus import Focus

Feedback = Literal["none", "last", "all"]


class Steps(NamedTuple):
    """What the steps say of each image, as logits.

    Attributes:
        maps: log-odds of each place for the object of each step.
        scores: that it is an object.
        classes: which one; None for a single class.
        looks: log-probabilities of where the focus lies, at the likeliest place; None without one.
    """

    maps: Float[Tensor, "B T H W"]
    scores: Float[Tensor, "B T"]
    classes: Float[Tensor, "B T D"] | None
    looks: Float[Tensor, "B T H W"] | None


class Start(NamedTuple):
    """Where the steps begin.

    Attributes:
        inside: what the first layer makes of the features.
        state: of the memory.
        told: what is found so far, by the rule of the feedback.
        begun: what the focus makes of the features; nothing (B 0 H W) without one.
        valid: the places of maps that lie in the image.
        held: the places of the memory that do.
        taught: the parts of places that true objects cover which are not found yet; None = feedback is what is found.
    """

    inside: Float[Tensor, "B _ h w"]
    state: State
    told: Float[Tensor, "B 1 H W"]
    begun: Float[Tensor, "B _ H W"]
    valid: Bool[Tensor, "B H W"]
    held: Bool[Tensor, "B h w"]
    taught: Float[Tensor, "B N P"] | None = None


class Recurrence(nn.Module):
    """Maps, scores and classes of one object after another.

    Args:
        inputs: channels of the features.
        width: R, channels of the memory.
        layers, kernel: of the ConvLSTM.
        classes: 1 = there is nothing to tell apart.
        feedback: what the memory is told besides: nothing, the last map, or all that is found.
        focus: whether values are told by comparison with one place, or each from its own h.
        coarse: places of a map to a side of one of the memory; 1 without a focus.
        places: places of the memory, all of which weigh in a score; None = maxima of h do, at any size.
        truncation: steps through which gradients go back; None = all.
        checkpointing: steps whose inner values are computed again for the gradient; None = all are kept.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        layers: int = 2,
        kernel: int = 3,
        classes: int = 1,
        feedback: Feedback = "none",
        focus: bool = False,
        coarse: int = 1,
        places: int | None = None,
        truncation: int | None = None,
        checkpointing: int | None = None,
    ):
        super().__init__()
        self.feedback, self.whole, self.truncation, self.checkpointing = feedback, places, truncation, checkpointing
        self.coarse = coarse
        self.memory = ConvLSTM(inputs, width, layers, kernel, feedback=int(feedback != "none"))
        self.map: Any = None if focus else nn.Conv2d(width, 1, 1, bias=False)
        self.focus = Focus(inputs, width, coarse) if focus else None
        self.bias = nn.Parameter(torch.zeros(()))
        self.score = nn.Linear(width * (places or 4), 1)
        self.classifier = nn.Linear(width, classes) if classes > 1 else None
        with torch.no_grad():
            for layer in filter(None, (self.map, self.score)):
                layer.weight.uniform_(-FIRST, FIRST)

    def start(self, features: Float[Tensor, "B C H W"], valid: Bool[Tensor, "B H W"]) -> Start:
        """Before the first step; `valid` are the places that lie in the image, from the upper left one on."""
        inside, state = self.memory.begin(functional.avg_pool2d(features, self.coarse))
        begun = features[:, :0] if self.focus is None else self.focus.begin(features)
        told = valid.new_zeros(len(valid), 1, *valid.shape[1:], dtype=torch.float32)
        return Start(inside, state, told, begun, valid, valid[:, :: self.coarse, :: self.coarse])

    def forward(self, start: Start, steps: int) -> Steps:
        """A given number of steps, whatever the scores say."""
        parts, together = [], self.checkpointing or steps
        for first in range(0, steps, together):
            arguments = start, first, min(together, steps - first)
            if self.checkpointing and torch.is_grad_enabled():
                result: Any = checkpoint(self._several, *arguments, use_reentrant=False)
            else:
                result = self._several(*arguments)
            found, start = result
            parts.append(found)
        return joined(parts)

    def each(self, start: Start) -> Iterator[Steps]:
        """One step after another, for whoever knows when to stop."""
        for number in count():
            found, start = self._several(start, number, 1)
            yield found

    def _several(self, start: Start, first: int, many: int) -> tuple[Steps, Start]:
        """Some steps, beginning with number `first`, and where the next begin."""
        parts = []
        for number in range(first, first + many):
            if number and self.truncation and number % self.truncation == 0:
                state = [(h.detach(), c.detach()) for h, c in start.state]
                start = start._replace(state=state, told=start.told.detach())
            found, start = self._step(start)
            parts.append(found)
        return joined(parts), start

    def _step(self, start: Start) -> tuple[Steps, Start]:
        state = self.memory(start.inside, start.state, functional.avg_pool2d(start.told, self.coarse))
        h, looks, bias = state[-1][0], None, self.bias
        score = self.score(self._summary(h, start.held)).float()
        if self.focus is not None:
            values, looks, gain = self.focus(start.begun, h, start.told, start.valid)
            bias, score = bias + gain[:, :1, None], score + gain[:, 1:]
        else:
            values = self.map(h)[:, 0].float()
        logits = inhibited(values, start.valid, bias)
        soft, told = logits.sigmoid()[:, None], start.told
        if start.taught is not None and looks is not None:
            mask, taught = looked_at(start.taught, looks)
            # A look at nothing is told as what it brought: the next one shall not be the same.
            mask = torch.where(mask.flatten(1).any(1)[:, None, None], mask, soft[:, 0])
            start, told = start._replace(taught=taught), torch.maximum(told, mask[:, None])
        elif self.feedback != "none":
            told = soft if self.feedback == "last" else torch.maximum(told, soft)
        found = Steps(logits[:, None], score, self._classes(h, soft), None if looks is None else looks[:, None])
        return found, start._replace(state=state, told=told)

    def _classes(self, h: Float[Tensor, "B R h w"], soft: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 D"] | None:
        if self.classifier is None:
            return None
        shares = functional.avg_pool2d(soft, self.coarse)
        mean = (h * shares).sum((2, 3)) / shares.sum((2, 3)).clamp(min=1e-6)
        return self.classifier(mean).float()[:, None]

    def _summary(self, h: Float[Tensor, "B R h w"], valid: Bool[Tensor, "B h w"]) -> Float[Tensor, "B _"]:
        """What a score is made of."""
        if self.whole:
            return h.flatten(1)
        extents = torch.stack([valid[:, :, 0].sum(1), valid[:, 0].sum(1)], 1).tolist()
        if all(extent == list(h.shape[2:]) for extent in extents):
            return functional.adaptive_max_pool2d(h, 2).flatten(1)
        own = (one[:, :down, :right] for one, (down, right) in zip(h, extents, strict=True))
        return torch.stack([functional.adaptive_max_pool2d(one, 2).flatten() for one in own])


def looked_at(
    cells: Float[Tensor, "B N P"], looks: Float[Tensor, "B H W"]
) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B N P"]]:
    """The object at the likeliest place, empty where there is none, and all without it."""
    images = torch.arange(len(cells), device=cells.device)
    part, which = cells[images, :, looks.flatten(1).argmax(1)].max(1)
    mask = cells[images, which] * (part > 0)[:, None]
    cells = cells.clone()
    cells[images, which] -= mask
    return mask.view_as(looks), cells


def inhibited(
    values: Float[Tensor, "B h w"], valid: Bool[Tensor, "B h w"], bias: Float[Tensor, "*_"]
) -> Float[Tensor, "B h w"]:
    """Spatial inhibition: each place's share of all places' exp(value), as a logarithm, plus b; its sigmoid is the map.

    Places compete: an object of A places reaches one half everywhere only with b of log A or more. What is not valid
    has no part in it (minus infinity).
    """
    open_values = values.masked_fill(~valid, -torch.inf).flatten(1)
    return open_values.log_softmax(1).view_as(values) + bias


def joined(parts: list[Steps]) -> Steps:
    """Steps one after another."""
    together: list[Any] = [None if kind[0] is None else torch.cat(kind, 1) for kind in zip(*parts, strict=True)]
    return Steps(*together)


def places(sizes: Integer[Tensor, "B 2"], step: int, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Of maps with a place for each `step` pixels: which places lie in the image, and where: x and y from -1 to 1."""
    rows, columns = (torch.arange(side, device=sizes.device) for side in shape)
    cells = -(-sizes // step)
    valid = (rows[:, None] < cells[:, :1, None]) & (columns < cells[:, 1:, None])
    y, x = ((2 * axis + 1) / cells[:, [d]] - 1 for d, axis in enumerate((rows, columns)))
    coordinates = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), 1)
    return valid, coordinates.clamp(max=1)
