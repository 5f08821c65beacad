import json
import pickle

import numpy as np
import pytest
from PIL import Image

import apiece
from apiece.data.cityscapes import write_cityscapes
from apiece.data.cityscapes_results import open_cityscapes_results, recognize, write_cityscapes_results
from apiece.data.formats import open_dataset, open_found
from apiece.data.label_images import write_label_images
from apiece.errors import InputError
from apiece.instances import Instances

from .scenes import entry, objects

SIZE = (20, 30)
NAMES = ("bonn_000000_000019", "bonn_000001_000019")
STANDARD = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")


def squares(*corners, side=12, **fields):
    stack = np.zeros((len(corners), *SIZE), bool)
    for mask, (x, y) in zip(stack, corners, strict=True):
        mask[y : y + side, x : x + side] = True
    return Instances.from_dense(stack, **fields)


@pytest.fixture
def truth(tmp_path):
    """Two images: two cars in the first, a small one, a group of cars and void in the second."""
    first = squares((0, 0), (12, 0), labels=[2, 2])
    second = squares((0, 0), (14, 0), (14, 12), labels=[2, 2, -1], ignore=[False, True, True], side=8)
    write_cityscapes([entry(NAMES[0], first), entry(NAMES[1], second)], tmp_path / "truth", STANDARD)
    return open_dataset(tmp_path / "truth")


def put(root, name, *lines, masks=("m.png",), size=SIZE):
    path = root / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    for mask in masks:
        stack = np.zeros(size, np.uint8)
        stack[:5, :5] = 3
        Image.fromarray(stack).save(path.parent / mask)
    return root


# --- reading ------------------------------------------------------------------------------------------------------


def test_lines_become_objects(tmp_path, truth):
    lines = ("m.png 26 0.5", "", "n.png 24.0 1e-3", "stuff.png 11 0.9", "caravan.png 29 0.9")
    put(tmp_path / "found", NAMES[0], *lines, masks=("m.png", "n.png"))
    put(tmp_path / "found" / "deep", f"{NAMES[1]}_leftImg8bit", masks=())
    assert recognize(tmp_path / "found") == f"text files of masks ({NAMES[0]}.txt)"
    data = pickle.loads(pickle.dumps(open_found(tmp_path / "found", truth)))
    assert (data.format, data.classes, data.names) == ("cityscapes-results", STANDARD, NAMES)
    found = data.truth(0)
    # Labels that are no class are left out, as the original does; their masks are not even looked for.
    assert found.labels.tolist() == [2, 0] and found.scores.tolist() == [0.5, 0.001]
    assert found.areas.tolist() == [25, 25] and found.size == SIZE
    assert len(data.truth(1)) == 0 and data.truth(1).size == SIZE
    with pytest.raises(InputError, match="results without their images"):
        data.image(0)


def test_masks_of_every_kind_are_what_is_not_black(tmp_path, truth):
    mask = np.zeros(SIZE, bool)
    mask[3:9, 4:20] = True
    grey = mask.astype(np.uint8)
    pictures = [
        Image.fromarray(mask),
        Image.fromarray(grey),
        Image.fromarray(grey.astype(np.uint16) * 300),
        Image.fromarray(np.stack([grey, 0 * grey, 0 * grey], 2)),
        Image.fromarray(np.stack([grey, grey, grey, 0 * grey + 255], 2)),
    ]
    for number, picture in enumerate(pictures):
        put(tmp_path, NAMES[0], masks=())
        picture.save(tmp_path / f"{number}.png")
    put(tmp_path, NAMES[0], *(f"{number}.png 26 0.5" for number in range(5)), masks=())
    found = open_cityscapes_results(tmp_path, truth).truth(0)
    assert (found.dense() == mask).all() and len(found) == 5


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["m.png 26"], "line 1 is not 'mask.png label score'"),
        (["m.png 26 0.5", "m.png car 0.5"], "line 2 is not 'mask.png label score'"),
        (["m.png inf 0.5"], "line 1 is not 'mask.png label score'"),
        (["m.png 26 nan"], "line 1 has a score of nan"),
        (["m.png 260 0.5"], "line 1 has label 260, which does not exist"),
        (["/m.png 26 0.5"], "line 1 names /m.png, which is not inside"),
        (["../m.png 26 0.5"], "line 1 names ../m.png, which is not inside"),
        (["m.png 26 0.5", "m.png 24 0.6"], "line 2 names m.png, which a line before it has named too"),
    ],
)
def test_a_broken_line_is_named(tmp_path, truth, lines, said):
    put(tmp_path / "found", NAMES[0], *lines)
    with pytest.raises(InputError, match=rf"{NAMES[0]}\.txt: {said}"):
        open_cityscapes_results(tmp_path / "found", truth).truth(0)


def test_masks_that_are_missing_or_of_several_sizes_are_named(tmp_path, truth):
    put(tmp_path, NAMES[0], "m.png 26 0.5", "n.png 26 0.5")
    with pytest.raises(InputError, match=r"n\.png: there is no such file"):
        open_cityscapes_results(tmp_path, truth).truth(0)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "n.png")
    with pytest.raises(InputError, match=r"n\.png: 3 x 4 pixels, but others have 20 x 30"):
        open_cityscapes_results(tmp_path, truth).truth(0)


