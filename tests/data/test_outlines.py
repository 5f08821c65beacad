"""Keyholes, and the contract of all formats of outlines: what is written comes back to the last pixel."""

import json
import pickle
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from apiece.data import coco, cvat, geojson, labelme, yolo
from apiece.data.formats import FORMATS, open_dataset, part_names, recognize
from apiece.data.images import read_image
from apiece.data.outlines import Shape, ellipse, keyhole, objects
from apiece.data.writing import Entry, entries
from apiece.errors import InputError
from apiece.instances import Instances
from apiece.polygons import crop_to_polygons

OURS = (yolo, labelme, cvat, geojson)
BY_NAME = {one.name: one for one in FORMATS}
CLASSES = ("date", "fig", "no", "ñandú <&\"'>")
SMALL_SETS = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=[one.FORMAT for one in OURS])
def name(request):
    return request.param


def entry(name, truth, file=None):
    image = np.full((*truth.size, 1), len(truth), np.uint8)
    return Entry(name, file, partial(np.copy, image), truth)


def write(name, folder, truths, classes=CLASSES, **options):
    """Write {image name: objects}; the folder is made anew."""
    for old in sorted(folder.rglob("*"), reverse=True) if folder.exists() else ():
        old.rmdir() if old.is_dir() else old.unlink()
    return BY_NAME[name].write((entry(*pair) for pair in truths.items()), folder, classes, **options)


@st.composite
def scenes(draw):
    """What `made` makes a small image of: up to four objects that overlap, in parts, with holes, empty, ignored."""
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    count = draw(st.integers(0, 4))
    stack = draw(arrays(bool, (count, *size)))
    ignore = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    labels = [draw(st.integers(-1 if ignored else 0, len(CLASSES) - 1)) for ignored in ignore]
    scores = draw(st.none() | st.lists(st.floats(0, 1), min_size=count, max_size=count))
    return stack, labels, ignore, scores


def made(scene, scored=True):
    """Outside of the strategy: hypothesis forbids what jaxtyping does while it checks."""
    stack, labels, ignore, scores = scene
    return Instances.from_dense(stack, labels, ignore=np.array(ignore, bool), scores=scores if scored else None)


def same(found, wanted, scores=True):
    assert found.size == wanted.size and found.labels.tolist() == wanted.labels.tolist()
    assert found.ignore.tolist() == wanted.ignore.tolist()
    assert (found.dense() == wanted.dense()).all()
    if scores and len(wanted):
        assert (found.scores is None) == (wanted.scores is None)
        assert found.scores is None or found.scores.tolist() == wanted.scores.tolist()


# --- keyholes -----------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_one_polygon_with_bridges_holds_parts_and_holes_to_the_last_pixel(mask):
    rings = [ring for part in crop_to_polygons(mask, (0, 0)) for ring in part]
    drawn = Instances.from_polygons([[keyhole(rings)]] if rings else [[]], mask.shape)
    assert (drawn.dense()[0] == mask).all()


def test_bridges_join_the_nearest_corners():
    left, right = np.array([(0, 0), (2, 0), (2, 2), (0, 2)]), np.array([(9, 1), (9, 2), (5, 2), (5, 1)])
    walk = keyhole([left, right]).tolist()
    assert len(walk) == 4 + 4 + 2
    steps = {(tuple(a), tuple(b)) for a, b in zip(walk, walk[1:], strict=False)}
    assert ((2, 2), (5, 2)) in steps and ((5, 2), (2, 2)) in steps


# --- shapes -------------------------------------------------------------------------------------------------------


def test_an_ellipse_is_the_pixels_whose_centers_lie_in_it():
    crop, box = ellipse((4.0, 3.0), (3.0, 2.0), (6, 9))
    drawn = np.zeros((6, 9), bool)
    drawn[box[1] : box[3], box[0] : box[2]] = crop
    y, x = np.mgrid[:6, :9] + 0.5
    assert (drawn == (((x - 4) / 3) ** 2 + ((y - 3) / 2) ** 2 <= 1)).all()
    turned, place = ellipse((4.0, 3.0), (2.0, 3.0), (6, 9), 90.0)
    again = np.zeros((6, 9), bool)
    again[place[1] : place[3], place[0] : place[2]] = turned
    assert (again == drawn).all()


