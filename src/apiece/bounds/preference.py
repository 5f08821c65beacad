"""Preference: which of the methods that can show some objects is to be tried first. A rule that is plain on purpose.

1. Left are the methods whose upper bound (AP) is at most `NEAR` below the best one's. What a training loses is mostly
   more than that, so that a smaller difference decides nothing; a larger one is in the way whatever a network learns.
2. Their order is a prior, measured on other images: `CROSSING` where most objects share a box with another, `CROWDED`
   where images hold many or small objects, else `SPARSE`, or without a GPU `SPARSE_SLOWLY`. `apiece compare` measures
   on those at hand.
"""

from collections.abc import Mapping
from typing import Literal

from apiece.statistics import Survey

Kind = Literal["crossing", "crowded", "sparse"]

NEAR = 0.05
"""Differences of upper bounds that decide nothing."""
MANY, LITTLE = 10, 32.0
"""Crowded: half of the images hold so many objects, or half of the objects are less than so many pixels across."""
CROSSING = (
    "Discriminative", "Recurrent", "SOLO", "SpatialEmbedding", "YOLACT", "DCME", "PointRend", "MaskRCNN", "PolarMask"
)  # fmt: skip
"""By what each learned of crossing sticks in 10 minutes on one thread (docs/results.html)."""
CROWDED = (
    "SpatialEmbedding", "SOLO", "PolarMask", "DCME", "MaskRCNN", "Discriminative", "YOLACT", "PointRend", "Recurrent"
)  # fmt: skip
"""By the mean of what each learned of nuclei and of leaves in 10 to 12 minutes on one thread (docs/results.html)."""
SPARSE = (
    "MaskRCNN", "PointRend", "SOLO", "YOLACT", "SpatialEmbedding", "PolarMask", "Discriminative", "DCME", "Recurrent"
)  # fmt: skip
"""The papers' order on scenes of few large objects of several classes, with networks that want a GPU."""
SPARSE_SLOWLY = (
    "SpatialEmbedding", "SOLO", "PointRend", "PolarMask", "YOLACT", "MaskRCNN", "DCME", "Discriminative", "Recurrent"
)  # fmt: skip
"""By what each learned of fruits and nuts in 10 minutes on one thread (docs/results.html)."""


def kind_of(survey: Survey, sharing: float | None) -> Kind:
    """What kind of images these are; `sharing` is the share of objects whose box another one has, nearly."""
    if sharing is not None and sharing > 0.5:
        return "crossing"
    many = survey.per_image.quantile(0.5) >= MANY or survey.diameters.quantile(0.5) < LITTLE
    return "crowded" if many else "sparse"


def prior(kind: Kind, device: str) -> tuple[str, ...]:
    """The order that is taken where bounds decide nothing."""
    sparse = SPARSE_SLOWLY if device == "cpu" else SPARSE
    return {"crossing": CROSSING, "crowded": CROWDED, "sparse": sparse}[kind]


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
