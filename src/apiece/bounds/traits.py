"""Traits: what makes some objects hard to show for some methods, and which traits those have that a method loses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from apiece.bounds.geometry import close_boxes, nearest_distance, shape_of
from apiece.instances import Instances
from apiece.regions import properties

MEASURED = 1000
"""Objects of an image whose shapes are measured: of more some, evenly spread."""
SMALL, LONG = 8.0, 200.0
"""Pixels: small are objects less across than this (the diameter of a disc of their area), long those with a longer
side."""
THIN = 0.25
"""Thin are objects whose minor axis is less than this part of the major one."""
SHARED = 3.0
"""Two objects share a center if their centroids are less than so many pixels apart."""
NEAR = 0.2
"""Two objects lie around one center if their centroids are less than this part of their longer sides apart."""
SEEN = 0.9
"""Objects of which a straight line from the middle reaches less than this part are not star-convex."""
OVERLAP = 0.1
"""Objects overlap others if these have more than this part of their pixels too."""
MARKED = 0.2
"""A trait explains a loss if at least this part of it is attributable to the trait."""
RARE, COMMON = 0.02, 0.9
"""Traits are worth a word of a data set from the first share on; those of nearly all objects explain no difference."""


class Trait(NamedTuple):
    """A name; what is said of objects that have it, after a number; what exactly that means."""

    name: str
    words: str
    meaning: str


TRAITS = (
    Trait("shares_box", "share a box with another", "IoU of the boxes above 0.5, one class"),
    Trait("shares_center", "share a center with another", f"centroids less than {SHARED:g} px apart"),
    Trait("near_center", "lie around another's center", f"less than {100 * NEAR:g} % of their longer side away"),
    Trait("overlaps", "overlap others", f"in more than {100 * OVERLAP:g} % of their pixels"),
    Trait("parts", "lie in several parts", "which do not touch"),
    Trait("hollow", "have holes", "of more than 2 % of their area"),
    Trait("bays", "have bays", f"straight lines from the middle reach less than {100 * SEEN:g} % of them"),
    Trait("thin", "are thin", f"more than {1 / THIN:g} times as long as wide"),
    Trait("small", "are small", f"less than {SMALL:g} px across"),
    Trait("long", "are large", f"longer than {LONG:g} px"),
)


class Traits(NamedTuple):
    """The objects of some images.

    Attributes:
        has: does object n have trait t? In the order of `TRAITS`; not a number where it was not measured.
        diameters: of discs with the objects' areas, in pixels.
        convexity: pixels over those of the convex hull; not a number where it was not measured.
    """

    has: Float[ndarray, "N T"]
    diameters: Float[ndarray, " N"]
    convexity: Float[ndarray, " N"]

    @classmethod
    def of(cls, truth: Instances) -> "Traits":
        """Of one image's objects, all of which have pixels."""
        rows, shapes = properties(truth), np.full((len(truth), 4), np.nan)
        for index in np.unique(np.linspace(0, len(truth) - 1, MEASURED).astype(int)).tolist() if len(truth) else []:
            shape = shape_of(truth.crop(index))
            shapes[index] = shape.convexity, shape.parts > 1, shape.hollow, shape.seen < SEEN
        diameters, sides = rows["equivalent_diameter"], truth.mask_boxes[:, 2:] - truth.mask_boxes[:, :2]
        distance, longer = nearest_distance(np.stack([rows["x"], rows["y"]], 1)), sides.max(1, initial=0)
        shared = np.zeros(len(truth), bool)
        shared[close_boxes(truth.mask_boxes, truth.labels, 0.5).ravel()] = True
        columns = {
            "shares_box": shared,
            "shares_center": distance < SHARED,
            "near_center": distance < NEAR * longer,
            "overlaps": common_share(truth) > OVERLAP,
            "parts": shapes[:, 1],
            "hollow": shapes[:, 2],
            "bays": shapes[:, 3],
            "thin": rows["minor_axis"] < THIN * rows["major_axis"],
            "small": diameters < SMALL,
            "long": longer > LONG,
        }
        has = np.stack([columns[trait.name].astype(np.float64) for trait in TRAITS], 1)
        return cls(has, diameters, shapes[:, 0])

    @classmethod
    def together(cls, several: Sequence["Traits"]) -> "Traits":
        """The objects of all of them."""
        none = cls(np.zeros((0, len(TRAITS))), np.zeros(0), np.zeros(0))
        return cls(*(np.concatenate(parts) for parts in zip(none, *several, strict=True)))

    def shares(self) -> dict[str, float | None]:
        """The share of the objects that have each trait; None without objects."""
        return {trait.name: _mean(self.has[:, place]) for place, trait in enumerate(TRAITS)}

    def sentences(self) -> list[str]:
        """What is worth saying of the objects, the most frequent first."""
        named = [(share, trait) for trait, share in zip(TRAITS, self.shares().values(), strict=True) if share]
        named = sorted(((share, trait) for share, trait in named if share >= RARE), key=lambda one: -one[0])
        return [f"{percent(share)} {trait.words} ({trait.meaning})" for share, trait in named]

    def explained(self, lost: Bool[ndarray, " N"], most: int = 2) -> str:
        """What the lost objects have in common that the others have not, in words; nothing where none is lost.

        A trait is named where objects with it are lost more than twice as often as those without, for the part of the
        losses that would not be if they were lost as seldom (the fraction attributable to it), the greatest first.
        """
        if not lost.any():
            return ""
        words, everywhere, marks = [], [], []
        for place, trait in enumerate(TRAITS):
            measured = ~np.isnan(self.has[:, place])
            has = self.has[:, place] == 1
            among, overall = _mean(self.has[lost, place]), _mean(self.has[:, place])
            if not among or not overall:
                continue
            if overall >= COMMON:
                everywhere.append(trait.words)
            having, lacking = (_mean(lost[one].astype(np.float64)) for one in (has, measured & ~has))
            if having and lacking is not None and lacking < having / 2 and among * (1 - lacking / having) >= MARKED:
                marks.append((among * (1 - lacking / having), among, overall, trait.words))
        for _, among, overall, said in sorted(marks, key=lambda mark: -mark[0])[:most]:
            words.append(f"{percent(among)} of these {said} (of all {percent(overall)})")
        own, usual = float(np.median(self.diameters[lost])), float(np.median(self.diameters))
        if own < 0.67 * usual or not words and own > 1.5 * usual:
            words.append(f"their median diameter is {own:.2g} px (of all {usual:.2g})")
        if not words and everywhere:
            words.append(f"nearly all objects here {', '.join(everywhere)}")
        return ", ".join(words)


def common_share(truth: Instances) -> Float[ndarray, " N"]:
    """The part of each object's pixels that others have too."""
    layers = truth.layers()
    if len(layers) < 2:
        return np.zeros(len(truth))
    deep = (layers > 0).sum(0, dtype=np.uint16) > 1
    inside = sum((np.bincount(layer[deep].ravel(), minlength=len(truth) + 1) for layer in layers), np.zeros(1, int))
    return inside[1:] / np.maximum(truth.mask_areas, 1)


def percent(share: float) -> str:
    """A share in words."""
    return "100 %" if share >= 1 else f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.1f} %"


def _mean(values: Float[ndarray, " N"]) -> float | None:
    """Of those that were measured; None if none was."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
