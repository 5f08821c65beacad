"""One file a method. `find` imports a method when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from apiece.errors import CallError

if TYPE_CHECKING:
    from apiece.methods.method import Method

PLACES = {
    "DCME": "dcme",
    "Discriminative": "discriminative",
    "MaskRCNN": "mask_rcnn",
    "PointRend": "pointrend",
    "PolarMask": "polarmask",
    "Recurrent": "recurrent",
    "SOLO": "solo",
    "SpatialEmbedding": "spatial_embedding",
    "YOLACT": "yolact",
}
"""Each method's public name and its file in this folder."""

SUMMARIES = {
    "DCME": "pixels say how far their object's center is and vote for it (Watanabe and Wolf 2018, 2019): compact "
    "objects of any size, simple and quick; not for objects that share one center",
    "Discriminative": "pixels of an object lie together in a feature space (De Brabandere et al. 2017): touching, "
    "crossing and overlapping objects, also around one center, with any dense network",
    "MaskRCNN": "boxes are proposed, classified and refined, and each gets a mask (He et al. 2017): objects of "
    "any class and shape, overlapping too, as long as their boxes differ a little",
    "PointRend": "Mask R-CNN whose masks are told point by point, finer where they are uncertain (Kirillov et al. "
    "2020): large objects with fine borders, thin ones that cross",
    "PolarMask": "a point in an object says how far its border is each way (Xie et al. 2020): compact objects of "
    "any size and class, quick; not for sticks, rings, bays and parts apart",
    "Recurrent": "objects are found one after another by a network with a memory (Romera-Paredes and Torr 2016): a "
    "few large objects of any shape, overlapping too, counted as they are found; slow with many of them",
    "SOLO": "cells say what object has its center there and which pixels are its own (Wang et al. 2020): many "
    "small objects of any shape, thin ones that cross too, learned quickly; not for objects that share one center",
    "SpatialEmbedding": "pixels point at their object's center, within a learned margin (Neven et al. 2019): many "
    "small, touching or crossing objects, small machines; not for objects that share one center",
    "YOLACT": "masks are sums of a few prototypes of the whole image, cut to a box (Bolya et al. 2019): objects of "
    "any class, fast with many of them; not for objects that share one box wholly",
}
"""What each is and when to use it, in one line."""


def find(name: str) -> "type[Method]":
    """The method of a public name.

    Raises:
        CallError: there is none of that name.
    """
    if name not in PLACES:
        raise CallError(f"there is no method {name!r}; there are {', '.join(PLACES)}.")
    return getattr(import_module(f"apiece.methods.{PLACES[name]}"), name)
