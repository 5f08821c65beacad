import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from apiece.data.formats import open_dataset, part_names
from apiece.data.voc import open_voc, recognize, write_voc
from apiece.data.voc_colors import CLASSES as TWENTY
from apiece.data.voc_colors import palette
from apiece.data.writing import entries
from apiece.errors import InputError
from apiece.instances import Instances

from .scenes import CLASSES, SCENES, anything, apart, entry, objects, painted, painting_losses

OBJECTS = np.array([[1, 1, 255, 0], [255, 255, 255, 2], [0, 3, 3, 2]], np.uint8)
OF_CLASS = np.array([[7, 7, 255, 255], [255, 255, 255, 15], [0, 15, 7, 15]], np.uint8)


def put(root, objects=OBJECTS, of_class=OF_CLASS, name="2007_000032", mode="P"):
    for kind, numbers in (("SegmentationObject", objects), ("SegmentationClass", of_class)):
        (root / kind).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(np.asarray(numbers, np.uint8))
        picture.putpalette(palette().ravel().tolist())
        (picture if mode == "P" else picture.convert(mode)).save(root / kind / f"{name}.png")
    (root / "JPEGImages").mkdir(exist_ok=True)
    Image.fromarray(np.full((*np.shape(objects), 3), 90, np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
    return root


def put_list(root, split, *names):
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(names))


# --- reading ------------------------------------------------------------------------------------------------------


def test_the_palette_is_the_published_one():
    # VOC2012's colors of background, aeroplane, bicycle, bird, person, tvmonitor and of the rim.
    wanted = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    colors = palette().tolist()
    assert {number: tuple(colors[number]) for number in wanted} == wanted and colors[255] == [224, 224, 192]
    assert len(TWENTY) == 20 and TWENTY[14] == "person" and TWENTY[6] == "car"


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_objects_get_the_class_of_most_of_their_pixels_and_void_is_ignored(tmp_path, mode):
    data = pickle.loads(pickle.dumps(open_voc(put(tmp_path, mode=mode))))
    assert (data.format, data.classes, data.names) == ("voc", TWENTY, ("2007_000032",))
    assert data.size(0) == (3, 4)
    truth = data[0].truth
    # Void in the map of classes counts where there is no object; of the third object's two pixels the lower class does.
    assert truth.labels.tolist() == [6, 14, 6, -1] and truth.ignore.tolist() == [False] * 3 + [True]
    void = (OBJECTS == 255) | (OF_CLASS == 255)
    assert (truth.dense() == [OBJECTS == 1, OBJECTS == 2, OBJECTS == 3, void]).all()


def test_grey_maps_are_numbers_too(tmp_path):
    put(tmp_path)
    for kind, numbers in (("SegmentationObject", OBJECTS), ("SegmentationClass", OF_CLASS)):
        Image.fromarray(numbers).save(tmp_path / kind / "2007_000032.png")
    assert open_voc(tmp_path).truth(0).labels.tolist() == [6, 14, 6, -1]


def test_parts_are_lists_of_names(tmp_path):
    for name in "abc":
        put(tmp_path, name=name)
    assert open_dataset(tmp_path).names == ("a", "b", "c") and part_names(tmp_path) == []
    put_list(tmp_path, "val", "c", "a ", "")
    assert open_dataset(tmp_path).names == ("c", "a") and part_names(tmp_path) == []
    put_list(tmp_path, "train", "b")
    assert part_names(tmp_path) == ["train", "val"]
    assert recognize(tmp_path) == "folders SegmentationObject/ and SegmentationClass/"
    with pytest.raises(InputError, match=r"the parts train, val: choose one \(--split train\)"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="there is no 'test'"):
        open_dataset(tmp_path, split="test")
    assert open_dataset(tmp_path, split="train").names == ("b",)
    put_list(tmp_path, "train", "nowhere")
    with pytest.raises(InputError, match=r"SegmentationObject/nowhere\.png: there is no such file"):
        open_dataset(tmp_path, split="train")
    put_list(tmp_path, "train")
    with pytest.raises(InputError, match=r"train\.txt: no names"):
        open_dataset(tmp_path, split="train")


def test_images_may_be_missing_altogether_but_not_one_of_them(tmp_path):
    put(tmp_path, name="a")
    put(tmp_path, name="b")
    (tmp_path / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(InputError, match="JPEGImages: the image b is missing"):
        open_voc(tmp_path)
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    (tmp_path / "JPEGImages").rmdir()
    data = open_voc(tmp_path)
    assert len(data.truth(1)) == 4
    with pytest.raises(InputError, match="without their images"):
        data.image(0)


def test_a_set_made_by_other_tools_says_its_classes_and_colors(tmp_path):
    put(tmp_path, [[1, 1, 2], [0, 3, 255]], [[0, 0, 0], [0, 0, 0]])
    colors = np.array([[(10, 20, 30), (10, 20, 30), (1, 2, 3)], [(0, 0, 0), (1, 2, 3), (0, 0, 0)]], np.uint8)
    Image.fromarray(colors).save(tmp_path / "SegmentationClass" / "2007_000032.png")
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "a fig:1,2,3::", "date:10,20,30:head:eat"]
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    data = open_voc(tmp_path)
    assert data.classes == ("a fig", "date")
    assert data.truth(0).labels.tolist() == [1, 0, 0, -1]
    Image.fromarray(colors + np.uint8(100)).save(tmp_path / "SegmentationClass" / "2007_000032.png")
    with pytest.raises(InputError, match=r"2007_000032\.png: the color \(100, 100, 100\) is neither in"):
        data.truth(0)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("fig", "line 1 is not 'label:red,green,blue:parts:actions': 'fig'"),
        ("fig:1,2::", "line 1 is not"),
        ("fig:1,2,300::", "line 1 is not"),
        ("fig:1,2,-3::", "line 1 is not"),
        ("fig:1,2,3::\nfig:1,2,4::", "line 2: the class fig or its color has come before"),
        ("fig:1,2,3::\ndate:1,2,3::", "line 2: the class date or its color has come before"),
        ("background:0,0,0::", "0 classes, but there can be 1 to 254"),
    ],
)
def test_a_broken_map_of_labels_is_named(tmp_path, lines, said):
    (put(tmp_path) / "labelmap.txt").write_text(lines)
    with pytest.raises(InputError, match=rf"labelmap\.txt: {said}"):
        open_voc(tmp_path)