def test_an_ellipse_is_cut_at_the_images_border_and_may_lie_beside_it():
    crop, box = ellipse((0.0, 0.0), (2.0, 2.0), (5, 5))
    assert box == (0, 0, 2, 2) and crop.tolist() == [[True, True], [True, False]]
    assert ellipse((-9.0, 2.0), (2.0, 2.0), (5, 5))[0].size == 0


def test_shapes_of_one_group_and_label_are_one_object():
    square = np.array([(0.0, 0.0), (2, 0), (2, 2), (0, 2)])
    disc = (np.ones((1, 2), bool), (3, 0, 5, 1))
    shapes = [
        Shape(0, [square], group=1),
        Shape(1, [square + 3], group=1),
        Shape(0, mask=disc, group=1, ignore=True),
        Shape(0, [square]),
        Shape(0, [square]),
    ]
    found = objects(shapes, (6, 6))
    assert found.labels.tolist() == [0, 1, 0, 0] and found.ignore.tolist() == [True, False, False, False]
    assert found.mask_areas.tolist() == [6, 4, 4, 4]
    assert len(objects([], (6, 6))) == 0


# --- the contract of the four formats -----------------------------------------------------------------------------


@SMALL_SETS
@given(several=st.lists(scenes(), min_size=1, max_size=3))
def test_what_is_written_comes_back_and_what_is_lost_is_counted(tmp_path, name, several):
    scored = all(scores is not None for _, _, _, scores in several)
    truths = [made(scene, scored) for scene in several]
    named = {f"x/{index}.a": truth for index, truth in enumerate(truths)}
    lost = write(name, tmp_path / "set", named)
    data = open_dataset(tmp_path / "set")
    assert data.format == name and data.classes == CLASSES and data.names == tuple(named)
    expected = Counter()
    for index, truth in enumerate(truths):
        inked = truth.mask_areas > 0
        kept = inked & ~truth.ignore if name == "yolo" else inked
        expected["objects without a pixel"] += int((~inked).sum())
        expected["ignored objects"] += int((inked & ~kept).sum())
        expected["scores"] += len(truth) if name == "yolo" and truth.scores is not None else 0
        any_left = any((other.mask_areas > 0).any() for other in truths)
        same(data.truth(index), truth[kept], scores=name != "yolo" and any_left)
        assert data.size(index) == truth.size and (data.image(index) == len(truth)).all()
    assert lost == +expected


@SMALL_SETS
@given(scene=scenes())
def test_by_way_of_another_format_all_that_it_holds_comes_home(tmp_path, name, scene):
    truth = made(scene, scored=False)
    truth = truth[truth.mask_areas > 0]
    truth = truth[~truth.ignore] if name == "yolo" else truth
    truth = truth[truth.labels >= 0]
    write("coco", tmp_path / "home", {"a": truth})
    home = open_dataset(tmp_path / "home")
    lost = write(name, tmp_path / "there", {"a": home.truth(0)}, home.classes)
    there = open_dataset(tmp_path / "there")
    write("coco", tmp_path / "back", {"a": there.truth(0)}, there.classes)
    back = open_dataset(tmp_path / "back")
    assert not lost and back.classes == home.classes and back.names == home.names
    same(back.truth(0), home.truth(0))


def test_normalized_decimals_suffice_for_wide_images(tmp_path, name):
    mask = np.zeros((3, 30_011), bool)
    mask[:2, 1::1000] = mask[1, ::777] = True
    write(name, tmp_path / "set", {"a": Instances.from_dense(mask[None])})
    assert (open_dataset(tmp_path / "set").truth(0).dense()[0] == mask).all()


