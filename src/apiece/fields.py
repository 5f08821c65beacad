"""What is known of the objects of one image beside their masks: arrays with one row for each object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray


@dataclass(frozen=True)
class Fields:
    """The rows of N objects; `Instances` says what they mean. Those that may be missing are None."""

    labels: Integer[ndarray, " N"]
    scores: Float[ndarray, " N"] | None
    ignore: Bool[ndarray, " N"]
    boxes: Float[ndarray, "N 4"] | None
    areas: Float[ndarray, " N"] | None
    columns: dict[str, ndarray]

    @classmethod
    def of(
        cls,
        labels: Any,
        *,
        scores: Any = None,
        ignore: Any = None,
        boxes: Any = None,
        areas: Any = None,
        columns: Mapping[str, Any] | None = None,
    ) -> "Fields":
        """From whatever NumPy makes arrays of.

        Raises:
            ValueError: a field that has not one entry for each label.
        """
        count = len(labels)
        fields = {
            "labels": np.asarray(labels, np.int64).reshape(count),
            "scores": None if scores is None else np.asarray(scores, np.float64),
            "ignore": np.zeros(count, bool) if ignore is None else np.asarray(ignore, bool),
            "boxes": None if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 4),
            "areas": None if areas is None else np.asarray(areas, np.float64),
        }
        named = {name: np.asarray(column) for name, column in (columns or {}).items()}
        for name, field in [*fields.items(), *named.items()]:
            if field is not None:
                demand_rows(name, len(field), count)
        return cls(**fields, columns=named)

    def chosen(self, indices: Integer[ndarray, " M"]) -> "Fields":
        """The rows of some of the objects, in the order of `indices`."""
        return _combined([self], lambda arrays: arrays[0][indices])

    @property
    def kind(self) -> tuple[frozenset[str], frozenset[str]]:
        """Which fields and columns there are."""
        fields = {name: field for name, field in vars(self).items() if name != "columns" and field is not None}
        return frozenset(fields), frozenset(self.columns)

    def equals(self, other: "Fields") -> bool:
        """The same fields with the same entries?"""
        if self.kind != other.kind:
            return False
        fields, columns = self.kind
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in fields) and all(
            np.array_equal(self.columns[name], other.columns[name]) for name in columns
        )


def joined(pieces: Sequence[Fields]) -> Fields:
    """The rows of several findings of one kind, in order."""
    return _combined(pieces, np.concatenate)


def demand_rows(name: str, rows: int, count: int) -> None:
    """Refuse a field of another length than there are objects."""
    if rows != count:
        raise ValueError(f"{count} labels, but {rows} {name}: every field needs one entry for each object.")


def _combined(pieces: Sequence[Fields], combine: Callable[[Sequence[ndarray]], ndarray]) -> Fields:
    def of(name: str) -> Any:
        arrays = [getattr(piece, name) for piece in pieces]
        return None if arrays[0] is None else combine(arrays)

    columns = {name: combine([piece.columns[name] for piece in pieces]) for name in pieces[0].columns}
    return Fields(of("labels"), of("scores"), of("ignore"), of("boxes"), of("areas"), columns)
