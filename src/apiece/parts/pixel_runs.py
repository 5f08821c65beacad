"""The pixels of objects as stretches in single rows: what is computed from them costs edges, not areas."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer
from numpy import ndarray

from apiece.instances import Instances


class Runs(NamedTuple):
    """The pixels of objects as stretches in single rows: a few for each row, however large the objects are.

    Attributes:
        rows, starts, stops: row, first column, and the column after the last.
        objects: whose they are.
    """

    rows: Integer[ndarray, " R"]
    starts: Integer[ndarray, " R"]
    stops: Integer[ndarray, " R"]
    objects: Integer[ndarray, " R"]

    @classmethod
    def of(cls, objects: Instances) -> "Runs":
        """Of all objects of an image."""
        if not len(objects):
            return cls(*np.zeros((4, 0), np.int64))
        layers = objects.layers()
        _, height, width = layers.shape
        flat = layers.reshape(-1)
        begins = np.empty(flat.shape, bool)
        np.not_equal(flat[1:], flat[:-1], out=begins[1:])
        # In a row's first pixel a stretch begins whatever came before.
        begins[::width] = flat[::width] != 0
        start = np.flatnonzero(begins)
        value = flat[start]
        row = start // width
        left = row * width
        stop = np.minimum(np.append(start[1:], len(flat)), left + width)
        inked = np.flatnonzero(value)
        fields = row % height, start - left, stop - left, value.astype(np.int64) - 1
        return cls(*(each[inked] for each in fields))

    def of_some(self, chosen: Bool[ndarray, " R"]) -> "Runs":
        """Some of them."""
        return Runs(*(each[chosen] for each in self))

    def pixels(self) -> Integer[ndarray, "E 3"]:
        """Row, column and object of each pixel."""
        lengths = self.stops - self.starts
        run = np.repeat(np.arange(len(lengths)), lengths)
        column = np.arange(len(run)) + (self.starts - (np.cumsum(lengths) - lengths))[run]
        return np.stack([self.rows[run], column, self.objects[run]], 1)

    def boxes(self, count: int) -> Integer[ndarray, "N 4"]:
        """The boxes `x1 y1 x2 y2` of the objects, each of which has a pixel."""
        boxes = np.zeros((count, 4), np.int32)
        if count:
            order = np.argsort(self.objects, kind="stable")
            first = np.searchsorted(self.objects[order], np.arange(count))
            for place, each in enumerate((self.starts, self.rows)):
                boxes[:, place] = np.minimum.reduceat(each[order], first)
            for place, each in enumerate((self.stops, self.rows + 1)):
                boxes[:, place + 2] = np.maximum.reduceat(each[order], first)
        return boxes
