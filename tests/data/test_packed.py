import pickle

import pytest

from apiece.data.packed import Packed

ITEMS = [({"id": 3, "segmentation": [[1.5, 2, 1e300]], "iscrowd": 0, "note": None},), (), [True, "ä", -(2**70)]]


def test_items_come_back_as_they_were():
    packed = Packed(iter(ITEMS))
    assert len(packed) == 3 and list(packed) == ITEMS
    assert packed[-1] == ITEMS[-1] and packed[1:] == tuple(ITEMS[1:])
    assert list(pickle.loads(pickle.dumps(packed))) == ITEMS


def test_there_is_nothing_beyond_the_last():
    with pytest.raises(IndexError):
        Packed(ITEMS)[3]
    assert list(Packed([])) == []


def test_what_is_taken_out_can_be_changed_without_harm():
    packed = Packed(ITEMS)
    packed[0][0]["id"] = 7
    assert packed[0][0]["id"] == 3
