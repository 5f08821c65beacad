"""All objects of an image on one map, for formats whose pixels belong to one object each; and what that loses."""

from collections import Counter
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from apiece.errors import InputError
from apiece.instances import Instances
from apiece.masks import label_areas, label_type


def painted(truth: Instances) -> tuple[Integer[ndarray, "H W"], Counter[str]]:
    """Object i with value i + 1, 0 elsewhere, and how many objects this cuts, covers or leaves out.

    Ignored objects lie beneath all others; else the smallest is seen, as `Instances.label_map` paints them.
    """
    beneath, above = np.flatnonzero(truth.ignore), np.flatnonzero(~truth.ignore)
    label_map = truth[above].label_map() if len(beneath) else truth.label_map()
    if len(beneath):
        label_map = _numbers(above, len(truth))[label_map]
        free = label_map == 0
        label_map[free] = _numbers(beneath, len(truth))[truth[beneath].label_map()[free]]
    areas, seen = truth.mask_areas, label_areas(label_map, np.arange(1, len(truth) + 1))
    lost = Counter(
        {
            "overlaps": int(((seen < areas) & (seen > 0)).sum()),
            "covered objects": int(((seen == 0) & (areas > 0)).sum()),
            "objects without a pixel": int((areas == 0).sum()),
        }
    )
    return label_map, +lost


def _numbers(indices: Integer[ndarray, " M"], count: int) -> Integer[ndarray, " M+1"]:
    """The value of each of some objects among all, behind background's 0."""
    return np.append(0, indices + 1).astype(label_type(count))


def demand_masks(folder: Path, name: str, truth: Instances) -> None:
    """Refuse objects that no format of masks can hold.

    Raises:
        InputError: they are boxes without masks, or one that is not ignored has no class.
    """
    if not truth.has_masks:
        raise InputError(f"{folder}: the objects of {name} are boxes without masks, which cannot be written here.")
    if (truth.labels[~truth.ignore] < 0).any():
        raise InputError(f"{folder}: {name} has an object without a class that is not ignored: give it a class.")


def fields_lost(truth: Instances) -> Counter[str]:
    """Scores and columns other than `id` (which only names objects), for formats without a place for them."""
    scores = {} if truth.scores is None else {"scores": len(truth)}
    return +Counter({**scores, **{f"values of {name}": len(truth) for name in truth.columns if name != "id"}})
