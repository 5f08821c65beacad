"""Pixels of an image sorted by where their embeddings lie, so that a cluster looks only at pixels in its reach."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Integer, Real

PIXELS_PER_BIN = 48
MOST_BINS = 1 << 18
PIXELS_AT_ONCE = 1 << 19

Coordinates = tuple[Float[np.ndarray, " W"], Float[np.ndarray, " H"]]


class EmbeddingBins:
    """The chosen pixels of an image in the order of a grid over their embeddings.

    Costs 12 bytes per chosen pixel (16 while it is built) and nothing per pixel not chosen.

    Args:
        offsets: where each pixel points to, x then y, relative to its coordinate.
        index: the pixels to take, row * W + column; every other one is ignored from here on.
        coordinates: the x of each column and the y of each row; None when `offsets` are embeddings already.

    Attributes:
        index: row * W + column of each chosen pixel, in bin order, in the type given.
        x, y: their embeddings, float32, in bin order. Not finite ones are kept, and are in no one's reach.
    """

    def __init__(
        self,
        offsets: Float[np.ndarray, "2 H W"],
        index: Integer[np.ndarray, " P"],
        coordinates: Coordinates | None = None,
    ) -> None:
        self._offsets, self._coordinates = offsets, coordinates
        self._lay_grid(index)
        bins = np.empty(len(index), np.int32)
        for part in parts_of(len(index)):
            x, y = self._embed(index[part])
            bins[part] = self._bin(y, 1) * self._count[0] + self._bin(x, 0)
        self._first = np.zeros(self._count[0] * self._count[1] + 1, np.int32)
        np.cumsum(np.bincount(bins, minlength=len(self._first) - 1), out=self._first[1:])
        order = bins.argsort()
        del bins
        self.index = index[order]
        del order, index
        self.x, self.y = np.empty((2, len(self.index)), np.float32)
        for part in parts_of(len(self.index)):
            self.x[part], self.y[part] = self._embed(self.index[part])
        del self._offsets, self._coordinates

    def __len__(self) -> int:
        return len(self.index)

    def near(self, x: float, y: float, reach_x: float, reach_y: float) -> Integer[np.ndarray, " P"]:
        """Positions in bin order that hold every pixel with |e - (x, y)| within reach on both axes, and some more."""
        if not (math.isfinite(x + y) and reach_x >= 0 and reach_y >= 0):
            return np.zeros(0, np.int64)
        left, right = self._edge(x - reach_x, 0), self._edge(x + reach_x, 0)
        low, high = self._edge(y - reach_y, 1), self._edge(y + reach_y, 1)
        across = self._count[0]
        if right - left + 1 == across:
            return np.arange(self._first[low * across], self._first[(high + 1) * across])
        rows = np.arange(low, high + 1) * across
        runs = zip(self._first[rows + left].tolist(), self._first[rows + right + 1].tolist(), strict=True)
        return np.concatenate([np.arange(start, stop) for start, stop in runs])

    def _lay_grid(self, index: np.ndarray) -> None:
        """Square bins over the middle 99 % of the embeddings; the outer bins hold the rest."""
        sample = np.stack(self._embed(index[:: max(1, len(index) // 20_000)])).astype(np.float64)
        sample = sample[:, np.isfinite(sample).all(0)]
        low, high = np.quantile(sample, [0.005, 0.995], axis=1) if sample.size else np.zeros((2, 2))
        extent = np.maximum(high - low, 1e-12)
        side = np.sqrt(extent.prod() / np.clip(len(index) / PIXELS_PER_BIN, 1, MOST_BINS))
        self._low: list[float] = low.tolist()
        self._count: list[int] = np.clip(np.ceil(extent / side), 1, 1 << 12).astype(int).tolist()
        self._scale: list[float] = (np.array(self._count) / extent).tolist()

    def _embed(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        row, column = np.divmod(index, self._offsets.shape[2])
        x, y = (plane[row, column].astype(np.float32, copy=False) for plane in self._offsets)
        if self._coordinates is None:
            return x, y
        along_x, along_y = (np.asarray(axis, np.float32) for axis in self._coordinates)
        return x + along_x[column], y + along_y[row]

    def _bin(self, values: np.ndarray, axis: int) -> np.ndarray:
        # In float64, as in _edge: both must round the same way for `near` to miss nothing.
        position = (values.astype(np.float64) - self._low[axis]) * self._scale[axis]
        return np.nan_to_num(position).clip(0, self._count[axis] - 1).astype(np.int32)

    def _edge(self, value: float, axis: int) -> int:
        return int(min(max((value - self._low[axis]) * self._scale[axis], 0), self._count[axis] - 1))


def pixels_above(
    values: Real[np.ndarray, "H W"] | Bool[np.ndarray, "H W"], threshold: float = 0
) -> Integer[np.ndarray, " P"]:
    """Where values > threshold: row * W + column, ascending, without a temporary as large as the image."""
    height, width = values.shape
    dtype = np.int32 if values.size < 2**31 else np.int64
    rows = max(1, PIXELS_AT_ONCE // max(1, width))
    found = [np.zeros(0, dtype)]
    for start in range(0, height, rows):
        within = np.flatnonzero(values[start : start + rows] > threshold)
        found.append((within + start * width).astype(dtype))
    return np.concatenate(found)


def parts_of(length: int) -> Iterator[slice]:
    """Slices that cover 0..length, each small enough for temporaries of any type."""
    return (slice(start, start + PIXELS_AT_ONCE) for start in range(0, length, PIXELS_AT_ONCE))
