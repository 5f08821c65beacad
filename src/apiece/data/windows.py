"""Windows: turned and scaled rectangles of an image, sampled once and straight from the source.

The image is interpolated between pixels (bilinear), label layers take the nearest one, both at the same points. Only
the pixels that are asked for are computed.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from numpy import ndarray

from apiece.masks import Size

Place = tuple[float, float]
"""y x in an image, pixel (0, 0) covering [0, 1] x [0, 1]."""


class Window(NamedTuple):
    """A rectangle of output pixels laid over an image.

    Attributes:
        center: in the image.
        size: height and width in output pixels.
        angle: in radians; positive angles turn what is seen counter-clockwise.
        zoom: output pixels for one of the image.
    """

    center: Place
    size: Size
    angle: float
    zoom: float

    @property
    def to_source(self) -> Float[ndarray, "2 2"]:
        """Takes a step (y, x) in output pixels to one in the image."""
        across, along = np.sin(self.angle) / self.zoom, np.cos(self.angle) / self.zoom
        return np.array([[along, across], [-across, along]])


class Points(NamedTuple):
    """For each output pixel, where it lies in the source.

    Attributes:
        corner: index of the upper left of the four pixels around it, in a plane of at least 2 x 2 pixels, flattened.
        down, right: its distance from there, 0 to 1.
        inside: is it in the image? None if all are.
    """

    corner: Integer[ndarray, "h w"]
    down: Float[ndarray, "h w"]
    right: Float[ndarray, "h w"]
    inside: Bool[ndarray, "h w"] | None


def lay(window: Window, size: Size) -> Points:
    """The points of an image of `size` that a window's pixels lie on."""
    height, width = window.size
    rows = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    columns = np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2)
    along, across = window.to_source[0].astype(np.float32)
    (y, x), (last_y, last_x) = (middle - 0.5 for middle in window.center), (side - 1 for side in size)
    down, top, in_rows = _on_axis(along * rows + across * columns, y, last_y)
    right, left, in_columns = _on_axis(along * columns - across * rows, x, last_x)
    corner = top * max(size[1], 2) + left
    if in_rows is None or in_columns is None:
        return Points(corner, down, right, in_rows if in_columns is None else in_columns)
    return Points(corner, down, right, in_rows & in_columns)


def _on_axis(
    place: Float[ndarray, "h w"], center: float, last: int
) -> tuple[Float[ndarray, "h w"], Integer[ndarray, "h w"], Bool[ndarray, "h w"] | None]:
    """Coordinates around `center` on an axis of pixels 0..last: distance from a pixel, that pixel, inside?"""
    # The whole part of the center stays an integer: float32 is too coarse for places in a large image.
    whole = int(np.floor(center))
    place += np.float32(center - whole)
    lowest, highest = place.min(initial=0) + whole, place.max(initial=0) + whole
    inside = None
    if lowest <= -0.5 or highest >= last + 0.5:
        inside = (place > -0.5 - whole) & (place < last + 0.5 - whole)
    first = np.floor(place)
    if lowest < 0 or highest >= last:
        first.clip(-whole, max(last - 1, 0) - whole, out=first)
    place -= first
    place.clip(0, 1, out=place)
    return place, first.astype(np.intp) + whole, inside


def _at_least_two(planes: Shaped[ndarray, "K H W"]) -> Shaped[ndarray, "K h w"]:
    """Repeat a single row or column, so that every pixel has neighbors."""
    missing = [(0, max(0, 2 - side)) for side in planes.shape[1:]]
    return np.pad(planes, ((0, 0), *missing), mode="edge") if (1 in planes.shape[1:]) else planes


def bilinear(planes: Float[ndarray, "C H W"], points: Points) -> Float[ndarray, "C h w"]:
    """Each plane at the points, between its four pixels."""
    planes = _at_least_two(planes)
    width = planes.shape[2]
    result = np.empty((len(planes), *points.corner.shape), np.float32)
    for number, plane in enumerate(planes.reshape(len(planes), -1)):
        upper, lower = _between(plane, points), _between(plane[width:], points)
        lower -= upper
        lower *= points.down
        np.add(upper, lower, out=result[number])
    if points.inside is not None:
        result *= points.inside
    return result


def _between(plane: Float[ndarray, " pixels"], points: Points) -> Float[ndarray, "h w"]:
    """Between the corners and their neighbors to the right."""
    # A corner is never in the last row or column, so its neighbors are in the plane: `clip` only saves a check.
    left, right = (pixels.take(points.corner, mode="clip") for pixels in (plane, plane[1:]))
    right -= left
    right *= points.right
    left += right
    return left


def nearest(planes: Integer[ndarray, "L H W"], points: Points) -> Integer[ndarray, "L h w"]:
    """Each plane at the points, from the nearest of the four pixels."""
    planes = _at_least_two(planes)
    indices = points.corner + (points.down >= 0.5) * planes.shape[2] + (points.right >= 0.5)
    result = planes.reshape(len(planes), -1).take(indices, axis=1, mode="clip")
    if points.inside is not None:
        result *= points.inside
    return result
