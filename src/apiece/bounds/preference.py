"""Preference: which of the methods that can show some objects is to be tried first. A rule that is plain on purpose.

1. Left are the methods whose upper bound (AP) is at most `NEAR` below the best one's. What a training loses is mostly
   more than that, so that a smaller difference decides nothing; a larger one is in the way whatever a network learns.
2. Their order is a prior, measured on other images: `CROWDED` where images hold many or small objects, else
   `SPARSE`, or without a GPU `SPARSE_SLOWLY`. `apiece compare` measures on those at hand.
"""

from collections.abc import Mapping

from apiece.statistics import Survey

NEAR = 0.05
"""Differences of upper bounds that decide nothing."""
MANY, LITTLE = 10, 32.0
"""Crowded: half of the images hold so many objects, or half of the objects are less than so many pixels across."""
CROWDED = (
    "SpatialEmbedding", "DCME", "PolarMask", "MaskRCNN", "Discriminative", "SOLO", "PointRend", "YOLACT", "Recurrent"
)  # fmt: skip
"""By the mean of what each learned of nuclei and of leaves in 10 to 12 minutes on two cores (docs/results.html)."""
SPARSE = (
    "MaskRCNN", "PointRend", "SOLO", "YOLACT", "SpatialEmbedding", "PolarMask", "Discriminative", "DCME", "Recurrent"
)  # fmt: skip
"""The papers' order on scenes of few large objects of several classes, with networks that want a GPU."""
SPARSE_SLOWLY = (
    "SpatialEmbedding", "DCME", "Discriminative", "PointRend", "SOLO", "PolarMask", "YOLACT", "MaskRCNN", "Recurrent"
)  # fmt: skip
"""By what each learned of fruits and nuts in 10 minutes on two cores (docs/results.html)."""


def is_crowded(survey: Survey) -> bool:
    """Do images hold many or small objects?"""
    return survey.per_image.quantile(0.5) >= MANY or survey.diameters.quantile(0.5) < LITTLE


def prior(crowded: bool, device: str) -> tuple[str, ...]:
    """The order that is taken where bounds decide nothing."""
    return CROWDED if crowded else SPARSE_SLOWLY if device == "cpu" else SPARSE


def preferred(bounds: Mapping[str, float | None], order: tuple[str, ...]) -> list[str]:
    """The methods that are left by the rule, the first to be tried first.

    Args:
        bounds: AP of each method; None for one that has none, which is left out.
        order: a `prior`; methods that it does not name come last.
    """
    known = {name: value for name, value in bounds.items() if value is not None}
    best = max(known.values(), default=0.0)
    near = [name for name, value in known.items() if value >= best - NEAR]
    return sorted(near, key=lambda name: (*order, name).index(name))
