import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from apiece.data.dataset import Sample
from apiece.data.label_images import (
    open_label_folder,
    open_label_images,
    read_label_image,
    write_label_image,
    write_label_images,
)
from apiece.data.writing import Entry
from apiece.errors import InputError
from apiece.instances import Instances

LABELS = np.array([[0, 3, 3, 0], [0, 3, 7, 7], [1, 1, 0, 7]])


def put(path, values=LABELS, kind="uint16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, values.astype(kind), compression="zlib")
    else:
        Image.fromarray(values.astype(kind)).save(path)


def put_pair(folder, name="a", image=".png", mask=".tif"):
    put(folder / f"images/{name}{image}", LABELS * 9, "uint8")
    put(folder / f"masks/{name}{mask}")


# --- one file -----------------------------------------------------------------------------------------------------


WHOLE = {".tif": ["uint8", "uint16", "uint32", "int32", "int64"], ".png": ["uint8", "uint16"]}


@pytest.mark.parametrize("suffix, kind", [(suffix, kind) for suffix, kinds in WHOLE.items() for kind in kinds])
def test_label_images_of_any_whole_number_type_are_objects_in_the_order_of_their_numbers(tmp_path, suffix, kind):
    put(tmp_path / f"a{suffix}", kind=kind)
    found = read_label_image(tmp_path / f"a{suffix}")
    assert found.areas.tolist() == [2, 3, 3]
    assert (found.dense() == np.stack([LABELS == value for value in (1, 3, 7)])).all()
    assert found.labels.tolist() == [0, 0, 0] and not found.ignore.any() and found.scores is None


def test_numbers_beyond_16_bits_and_negative_ones_are_read(tmp_path):
    put(tmp_path / "a.tif", np.where(LABELS == 7, 4_000_000_000, LABELS), "uint32")
    assert read_label_image(tmp_path / "a.tif").areas.tolist() == [2, 3, 3]
    put(tmp_path / "a.tif", np.where(LABELS == 7, -1, LABELS), "int16")
    assert read_label_image(tmp_path / "a.tif").areas.tolist() == [2, 3]


def test_a_palette_image_is_its_indices_and_one_bit_is_one_object(tmp_path):
    picture = Image.fromarray(LABELS.astype("uint8"))
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 24).tolist())
    picture.save(tmp_path / "a.png")
    assert read_label_image(tmp_path / "a.png").areas.tolist() == [2, 3, 3]
    Image.fromarray(LABELS > 0).save(tmp_path / "b.png")
    assert read_label_image(tmp_path / "b.png").areas.tolist() == [8]


@pytest.mark.parametrize(
    "values, said",
    [
        (LABELS.astype("float32"), "float32, but a label image has whole numbers"),
        (np.stack([LABELS] * 3, 2).astype("uint8"), "3 channels, but a label image has one whole number a pixel"),
        (np.stack([LABELS] * 5).astype("uint8"), "stack of 5 pages"),
    ],
)
def test_floats_colours_and_stacks_are_no_label_images(tmp_path, values, said):
    photometric = "rgb" if values.shape[-1] == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric)
    with pytest.raises(InputError, match=rf"a\.tif: .*{said}"):
        read_label_image(tmp_path / "a.tif")


@settings(max_examples=40, deadline=None)
@given(
    label_map=st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
        lambda size: arrays(np.uint16, size, elements=st.integers(0, 5))
    ),
    suffix=st.sampled_from([".tif", ".png"]),
)
def test_what_does_not_overlap_comes_back_to_the_pixel(tmp_path_factory, label_map, suffix):
    path = tmp_path_factory.mktemp("labels") / f"a{suffix}"
    truth = Instances.from_label_map(label_map)
    for written in [truth, Instances.from_dense(truth.dense())]:
        write_label_image(written, path)
        assert read_label_image(path).equals(truth)


