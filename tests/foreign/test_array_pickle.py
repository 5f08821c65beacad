import pickle

import numpy as np
import pytest

from apiece.errors import InputError
from apiece.foreign.array_pickle import read_arrays


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_come_back(tmp_path, protocol):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(4), "c": np.ones((3, 2), order="F")}
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "somebody", "matching": True}, protocol))
    found = read_arrays(path)
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name].numpy(), array) for name, array in arrays.items())


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (Evil(), "print"),
        ({"a": np.array([Evil()], object)}, "print"),
        ({"a": np.array([None], object)}, "'a' is no array of numbers"),
        ({"a": np.array(["text"])}, "'a' is no array of numbers"),
        ({"model": {}}, "no arrays by name"),
        ([1, 2], "no arrays by name"),
        ({"a": 3}, "'a' is no array of numbers"),
    ],
)
def test_anything_else_is_refused_without_being_run(tmp_path, capsys, content, fault):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(content, 2))
    with pytest.raises(InputError, match=fault):
        read_arrays(path)
    assert capsys.readouterr().out == ""


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"a": np.zeros(100)}, 4)[:-60])
    with pytest.raises(InputError, match="no pickle of arrays"):
        read_arrays(path)
