"""Lineups: one image as several methods see it, in the colors of what became of each object; and which images to show.

Blue is right at an IoU of 0.5, orange missed or wrong, grey ignored, as in `pairs`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from apiece.colors import GREY
from apiece.draw import overlay
from apiece.instances import Instances
from apiece.metrics.diagnosis import fates
from apiece.metrics.report import Report
from apiece.page import Picture
from apiece.pairs import RIGHT, WRONG, Shown, compact, reduced, reduced_size

SIDE = 400
"""Longer sides are reduced to it."""


def truth_picture(shown: Shown) -> tuple[Picture, str]:
    """The true objects, each in a color of its own, and how many there are."""
    count = int((~shown.truth.ignore).sum())
    return _picture(shown, shown.truth, None), f"truth: {count} object{'s' * (count != 1)}"


def found_picture(name: str, shown: Shown) -> tuple[Picture, str]:
    """What somebody found, by fate, and how much of it is right."""
    fate = fates(shown.found, shown.truth)
    missed, wrong = (~shown.truth.ignore & ~fate.had).sum(), (~fate.left_out & ~fate.right).sum()
    picture = _picture(shown, shown.found, _colors(fate.right, fate.left_out))
    return picture, f"{name}: {fate.right.sum()} right, {missed} missed, {wrong} wrong"


def _picture(shown: Shown, objects: Instances, colors: UInt8[ndarray, "N 3"] | None) -> Picture:
    size = reduced_size(objects.size, SIDE)
    image = np.full((*size, 1), 128, np.uint8) if shown.image is None else reduced(shown.image, size)
    if colors is None:
        return compact(overlay(image, objects.replace(boxes=None, areas=None).resized(size)))
    # Colors as a column: objects that are left without a pixel take theirs with them.
    smaller = objects.replace(boxes=None, areas=None, columns={"color": colors}).resized(size)
    return compact(overlay(image, smaller, colors=smaller.columns["color"]))


def _colors(good: Bool[ndarray, " N"], left_out: Bool[ndarray, " N"]) -> UInt8[ndarray, "N 3"]:
    return np.where(left_out[:, None], GREY, np.where(good[:, None], RIGHT, WRONG)).astype(np.uint8)


def accuracies(reports: Sequence[Report]) -> Float[ndarray, "M I"]:
    """Of each of M findings in each image, at an IoU of 0.5; 1 where there is nothing and nothing is found."""
    return np.array([report.diagnosis.accuracy for report in reports])


def telling(accuracy: Float[ndarray, "M I"], count: int) -> list[int]:
    """Images that tell M methods apart: half of them spread from easy to hard, half those where they differ most.

    Args:
        accuracy: of each method in each image.
        count: how many images, at most.
    """
    number = accuracy.shape[1]
    if number <= count:
        return list(range(number))
    by_mean = np.argsort(-accuracy.mean(0), kind="stable")
    spread = by_mean[np.linspace(0, number - 1, count - count // 2).round().astype(int)].tolist()
    by_range = np.argsort(-np.ptp(accuracy, 0), kind="stable").tolist()
    return [*spread, *(place for place in by_range if place not in spread)][:count]


def worst_of(accuracy: Float[ndarray, "M I"]) -> list[int]:
    """Of each method the image in which it falls furthest behind the best of the others."""
    if len(accuracy) == 1:
        return [int(accuracy[0].argmin())]
    places = []
    for method, own in enumerate(accuracy):
        behind = np.delete(accuracy, method, 0).max(0) - own
        # Of several such images that with the least right.
        places.append(int(np.lexsort((own, -behind))[0]))
    return places