def test_overlap_is_painted_as_label_map_paints_it(tmp_path):
    stack = np.zeros((2, 5, 6), bool)
    stack[0, :4], stack[1, 2:3, 2:4] = True, True
    found = Instances.from_dense(stack)
    write_label_image(found, tmp_path / "a.tif")
    assert (tifffile.imread(tmp_path / "a.tif") == found.label_map()).all()


def test_more_than_65535_objects_need_32_bits_and_tif(tmp_path):
    found = Instances.from_label_map(np.arange(1, 70_001, dtype=np.uint32).reshape(250, 280))
    write_label_image(found, tmp_path / "a.tif")
    assert tifffile.imread(tmp_path / "a.tif").dtype == np.uint32
    assert (read_label_image(tmp_path / "a.tif").label_map() == found.label_map()).all()
    with pytest.raises(InputError, match=r"65,535 objects, but there are 70,000: write \.tif"):
        write_label_image(found, tmp_path / "a.png")
    write_label_image(found[:65_535], tmp_path / "b.tif")
    assert tifffile.imread(tmp_path / "b.tif").dtype == np.uint16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.tif"]


def test_large_maps_are_written_in_strips_that_any_reader_understands(tmp_path):
    label_map = np.zeros((5000, 3000), np.uint16)
    label_map[10:4990, 7:2990], label_map[2000:2002] = 1, 2
    write_label_image(Instances.from_label_map(label_map), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages[0].dataoffsets) > 1
    assert (tifffile.imread(tmp_path / "a.tif") == label_map).all()
    assert (np.asarray(Image.open(tmp_path / "a.tif")) == label_map).all()


