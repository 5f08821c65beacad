"""Sticks that lie across each other: where they lie, what is seen of them, and how they look."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from numpy import ndarray

from apiece.instances import Instances
from apiece.masks import Size

SIDE = 128
"""The image side that lengths here are meant for; other sizes are scaled."""
LEAST_VISIBLE = 0.6
"""Least part of a stick that is seen."""
APART = 9.0
"""Least distance of two sticks' visible centroids."""
BOXES_SHARED = 0.6
"""Least part of the smaller box that lies in the other."""


@dataclass(frozen=True)
class Scenes:
    """What a generated set is made from: equal fields, equal images."""

    size: Size
    seed: int
    fewest: int
    most: int
    hard: bool = False

    @property
    def scale(self) -> float:
        """Pixels of one unit of length."""
        return min(self.size) / SIDE

    def generator(self, index: int) -> np.random.Generator:
        """The randomness of one image."""
        return np.random.default_rng((self.seed, index))


class Sticks(NamedTuple):
    """Sticks with round ends, each lying on those before it.

    Attributes:
        center: x y of the middle.
        direction: unit vectors x y.
        length: half of it, with the ends.
        width: half of it.
    """

    center: Float[ndarray, "*_ N 2"]
    direction: Float[ndarray, "*_ N 2"]
    length: Float[ndarray, "*_ N"]
    width: Float[ndarray, "*_ N"]


def sticks_truth(scenes: Scenes, index: int) -> Instances:
    """The visible part of each stick, those on top last."""
    return Instances.from_label_map(_arranged(scenes, index)[1])


