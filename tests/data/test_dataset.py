import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apiece.data.dataset import Dataset, Together
from apiece.errors import InputError
from apiece.instances import Instances


def image(index):
    return np.full((4, 5 + index % 2, 2), index, np.uint8)


def truth(index):
    return Instances.from_label_map(np.full((4, 5 + index % 2), index + 1, np.uint16))


def unreadable(index):
    raise AssertionError(f"read {index}")


def made(count=10, **fields):
    names = tuple(f"image{number:03d}" for number in range(count))
    known = {"path": Path("made"), "format": "made", "classes": ("object",), "names": names, "files": (None,) * count}
    return Dataset(**{**known, "read_image": image, "read_truth": truth, **fields})


def test_samples_are_name_image_and_objects():
    sample = made()[3]
    assert sample.name == "image003" and (sample.image == 3).all() and len(sample.truth) == 1
    assert [sample.name for sample in made(3)] == ["image000", "image001", "image002"]
    with pytest.raises(IndexError):
        made(3)[3]


def test_nothing_is_read_before_it_is_asked_for():
    data = made(10_000, read_image=unreadable, read_truth=unreadable)
    rest, share = data.split(0.1)
    assert len(rest) + len(share) == len(data) == 10_000
    assert data.subset([5, 3]).names == ("image005", "image003")
    assert data.fingerprint() == made(10_000).fingerprint()


def test_subsets_of_subsets_read_the_right_images():
    data = made().subset([8, 2, 5]).subset([2, 0])
    assert [int(sample.image[0, 0, 0]) for sample in data] == [5, 8]
    assert data.truth(1).size == (4, 5) and data.size(0) == (4, 6)


def test_sizes_come_from_the_source_where_it_says_them():
    data = made(read_truth=unreadable, read_size=lambda index: (index, 7)).subset([4, 6])
    assert data.size(1) == (6, 7)


def test_a_split_is_the_same_whatever_the_order_of_files_and_follows_the_seed():
    data = made(100)
    rest, share = data.split(0.2, seed=1)
    assert len(share) == 20 and set(rest.names) | set(share.names) == set(data.names)
    assert list(rest.names) == sorted(rest.names)
    shuffled = data.subset(np.random.default_rng(0).permutation(100).tolist()).split(0.2, seed=1)
    assert set(shuffled[1].names) == set(share.names)
    assert set(data.split(0.2, seed=2)[1].names) != set(share.names)


def test_images_keep_their_side_of_a_split_when_others_join():
    few, many = made(100).split(0.5)[1], made(101).split(0.5)[1]
    assert len(set(few.names) ^ set(many.names)) <= 3


def test_each_part_of_a_split_has_an_image():
    for share in [0.001, 0.999]:
        assert all(len(part) for part in made(2).split(share))


@pytest.mark.parametrize("count, share", [(10, 0.0), (10, 1.0), (10, -0.5), (1, 0.5), (0, 0.5), (10, float("nan"))])
def test_a_share_that_cannot_be_cut_is_refused(count, share):
    with pytest.raises(InputError, match=f"{count} images"):
        made(count).split(share)


def test_an_annotation_of_another_size_than_its_image_is_an_input_error():
    data = made(read_truth=lambda index: truth(1), files=(Path("a.png"),) * 10)
    with pytest.raises(InputError, match=r"a\.png: the image is 4 x 5, but its annotation is 4 x 6"):
        data[0]


def test_a_fingerprint_changes_with_names_classes_and_sizes_of_files(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"12")
    data = made(1, files=(file,))
    before = data.fingerprint()
    assert before != made(1).fingerprint() != made(2).fingerprint()
    assert replace(data, classes=("other",)).fingerprint() != before
    file.write_bytes(b"123")
    assert replace(data).fingerprint() != before


def test_a_fingerprint_changes_with_the_annotations_of_its_own_images(tmp_path):
    files = [tmp_path / name for name in ("a.json", "b.json", "missing.json")]
    for file in files[:2]:
        file.write_bytes(b"12")
    data = made(3, truth_files=tuple((file,) for file in files))
    before = [data.subset([index]).fingerprint() for index in range(3)]
    files[0].write_bytes(b"21")
    after = [data.subset([index]).fingerprint() for index in range(3)]
    assert before[0] != after[0] and before[1:] == after[1:]
    assert data.fingerprint() != made(3).fingerprint()


def test_a_fingerprint_is_that_of_the_files_when_it_was_first_asked_for(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b"12")
    data = made(1, truth_files=((file,),))
    before = data.fingerprint()
    file.write_bytes(b"21")
    assert pickle.loads(pickle.dumps(data)).fingerprint() == data.fingerprint() == before
    assert replace(data).fingerprint() != before


def test_channels_are_those_of_the_first_image():
    assert made().channels() == 2


def test_a_data_set_travels_to_another_process():
    data = pickle.loads(pickle.dumps(made().subset([3])))
    assert data.names == ("image003",) and (data[0].image == 3).all()


def test_objects_of_several_images_come_in_the_order_asked_for():
    data = made(10)
    assert [len(one) for one in data.truths([4, 2, 4])] == [len(data.truth(index)) for index in (4, 2, 4)]
    asked = []

    def read(indices):
        asked.append(list(indices))
        return (truth(index) for index in indices)

    together = made(10, read_truth=Together(read)).subset([7, 3, 5])
    pairs = zip(together.truths([2, 0]), (5, 7), strict=True)
    assert all(one.equals(data.truth(index)) for one, index in pairs)
    assert together.truth(1).equals(data.truth(3))
    assert asked == [[5, 7], [3]]
