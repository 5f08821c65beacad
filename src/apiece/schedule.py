"""Stages, learning rates and optimizers of a recipe."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from apiece.errors import CallError
from apiece.methods.method import Recipe, Stage

LARGEST_CROP = 512
"""Pixels; crops do not grow beyond it by themselves."""
POSITIVE = ("minutes", "steps", "batch_size", "crop", "lr", "accumulate", "evaluations", "patience")
"""Options of training that must be more than nothing where they are given."""
SHARES = ("warmup", "average", "validation")
"""Options of training from 0 to below 1."""
NOT_NEGATIVE = ("weight_decay", "clip", "workers", "seed")
"""Options of training that may be nothing."""


def check_numbers(given: Mapping[str, Any], spelled: Callable[[str], str] = str) -> None:
    """See that options of training make sense, before anything is opened or built.

    Args:
        spelled: an option's name -> how the user writes it.

    Raises:
        CallError: a number that makes none.
    """
    for name, value in given.items():
        if not isinstance(value, int | float):
            continue
        if name in (*POSITIVE, *NOT_NEGATIVE) and math.isinf(value):
            raise CallError(f"{spelled(name)} {value}: must be finite.")
        if name in POSITIVE and not value > 0:
            raise CallError(f"{spelled(name)} {value}: must be more than 0.")
        if name in NOT_NEGATIVE and not value >= 0:
            raise CallError(f"{spelled(name)} {value}: must be 0 or more.")
        if name in SHARES and not 0 <= value < 1:
            raise CallError(f"{spelled(name)} {value:g}: must be at least 0, and below 1.")


def stage_at(recipe: Recipe, done: float) -> tuple[int, Stage, float]:
    """The stage at a share of the training done: its number, itself, and the share of it that is done."""
    begun = 0.0
    for number, stage in enumerate(recipe.stages):
        # Shares are added up with rounding errors; a stage must not begin a step late.
        if done < begun + stage.share - 1e-9 or number == len(recipe.stages) - 1:
            return number, stage, min(max((done - begun) / stage.share, 0.0), 1.0)
        begun += stage.share
    raise AssertionError("a recipe has a stage")


def rate(recipe: Recipe, done: float) -> float:
    """The learning rate at a share of the training done.

    "polynomial": (1 - t)^0.9, Neven et al. section 4.1. "one_cycle": up along a cosine in the first tenth, down along
    one to a thousandth, after Smith, https://arxiv.org/abs/1708.07120. "step": a tenth after two thirds and again after
    eight ninths.
    """
    _, stage, t = stage_at(recipe, done)
    warmth = min(1.0, 0.01 + 0.99 * t / recipe.warmup) if recipe.warmup else 1.0
    if recipe.schedule == "polynomial":
        return stage.lr * warmth * (1 - t) ** 0.9
    if recipe.schedule == "step":
        return stage.lr * warmth * 0.1 ** ((t >= 2 / 3) + (t >= 8 / 9))
    if recipe.schedule == "one_cycle":
        rising = 0.1
        if t < rising:
            return stage.lr * (0.04 + 0.96 * (1 - math.cos(math.pi * t / rising)) / 2)
        return stage.lr * (1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * (t - rising) / (1 - rising))) / 2)
    return stage.lr * warmth


def set_rate(optimizer: Optimizer, recipe: Recipe, done: float) -> float:
    """Give the optimizer the rate of this moment, and tell it."""
    lr = rate(recipe, done)
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimizer; biases and normalization are not decayed."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    lr = recipe.stages[0].lr
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=lr, momentum=recipe.momentum)
    return (AdamW if recipe.optimizer == "adamw" else Adam)(groups, lr=lr)


def fitted(recipe: Recipe, large: float, side: int) -> Recipe:
    """A recipe whose crops are wide enough for the data: twice as wide as large objects, where the images are.

    A batch has as many pixels as before, and two crops at least, for batch norm.

    Args:
        large: the longer side of large objects in pixels.
        side: of the images.
    """
    wanted = 32 * round(min(2 * large, side, LARGEST_CROP) / 32)
    stages = tuple(
        replace(stage, crop=wanted, batch_size=max(min(2, stage.batch_size), round(stage.batch_size * ratio)))
        if (ratio := (stage.crop / max(wanted, 1)) ** 2) < 1
        else stage
        for stage in recipe.stages
    )
    return replace(recipe, stages=stages)


def changed(
    recipe: Recipe,
    stages: Sequence[Stage] | None,
    first_stage: dict[str, float | None],
    rest: dict[str, Any],
) -> Recipe:
    """A method's recipe with the user's changes; what is None stays.

    Args:
        stages: in place of the recipe's.
        first_stage: batch_size, crop and lr of the first stage; those of the others change in proportion.
        rest: further fields of the recipe.

    Raises:
        CallError: the stages' shares do not add up to one.
    """
    stages = tuple(stages or recipe.stages)
    factors = {
        name: (value or getattr(stages[0], name)) / getattr(stages[0], name) for name, value in first_stage.items()
    }
    stages = tuple(
        replace(
            stage,
            batch_size=max(1, round(stage.batch_size * factors["batch_size"])),
            crop=max(1, round(stage.crop * factors["crop"])),
            lr=stage.lr * factors["lr"],
        )
        for stage in stages
    )
    if not math.isclose(sum(stage.share for stage in stages), 1, abs_tol=1e-6):
        raise CallError(f"the stages' shares add up to {sum(stage.share for stage in stages):g}, not 1.")
    return replace(recipe, stages=stages, **{name: value for name, value in rest.items() if value is not None})
