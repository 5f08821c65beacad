"""Tallies: how often values occur, in room that does not grow with how many were seen."""

import math
from collections import Counter
from itertools import accumulate

import numpy as np
from jaxtyping import Float, Integer, Num
from numpy import ndarray

FINENESS = 32
"""Bins of a tally for each factor of two: quantiles are right to 1.1 %."""


class Tally:
    """How often positive values occur, in fine logarithmic bins: of any number of values, in one small array."""

    def __init__(self) -> None:
        # From 2^-20 to 2^44.
        self.counts: Integer[ndarray, " bins"] = np.zeros(64 * FINENESS, np.int64)

    def add(self, values: Num[ndarray, " N"]) -> None:
        """Count some values."""
        place = np.floor((np.log2(np.maximum(values, 1e-6)) + 20) * FINENESS).astype(np.int64)
        np.add.at(self.counts, place.clip(0, len(self.counts) - 1), 1)

    @property
    def total(self) -> int:
        """How many values there were."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """The value that this share of all values does not exceed; NaN without values."""
        if not self.total:
            return float("nan")
        place = int(np.searchsorted(np.cumsum(self.counts), max(share * self.total, 1)))
        return float(2.0 ** ((place + 0.5) / FINENESS - 20))

    def bins(self, each: int) -> tuple[Float[ndarray, " E"], Integer[ndarray, " B"]]:
        """Edges and counts of coarser bins, `each` fine ones in one, from the first that holds a value to the last."""
        counts = self.counts.reshape(-1, each).sum(1)
        used = np.flatnonzero(counts)
        first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        edges = 2.0 ** (np.arange(first, last + 1) * each / FINENESS - 20)
        return edges, counts[first:last]


class Counts(Counter[int]):
    """How often whole numbers from 1 occur, each by itself: exact, where there are few different ones."""

    def quantile(self, share: float) -> float:
        """The number that this share of all does not exceed; NaN without any."""
        rank = max(math.ceil(share * self.total() - 1e-9), 1)
        values = sorted(self)
        reached = accumulate(self[value] for value in values)
        return next((float(value) for value, count in zip(values, reached, strict=True) if count >= rank), math.nan)

    def tally(self) -> Tally:
        """The same in bins."""
        tally = Tally()
        tally.add(np.array(list(self.elements()), np.int64))
        return tally
