"""Copy-paste: objects of one image on top of another, whose objects lose what is covered.

Everything is done on label layers: the cost depends on how deep objects overlap, not on how many there are. Source:
Ghiasi et al. 2021, "Simple copy-paste is a strong data augmentation method for instance segmentation",
https://arxiv.org/abs/2012.07177.
"""

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from apiece.instances import Instances
from apiece.masks import Size, label_type

VISIBLE = 0.1
"""Objects of which less than this share is left in sight are gone."""


def paste(
    image: Float[ndarray, "C H W"],
    truth: Instances,
    source: Float[ndarray, "C h w"],
    objects: Instances,
    generator: np.random.Generator,
    *,
    blend: float = 0.0,
) -> tuple[Float[ndarray, "C H W"], Instances]:
    """Some of another image's objects, any number of them, laid over an image; both are new, the given ones stay.

    An other image of another size comes to lie anywhere, inside or beyond; of objects that its border cuts only those
    come along whose cut is not seen. Ignored objects stay where they are. Given boxes and areas are dropped, and so are
    columns that only one of both has. Objects of which less than a tenth is left in sight are gone.

    Args:
        image, truth: what is laid over.
        source, objects: where objects come from; as many channels.
        generator: where all randomness comes from.
        blend: standard deviation in pixels of a Gaussian that softens the borders of what is pasted; 0 = none. The
            masks stay crisp. (In the paper it makes no difference.)
    """
    rows, columns = (_placed(*sides, generator) for sides in zip(truth.size, objects.size, strict=True))
    there, here = (rows[0], columns[0]), (rows[1], columns[1])
    layers = objects.layers()
    candidates = _whole(layers, len(objects), here, truth.size) & ~objects.ignore
    values = np.flatnonzero(candidates) + 1
    if not len(values):
        return image, truth
    chosen = generator.permutation(values)[: generator.integers(1, len(values) + 1)]
    table = np.zeros(len(objects) + 1, label_type(len(truth) + len(objects)))
    table[chosen] = chosen + len(truth)
    pasted = table[layers[:, *here]]
    cover = np.max(pasted, axis=0) > 0
    image = image.copy()
    _lay(image[:, *there], source[:, *here], cover, blend)
    both = [name for name in truth.columns if name in objects.columns]
    fields = Instances(
        truth.size,
        np.concatenate([truth.labels, objects.labels]),
        ignore=np.concatenate([truth.ignore, objects.ignore]),
        columns={name: np.concatenate([truth.columns[name], objects.columns[name]]) for name in both},
    )
    return image, fields.with_layers(_merged(truth.layers(), pasted, cover, there))


def _placed(length: int, other: int, generator: np.random.Generator) -> tuple[slice, slice]:
    """Where an axis of another length comes to lie on one of `length`: the common part on each of both."""
    common, room = min(length, other), abs(length - other)
    start = int(generator.integers(room + 1))
    moved, whole = slice(start, start + common), slice(0, common)
    return (moved, whole) if length > other else (whole, moved)


def _whole(layers: Integer[ndarray, "L h w"], count: int, here: tuple[slice, slice], size: Size) -> Bool[ndarray, " N"]:
    """Of objects 1..count: is it in sight, and not cut by a border of its image that will not be the other's too?"""
    seen = np.bincount(layers[:, *here].ravel(), minlength=count + 1) > 0
    for axis, side in enumerate(size, start=1):
        if layers.shape[axis] < side:
            edges = np.take(layers, (0, -1), axis)
            seen[edges.ravel()] = False
    return seen[1:]


def _lay(
    window: Float[ndarray, "C h w"], source: Float[ndarray, "C h w"], cover: Bool[ndarray, "h w"], blend: float
) -> None:
    """Put the source over a window of the image, in place."""
    if not blend:
        np.copyto(window, source, where=cover)
        return
    from scipy.ndimage import gaussian_filter

    share = gaussian_filter(cover.astype(np.float32), blend, truncate=3.0)
    window += share * (source - window)


def _merged(
    layers: Integer[ndarray, "L H W"],
    pasted: Integer[ndarray, "K h w"],
    cover: Bool[ndarray, "h w"],
    there: tuple[slice, slice],
) -> Integer[ndarray, "M H W"]:
    """Both on as many layers as the deeper one has: where one has objects on top, the other has none left."""
    merged = np.zeros((max(len(layers), len(pasted)), *layers.shape[1:]), pasted.dtype)
    merged[: len(layers)] = layers
    window = merged[:, *there]
    window[:, cover] = 0
    count = int(layers.max(initial=0)) + 1
    before, left = (np.bincount(planes.ravel(), minlength=count) for planes in (layers, merged))
    table = np.where(left < VISIBLE * before, 0, np.arange(count)).astype(merged.dtype)
    if not table[1:].all():
        merged = table[merged]
        window = merged[:, *there]
    window[: len(pasted)] += pasted
    return merged
