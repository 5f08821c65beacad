"""Where each object is, how large, of what shape and how bright: one row an object, as arrays or as a CSV file.

Coordinates are the image's, in which pixel (row, column) covers [column, column + 1] x [row, row + 1], as in `boxes`:
the center of the first pixel is (0.5, 0.5), and a box's centroid is its middle. The columns are

- `index`: the object's value in a label image of these objects, from 1;
- `class`, `score` (NaN for truth), `ignored`;
- `area`: pixels;
- `x`, `y`: centroid;
- `x1`, `y1`, `x2`, `y2`: bounding box, x2 and y2 exclusive;
- `perimeter`: Crofton's estimate, from the outline's crossings with lines in four directions, holes' outlines too:
  2 % too long for discs of radius 12, 0.6 % for radius 40, 6 % too short for upright rectangles, 2.68 for one pixel;
- `equivalent_diameter`: of the disc with this area;
- `major_axis`, `minor_axis`: full axes of the ellipse with the same second moments, pixels being squares;
- `orientation`: of the major axis, in degrees from the x axis, counterclockwise as seen, from 0 to below 180;
- `eccentricity`: of that ellipse, 0 for a circle;
- with an image, `mean_intensity`, `min_intensity`, `max_intensity` in the file's units; of several channels
  `mean_intensity_0` and so on;
- the objects' own one-number `columns`.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from numpy import ndarray

from apiece.files import replacing
from apiece.instances import Instances

PIECE = 1 << 18
"""Pixels handled at once, however large an object or however many there are."""

Image = Num[ndarray, "H W *C"] | Bool[ndarray, "H W *C"]


def properties(instances: Instances, image: Image | None = None) -> dict[str, ndarray]:
    """Measurements of each object's mask: the columns above, N rows each. What an object without pixels lacks is NaN.

    Raises:
        ValueError: the objects have boxes only.
    """
    count = len(instances)
    sums, lows, highs = _sums(instances, None if image is None else image.reshape(*image.shape[:2], -1))
    area, first, second = sums[:, 0], sums[:, 1:3], sums[:, 3:6]
    some = np.where(area > 0, area, np.nan)
    middle = first / some[:, None]
    boxes = instances.mask_boxes
    table: dict[str, ndarray] = {
        "index": np.arange(1, count + 1),
        "class": instances.labels,
        "score": np.full(count, np.nan) if instances.scores is None else instances.scores,
        "ignored": instances.ignore,
        "area": area.astype(np.int64),
        "x": boxes[:, 0] + middle[:, 0] + 0.5,
        "y": boxes[:, 1] + middle[:, 1] + 0.5,
        **{name: boxes[:, place] for place, name in enumerate(("x1", "y1", "x2", "y2"))},
        "perimeter": _perimeters(instances),
        "equivalent_diameter": np.sqrt(4 * area / np.pi),
        **_ellipses(middle, second / some[:, None]),
    }
    several = lows.shape[1] > 1
    for channel in range(lows.shape[1]):
        figures = {"mean": sums[:, 6 + channel] / some, "min": lows[:, channel], "max": highs[:, channel]}
        table |= {f"{name}_intensity{f'_{channel}' if several else ''}": values for name, values in figures.items()}
    return table | {n: column for n, column in instances.columns.items() if column.ndim == 1 and n not in table}


def write_regions(
    instances: Instances, path: Path, image: Image | None = None, classes: Sequence[str] | None = None
) -> None:
    """Write `properties` as a CSV file with a header: commas, points in numbers, empty where there is no value.

    Class names stand for numbers where `classes` gives them. The file opens in spreadsheets as it is: lines end in CR
    LF, text that a spreadsheet would run as a formula is led by an apostrophe, and a byte order mark is there if, and
    only if, a name is not ASCII.

    Raises:
        InputError: the file cannot be written.
    """
    table = properties(instances, image)
    columns = [_cells(column) for column in table.values()]
    names = [_harmless(name) for name in table]
    if classes is not None:
        known = [_harmless(name) for name in classes]
        columns[names.index("class")] = [known[i] if 0 <= i < len(known) else "" for i in instances.labels.tolist()]
    plain = all(text.isascii() for text in [*names, *(classes or [])])
    with replacing(path) as temporary:
        with temporary.open("w", newline="", encoding="utf-8" if plain else "utf-8-sig") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(zip(*columns, strict=True))


def _cells(column: ndarray) -> list[str]:
    """A column as text: seven significant digits, nothing for NaN."""
    if column.dtype.kind == "f":
        return ["" if value != value else f"{value:.7g}" for value in column.tolist()]
    if column.dtype.kind == "b":
        column = column.astype(int)
    return [_harmless(value) if isinstance(value, str) else str(value) for value in column.tolist()]


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


class _Pixels(NamedTuple):
    """Pixels of several objects, or parts of large ones, one after another: whose, where each begins, and places."""

    index: Integer[ndarray, " pieces"]
    starts: Integer[ndarray, " pieces"]
    x: Integer[ndarray, " P"]
    y: Integer[ndarray, " P"]


def _pixels(instances: Instances) -> Iterator[_Pixels]:
    """All objects' pixels, about `PIECE` at a time, counted from the corners of their boxes."""
    waiting: list[tuple[int, int, int, ndarray]] = []
    count = 0
    for index, (x1, y1, x2, y2) in enumerate(instances.mask_boxes.tolist()):
        rows = max(1, PIECE // max(x2 - x1, 1))
        for top in range(0, y2 - y1, rows):
            places = np.flatnonzero(instances.crop(index, slice(top, top + rows)))
            if len(places):
                waiting.append((index, top, x2 - x1, places))
                count += len(places)
            if count > PIECE:
                yield _joined(waiting)
                waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[tuple[int, int, int, ndarray]]) -> _Pixels:
    index, top, width, places = zip(*pieces, strict=True)
    lengths = [len(of_piece) for of_piece in places]
    y, x = np.divmod(np.concatenate(places), np.repeat(width, lengths))
    return _Pixels(np.array(index), np.cumsum([0, *lengths[:-1]]), x, y + np.repeat(top, lengths))


