import os
import shutil
from collections import Counter
from itertools import product

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from apiece.conversion import convert, open_parts
from apiece.data.dataset import Dataset
from apiece.data.formats import FORMATS, open_dataset
from apiece.data.generated import discs
from apiece.errors import CallError, InputError
from apiece.instances import Instances

WRITTEN = [one.name for one in FORMATS if one.write is not None]
CLASSES = ("car", "person", "bicycle")
SIZE = (24, 30)


def made(truths, classes=CLASSES):
    """A data set of these objects and of images that are all different."""

    def image(index):
        return np.random.default_rng(index).integers(0, 255, (*truths[index].size, 3)).astype(np.uint8)

    names = tuple(f"image{index}" for index in range(len(truths)))
    none = (None,) * len(truths)
    return Dataset(
        path=open_here,
        format="generated",
        classes=classes,
        names=names,
        files=none,
        read_image=image,
        read_truth=truths.__getitem__,
    )


open_here = discs(1).path


def rectangle(top, left, bottom, right):
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


PLAIN = np.stack([rectangle(1, 1, 9, 12), rectangle(9, 3, 20, 14), rectangle(4, 16, 22, 28)])


def content(data):
    """What must stay: of each image its pixels, and its objects in any order."""
    found = {}
    for name, image, truth in data:
        runs = [run["counts"] for run in truth.rle()]
        kinds = [data.classes[label] if label >= 0 else None for label in truth.labels.tolist()]
        objects = sorted(zip(kinds, runs, truth.ignore.tolist(), strict=True), key=str)
        found[name.rpartition("/")[2]] = (image.shape, image.tobytes(), objects)
    return found


def names_of(data):
    return {name.rpartition("/")[2] for name in data.names}


# --- every pair of formats --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one, other", [pair for pair in product(WRITTEN, WRITTEN) if pair[0] != pair[1]])
def test_objects_apart_with_classes_go_through_every_pair_of_formats(tmp_path, one, other):
    truths = [Instances.from_dense(PLAIN, [0, 2, 0]), Instances.from_dense(PLAIN[:1], [1])]
    written = [
        convert(made(truths), tmp_path / "a", one, quiet=True),
        convert(tmp_path / "a", tmp_path / "b", other, quiet=True),
        convert(tmp_path / "b", tmp_path / "c", one, quiet=True),
    ]
    assert [(report["images"], report["objects"], report["lost"]) for report in written] == [(2, 4, {})] * 3
    assert content(open_dataset(tmp_path / "c")) == content(made(truths))


shapes = st.lists(
    st.lists(
        st.tuples(
            st.tuples(st.integers(0, 16), st.integers(0, 20), st.integers(3, 8), st.integers(3, 10)),
            st.tuples(st.booleans(), st.booleans()),
            st.tuples(st.integers(0, 2), st.integers(0, 3)),
        ),
        max_size=3,
    ),
    min_size=1,
    max_size=2,
)
"""Of each image some objects: place and size; has it a hole, is it in two parts; class, and 0 = ignored."""


def objects(of_image):
    """Objects of any shape, which may lie one over another."""
    masks, kinds = [], []
    for (top, left, height, width), (hole, cut), kind in of_image:
        mask = rectangle(top, left, min(top + height, 24), min(left + width, 30))
        if hole:
            mask[top + 1, left + 1] = False
        if cut:
            mask[:, left + 2] = False
        masks.append(mask)
        kinds.append(kind)
    stack = np.array(masks, bool).reshape(-1, *SIZE)
    return Instances.from_dense(stack, [kind for kind, _ in kinds], ignore=[flag == 0 for _, flag in kinds])


