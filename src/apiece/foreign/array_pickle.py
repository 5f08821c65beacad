"""Pickles of NumPy arrays by name, as detectron2's model zoo has them (.pkl): read without running any code in them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from apiece.errors import InputError


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """What protocol 2 writes bytes as: nothing but latin1."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding}")
    return text.encode("latin1")


def _scalar(kind: np.dtype, data: bytes) -> Any:
    if kind.hasobject:
        raise pickle.UnpicklingError("a Python object in an array")
    return np.frombuffer(data, kind)[0]


def _filled(data: Any, kind: np.dtype, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")


def _emptied(kind: type, shape: tuple, code: Any) -> np.ndarray:
    return np.ndarray((0,), np.uint8)


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encoded,
    ("collections", "OrderedDict"): dict,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _emptied for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _filled for core in ("core", "_core")},
}
"""All that such a file may name."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return ALLOWED[module, name]


def read_arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of a file, as tensors; those under "model" where there is such an entry.

    Raises:
        InputError: the file cannot be read, or holds anything but arrays by name and plain values beside them.
    """
    try:
        with path.open("rb") as file:
            content: Any = _Unpickler(file, encoding="latin1").load()
    # Damaged pickles raise anything.
    except Exception as error:
        raise InputError(f"{path}: is no pickle of arrays alone ({error}), so it was not loaded.") from error
    arrays = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(arrays, dict) or not arrays:
        raise InputError(f"{path}: holds no arrays by name.")
    for name, array in arrays.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise InputError(f"{path}: {name!r} is no array of numbers.")
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
