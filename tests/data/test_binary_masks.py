import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from apiece.data.binary_masks import open_binary_masks, recognize, write_binary_masks
from apiece.data.formats import open_dataset, part_names
from apiece.data.formats import recognize as recognize_all
from apiece.data.writing import entries
from apiece.errors import InputError
from apiece.instances import Instances

from .scenes import CLASSES, SCENES, anything, entry

LEFT, RIGHT = np.zeros((2, 4, 6), bool)
LEFT[:3, :4] = True
RIGHT[1:, 3:] = True


def put(root, name="00ae65", masks=(RIGHT, LEFT), image=None):
    for kind in ("images", "masks"):
        (root / name / kind).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 4), 255, np.uint8)).save(root / name / "images" / f"{image or name}.png")
    for letter, mask in zip("zyxw", masks, strict=False):
        picture = Image.fromarray(mask) if isinstance(mask, np.ndarray) else mask
        picture.save(root / name / "masks" / f"{letter}.png")
    return root


# --- reading ------------------------------------------------------------------------------------------------------


def test_each_mask_is_an_object_and_they_may_overlap(tmp_path):
    put(put(tmp_path), "b", masks=())
    data = pickle.loads(pickle.dumps(open_dataset(tmp_path)))
    assert (data.format, data.classes, data.names) == ("binary-masks", ("object",), ("00ae65", "b"))
    truth = data[0].truth
    # In the order of the files' names, which are z and y.
    assert (truth.dense() == [LEFT, RIGHT]).all() and not truth.ignore.any()
    assert len(data[1].truth) == 0 and data.truth(1).size == data.size(1) == (4, 6)


def test_masks_of_every_kind_are_what_is_not_black(tmp_path):
    grey = LEFT.astype(np.uint8)
    color = np.stack([0 * grey, 255 * grey, 0 * grey], 2)
    both = np.concatenate([color, np.full((4, 6, 1), 255, np.uint8)], 2)
    put(tmp_path, masks=[Image.fromarray(one) for one in (grey, grey * 255, color, both)])
    truth = open_binary_masks(tmp_path).truth(0)
    assert len(truth) == 4 and (truth.dense() == LEFT).all()


def test_parts_are_folders_of_such_folders(tmp_path):
    put(tmp_path / "stage1_train")
    put(tmp_path / "stage1_val", "b")
    assert recognize(tmp_path) == "a folder for each image in the parts stage1_train, stage1_val"
    assert part_names(tmp_path) == ["stage1_train", "stage1_val"]
    with pytest.raises(InputError, match="the parts stage1_train, stage1_val: choose one"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="there is no 'x', choose another"):
        open_dataset(tmp_path, split="x", format="binary-masks")
    assert open_dataset(tmp_path, split="stage1_val").names == open_dataset(tmp_path / "stage1_val").names == ("b",)
    assert recognize(tmp_path / "stage1_val") == "a folder for each image (b/masks/, ...)"
    with pytest.raises(InputError, match="no folders of images and masks here"):
        open_binary_masks(tmp_path / "stage1_val" / "b")


def test_it_is_not_taken_for_label_images_nor_they_for_it(tmp_path):
    put(tmp_path / "masks")
    assert recognize_all(tmp_path / "masks").keys() == {"binary-masks"}
    for part in ("train", "val"):
        put(tmp_path / "labels", part, image="a")
        (tmp_path / "labels" / part / "masks" / "z.png").rename(tmp_path / "labels" / part / "masks" / "a.png")
    assert recognize_all(tmp_path / "labels").keys() == {"label-images"}


def test_broken_folders_are_named(tmp_path):
    put(put(tmp_path), "b", masks=())
    (tmp_path / "b" / "masks").rmdir()
    with pytest.raises(InputError, match="b: masks/ is missing: add it, empty where"):
        open_binary_masks(tmp_path)
    (tmp_path / "b" / "masks").mkdir()
    (tmp_path / "b" / "images" / "b.png").rename(tmp_path / "b" / "images" / "c.png")
    assert open_binary_masks(tmp_path).files[1].name == "c.png"
    put(tmp_path, "b", image="d")
    with pytest.raises(InputError, match=r"b: 2 images in images/, but there should be one, named b"):
        open_binary_masks(tmp_path)
    for file in (tmp_path / "b" / "images").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="b: no image in images/"):
        open_binary_masks(tmp_path)