@pytest.mark.parametrize("to", WRITTEN)
def test_a_corrected_annotation_makes_another_set_and_a_copy_the_same(tmp_path, to):
    truths = [Instances.from_dense(PLAIN, [0, 1, 2]), Instances.from_dense(PLAIN[:2], [0, 1])]
    convert(made(truths), tmp_path / "set", to, quiet=True)
    convert(made([truths[0], truths[1][:1]]), tmp_path / "corrected", to, quiet=True)
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    data, copy, corrected = (open_dataset(tmp_path / name) for name in ("set", "copy", "corrected"))
    assert data.classes == corrected.classes and data.names == corrected.names
    assert data.fingerprint() == copy.fingerprint() != corrected.fingerprint()
    assert data.split(0.5)[0].fingerprint() == copy.split(0.5)[0].fingerprint() != data.fingerprint()


@pytest.mark.parametrize("to", WRITTEN)
@given(drawn=shapes)
@settings(max_examples=15, deadline=None)
def test_what_is_not_counted_as_lost_is_the_same_to_the_last_pixel(tmp_path_factory, to, drawn):
    folder = tmp_path_factory.mktemp("there")
    data = made([objects(of_image) for of_image in drawn])
    report = convert(data, folder / "there", to, quiet=True)
    if not report["lost"]:
        assert content(open_dataset(folder / "there", format=to)) == content(data)
        report = convert(open_dataset(folder / "there", format=to), folder / "back", "coco", quiet=True)
        assert content(open_dataset(folder / "back")) == content(data) and not report["lost"]


# --- what is lost -----------------------------------------------------------------------------------------------------