def test_broken_maps_are_named(tmp_path):
    with pytest.raises(InputError, match=r"2007_000032\.png: object 3 of 2007_000032\.png has no class here"):
        open_voc(put(tmp_path, of_class=np.where(OBJECTS == 3, 0, OF_CLASS))).truth(0)
    with pytest.raises(InputError, match="object 3 of .* has class 21 of 20 here"):
        open_voc(put(tmp_path, of_class=np.where(OBJECTS == 3, 21, OF_CLASS))).truth(0)
    with pytest.raises(InputError, match=r"SegmentationClass.*: 2 x 4 pixels, but .*SegmentationObject.* has 3 x 4"):
        open_voc(put(tmp_path, of_class=OF_CLASS[:2])).truth(0)
    Image.fromarray(OBJECTS.astype(np.uint16) * 2).save(tmp_path / "SegmentationObject" / "2007_000032.png")
    with pytest.raises(InputError, match="hold numbers to 255: save it with 8 bits"):
        open_voc(tmp_path).truth(0)


# --- writing ------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(scene=SCENES)
def test_what_the_format_holds_comes_back_to_the_last_pixel(tmp_path_factory, scene):
    truth, folder = apart(scene), tmp_path_factory.mktemp("written")
    # Of ignored objects only one, of any class.
    kept = truth[~truth.ignore | (truth.labels == -1)]
    assert write_voc([entry("a", kept)], folder, CLASSES) == {}
    data = open_dataset(folder)
    assert (data.format, data.classes, data.names) == ("voc", CLASSES, ("a",))
    assert objects(data[0].truth, data.classes) == objects(kept, CLASSES)
    assert (data[0].image == entry("a", kept).read_image()).all()


