"""The numbers of a detector of two stages: anchors, proposals, regions, boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from apiece.masks import Size
from apiece.parts.suppress import USUAL
from apiece.statistics import Statistics


@dataclass(frozen=True)
class Rules:
    """What Mask R-CNN and PointRend take as arguments of the same names, and describe there."""

    anchor_sizes: tuple[float, ...]
    anchor_ratios: tuple[float, ...]
    anchor_offset: float
    anchor_rule: Literal["exact", "torchvision"]
    anchor_iou: tuple[float, float]
    anchor_samples: int
    anchor_positive: float
    candidates: int
    training_candidates: int
    proposals: int
    training_proposals: int
    proposal_nms: float
    smallest_proposal: float
    region_iou: float
    region_samples: int
    region_positive: float
    pooling: Literal["align", "pool"]
    aligned: bool
    sampling: int
    score_threshold: float
    nms: float
    max_objects: int
    smallest_box: float
    box_beta: float
    ignored_share: float

    @classmethod
    def of(cls, method: Any) -> "Rules":
        """A method's arguments, those that were left open at their values for unknown data."""
        values: dict[str, Any] = {one.name: getattr(method, one.name) for one in fields(cls)}
        left = {
            "anchor_sizes": tuple(4.0 * stride for stride in method.boxes.backbone.strides),
            "proposals": 1000,
            "nms": USUAL,
            "max_objects": 1000,
        }
        values.update({name: value for name, value in left.items() if values[name] is None})
        return cls(**values)


def following(statistics: Statistics, strides: Sequence[int]) -> dict[str, Any]:
    """Values of the open arguments for such data, and maps of these strides.

    Anchors double from map to map. The finest are as large as the data's smaller objects (the tenth percentile of the
    roots of their boxes' areas), but two to sixteen times their map's stride.
    """
    most = int(statistics.counts.max(initial=0))
    chosen: dict[str, Any] = {"proposals": max(1000, 4 * most), "max_objects": max(100, 2 * most)}
    chosen["nms"] = statistics.sharing
    if len(statistics.sides):
        small = np.percentile(np.sqrt(statistics.sides.prod(1)), 10)
        times = float(np.clip(small / strides[0], 2, 16))
        chosen["anchor_sizes"] = tuple(round(times * stride, 1) for stride in strides)
    return chosen


def shrunk(original: Size, shorter: int, longer: int) -> Size:
    """The size of an image with this shorter side, unless the longer one would pass its limit; 0 = as it is.

    Fractions of a pixel are cut off, as in torchvision.
    """
    if not shorter or not min(original):
        return original
    scale = shorter / min(original)
    if longer:
        scale = min(scale, longer / max(original))
    return max(1, int(original[0] * scale)), max(1, int(original[1] * scale))
