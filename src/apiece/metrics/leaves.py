"""The leaf segmentation challenge's figures: difference in count, best Dice, symmetric best Dice, foreground Dice.

As the challenge's evaluation functions define them (Minervini et al. 2014; Scharr et al. 2016, "Leaf segmentation in
plant phenotyping"). All objects count as of one class.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Real
from numpy import ndarray

from apiece.metrics.operating_point import mostly_ignored
from apiece.metrics.table import Record, Table

FIGURES = ("DiC", "absDiC", "BestDiceFound", "BestDiceTrue", "SBD", "FgBgDice")


def leaves(records: Sequence[Record], *, threshold: float | None = None) -> dict[str, Any]:
    """Means over images, and under `"std"` their (population) standard deviations.

    `DiC` is found minus true objects; `BestDiceFound` the mean over found objects of their best Dice with a true one,
    `BestDiceTrue` the other way round, `SBD` the smaller of both; `FgBgDice` the Dice of all objects' pixels together
    (None for boxes). An image where one side has no object has 0 for all Dice figures, as in the challenge.
    """
    of_images = leaf_figures(records, threshold)
    result: dict[str, Any] = {key: _mean(values, None) for key, values in of_images.items()}
    result["std"] = {key: _deviation(values) for key, values in of_images.items()}
    return result


def leaf_rows(records: Sequence[Record], *, threshold: float | None = None) -> list[dict[str, Any]]:
    """The figures of each image."""
    of_images = leaf_figures(records, threshold)
    return [
        {"name": one.name, **{key: float(values[i]) for key, values in of_images.items() if not np.isnan(values[i])}}
        for i, one in enumerate(records)
    ]


def leaves_resampler(
    records: Sequence[Record], *, threshold: float | None = None
) -> Callable[[Real[ndarray, " I"]], dict[str, float | None]]:
    """The means as a function of how often each image counts."""
    of_images = leaf_figures(records, threshold)
    return lambda weights: {key: _mean(values, weights) for key, values in of_images.items()}


def leaf_figures(records: Sequence[Record], threshold: float | None) -> dict[str, Float[ndarray, " I"]]:
    """All figures of each image; not a number where there is none."""
    table = Table.of(records).without_classes()
    kept = (table.scores >= (-np.inf if threshold is None else threshold)) & ~mostly_ignored(table)
    real = ~table.ignore
    best, best_true = np.zeros(len(kept)), np.zeros(len(real))
    pairs = table.where(kept[table.found] & real[table.truth])
    np.maximum.at(best, pairs.found, pairs.dice)
    np.maximum.at(best_true, pairs.truth, pairs.dice)
    found, best_found = _mean_by_image(table.image[kept], best[kept], len(records))
    true, best_true = _mean_by_image(table.truth_image[real], best_true[real], len(records))
    difference = (found - true).astype(float)
    symmetric = np.minimum(best_found, best_true)
    edges = np.cumsum([0, *(len(one.labels) for one in records)])
    dice = [_foreground_dice(one, kept[edges[i] : edges[i + 1]]) for i, one in enumerate(records)]
    values = (difference, np.abs(difference), best_found, best_true, symmetric, np.array(dice, float))
    return dict(zip(FIGURES, values, strict=True))


def _mean_by_image(
    image: Integer[ndarray, " N"], values: Float[ndarray, " N"], images: int
) -> tuple[Integer[ndarray, " I"], Float[ndarray, " I"]]:
    """How many objects each image has, and the mean of their values; 0 where there are none."""
    number = np.bincount(image, None, images)
    return number, np.bincount(image, values, images) / np.maximum(number, 1)


def _foreground_dice(one: Record, kept: ndarray) -> float:
    if "foreground" not in one.unions:
        return np.nan
    pixels = one.unions["foreground"]
    total = pixels.found[kept].sum() + pixels.truth.sum()
    return 2 * pixels.right[kept].sum() / total if total else 0.0


def _mean(values: Float[ndarray, " I"], weights: Real[ndarray, " I"] | None) -> float | None:
    return float(np.average(values, weights=weights)) if len(values) and not np.isnan(values).any() else None


def _deviation(values: Float[ndarray, " I"]) -> float | None:
    return float(values.std()) if len(values) and not np.isnan(values).any() else None