def sticks_image(scenes: Scenes, index: int) -> UInt8[ndarray, "H W 3"]:
    """The picture that belongs to `sticks_truth`."""
    sticks, _, generator = _arranged(scenes, index)
    picture = np.empty((3, *scenes.size), np.float32)
    ground = generator.uniform(0.3, 0.6) + generator.uniform(-0.06, 0.06, (3, 1, 1))
    picture[:] = ground + slope(scenes.size, generator)
    for place in range(len(sticks.length)):
        _lay(picture, Sticks(*(field[place : place + 1] for field in sticks)), scenes, generator)
    picture += 0.02 * generator.standard_normal(scenes.size, np.float32)
    return np.ascontiguousarray((picture.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def _lay(picture: Float[ndarray, "3 H W"], stick: Sticks, scenes: Scenes, generator: np.random.Generator) -> None:
    """Paint one stick with its shadow on what lies there: wood, round, with a dark edge."""
    scale = scenes.scale
    low, high = (side[0] for side in _reach(stick, margin=5 * scale))
    left, top = np.maximum(low, 0).astype(int).tolist()
    right, bottom = np.ceil(high).astype(int).tolist()
    window = picture[:, top:bottom, left:right]
    corner = Sticks(stick.center - [left, top], *stick[1:])
    along, across = (axis[0] for axis in _coordinates(corner, window.shape[1:]))
    outside = _distance(corner, along, across)[0]
    # The shadow falls on the ground and on the sticks below: it tells which one is on top.
    window *= 1 - 0.5 * np.clip(1 - outside / (3.5 * scale), 0, 1)
    color = np.array([0.78, 0.6, 0.38]) * generator.uniform(0.75, 1.2) + generator.uniform(-0.05, 0.05, 3)
    waves, phase = generator.uniform(0.15, 0.4) / scale, generator.uniform(0, 6.3)
    across = across / float(stick.width[0])
    shade = 1 + 0.08 * np.sin(along * waves + phase + 2 * across)
    shade *= 0.55 + 0.45 * np.sqrt(np.clip(1 - across**2, 0, 1))
    shade *= 1 - 0.6 * np.clip(outside / scale + 1.2, 0, 1)
    cover = np.clip(0.5 - outside, 0, 1)
    window *= 1 - cover
    window += cover * shade * color.astype(np.float32)[:, None, None]


def _arranged(scenes: Scenes, index: int) -> tuple[Sticks, Integer[ndarray, "H W"], np.random.Generator]:
    """The first arrangement at random that is as promised, its label map, and the generator as it stands then."""
    generator = scenes.generator(index)
    count = int(generator.integers(scenes.fewest, scenes.most + 1))
    while True:
        thrown = _thrown(scenes, count, generator)
        for place in np.flatnonzero(_promising(thrown, scenes)):
            sticks = Sticks(*(field[place] for field in thrown))
            inside = _distance(sticks, *_coordinates(sticks, scenes.size)) <= 0
            label_map = (inside * np.arange(1, count + 1, dtype=np.uint16)[:, None, None]).max(0)
            if _as_promised(label_map, inside, scenes):
                return sticks, label_map, generator


def _thrown(scenes: Scenes, count: int, generator: np.random.Generator, throws: int = 64) -> Sticks:
    """Many arrangements (fields throws N ...): sticks of about one length and slant, all through about one point.

    They lean left and right in turn.
    """
    height, width = scenes.size
    shape = (throws, count)
    slant = generator.uniform(30, 60, (throws, 1)) + generator.uniform(-5, 5, shape)
    # Two that lean to one side lie across each other too, not one along the other.
    slant[:, 2:] += generator.uniform(14, 24, (throws, 1)) * np.where(slant[:, :1] < 45, 1, -1)
    lean = np.deg2rad(slant) * np.where(np.arange(count) % 2, -1, 1) * generator.choice([-1, 1], (throws, 1))
    direction = np.stack([np.cos(lean), np.sin(lean)], -1)
    length = generator.uniform(44, 54, (throws, 1)) * generator.uniform(0.92, 1.08, shape) * scenes.scale
    crossing = np.array([width, height]) / 2 + generator.uniform(-8, 8, (throws, 1, 2)) * scenes.scale
    crossing = crossing + generator.uniform(-5, 5, (*shape, 2)) * scenes.scale * (not scenes.hard)
    off = generator.uniform(0.12, 0.35, shape) * generator.choice([-1, 1], shape) * length * (not scenes.hard)
    thickness = generator.uniform(3, 5, (throws, 1)) * generator.uniform(0.9, 1.1, shape) * scenes.scale
    return Sticks(crossing - off[..., None] * direction, direction, length, thickness)


def _reach(sticks: Sticks, margin: float = 0.0) -> tuple[Float[ndarray, "*_ N 2"], Float[ndarray, "*_ N 2"]]:
    """The corners `x y` of boxes that hold the sticks."""
    core = np.abs(sticks.direction) * (sticks.length - sticks.width)[..., None]
    reach = core + sticks.width[..., None] + margin
    return sticks.center - reach, sticks.center + reach


def _promising(sticks: Sticks, scenes: Scenes) -> Bool[ndarray, " throws"]:
    """Inside the image, in boxes that overlap almost wholly, with middles apart: known before anything is painted."""
    low, high = _reach(sticks)
    fits = (low >= 1).all((1, 2)) & (high <= np.array(scenes.size[::-1]) - 1).all((1, 2))
    first, second = np.triu_indices(low.shape[1], 1)
    shared = np.minimum(high[:, first], high[:, second]) - np.maximum(low[:, first], low[:, second])
    area = (high - low).prod(-1)
    wholly = shared.clip(0).prod(-1) > BOXES_SHARED * np.minimum(area[:, first], area[:, second])
    apart = np.linalg.norm(sticks.center[:, first] - sticks.center[:, second], axis=-1) > APART * scenes.scale
    return fits & wholly.all(1) & (apart.all(1) | scenes.hard)


def _as_promised(label_map: Integer[ndarray, "H W"], inside: ndarray, scenes: Scenes) -> bool:
    """Is enough of each stick to be seen, and are the visible centroids apart?"""
    visible = np.bincount(label_map.ravel(), minlength=len(inside) + 1)[1:]
    if (visible < LEAST_VISIBLE * inside.sum((1, 2))).any():
        return False
    if scenes.hard:
        return True
    rows, columns = np.nonzero(label_map)
    number = label_map[rows, columns] - 1
    y, x = (np.bincount(number, axis, len(inside)) / visible for axis in (rows, columns))
    first, second = np.triu_indices(len(inside), 1)
    return bool((np.hypot(x[first] - x[second], y[first] - y[second]) > APART * scenes.scale).all())


def _coordinates(sticks: Sticks, size: Size) -> tuple[Float[ndarray, "N H W"], Float[ndarray, "N H W"]]:
    """Of each pixel's center: how far along each stick from its middle, and how far across."""
    x = np.arange(size[1], dtype=np.float32) + 0.5 - sticks.center[:, :1].astype(np.float32)  # N W
    y = np.arange(size[0], dtype=np.float32) + 0.5 - sticks.center[:, 1:].astype(np.float32)  # N H
    right, down = sticks.direction.astype(np.float32).T[:, :, None]
    along = (x * right)[:, None, :] + (y * down)[:, :, None]
    return along, (y * right)[:, :, None] - (x * down)[:, None, :]


def _distance(sticks: Sticks, along, across) -> Float[ndarray, "N H W"]:
    """Of each pixel's center to each stick's outline, negative inside."""
    length, width = (side.astype(np.float32)[:, None, None] for side in (sticks.length, sticks.width))
    beyond = np.maximum(np.abs(along) - (length - width), 0)
    return np.sqrt(beyond * beyond + across * across) - width


def slope(size: Size, generator: np.random.Generator) -> Float[ndarray, "H W"]:
    """A gentle slope of brightness over the image."""
    down, right = generator.uniform(-0.1, 0.1, 2)
    return (np.linspace(-down, down, size[0])[:, None] + np.linspace(-right, right, size[1])).astype(np.float32)