def _sums(instances: Instances, image: ndarray | None) -> tuple[ndarray, ndarray, ndarray]:
    """Sums over pixels of 1, x, y, x x, y y, x y (from the box's corner) and intensities, N 6+C; extremes, N C."""
    channels = 0 if image is None else image.shape[2]
    sums = np.zeros((len(instances), 6 + channels))
    lows, highs = np.full((len(instances), channels), np.inf), np.full((len(instances), channels), -np.inf)
    for index, starts, x, y in _pixels(instances):
        for column, values in enumerate((np.ones(len(x)), x, y, x * x, y * y, x * y)):
            np.add.at(sums[:, column], index, np.add.reduceat(values.astype(np.float64), starts))
        if image is None:
            continue
        corners = np.repeat(instances.mask_boxes[index, :2], np.diff([*starts, len(x)]), axis=0)
        values = image[y + corners[:, 1], x + corners[:, 0]].astype(np.float64)
        np.add.at(sums[:, 6:], index, np.add.reduceat(values, starts))
        np.minimum.at(lows, index, np.minimum.reduceat(values, starts))
        np.maximum.at(highs, index, np.maximum.reduceat(values, starts))
    lows[sums[:, 0] == 0] = highs[sums[:, 0] == 0] = np.nan
    return sums, lows, highs


def _perimeters(instances: Instances) -> Float[ndarray, " N"]:
    """Crofton's formula: pi / 2 times the mean, over four directions, of crossings times the distance of the lines."""
    perimeters = np.zeros(len(instances))
    for index, (x1, y1, x2, y2) in enumerate(instances.mask_boxes.tolist()):
        rows = max(1, PIECE // max(x2 - x1, 1))
        # One row of nothing above and below the mask: the last piece takes that below along.
        for top in range(0, y2 - y1, rows):
            bottom = min(top + rows, y2 - y1)
            piece = np.zeros((bottom - top + 2, x2 - x1 + 2), bool)
            before = min(top, 1)
            piece[1 - before : -1, 1:-1] = instances.crop(index, slice(top - before, bottom))
            perimeters[index] += _crossings(piece if bottom == y2 - y1 else piece[:-1])
    return perimeters


def _crossings(mask: Bool[ndarray, "h w"]) -> float:
    """What the crossings between neighboring rows, and within all but the first, give to the perimeter."""
    above, below = mask[:-1], mask[1:]
    straight = np.count_nonzero(above != below) + np.count_nonzero(below[:, 1:] != below[:, :-1])
    slanting = np.count_nonzero(above[:, 1:] != below[:, :-1]) + np.count_nonzero(above[:, :-1] != below[:, 1:])
    return np.pi / 8 * (straight + slanting / np.sqrt(2))


def _ellipses(middle: Float[ndarray, "N 2"], second: Float[ndarray, "N 3"]) -> dict[str, Float[ndarray, " N"]]:
    """Axes, orientation and eccentricity of ellipses with the given mean x, y and mean x², y², xy."""
    x, y = middle.T
    # A pixel is a square, not a point: its own second moment is 1/12.
    xx, yy, xy = second[:, 0] - x * x + 1 / 12, second[:, 1] - y * y + 1 / 12, second[:, 2] - x * y
    half, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    larger, smaller = half + spread, np.maximum(half - spread, 0)
    # y runs down in images, angles up.
    angle = np.rad2deg(0.5 * np.arctan2(-2 * xy, xx - yy)) % 180
    return {
        "major_axis": 4 * np.sqrt(larger),
        "minor_axis": 4 * np.sqrt(smaller),
        "orientation": angle,
        "eccentricity": np.sqrt(1 - smaller / larger),
    }
