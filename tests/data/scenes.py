"""Small images with objects, as hypothesis strategies, and what a format keeps of them in a form to be compared."""

import numpy as np
from hypothesis import strategies as st

from apiece.data.writing import Entry
from apiece.instances import Instances

CLASSES = ("date", "fig", "car")


def image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def entry(name, truth, file=None):
    return Entry(name, file, lambda: image(truth.size), truth)


SCENES = st.tuples(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 5),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.integers(0, 2**32),
)
"""What an image of objects is made from (made in the test: hypothesis forbids randomness inside strategies)."""


def anything(scene):
    """Objects of any shape: overlaps, holes, parts, empty masks, ignored ones with and without a class, none at all."""
    size, count, share, seed = scene
    random = np.random.default_rng(seed)
    ignore = random.random(count) < 0.3
    labels = np.where(ignore & (random.random(count) < 0.5), -1, random.integers(0, len(CLASSES), count))
    return Instances.from_dense(random.random((count, *size)) < share, labels, ignore=ignore)


def apart(scene):
    """The same without overlaps and empty masks, and with at most one ignored object of each class, and without one."""
    size, most, share, seed = scene
    random = np.random.default_rng(seed)
    label_map = np.where(random.random(size) < share, random.integers(0, most + 1, size), 0).astype(np.uint16)
    count = len(np.unique(label_map[label_map > 0]))
    ignore = random.random(count) < 0.5
    ignore[np.flatnonzero(ignore)[len(CLASSES) + 1 :]] = False
    labels = random.integers(0, len(CLASSES), count)
    labels[ignore] = random.permutation(len(CLASSES) + 1)[: ignore.sum()] - 1
    return Instances.from_label_map(label_map, labels, ignore=ignore)


def objects(truth, classes):
    """Class, whether ignored, and mask of each object, in an order that depends on nothing else."""
    names = [classes[label] if label >= 0 else None for label in truth.labels.tolist()]
    return sorted(
        (str(name), ignored, mask.tobytes())
        for name, ignored, mask in zip(names, truth.ignore.tolist(), truth.dense(), strict=True)
    )


def painted(truth):
    """What one map of all objects keeps, pixel by pixel: the top object of each, as index; -1 where there is none.

    Ignored ones lie beneath; then the smaller is on top, of equal ones the first.
    """
    masks = truth.dense()
    ranked = sorted(range(len(truth)), key=lambda i: (bool(truth.ignore[i]), masks[i].sum(), i))
    top = np.full(truth.size, -1)
    for index in reversed(ranked):
        top[masks[index]] = index
    return top


def painting_losses(truth):
    """How many objects one map cuts, covers and cannot hold because they are empty."""
    top, masks = painted(truth), truth.dense()
    seen = np.array([(top == index).sum() for index in range(len(truth))], int)
    areas = masks.sum((1, 2))
    losses = {
        "overlaps": int(((0 < seen) & (seen < areas)).sum()),
        "covered objects": int(((seen == 0) & (areas > 0)).sum()),
        "objects without a pixel": int((areas == 0).sum()),
    }
    return {name: count for name, count in losses.items() if count}