def test_an_image_without_pixels_or_of_another_suffix_cannot_be_written(tmp_path):
    for name in ["a.tif", "a.png"]:
        with pytest.raises(InputError, match="0 x 4"):
            write_label_image(Instances.empty((0, 4)), tmp_path / name)
    with pytest.raises(InputError, match=r"\.tif or \.png"):
        write_label_image(Instances.empty((4, 4)), tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


# --- data sets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image, mask", [(".png", ".tif"), (".tif", ".png"), (".png", ".png")])
def test_folders_of_images_and_masks_are_paired_by_name(tmp_path, image, mask):
    for name in ["b", "a", "c.d"]:
        put_pair(tmp_path, name, image, mask)
    data = open_label_images(tmp_path)
    assert data.names == ("a", "b", "c.d")
    assert data.classes == ("object",)
    assert data[0].image.shape == (3, 4, 1) and (data[0].image[:, :, 0] == LABELS * 9).all()
    assert data[2].truth.areas.tolist() == [2, 3, 3]


def test_labels_is_another_name_for_masks_and_rgb_with_label_another_layout(tmp_path):
    put_pair(tmp_path / "one")
    (tmp_path / "one/masks").rename(tmp_path / "one/labels")
    put(tmp_path / "two/plant1_rgb.png", kind="uint8")
    put(tmp_path / "two/plant1_label.png", kind="uint8")
    put(tmp_path / "two/plant1_depth.png", kind="uint8")
    assert open_label_images(tmp_path / "one").names == ("a",)
    assert open_label_images(tmp_path / "two").names == ("plant1",)
    assert open_label_images(tmp_path / "two")[0].truth.areas.tolist() == [2, 3, 3]


def test_parts_are_chosen_by_name_and_listed_where_one_must_be_chosen(tmp_path):
    put_pair(tmp_path / "train")
    put_pair(tmp_path / "val", "b")
    assert open_label_images(tmp_path, "val").names == ("b",)
    assert open_label_images(tmp_path / "train").names == ("a",)
    with pytest.raises(InputError, match="the parts train, val: choose one"):
        open_label_images(tmp_path)
    with pytest.raises(InputError, match="the parts train, val: there is no 'test'"):
        open_label_images(tmp_path, "test")


def test_parts_may_lie_inside_images_and_masks(tmp_path):
    for part in ["train", "val"]:
        put(tmp_path / f"images/{part}/{part}1.png", kind="uint8")
        put(tmp_path / f"masks/{part}/{part}1.tif")
    assert open_label_images(tmp_path, "val").names == ("val1",)
    with pytest.raises(InputError, match="the parts train, val"):
        open_label_images(tmp_path)


def test_what_has_no_partner_is_named(tmp_path):
    put_pair(tmp_path)
    put(tmp_path / "images/b.png", kind="uint8")
    with pytest.raises(InputError, match=r"images/b\.png: its label image is missing: looked for b in .*masks"):
        open_label_images(tmp_path)
    put(tmp_path / "masks/b.tif")
    put(tmp_path / "masks/c.tif")
    with pytest.raises(InputError, match=r"masks/c\.tif: there is no image"):
        open_label_images(tmp_path)
    put(tmp_path / "images/c.png", kind="uint8")
    put(tmp_path / "images/c.tif")
    with pytest.raises(InputError, match=r"c\.png and .*c\.tif have one name"):
        open_label_images(tmp_path)


def test_a_folder_of_something_else_says_what_was_looked_for(tmp_path):
    for folder in [tmp_path, tmp_path / "nowhere"]:
        with pytest.raises(InputError, match=r"looked for folders images/ and masks/"):
            open_label_images(folder)


def test_a_mask_of_another_size_is_found_when_it_is_read(tmp_path):
    put_pair(tmp_path)
    put(tmp_path / "masks/a.tif", LABELS.T)
    with pytest.raises(InputError, match=r"a\.png: the image is 3 x 4, but its annotation is 4 x 3"):
        open_label_images(tmp_path)[0]


def test_opening_ten_thousand_images_reads_none_of_them(tmp_path):
    for folder in ["images", "masks"]:
        (tmp_path / folder).mkdir()
    for number in range(10_000):
        (tmp_path / f"images/{number:05d}.png").touch()
        (tmp_path / f"masks/{number:05d}.tif").touch()
    start = time.perf_counter()
    data = open_label_images(tmp_path)  # every file is empty: reading any would be an error
    assert time.perf_counter() - start < 3
    assert len(data) == 10_000 and data.names[7] == "00007"
    with pytest.raises(InputError, match="empty"):
        data.image(7)
    with pytest.raises(InputError, match="empty"):
        data.truth(7)


# --- writing data sets --------------------------------------------------------------------------------------------


def entries(samples):
    return (Entry(sample.name, None, partial(getattr, sample, "image"), sample.truth) for sample in samples)


def samples():
    generator = np.random.default_rng(0)
    for name, kind, channels in [("a", "uint8", 3), ("b", "uint16", 1), ("c", "uint16", 3), ("d", "float32", 2)]:
        image = generator.integers(0, 200, (*LABELS.shape, channels)).astype(kind)
        label_map = np.array([[0, 2, 2, 0], [0, 2, 3, 3], [1, 1, 0, 3]])
        truth = Instances.from_label_map(label_map, [2, 0, 1], ignore=[False, False, name == "a"])
        yield Sample(name, image, truth)
    yield Sample("empty", np.zeros((3, 4, 1), np.uint8), Instances.empty((3, 4)))


def test_a_written_set_is_read_again_with_images_masks_classes_and_ignored_objects(tmp_path):
    write_label_images(entries(samples()), tmp_path, ["date", "fig", "nut"])
    data = open_label_images(tmp_path)
    assert data.classes == ("date", "fig", "nut")
    for read, written in zip(data, samples(), strict=True):
        assert read.name == written.name
        assert read.image.dtype == written.image.dtype and (read.image == written.image).all()
        assert read.truth.equals(written.truth)


def test_names_with_folders_are_written_flat_and_must_stay_apart(tmp_path):
    sample = next(samples())
    write_label_images(entries([sample._replace(name="x/a")]), tmp_path, ["date"] * 3)
    assert open_label_images(tmp_path).names == ("x_a",)
    with pytest.raises(InputError, match="x_a"):
        write_label_images(entries(sample._replace(name=name) for name in ("x/a", "x_a")), tmp_path, ["date"] * 3)


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "not understood"),
        ("[]", "not understood"),
        ('{"classes": ["a"], "objects": {"a": {"labels": [0, 1, 0]}}}', "below 1"),
        ('{"classes": ["a"], "objects": {"a": {"labels": "x"}}}', "not understood"),
        ('{"classes": ["a"], "objects": {"a": {"labels": [0]}}}', "number 7, but classes.json gives 1"),
    ],
)
def test_a_classes_file_that_does_not_fit_is_an_input_error(tmp_path, content, said):
    put_pair(tmp_path)
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(InputError, match=said):
        open_label_images(tmp_path).truth(0)


