"""Images made here, with exact truth: discs, and crossing sticks. For tests and the demonstration, without a download.

An image is a function of (seed, index) and nothing else. Its truth is the visible part of each object: a stick that
lies under another is one object in two parts.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from apiece.data.dataset import Dataset
from apiece.data.sticks import Scenes, slope, sticks_image, sticks_truth
from apiece.errors import CallError
from apiece.instances import Instances
from apiece.masks import Size

FORMAT = "generated"


def crossing_sticks(
    count: int, size: Size = (128, 128), seed: int = 0, *, hard: bool = False, sticks: tuple[int, int] = (2, 4)
) -> Dataset:
    """Long sticks that lie across each other: the pick-and-place case, where boxes overlap almost wholly.

    They cross away from their midpoints, so that the visible parts have centroids apart. Images are H W 3 uint8.

    Args:
        count: how many images.
        size: height and width, at least 48 each; lengths follow the smaller one.
        hard: two sticks, which cross at their midpoints: their centroids are one, which no centre tells apart.
        sticks: fewest and most in an image, 2 to 4.

    Raises:
        CallError: too small a size, or a number of sticks that cannot lie so.

    Source: the task is figure 1 of "Semantic instance segmentation for autonomous driving" (De Brabandere et al. 2017).
    """
    if min(size) < 48 or not 2 <= sticks[0] <= sticks[1] <= 4:
        raise CallError(f"{sticks} sticks in {size} pixels: give 2 to 4 sticks and sides of at least 48 pixels.")
    scenes = Scenes(size, seed, *((2, 2) if hard else sticks), hard)
    return _data_set(
        "crossing-sticks-hard" if hard else "crossing-sticks", "stick", count, scenes, sticks_image, sticks_truth
    )


def discs(count: int, size: Size = (128, 128), seed: int = 0, *, objects: tuple[int, int] = (1, 12)) -> Dataset:
    """Discs of different size and brightness on a noisy ground, which may touch and cover each other. H W 1 uint8.

    Args:
        count: how many images.
        size: height and width.
        objects: fewest and most in an image; fewer where no more find room.
    """
    return _data_set("discs", "disc", count, Scenes(size, seed, *objects), _discs_image, _discs_truth)


def _data_set(kind: str, label: str, count: int, scenes: Scenes, image: Callable, truth: Callable) -> Dataset:
    return Dataset(
        path=Path(kind),
        format=FORMAT,
        classes=(label,),
        names=tuple(f"{kind}-{scenes.seed}-{index:05d}" for index in range(count)),
        files=(None,) * count,
        read_image=partial(image, scenes),
        read_truth=partial(truth, scenes),
        read_size=partial(_size, scenes),
    )


def _size(scenes: Scenes, index: int) -> Size:
    return scenes.size


# --- discs --------------------------------------------------------------------------------------------------------


def _discs_truth(scenes: Scenes, index: int) -> Instances:
    center, radius, _ = _scattered(scenes, index)
    label_map = np.zeros(scenes.size, np.uint16)
    for number, outside in enumerate(_rings(center, radius, scenes.size), start=1):
        label_map[outside <= 0] = number
    return Instances.from_label_map(label_map)


def _discs_image(scenes: Scenes, index: int) -> UInt8[ndarray, "H W 1"]:
    center, radius, generator = _scattered(scenes, index)
    picture = generator.uniform(0.05, 0.2) + slope(scenes.size, generator) / 2
    for outside, reach in zip(_rings(center, radius, scenes.size), radius, strict=True):
        bright = generator.uniform(0.35, 0.9) * (1 - 0.4 * np.clip(1 + outside / reach, 0, 1) ** 2)
        cover = np.clip(0.5 - outside, 0, 1)
        picture = picture * (1 - cover) + bright * cover
    picture += 0.04 * generator.standard_normal(scenes.size, np.float32)
    return (picture.clip(0, 1) * 255).astype(np.uint8)[:, :, None]


def _rings(center, radius, size: Size) -> Float[ndarray, "N H W"]:
    """Of each pixel's center to each disc's outline, negative inside."""
    x = np.arange(size[1], dtype=np.float32) + 0.5 - center[:, :1].astype(np.float32)
    y = np.arange(size[0], dtype=np.float32) + 0.5 - center[:, 1:].astype(np.float32)
    return np.sqrt((x * x)[:, None, :] + (y * y)[:, :, None]) - radius.astype(np.float32)[:, None, None]


def _scattered(scenes: Scenes, index: int) -> tuple[Float[ndarray, "N 2"], Float[ndarray, " N"], np.random.Generator]:
    """Centers and radii; no center inside another disc, so that much of every disc is to be seen."""
    generator = scenes.generator(index)
    wanted = int(generator.integers(scenes.fewest, scenes.most + 1))
    radius = generator.uniform(5, 14, 8 * wanted) * scenes.scale
    center = radius[:, None] + generator.uniform(0, 1, (8 * wanted, 2)) * (
        np.array(scenes.size[::-1]) - 2 * radius[:, None]
    )
    kept: list[int] = []
    for place in range(len(radius)):
        distance = np.linalg.norm(center[kept] - center[place], axis=1)
        if len(kept) < wanted and (distance > np.maximum(radius[kept], radius[place])).all():
            kept.append(place)
    return center[kept], radius[kept], generator
