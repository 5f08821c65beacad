"""Packed: many small items of plain Python as bytes in one buffer, which processes can share."""

import marshal
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np


class Packed(Sequence[Any]):
    """Items made of lists, tuples, dicts, strings, numbers and None; each is made anew whenever it is asked for.

    Python counts references inside of every object: a forked process copies every page of memory on which an object
    lies that it so much as looks at. A buffer stays shared, and takes a fifth of the room.
    """

    def __init__(self, items: Iterable[Any]):
        pieces = [marshal.dumps(item) for item in items]
        self._ends = np.cumsum([0, *map(len, pieces)])
        self._bytes = b"".join(pieces)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Any, ...]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(len(self))[index])
        place = range(len(self))[index]
        return marshal.loads(memoryview(self._bytes)[self._ends[place] : self._ends[place + 1]])