def test_a_classes_file_made_by_hand_may_name_some_images_only(tmp_path):
    put_pair(tmp_path, "a")
    put_pair(tmp_path, "b")
    sidecar = {"classes": ["date", "fig"], "objects": {"b": {"labels": [1, 0, 0, 0, 0, 0, 1], "ignore": [3]}}}
    (tmp_path / "classes.json").write_text(json.dumps(sidecar))
    data = open_label_images(tmp_path)
    assert data.truth(0).labels.tolist() == [0, 0, 0]
    assert data.truth(1).labels.tolist() == [1, 0, 1]
    assert data.truth(1).ignore.tolist() == [False, True, False]


# --- findings -----------------------------------------------------------------------------------------------------


def test_a_folder_of_label_images_alone_is_findings_and_pictures_in_it_are_left_out(tmp_path):
    put(tmp_path / "a.tif")
    put(tmp_path / "a_overlay.png", kind="uint8")
    put(tmp_path / "b.tif")
    data = open_label_folder(tmp_path)
    assert data.names == ("a", "b")
    assert data.truth(1).areas.tolist() == [2, 3, 3]
    with pytest.raises(InputError, match="without their images"):
        data.image(0)


def test_findings_may_be_png_and_called_label(tmp_path):
    put(tmp_path / "a_label.png", kind="uint8")
    put(tmp_path / "b_label.png", kind="uint8")
    assert open_label_folder(tmp_path).names == ("a", "b")
    with pytest.raises(InputError, match="no label images"):
        open_label_folder(Path(tmp_path / "a_label.png").parent / "..", ["nothing"])


@pytest.mark.parametrize("part, images, objects", [("train", 401, 17_031), ("val", 52, 1_790)])
def test_real_nuclei_have_the_published_counts(shared_data, part, images, objects):
    data = open_label_images(shared_data / "nuclei", part)
    assert len(data) == images
    assert sum(len(data.truth(index)) for index in range(images)) == objects
    assert data[0].image.shape[2] == 1


def test_real_leaves_have_the_published_counts(shared_data):
    data = open_label_images(shared_data / "leaves/composed", "val")
    assert len(data) == 30 and sum(len(sample.truth) for sample in data) == 313
    assert len(open_label_images(shared_data / "leaves/real/train")) == 7


def test_a_mask_corrected_within_its_files_size_makes_another_set(tmp_path):
    put_pair(tmp_path)
    file = tmp_path / "masks/a.tif"
    tifffile.imwrite(file, LABELS.astype(np.uint16))
    size, before = file.stat().st_size, open_label_images(tmp_path).fingerprint()
    tifffile.imwrite(file, np.where(LABELS == 7, 3, LABELS).astype(np.uint16))
    assert file.stat().st_size == size and open_label_images(tmp_path).fingerprint() != before
    corrected = open_label_images(tmp_path).fingerprint()
    (tmp_path / "classes.json").write_text('{"classes": ["object"], "objects": {"a": {"ignore": [3]}}}')
    assert open_label_images(tmp_path).fingerprint() not in (before, corrected)