def test_overlaps_are_counted_and_strict_refuses_before_anything_stands_there(tmp_path):
    masks = np.stack([rectangle(0, 0, 10, 10), rectangle(5, 5, 9, 9), rectangle(4, 4, 11, 11), rectangle(20, 1, 22, 4)])
    hidden = np.stack([rectangle(0, 0, 4, 4), rectangle(0, 0, 4, 4)])
    data = made([Instances.from_dense(masks), Instances.from_dense(hidden)])
    report = convert(data, tmp_path / "out", "label-images", quiet=True)
    assert report["lost"] == {"overlaps": 2, "covered objects": 1}
    with pytest.raises(InputError, match="label-images cannot hold .* 2 overlaps, 1 covered objects would be lost"):
        convert(data, tmp_path / "strict", "label-images", strict=True, quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert convert(data, tmp_path / "strict", "coco", strict=True, quiet=True)["lost"] == {}


def test_scores_and_columns_are_counted(tmp_path):
    truth = Instances.from_dense(PLAIN, scores=[0.5, 0.6, 0.7], columns={"id": [4, 5, 6], "order": [1, 2, 3]})
    assert convert(made([truth]), tmp_path / "a", "label-images", quiet=True)["lost"] == {
        "scores": 3,
        "values of order": 3,
    }
    assert convert(made([truth]), tmp_path / "b", "coco", quiet=True)["lost"] == {"values of order": 3}
    assert open_dataset(tmp_path / "b").truth(0).columns["id"].tolist() == [4, 5, 6]


def test_boxes_without_masks_go_to_coco_only(tmp_path):
    data = made([Instances.from_boxes([[1, 2, 5, 9.5]], SIZE)])
    convert(data, tmp_path / "a", "coco", quiet=True)
    assert open_dataset(tmp_path / "a").truth(0).boxes.tolist() == [[1, 2, 5, 9.5]]
    for to in WRITTEN:
        if to != "coco":
            with pytest.raises(InputError, match="boxes without masks"):
                convert(data, tmp_path / to, to, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_objects_without_a_class_are_counted(tmp_path):
    truth = Instances.from_dense(PLAIN, [0, -1, 1], ignore=[False, True, False])
    assert convert(made([truth]), tmp_path / "a", "coco", quiet=True)["lost"] == {"objects without a class": 1}
    assert not convert(made([truth]), tmp_path / "b", "label-images", quiet=True)["lost"]
    assert open_dataset(tmp_path / "b").truth(0).labels.tolist() == [0, -1, 1]


# --- images, parts, places --------------------------------------------------------------------------------------------


def test_images_are_copied_byte_by_byte_or_linked(tmp_path):
    convert(discs(2, (20, 20)), tmp_path / "a", "label-images", quiet=True)
    convert(tmp_path / "a", tmp_path / "b", "coco", quiet=True)
    convert(tmp_path / "a", tmp_path / "c", "coco", link=True, quiet=True)
    for path in sorted((tmp_path / "a/images").iterdir()):
        assert (tmp_path / "b/images" / path.name).read_bytes() == path.read_bytes()
        link = tmp_path / "c/images" / path.name
        assert link.is_symlink() and os.path.samefile(link, path)
    assert not any(path.is_symlink() for path in (tmp_path / "b").rglob("*"))


def test_all_parts_of_a_divided_set_are_written_or_the_one_that_is_named(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        convert(discs(count, (20, 20), seed=count), tmp_path / "a" / part, "label-images", quiet=True)
    assert list(open_parts(tmp_path / "a")) == ["train", "val"]
    report = convert(tmp_path / "a", tmp_path / "b", "coco", quiet=True)
    assert (report["parts"], report["images"]) == (["train", "val"], 5)
    back = convert(tmp_path / "b", tmp_path / "c", "label-images", quiet=True)
    assert back["parts"] == ["train", "val"]
    for part in ("train", "val"):
        assert content(open_dataset(tmp_path / "c", split=part)) == content(open_dataset(tmp_path / "a", split=part))
    report = convert(tmp_path / "a", tmp_path / "d", "coco", split="val", quiet=True)
    assert report["parts"] == [] and len(open_dataset(tmp_path / "d")) == 2


def test_nothing_is_half_written_and_bad_images_are_skipped_and_counted(tmp_path, capsys):
    convert(discs(4, (20, 20)), tmp_path / "a", "label-images", quiet=True)
    mask = sorted((tmp_path / "a/masks").iterdir())[2]
    tifffile.imwrite(mask, np.zeros((20, 21), np.uint16))
    sorted((tmp_path / "a/masks").iterdir())[1].write_text("nothing")
    with pytest.raises(InputError, match="00001"):
        convert(tmp_path / "a", tmp_path / "b", "coco", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    capsys.readouterr()
    report = convert(tmp_path / "a", tmp_path / "b", "coco", skip_bad=True, quiet=True)
    assert (report["images"], report["skipped"]) == (2, 2)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "00001" in said[0] and "20 x 21" in said[1]
    assert names_of(open_dataset(tmp_path / "b")) == {"discs-0-00000", "discs-0-00003"}


def test_only_what_the_new_set_has_too_is_written_over(tmp_path):
    convert(discs(2, (20, 20)), tmp_path / "a", "label-images", quiet=True)
    for out in (tmp_path, tmp_path / "a"):
        with pytest.raises(InputError, match="holds the data itself"):
            convert(tmp_path / "a", out, "coco", overwrite=True, quiet=True)
    convert(tmp_path / "a", tmp_path / "b", "coco", quiet=True)
    with pytest.raises(InputError, match="--overwrite"):
        convert(tmp_path / "a", tmp_path / "b", "coco", quiet=True)
    convert(discs(1, (20, 20), seed=4), tmp_path / "b", "coco", overwrite=True, quiet=True)
    assert len(open_dataset(tmp_path / "b")) == 1
    with pytest.raises(InputError, match="annotations.json"):
        convert(tmp_path / "a", tmp_path / "b", "label-images", overwrite=True, quiet=True)
    assert len(open_dataset(tmp_path / "b")) == 1
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="this is a file"):
        convert(tmp_path / "a", tmp_path / "file", "coco", overwrite=True, quiet=True)
    (tmp_path / "empty").mkdir()
    convert(tmp_path / "a", tmp_path / "empty", "coco", quiet=True)
    assert Counter(path.name.startswith(".") for path in tmp_path.iterdir()) == {False: 4}


def test_a_format_that_is_not_written_is_refused_at_once(tmp_path):
    with pytest.raises(CallError, match="cannot write the format 'nothing': choose from .*coco"):
        convert(discs(1), tmp_path / "a", "nothing")