def test_text_files_belong_to_the_image_that_their_name_begins_with(tmp_path, truth):
    for name in (f"{NAMES[0]}_pred", f"{NAMES[0]}0", "readme"):
        put(tmp_path, name)
    # Another number is another image: it keeps its name, and scoring says that the truth has none such.
    assert open_cityscapes_results(tmp_path, truth).names == (NAMES[0], f"{NAMES[0]}0", "readme")
    put(tmp_path / "x", NAMES[0])
    with pytest.raises(InputError, match=f"are both results for {NAMES[0]}"):
        open_cityscapes_results(tmp_path, truth)


def test_other_folders_are_no_results(tmp_path, truth):
    put(tmp_path / "a", "labels", "0 0.1 0.2 0.3 0.4")
    assert recognize(tmp_path / "a") is None and recognize(tmp_path / "a" / "labels.txt") is None
    with pytest.raises(InputError, match="no results of Cityscapes' evaluation"):
        open_cityscapes_results(tmp_path / "truth" / "leftImg8bit", truth)


# --- writing ------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(tmp_path, truth):
    found = squares((0, 0), (3, 1), (9, 9), labels=[2, 0, 7], scores=[0.1, 0.123456789012345, 1.0])
    empty = Instances.empty(SIZE, scored=True)
    assert write_cityscapes_results(zip(NAMES, [found, empty], strict=True), tmp_path / "found", truth) == {}
    assert (tmp_path / "found" / f"{NAMES[0]}.txt").read_text().split()[1:3] == ["33", "1.0"]
    back = open_found(tmp_path / "found", truth)
    assert back.names == NAMES and len(back.truth(1)) == 0
    assert back.truth(0).scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert objects(back.truth(0), STANDARD) == objects(found, STANDARD)


def test_results_for_a_truth_of_another_format(tmp_path):
    truths = [entry("x/a", squares((0, 0), labels=[1])), entry("b", squares((5, 5), labels=[0]))]
    write_label_images(truths, tmp_path / "truth", ["nut", "car"])
    truth = open_dataset(tmp_path / "truth")
    found = squares((0, 0), (5, 5), labels=[0, 1], scores=[0.5, 0.6])
    write_cityscapes_results([("x_a", found), ("b", found[:0])], tmp_path / "found", truth)
    assert "26 0.6" in (tmp_path / "found" / "x_a.txt").read_text()
    back = open_found(tmp_path / "found", truth)
    assert back.classes == ("nut", "car")
    assert objects(back.truth(back.names.index("x_a")), back.classes) == objects(found, back.classes)


def test_objects_without_a_pixel_and_images_that_do_not_exist(tmp_path, truth):
    found = Instances.from_dense(np.zeros((2, *SIZE), bool), scores=[0.5, 0.6])
    assert write_cityscapes_results([(NAMES[0], found)], tmp_path, truth) == {"objects without a pixel": 2}
    with pytest.raises(InputError, match="has no image z"):
        write_cityscapes_results([("z", found)], tmp_path, truth)


# --- scoring ------------------------------------------------------------------------------------------------------


def test_folders_are_scored_with_groups_and_void_left_out(tmp_path, truth):
    first = squares((0, 0), (12, 0), labels=[2, 2], scores=[0.9, 0.4])
    # In the second image all but the last lie in the group or in void, and would be wrong elsewhere.
    second = squares((14, 0), (14, 12), (0, 12), labels=[2, 2, 2], scores=[0.8, 0.7, 0.6], side=8)
    write_cityscapes_results(zip(NAMES, [first, second], strict=True), tmp_path / "found", truth)
    figures = apiece.score(tmp_path / "found", tmp_path / "truth", metrics=["cityscapes"]).figures["cityscapes"]
    # Two of the truth's cars have 100 pixels or more. Found are a right one, a wrong one and a right one:
    # points (0, 1), (1/2, 1), (1/2, 1/2), (1, 2/3), each with half of the steps beside it.
    assert figures["classes"]["car"]["AP50"] == pytest.approx(0.25 + 0.25 + 0.125 + 1 / 6)
    assert figures["AP50"] == figures["classes"]["car"]["AP50"] and figures["classes"]["person"]["AP50"] is None


def test_golden_folders_give_the_figures_of_cityscapesscripts(shared_data):
    folder = shared_data / "golden" / "cityscapes_eval"
    wanted = json.loads((folder / "expected.json").read_text())["averages"]
    figures = apiece.score(folder / "results", folder, metrics=["cityscapes"]).figures["cityscapes"]
    assert figures["AP"] == pytest.approx(wanted["allAp"], abs=1e-9)
    assert figures["AP50"] == pytest.approx(wanted["allAp50%"], abs=1e-9)
    assert len(wanted["classes"]) == 8
    for name, of_class in wanted["classes"].items():
        for key, theirs in (("AP", "ap"), ("AP50", "ap50%")):
            value = of_class[theirs]
            assert figures["classes"][name][key] == (None if value is None else pytest.approx(value, abs=1e-9))
