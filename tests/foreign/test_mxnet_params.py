"""MXNet's arrays: three versions of one layout, and what is not it."""

import struct

import numpy as np
import pytest
import torch

from apiece.errors import InputError
from apiece.foreign.mxnet_params import read_params, recognize

from .originals import params

ARRAYS = {
    "arg:a_weight": torch.arange(24, dtype=torch.float32).view(2, 3, 4),
    "aux:b": torch.tensor([1, 2, 3], dtype=torch.int64),
    "c": torch.full((2, 2), 0.5, dtype=torch.float16),
}
# One array [1.5, -2] named "arg:x" as MXNet 0.9 wrote it, byte by byte.
WRITTEN = bytes.fromhex(
    "1201000000000000 0000000000000000"
    "0100000000000000 01000000 02000000 01000000 00000000 00000000 0000c03f 000000c0"
    "0100000000000000 0500000000000000 6172673a78"
)


def test_a_file_of_mxnet_is_read(tmp_path):
    (tmp_path / "x.params").write_bytes(WRITTEN)
    assert recognize(tmp_path / "x.params")
    found = read_params(tmp_path / "x.params")
    assert found.keys() == {"arg:x"} and found["arg:x"].tolist() == [1.5, -2]
    assert params({"arg:x": torch.tensor([1.5, -2])})[40:] == WRITTEN[40:]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_all_versions_are_read(tmp_path, version):
    (tmp_path / "x.params").write_bytes(params(ARRAYS, version))
    found = read_params(tmp_path / "x.params")
    assert list(found) == list(ARRAYS)
    assert all(found[name].dtype == ARRAYS[name].dtype and torch.equal(found[name], ARRAYS[name]) for name in found)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_files_that_are_cut_off_anywhere_are_refused(tmp_path, version):
    whole = params(ARRAYS, version)
    for length in range(16, len(whole), 3):
        (tmp_path / "cut.params").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.params: is no file of MXNet's arrays by name \(.*\): download"):
            read_params(tmp_path / "cut.params")


def test_no_damage_does_anything_but_be_refused_or_change_values(tmp_path):
    whole = np.frombuffer(params(ARRAYS, 2), np.uint8)
    generator = np.random.default_rng(0)
    for _ in range(100):
        damaged = whole.copy()
        damaged[generator.integers(16, len(whole), 3)] = generator.integers(0, 256, 3)
        (tmp_path / "bad.params").write_bytes(damaged.tobytes())
        try:
            assert len(read_params(tmp_path / "bad.params")) == 3
        except InputError as error:
            assert "bad.params: is no file of MXNet's arrays" in str(error)


def array(*numbers):
    return struct.pack(f"<QQQ{len(numbers)}I", 0x112, 0, 1, *numbers) + bytes(64)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (array(0xF993FACA, 0, 1, 2, 0), "NumPy's shapes"),
        (array(0xF993FAC9, 1, 1, 2, 0), "its arrays are sparse"),
        (array(33), "one of its arrays has 33 dimensions"),
        (array(0), "one of its arrays has 0 dimensions"),
        (array(1, 2, 1, 0, 12), "of a type 12 that is not known"),
        (array(2, 0xFFFFFFFF, 0xFFFFFFFF, 1, 0, 0), "cut off"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 60), "cut off"),
        (struct.pack("<QQQQ", 0x112, 0, 0, 0), "0 arrays and 0 names"),
        (params({"a": torch.ones(2)}).replace(b"a", b"\xff"), "codec can't decode"),
        (params({"a": torch.ones(2), "b": torch.ones(2)})[:-1] + b"a", "2 arrays and 1 names"),
    ],
)
def test_anything_else_is_refused(tmp_path, content, fault):
    (tmp_path / "x.params").write_bytes(content)
    with pytest.raises(InputError, match=fault):
        read_params(tmp_path / "x.params")


def test_other_files_are_not_taken_for_one(tmp_path):
    (tmp_path / "zeros").write_bytes(bytes(32))
    assert not recognize(tmp_path / "zeros") and not recognize(tmp_path / "missing") and not recognize(tmp_path)
