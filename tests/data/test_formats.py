import json
from functools import partial

import numpy as np
import pytest
import tifffile

from apiece.data.coco import open_coco, write_coco
from apiece.data.coco_results import write_coco_results
from apiece.data.dataset import Sample
from apiece.data.formats import open_dataset, open_found, recognize
from apiece.data.label_images import write_label_image, write_label_images
from apiece.data.writing import Entry
from apiece.errors import CallError, InputError
from apiece.instances import Instances
from apiece.scoring import places


def entries(samples):
    return (Entry(sample.name, None, partial(getattr, sample, "image"), sample.truth) for sample in samples)


def samples(names=("a", "b")):
    for number, name in enumerate(names):
        label_map = np.kron(np.array([[0, 1], [2, 2]]), np.ones((3, 4 + number))).astype(np.uint16)
        yield Sample(
            name, np.repeat(label_map[:, :, None], 3, 2).astype(np.uint8) * 50, Instances.from_label_map(label_map)
        )


def scored(instances):
    return instances.replace(scores=np.linspace(0.9, 0.5, len(instances)))


@pytest.fixture
def truth(tmp_path):
    write_label_images(entries(samples()), tmp_path / "truth", ["object"])
    return open_dataset(tmp_path / "truth")


# --- truth --------------------------------------------------------------------------------------------------------


def test_each_format_is_recognized_and_said(tmp_path, truth):
    write_coco(((name, objects) for name, _, objects in samples()), tmp_path / "coco/x.json", ["object"])
    assert truth.format == "label-images" and truth.names == ("a", "b")
    assert recognize(tmp_path / "truth") == {"label-images": "folders images/ and masks/"}
    for path in [tmp_path / "coco", tmp_path / "coco/x.json"]:
        data = open_dataset(path)
        assert data.format == "coco" and len(data.truth(1)) == 2
    assert recognize(tmp_path / "coco") == {"coco": "COCO JSON (x)"}


def test_one_format_becomes_another_without_a_pixels_loss(tmp_path, truth):
    write_coco(truth, tmp_path / "x.json", truth.classes)
    back = open_dataset(tmp_path / "x.json")
    for index in range(2):
        assert (back.truth(index).dense() == truth.truth(index).dense()).all()


def test_a_path_without_a_known_set_says_what_is_there_and_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match="an empty folder, no data set .* images/ and masks/.*COCO JSON"):
        open_dataset(tmp_path)
    for name in "wxyz":
        (tmp_path / f"{name}.txt").touch()
    with pytest.raises(InputError, match=r"a folder of w\.txt, x\.txt, y\.txt and 1 more, no data set"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match=r"a \.txt file, no data set"):
        open_dataset(tmp_path / "x.txt")


def test_two_formats_in_one_folder_need_a_word_from_the_user(tmp_path, truth):
    write_coco(truth, tmp_path / "truth/x.json", truth.classes)
    with pytest.raises(InputError, match=r"more than one data set: .*--format label-images"):
        open_dataset(tmp_path / "truth")
    assert open_dataset(tmp_path / "truth", format="coco").format == "coco"


def test_an_unknown_format_is_a_wrong_call(tmp_path):
    with pytest.raises(CallError, match="no format 'pascal': choose label-images or coco"):
        open_dataset(tmp_path, format="pascal")


def test_splits_reach_the_reader(tmp_path):
    for part, names in [("train", "ab"), ("val", "c")]:
        write_label_images(entries(samples(names)), tmp_path / part, ["object"])
    assert open_dataset(tmp_path, split="val").names == ("c",)
    assert recognize(tmp_path) == {"label-images": "label images in the parts train, val"}


# --- findings -----------------------------------------------------------------------------------------------------


def test_label_images_beside_pictures_are_findings(tmp_path, truth):
    for name, _, objects in samples():
        write_label_image(objects, tmp_path / f"found/{name}.tif")
        tifffile.imwrite(tmp_path / f"found/{name}_overlay.png", np.zeros((4, 4, 3), np.uint8), photometric="rgb")
        (tmp_path / f"found/{name}.csv").touch()
    found = open_found(tmp_path / "found", truth)
    assert places(found, truth) == [0, 1]
    assert (found.truth(1).dense() == truth.truth(1).dense()).all()


def test_a_coco_file_that_predict_wrote_comes_before_label_images(tmp_path, truth):
    for name, _, objects in samples():
        write_label_image(objects, tmp_path / f"found/{name}.tif")
    pairs = [(name, scored(objects)) for name, _, objects in samples()]
    write_coco(pairs, tmp_path / "found/found.json", ["object"], file_names={"a": "a.png", "b": "b.tif"})
    found = open_found(tmp_path / "found", truth)
    assert found.truth(0).scores.tolist() == [0.9, 0.5]
    assert places(found, truth) == [0, 1]


def test_coco_results_are_findings_by_the_truths_ids(tmp_path):
    write_coco(((name, objects) for name, _, objects in samples()), tmp_path / "x.json", ["object"])
    truth = open_coco(tmp_path / "x.json")
    write_coco_results(
        ((name, scored(objects)) for name, _, objects in list(samples())[1:]), tmp_path / "r.json", truth
    )
    found = open_found(tmp_path / "r.json", truth)
    assert places(found, truth) == [0, 1]
    assert len(found.truth(0)) == 0 and len(found.truth(1)) == 2


def test_a_whole_data_set_may_be_findings(tmp_path, truth):
    assert open_found(tmp_path / "truth", truth).names == truth.names


def test_findings_of_an_unknown_kind_say_so(tmp_path, truth):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").touch()
    (tmp_path / "x.json").write_text(json.dumps({"a": 1}))
    for name, said in [
        ("empty", "no label images"),
        ("x.txt", "findings are"),
        ("no", "no such"),
        ("x.json", "no list"),
    ]:
        with pytest.raises(InputError, match=said):
            open_found(tmp_path / name, truth)


def test_names_are_matched_whole_or_by_their_last_part(tmp_path, truth):
    def named(*names):
        pairs = [(name, next(iter(samples()))[2]) for name in names]
        path = tmp_path / f"{'-'.join(names).replace('/', '_')}.json"
        write_coco(pairs, path, ["object"])
        return open_coco(path)

    assert places(named("c", "b", "a"), truth) == [2, 1]
    assert places(named("x/b", "x/a"), truth) == [1, 0]
    assert places(truth, named("x/b", "y/a")) == [1, 0]
    assert places(named("a"), truth) == [0, None]
    assert places(named("x/a", "y/a"), truth) == [None, None]


@pytest.mark.parametrize(
    "path, split, format, count",
    [
        ("nuclei/val", None, "label-images", 52),
        ("nuclei", "train", "label-images", 401),
        ("nuclei_colour", "val", "label-images", 11),
        ("leaves/composed", "train", "label-images", 160),
        ("coco", "val2017", "coco", 55),
        ("coco/annotations/instances_train2017.json", None, "coco", 75),
        ("fruits_nuts", None, "coco", 18),
    ],
)
def test_real_sets_are_recognized(shared_data, path, split, format, count):
    data = open_dataset(shared_data / path, split=split)
    assert data.format == format and len(data) == count