def test_opening_reads_no_image_and_the_set_can_be_sent_to_processes(tmp_path, name):
    truth = Instances.from_dense(np.ones((1, 4, 5), bool), [1])
    write(name, tmp_path / "set", {"a": truth, "b": truth[:0]})
    data = pickle.loads(pickle.dumps(open_dataset(tmp_path / "set")))
    same(data.truth(0), truth)
    same(data.truth(1), truth[:0])
    for file in data.files:
        file.write_bytes(b"no image")
    assert len(open_dataset(tmp_path / "set")) == 2


def test_the_rings_that_draw_each_object_can_be_had(tmp_path, name):
    stack = np.zeros((2, 5, 6), bool)
    stack[0, 1:3, 1:4] = stack[1, 0] = stack[1, 4] = True
    write(name, tmp_path / "set", {"a": Instances.from_dense(stack)})
    first, second = open_dataset(tmp_path / "set").outlines(0)
    assert np.allclose(sorted(first[0].tolist()), [(1, 1), (1, 3), (4, 1), (4, 3)], atol=1e-4)
    assert len(second) == (1 if name == "yolo" else 2)


def test_parts_written_beside_each_other_are_parts_of_one_set(tmp_path, name):
    truth = Instances.from_dense(np.ones((1, 4, 5), bool), [2])
    for part in ("train", "val"):
        write(name, tmp_path / part, {f"in_{part}": truth})
    assert part_names(tmp_path) == ["train", "val"]
    with pytest.raises(InputError, match=r"parts train, val: choose one \(--split train\)"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="there is no 'test'"):
        open_dataset(tmp_path, split="test")
    data = open_dataset(tmp_path, split="val")
    assert data.names == ("in_val",) and data.classes == CLASSES and data.format == name
    same(data.truth(0), truth)


def test_one_set_has_no_parts(tmp_path, name):
    write(name, tmp_path / "set", {"a": Instances.from_dense(np.ones((1, 4, 5), bool))})
    assert part_names(tmp_path / "set") == []
    with pytest.raises(InputError, match="no part 'val'|there is no 'val'"):
        open_dataset(tmp_path / "set", split="val")


@pytest.mark.parametrize("other", [one.FORMAT for one in (*OURS, coco)] + ["label-images"])
def test_no_format_takes_the_others_for_its_own(tmp_path, name, other):
    write(other, tmp_path / "set", {"a": Instances.from_dense(np.ones((1, 4, 5), bool))})
    assert list(recognize(tmp_path / "set")) == [other]


def test_two_formats_in_one_folder_need_a_word(tmp_path):
    truth = {"a": Instances.from_dense(np.ones((1, 4, 5), bool))}
    write("labelme", tmp_path / "set", truth)
    BY_NAME["geojson"].write((entry(*pair) for pair in truth.items()), tmp_path / "set", CLASSES)
    with pytest.raises(InputError, match=r"more than one data set: .*LabelMe.*GeoJSON.*--format labelme"):
        open_dataset(tmp_path / "set")
    assert open_dataset(tmp_path / "set", format="geojson").format == "geojson"


def test_images_are_copied_or_linked(tmp_path, name):
    truth = Instances.from_dense(np.ones((1, 4, 5), bool))
    write("coco", tmp_path / "source", {"a": truth})
    source = open_dataset(tmp_path / "source")
    for link in (False, True):
        BY_NAME[name].write(entries(source), tmp_path / str(link), CLASSES, link=link)
        data = open_dataset(tmp_path / str(link))
        assert data.files[0].is_symlink() == link and (data.image(0) == 1).all()
        same(data.truth(0), truth)


def test_columns_are_lost_but_for_ids(tmp_path, name):
    truth = Instances.from_dense(np.ones((2, 4, 5), bool), columns={"id": [7, 8], "depth": [0.1, 0.2]})
    assert write(name, tmp_path / "set", {"a": truth}) == {"values of depth": 2}