def test_broken_masks_are_named(tmp_path):
    with pytest.raises(InputError, match=r"z\.png: a mask of 2 x 6 pixels, but y\.png has 4 x 6"):
        open_binary_masks(put(tmp_path, masks=(RIGHT[:2], LEFT))).truth(0)
    numbers = np.arange(24, dtype=np.uint8).reshape(4, 6)
    with pytest.raises(InputError, match=r"z\.png: .* 0 and one other value, but here are 0, 1, 2, 3 and perhaps more"):
        open_binary_masks(put(tmp_path, masks=(numbers, LEFT))).truth(0)
    (tmp_path / "00ae65" / "masks" / "z.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"z\.png: the file is empty"):
        open_binary_masks(tmp_path).truth(0)


def test_classes_stand_in_a_file_beside_the_folders(tmp_path):
    entry_of_image = {"labels": [1, 0], "ignore": [2]}
    content = {"classes": ["fig", "date"], "objects": {"00ae65": entry_of_image}}
    (put(put(tmp_path), "b") / "classes.json").write_text(json.dumps(content))
    data = open_binary_masks(tmp_path)
    assert data.classes == ("fig", "date")
    assert data.truth(0).labels.tolist() == [1, 0] and data.truth(0).ignore.tolist() == [False, True]
    assert data.truth(1).labels.tolist() == [0, 0] and not data.truth(1).ignore.any()
    for labels, said in [([1], "1 labels for 00ae65, but there are 2 masks"), ([1, 2], "not numbers below 2")]:
        entry_of_image["labels"] = labels
        (tmp_path / "classes.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=rf"classes\.json: .*{said}"):
            open_binary_masks(tmp_path).truth(0)
    (tmp_path / "classes.json").write_text("[]")
    with pytest.raises(InputError, match=r"classes\.json: not understood"):
        open_binary_masks(tmp_path)


# --- writing ------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(scene=SCENES)
def test_all_objects_come_back_as_they_were_and_in_their_order(tmp_path_factory, scene):
    truth, folder = anything(scene), tmp_path_factory.mktemp("written")
    assert write_binary_masks([entry("x/a", truth), entry("b", truth[:1])], folder, CLASSES) == {}
    data = open_dataset(folder)
    assert (data.format, data.classes, data.names) == ("binary-masks", CLASSES, ("b", "x_a"))
    assert data[1].truth.equals(truth) and data[0].truth.equals(truth[:1])
    assert (data[1].image == entry("x/a", truth).read_image()).all()


def test_masks_are_named_so_that_their_order_is_that_of_the_objects(tmp_path):
    truth = Instances.from_dense(np.eye(4, dtype=bool).reshape(1, 2, 8).repeat(12, 0), np.arange(12) % 3)
    write_binary_masks([entry("a", truth)], tmp_path, CLASSES)
    names = sorted(file.name for file in (tmp_path / "a/masks").iterdir())
    assert names[0] == "0001.png" and names[-1] == "0012.png"
    assert open_dataset(tmp_path).truth(0).labels.tolist() == truth.labels.tolist()


def test_what_is_lost_or_cannot_be_written_is_said(tmp_path):
    scored = Instances.from_label_map(np.array([[1, 2]]), scores=[0.5, 0.6], columns={"order": [1, 2], "id": [7, 8]})
    assert write_binary_masks([entry("a", scored)], tmp_path / "a", ["nut"]) == {"scores": 2, "values of order": 2}
    nothing = Instances.empty((2, 2))
    with pytest.raises(InputError, match="two images of the name a_b"):
        write_binary_masks([entry("a/b", nothing), entry("a_b", nothing)], tmp_path / "b", ["nut"])


# --- the real thing -----------------------------------------------------------------------------------------------


def test_nuclei_become_folders_of_masks_without_a_pixels_loss(shared_data, tmp_path):
    data = open_dataset(shared_data / "nuclei" / "val").subset([3, 20])
    assert write_binary_masks(entries(data), tmp_path, data.classes) == {}
    again = open_dataset(tmp_path)
    assert again.format == "binary-masks" and again.names == data.names and again.classes == data.classes
    for index in range(2):
        assert (again[index].image == data[index].image).all()
        assert (again.truth(index).label_map() == data.truth(index).label_map()).all() and len(again.truth(index)) > 5