@settings(max_examples=40, deadline=None)
@given(scene=SCENES)
def test_what_the_format_does_not_hold_is_counted(tmp_path_factory, scene):
    truth, folder = anything(scene), tmp_path_factory.mktemp("written")
    lost = write_voc([entry("a", truth)], folder, CLASSES)
    wanted = {
        **painting_losses(truth),
        "classes of ignored objects": int((truth.labels[truth.ignore] >= 0).sum()),
        "merged ignored objects": int(truth.ignore.sum()) - 1,
    }
    assert lost == {name: count for name, count in wanted.items() if count > 0}
    back, top = open_dataset(folder).truth(0), painted(truth)
    true = [i for i in range(len(truth)) if not truth.ignore[i] and (top == i).any()]
    assert sorted((top == i).tobytes() for i in true) == sorted(m.tobytes() for m in back[~back.ignore].dense())
    assert (back[back.ignore].dense().any(0) == np.isin(top, np.flatnonzero(truth.ignore))).all()


def test_images_stay_as_they_are_and_the_twenty_classes_need_no_map(tmp_path):
    data = open_dataset(put(tmp_path / "a"))
    assert write_voc(entries(data), tmp_path / "b", data.classes, link=True, split="val") == {}
    image = tmp_path / "b" / "JPEGImages" / "2007_000032.jpg"
    assert image.is_symlink() and image.read_bytes() == (tmp_path / "a/JPEGImages/2007_000032.jpg").read_bytes()
    assert not (tmp_path / "b" / "labelmap.txt").exists()
    again = open_dataset(tmp_path / "b", split="val")
    assert again.classes == TWENTY and again.truth(0).equals(data.truth(0))
    for kind, wanted in (("SegmentationObject", OBJECTS), ("SegmentationClass", OF_CLASS)):
        with Image.open(tmp_path / "b" / kind / "2007_000032.png") as picture:
            assert picture.mode == "P" and np.isin(np.unique(picture), np.unique(wanted)).all()
            assert picture.convert("RGB").getpixel((0, 0)) == tuple(palette()[wanted[0, 0]])


def test_several_parts_are_written_into_one_folder(tmp_path):
    for part, name in [("train", "a"), ("val", "b")]:
        write_voc([entry(name, Instances.from_label_map(np.array([[1, 0]])))], tmp_path, ["nut"], split=part)
    assert part_names(tmp_path) == ["train", "val"]
    assert [open_dataset(tmp_path, split=part).names for part in ("train", "val")] == [("a",), ("b",)]
    with pytest.raises(InputError, match="two images of the name a"):
        write_voc([entry("a", Instances.empty((1, 2)))], tmp_path, ["nut"], split="val")


def test_objects_beyond_254_become_void_the_smallest_of_them(tmp_path):
    label_map = np.repeat(np.arange(1, 257, dtype=np.uint16), 2).reshape(16, 32)
    label_map[0, 0] = label_map[3, 1] = 0
    truth = Instances.from_label_map(label_map)
    assert write_voc([entry("a", truth)], tmp_path, ["nut"]) == {"objects beyond 254 in an image": 2}
    back = open_dataset(tmp_path).truth(0)
    assert len(back) == 255 and back.labels.tolist() == [0] * 254 + [-1]
    assert sorted(np.flatnonzero(back.dense()[-1]).tolist()) == [1, 96]


def test_what_cannot_be_written_is_said(tmp_path):
    nothing = Instances.empty((2, 2))
    with pytest.raises(InputError, match="two images of the name a_b"):
        write_voc([entry("a/b", nothing), entry("a_b", nothing)], tmp_path / "a", ["nut"])
    with pytest.raises(InputError, match="255 classes, but PASCAL VOC's 8 bits hold 254"):
        write_voc([], tmp_path / "b", [str(number) for number in range(255)])
    scored = Instances.from_label_map(np.array([[1, 2]]), scores=[0.5, 0.6])
    assert write_voc([entry("a", scored)], tmp_path / "c", ["nut"]) == {"scores": 2}