def test_boxes_and_objects_without_a_class_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="objects of a are boxes without masks"):
        write(name, tmp_path / "set", {"a": Instances.from_boxes([[0, 0, 2, 2]], (4, 5))})
    with pytest.raises(InputError, match="a has an object without a class"):
        write(name, tmp_path / "set", {"a": Instances.from_dense(np.ones((1, 4, 5), bool), [-1])})


@pytest.mark.parametrize("name", ["labelme", "cvat", "geojson"], indirect=True)
def test_classes_that_only_a_name_could_tell_apart_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="two classes of the name 'fig'"):
        write(name, tmp_path / "set", {}, ["fig", "date", "fig"])


def test_whatever_befalls_a_file_is_said_in_a_sentence(tmp_path, name):
    stack = np.zeros((3, 7, 8), bool)
    stack[0, 1:4, 1:5] = stack[1, 0] = stack[1, 6] = stack[2] = True
    stack[2, 3, 3] = False
    write(name, tmp_path / "set", {"a": Instances.from_dense(stack, [0, 1, 2], ignore=[False, True, False])})
    kinds = (".txt", ".yaml", ".json", ".xml", ".geojson")
    files = sorted(file for file in (tmp_path / "set").rglob("*") if file.suffix in kinds)
    generator, refused = np.random.default_rng(0), 0
    for _ in range(60):
        file = files[generator.integers(len(files))]
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, generator))
        try:
            open_dataset(tmp_path / "set", format=name).truth(0)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error) and str(tmp_path) in str(error)
        file.write_bytes(whole)
    assert refused > 12


def damaged(whole, generator):
    """Bytes cut off, changed, doubled, or numbers that are none."""
    place, kind = int(generator.integers(len(whole))), generator.integers(5)
    if kind == 0:
        return whole[:place]
    if kind == 1:
        return whole[:place] + bytes(generator.integers(0, 256, 3, np.uint8)) + whole[place + 3 :]
    if kind == 2:
        return whole[:place] + whole[place // 2 :]
    words = [b"NaN", b"1e999", b"-1", b"null", b"[]", b"{}", b'"x"', b"99999999999999999999999999", b"", b"true"]
    digits = [index for index, byte in enumerate(whole) if 48 <= byte < 58] or [0]
    place = digits[int(generator.integers(len(digits)))]
    return whole[:place] + words[int(generator.integers(len(words)))] + whole[place + 1 :]


# --- real data ----------------------------------------------------------------------------------------------------


def leaves(folder: Path):
    """Photographs whose leaves were drawn by hand in CVAT, and overlap."""
    for file in sorted(folder.glob("*_polygons.json")):
        content = json.loads(file.read_text())
        image = file.with_name(file.name.replace("_polygons.json", "_rgb.jpg"))
        height, width = read_image(image).shape[:2]
        assert sorted(content["size"]) == sorted((height, width))
        drawn = [[np.array(ring).reshape(-1, 2)] for ring in content["polygons"]]
        yield Entry(file.stem, image, partial(read_image, image), Instances.from_polygons(drawn, (height, width)))


def test_hand_drawn_leaves_that_overlap_come_back_whole(tmp_path, shared_data, name):
    there = list(leaves(shared_data / "leaves/real/val"))
    assert BY_NAME[name].write(iter(there), tmp_path / "set", ["leaf"], link=True) == {}
    data = open_dataset(tmp_path / "set")
    assert sum(len(one.truth) for one in there) == 11 and data.names == tuple(one.name for one in there)
    assert all(data.truth(index).equals(one.truth) for index, one in enumerate(there))


def test_fruits_drawn_in_labelme_come_back_whole(tmp_path, shared_data, name):
    source = open_dataset(shared_data / "fruits_nuts").subset(range(2))
    assert BY_NAME[name].write(entries(source), tmp_path / "set", source.classes, link=True) == {}
    data = open_dataset(tmp_path / "set")
    assert data.classes == source.classes
    for index, one in enumerate(source.names):
        same(data.truth(data.names.index(one)), source.truth(index))
