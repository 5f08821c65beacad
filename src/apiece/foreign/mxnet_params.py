"""MXNet's `.params`: arrays by name, in its own binary layout; read without MXNet, and there is no code in it to run.

    0x112, 0                                          8 bytes each
    number of arrays, 8 bytes, then each of them:
        until 0.9     dimensions and sides            4 bytes each
        0xF993FAC8    dimensions 4, sides             8 bytes each
        0xF993FAC9    kind of storage 4 (0 = dense), dimensions 4, sides 8 bytes each
        device and its number, type                   4 bytes each
        values
    number of names, 8 bytes, then each of them: length, 8 bytes, and text

All little-endian. Source: NDArray::Save and Load in src/ndarray/ndarray.cc of github.com/apache/mxnet.
"""

import struct
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from apiece.errors import InputError

MAGIC = 0x112
LONG_SIDES, WITH_STORAGE, NUMPY_SHAPES = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
TYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")
DIMENSIONS = 32


def recognize(path: Path) -> bool:
    """Whether a file can be read and begins as these do."""
    try:
        with path.open("rb") as file:
            return file.read(16) == struct.pack("<QQ", MAGIC, 0)
    except OSError:
        return False


def read_params(path: Path) -> dict[str, Tensor]:
    """The arrays of a file by name, as tensors.

    Raises:
        InputError: it is damaged, or holds something else than dense arrays by name.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, path.stat().st_size).named()
    except (EOFError, ValueError, OSError) as error:
        raise InputError(
            f"{path}: is no file of MXNet's arrays by name ({error}): download or copy it again."
        ) from error


class _Reader:
    def __init__(self, file: BinaryIO, size: int):
        self.file, self.left = file, size

    def named(self) -> dict[str, Tensor]:
        """All there is after the first two numbers."""
        self.numbers("<QQ")
        arrays = [self.array() for _ in range(self.count(4))]
        names = [self.taken(self.count(1)).decode() for _ in range(self.count(8))]
        if not names or len(names) != len(arrays) or len(set(names)) != len(names):
            raise ValueError(f"it has {len(arrays)} arrays and {len(set(names))} names for them")
        return dict(zip(names, arrays, strict=True))

    def taken(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise EOFError("it is cut off")
        self.left -= count
        return self.file.read(count)

    def numbers(self, layout: str) -> tuple[int, ...]:
        """The next numbers."""
        return struct.unpack(layout, self.taken(struct.calcsize(layout)))

    def count(self, smallest: int) -> int:
        """The next number, of things of some size that must still be there."""
        (count,) = self.numbers("<Q")
        if count * smallest > self.left:
            raise EOFError("it is cut off")
        return count

    def array(self) -> Tensor:
        """The next array."""
        (begun,) = self.numbers("<I")
        if begun == NUMPY_SHAPES:
            raise ValueError("its arrays have NumPy's shapes, which are not known here")
        if begun == WITH_STORAGE and self.numbers("<I") != (0,):
            raise ValueError("its arrays are sparse")
        long = begun in (WITH_STORAGE, LONG_SIDES)
        dimensions = self.numbers("<I")[0] if long else begun
        if not 0 < dimensions <= DIMENSIONS:
            raise ValueError(f"one of its arrays has {dimensions} dimensions")
        shape = self.numbers(f"<{dimensions}{'Q' if long else 'I'}")
        _, _, number = self.numbers("<III")
        if number >= len(TYPES):
            raise ValueError(f"one of its arrays is of a type {number} that is not known")
        kind = np.dtype(TYPES[number])
        values = np.frombuffer(bytearray(self.taken(prod(shape) * kind.itemsize)), kind)
        return torch.from_numpy(values.reshape(shape))
