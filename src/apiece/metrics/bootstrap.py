"""How sure are the figures? Confidence intervals by resampling images, also of the difference of two findings."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Real
from numpy import ndarray

Resampler = Callable[[Real[ndarray, " I"]], dict[str, float | None]]
"""From how often each image counts to figures by name; None where one does not exist."""

RESAMPLES = 500


def intervals(
    figures: Resampler, images: int, *, resamples: int = RESAMPLES, level: float = 0.95, seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """Percentile bootstrap over images: for each figure its `value` on all of them, `low` and `high`.

    One image drawn again and again says nothing: `low` and `high` are None.

    Args:
        resamples: how often as many images as there are, are drawn with replacement.
        level: share of resamples between low and high.
        seed: the same seed draws the same images.
    """
    return _bounds(figures(np.ones(images)), [figures(weights) for weights in _draws(images, resamples, seed)], level)


def differences(
    figures: Resampler,
    others: Resampler,
    images: int,
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """The same for the first findings' figures minus the second's: the same images are drawn for both (paired)."""

    def difference(weights: ndarray) -> dict[str, float | None]:
        mine, theirs = figures(weights), others(weights)
        return {name: _minus(value, theirs[name]) for name, value in mine.items() if name in theirs}

    return intervals(difference, images, resamples=resamples, level=level, seed=seed)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _draws(images: int, resamples: int, seed: int) -> Any:
    generator = np.random.default_rng(seed)
    if images < 2:
        return []
    return (np.bincount(generator.integers(0, images, images), None, images) for _ in range(resamples))


def _bounds(
    values: dict[str, float | None], drawn: list[dict[str, float | None]], level: float
) -> dict[str, dict[str, float | None]]:
    tails = [50 * (1 - level), 50 * (1 + level)]
    result: dict[str, dict[str, float | None]] = {}
    for name, value in values.items():
        there = [one[name] for one in drawn if one[name] is not None]
        low, high = np.percentile(np.array(there, float), tails).tolist() if there else (None, None)
        result[name] = {"value": value, "low": low, "high": high}
    return result
