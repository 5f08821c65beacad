"""One fault of each kind is put into a clean set: it is found, and nothing else; and gone from the repaired copy."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import tifffile
from PIL import Image

from apiece.conversion import convert
from apiece.data.coco import write_coco_set
from apiece.data.dataset import Dataset
from apiece.data.formats import open_dataset
from apiece.data.generated import crossing_sticks, discs
from apiece.data.writing import entries
from apiece.errors import InputError
from apiece.faults import KINDS
from apiece.inspection import check
from apiece.inspection_page import write_inspection_page
from apiece.instances import Instances
from apiece.repair import repair

look = partial(check, minimum=1, quiet=True)


def kinds(found):
    return {name: len(of_kind) for name, of_kind in found.by_kind().items()}


# --- clean sets -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def clean_coco(tmp_path_factory):
    """Six images of discs as COCO, outlines as polygons. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("clean") / "discs"
    data = discs(6, (64, 80), seed=5, objects=(3, 5))
    write_coco_set(entries(data), folder, data.classes, polygons=True)
    return folder


@pytest.fixture(scope="session")
def clean_labels(tmp_path_factory, clean_coco):
    folder = tmp_path_factory.mktemp("clean") / "labels"
    convert(clean_coco, folder, "label-images", quiet=True)
    return folder


def with_overlap(scene):
    """Two discs of which one lies half under the other, as two whole masks, a ring, and an object in two parts."""
    y, x = np.mgrid[:60, :50]
    discs = [(x - middle) ** 2 + (y - 20) ** 2 < 120 for middle in (18 + scene, 28)]
    ring = abs((x - 20) ** 2 + (y - 45) ** 2 - 80) < 40
    parts = (y > 35) & (y < 50) & (x > 35) & (abs(x - 42) > 1)
    return Instances.from_dense(np.stack([*discs, ring, parts]))


def overlapping():
    pictures = discs(3, (60, 50), seed=1)
    return Dataset(
        path=pictures.path,
        format="generated",
        classes=("disc",),
        names=pictures.names,
        files=pictures.files,
        read_image=pictures.read_image,
        read_truth=with_overlap,
    )


@pytest.mark.parametrize("to", ["coco", "label-images", "voc", "cityscapes", "binary-masks", "yolo", "labelme", "cvat"])
@pytest.mark.parametrize("data", [discs(12, (72, 96), seed=2), crossing_sticks(8, seed=3), overlapping()])
def test_clean_sets_have_no_faults(tmp_path, data, to):
    convert(data, tmp_path / "set", to, quiet=True)
    found = check(tmp_path / "set", [discs(5, (72, 96), seed=9)], minimum=3, quiet=True)
    assert (kinds(found), found.images) == ({}, len(data) + 5)
    assert found.table().endswith("no faults") and found.figures()["faults"] == 0


def test_a_generated_set_needs_no_files():
    assert not check(discs(4, (48, 48)), minimum=0, quiet=True).findings


# --- COCO -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def coco(tmp_path, clean_coco):
    """A copy of the clean set, and a function that changes its JSON."""
    folder = tmp_path / "coco"
    shutil.copytree(clean_coco, folder)

    def change(how):
        file = folder / "annotations.json"
        content = json.loads(file.read_text())
        answer = how(content)
        file.write_text(json.dumps(content))
        return answer

    return folder, change


def added(content, **fields):
    """A square of 12 pixels in the first image, as a further annotation with other fields."""
    entry = {"id": 900, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [2, 3, 12, 12], "area": 144}
    entry["segmentation"] = [[2, 3, 14, 3, 14, 15, 2, 15]]
    content["annotations"].append({**entry, **fields})


def lengths(mask):
    runs = Instances.from_dense(mask[None]).rle()[0]
    return {"size": runs["size"], "counts": runs["counts"]}


def one_pixel():
    mask = np.zeros((64, 80), bool)
    mask[10, 20] = True
    return lengths(mask)


def square(top=5, left=6, side=20):
    mask = np.zeros((64, 80), bool)
    mask[top : top + side, left : left + side] = True
    return lengths(mask)


def doubled(content):
    content["annotations"].append({**content["annotations"][0], "id": 900})


SEEDED = {
    "empty mask": {"segmentation": [[5, 5, 9, 5, 9, 5]], "bbox": [5, 5, 4, 0], "area": 0},
    "one pixel": {"segmentation": one_pixel(), "bbox": [20, 10, 1, 1], "area": 1},
    "out of the image": {"segmentation": [[-9, 3, 14, 3, 14, 15, -9, 15]], "bbox": [-9, 3, 23, 12], "area": 23 * 12},
    "crossing outline": {"segmentation": [[2, 3, 30, 15, 30, 3, 2, 15]], "bbox": [2, 3, 28, 12], "area": 168},
    "box off its mask": {"bbox": [30, 30, 12, 12]},
    "area off its mask": {"area": 12},
    "unknown category": {"category_id": 77},
    "unknown image": {"image_id": 77},
    "unreadable annotation": {"segmentation": [[1, 2, 3]]},
    "crowd flag": {"segmentation": square(), "iscrowd": 1, "bbox": [6, 5, 20, 20], "area": 400},
    "small object": {"segmentation": [[2, 3, 5, 3, 5, 6, 2, 6]], "bbox": [2, 3, 3, 3], "area": 9},
}


@pytest.mark.parametrize("fault", SEEDED)
def test_a_fault_of_one_coco_entry_is_found_alone_and_repaired(tmp_path, coco, fault):
    folder, change = coco
    change(lambda content: added(content, **SEEDED[fault]))
    found = look(folder)
    assert kinds(found) == {fault: 1}
    (only,) = found.findings
    assert only.entry == "annotation 900" and only.box is not None or fault == "unreadable annotation"
    assert found.faults == (KINDS[fault].severity == "fault")
    fixed = repair(found, tmp_path / "fixed", quiet=True)
    assert fixed["images"] == 6 and fixed["done"].keys() == {fault}
    assert kinds(look(tmp_path / "fixed")) == ({fault: 1} if fault == "small object" else {})


def test_a_crowd_drawn_as_a_polygon_and_two_crowds_of_one_class_are_ordinary_objects(coco):
    folder, change = coco
    change(lambda content: added(content, iscrowd=1))
    assert kinds(look(folder)) == {"crowd flag": 1}
    change(lambda content: content["annotations"].pop())
    for left in (0, 30):
        mask = {"segmentation": square(left=left), "bbox": [left, 5, 20, 20], "area": 400}
        change(lambda content, mask=mask, left=left: added(content, id=900 + left, iscrowd=1, **mask))
    assert [found.entry for found in look(folder).findings] == ["annotation 900", "annotation 930"]


def test_a_crowd_in_many_pieces_is_one_and_stays_one_in_a_repaired_copy(tmp_path, coco):
    folder, change = coco
    mask = np.zeros((64, 80), bool)
    mask[5:20, 5:15] = mask[5:20, 25:40] = mask[40:50, 60:70] = True
    change(lambda content: added(content, segmentation=lengths(mask), iscrowd=1, bbox=[5, 5, 65, 45], area=475))
    found = look(folder)
    assert kinds(found) == {}
    repair(found, tmp_path / "fixed", quiet=True)
    assert kinds(look(tmp_path / "fixed")) == {}
    assert look(tmp_path / "fixed").subjects[0].salvage.data.truth(0).ignore.sum() == 1


def test_the_same_object_twice_is_found_whatever_its_class(tmp_path, coco):
    folder, change = coco
    change(doubled)
    change(lambda content: content["categories"].append({"id": 2, "name": "ring"}))
    change(lambda content: content["annotations"].append({**content["annotations"][0], "id": 901, "category_id": 2}))
    found = look(folder)
    assert kinds(found) == {"same object twice": 2}
    assert [one.entry for one in found.findings] == ["annotation 900", "annotation 901"]
    assert "another class" in found.findings[1].words and "another class" not in found.findings[0].words
    repair(found, tmp_path / "fixed", quiet=True)
    assert kinds(look(tmp_path / "fixed")) == {"rare class": 1}


def test_ids_given_twice_are_found_and_a_copy_has_all_objects_under_their_own(tmp_path, coco):
    folder, change = coco
    before = sum(len(truth) for truth in look(folder).subjects[0].salvage.data.truths(range(6)))
    for top in (3, 30):
        ring = [[2, top, 14, top, 14, top + 12, 2, top + 12]]
        change(lambda content, ring=ring, top=top: added(content, id=1, segmentation=ring, bbox=[2, top, 12, 12]))
    found = look(folder)
    assert kinds(found) == {"id twice": 2} and found.faults
    assert [one.entry for one in found.findings] == ["annotation 1"] * 2
    assert found.findings[0].box == (2, 3, 14, 15) and found.findings[0].image is not None
    fixed = repair(found, tmp_path / "fixed", quiet=True)
    assert fixed["objects"] == before + 2 and fixed["done"] == {"id twice": "2: given a number of its own"}
    assert kinds(look(tmp_path / "fixed")) == {}
    ids = np.concatenate([look(tmp_path / "fixed").subjects[0].salvage.data.truth(i).columns["id"] for i in range(6)])
    assert len(np.unique(ids)) == before + 2


def test_all_faults_of_a_file_are_found_at_once(tmp_path, coco):
    folder, change = coco
    for number, fields in enumerate(SEEDED.values()):
        change(lambda content, fields=fields, number=number: added(content, id=800 + number, **fields))
    change(lambda content: next(a for a in content["annotations"] if a["iscrowd"]).update(image_id=2))
    change(doubled)
    found = look(folder)
    assert set(kinds(found)) >= {*SEEDED, "same object twice"}
    assert {one.entry for one in found.findings} >= {f"annotation {800 + number}" for number in range(len(SEEDED))}
    repair(found, tmp_path / "fixed", quiet=True)
    assert look(tmp_path / "fixed").faults == 0


@pytest.mark.parametrize("fields", [{"bbox": ["a", 0, 1, 1]}, {"area": None}, {"area": float("nan")}])
def test_a_number_that_is_none_does_not_lose_its_mask(tmp_path, coco, fields):
    folder, change = coco
    change(lambda content: added(content, **fields))
    found = look(folder)
    assert kinds(found) == {"unreadable annotation": 1} and found.objects == look(tmp_path / "coco").objects
    repair(found, tmp_path / "fixed", quiet=True)
    assert kinds(look(tmp_path / "fixed")) == {} and look(tmp_path / "fixed").objects == found.objects


def test_entries_without_ids_or_with_another_s_are_named(coco):
    folder, change = coco
    change(lambda content: content["images"].append({**content["images"][0], "file_name": "other.png"}))
    change(lambda content: content["images"].append({"id": 50}))
    change(lambda content: content["images"].append({**content["images"][0], "id": 51}))
    change(lambda content: content["categories"].append({"name": "nothing"}))
    change(lambda content: content["annotations"].append("nothing"))
    found = look(folder)
    assert kinds(found) == {"unreadable annotation": 5} and found.images == 6


def test_a_class_with_few_objects_is_noted_for_all_parts_together(tmp_path, coco):
    folder, change = coco
    change(lambda content: content["categories"].append({"id": 2, "name": "ring"}))
    change(lambda content: added(content, category_id=2, segmentation=square(40, 50, 9), bbox=[50, 40, 9, 9], area=81))
    assert [(one.fault, one.entry) for one in look(folder, minimum=2).findings] == [("rare class", "ring")]
    for part in ("train", "val"):
        shutil.copytree(folder, tmp_path / "parts" / part)
    assert {one.fault for one in look(tmp_path / "parts", minimum=2).findings} == {"image in two sets"}


def test_boxes_without_masks_are_looked_at_too(tmp_path, coco):
    folder, change = coco
    change(lambda content: [entry.pop("segmentation") for entry in content["annotations"]])
    assert kinds(look(folder)) == {}
    for number, box in enumerate([[1, 2, 0, 5], [70, 50, 40, 9], [2, 3, 20, 20], [2, 3, 20, 20]]):
        entry = {"id": 900 + number, "image_id": 2, "category_id": 1, "bbox": box, "area": 1, "iscrowd": 0}
        change(lambda content, entry=entry: content["annotations"].append(entry))
    found = look(folder)
    assert kinds(found) == {"out of the image": 1, "same object twice": 1, "box off its mask": 1}
    repair(found, tmp_path / "fixed", quiet=True)
    assert look(tmp_path / "fixed").faults == 0


# --- images -----------------------------------------------------------------------------------------------------------


def picture_of(folder, number=0):
    return sorted((folder / "images").iterdir())[number]


@pytest.mark.parametrize("clean", ["clean_coco", "clean_labels"])
def test_missing_cut_off_and_foreign_images_are_found_each(tmp_path, clean, request):
    folder = tmp_path / "set"
    shutil.copytree(request.getfixturevalue(clean), folder)
    picture_of(folder, 0).write_bytes(picture_of(folder, 0).read_bytes()[:-200])
    picture_of(folder, 1).write_text("no image")
    picture_of(folder, 2).write_bytes(b"")
    if clean == "clean_coco":
        picture_of(folder, 3).unlink()
    found = look(folder)
    assert kinds(found) == {"unreadable image": 4 if clean == "clean_coco" else 3}
    fixed = repair(found, tmp_path / "fixed", quiet=True)
    assert fixed["images"] == 6 - len(found.findings) and look(tmp_path / "fixed").faults == 0


@pytest.mark.parametrize("clean", ["clean_coco", "clean_labels"])
def test_an_image_of_another_size_than_its_annotation_is_found(tmp_path, clean, request):
    folder = tmp_path / "set"
    shutil.copytree(request.getfixturevalue(clean), folder)
    Image.open(picture_of(folder)).resize((40, 32)).save(picture_of(folder))
    found = look(folder)
    assert kinds(found) == {"another size": 1} and "32 x 40" in found.findings[0].words
    repair(found, tmp_path / "fixed", quiet=True)
    assert kinds(look(tmp_path / "fixed")) == {}


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("clean", ["clean_coco", "clean_labels"])
def test_a_turned_image_with_an_unturned_annotation_is_found_and_set_upright(tmp_path, clean, request, orientation):
    folder = tmp_path / "set"
    shutil.copytree(request.getfixturevalue(clean), folder)
    file = picture_of(folder)
    stored = np.asarray(Image.open(file))
    tag = Image.Exif()
    tag[0x0112] = orientation
    Image.fromarray(stored).save(file.with_suffix(".jpg"), exif=tag, quality=100, subsampling=0)
    file.unlink()
    if clean == "clean_coco":
        text = (folder / "annotations.json").read_text()
        (folder / "annotations.json").write_text(text.replace(file.name, f"{file.stem}.jpg"))
    found = look(folder)
    assert kinds(found) == {"EXIF turn": 1}
    before = found.subjects[0].salvage.data.truth(0)
    repair(found, tmp_path / "fixed", quiet=True)
    after = look(tmp_path / "fixed")
    image, _, truth = after.subjects[0].salvage.data[0][1], None, after.subjects[0].salvage.data.truth(0)
    assert kinds(after) == {} and truth.size == (80, 64) and sorted(truth.areas) == sorted(before.areas)
    # Discs are brighter than the ground around them: the masks went the same way as the pixels.
    inside = truth.dense().any(0)
    assert image[:, :, 0][inside].mean() > image[:, :, 0][~inside].mean() + 30


def test_images_without_objects_are_noted(coco):
    folder, change = coco
    change(lambda content: content.update(annotations=[a for a in content["annotations"] if a["image_id"] != 3]))
    found = look(folder)
    assert kinds(found) == {"no objects": 1} and found.faults == 0


# --- one image twice --------------------------------------------------------------------------------------------------


def saved_again(file, target):
    """The same picture smaller, brighter and with a JPEG's losses."""
    image = Image.open(file)
    smaller = image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.BILINEAR)
    smaller.point(lambda value: min(255, value * 1.1 + 5)).save(target, quality=70)


def test_an_image_in_two_sets_is_found_exactly_and_nearly_and_left_out_of_the_first(tmp_path, clean_labels):
    other = tmp_path / "other"
    data = discs(5, (64, 80), seed=6)
    convert(data, other, "coco", quiet=True)
    shutil.copy(picture_of(clean_labels, 2), picture_of(other, 1))
    saved_again(picture_of(clean_labels, 4), other / "images" / "x.jpg")
    text = (other / "annotations.json").read_text().replace(picture_of(other, 3).name, "x.jpg")
    (other / "annotations.json").write_text(text.replace('"height": 64, "width": 80', '"height": 64, "width": 80'))
    found = [one for one in look(clean_labels, [other]).findings if one.fault == "image in two sets"]
    assert [one.image for one in found] == [picture_of(clean_labels, number).stem for number in (2, 4)]
    assert "to the last pixel" in found[0].words and "nearly" in found[1].words and "x.jpg" in found[1].words
    repair(look(clean_labels, [other]), tmp_path / "fixed", quiet=True)
    assert not [one for one in look(tmp_path / "fixed", [other]).findings if one.fault == "image in two sets"]
    assert look(tmp_path / "fixed").images == 4


def test_the_parts_of_a_divided_set_are_compared_with_each_other(tmp_path):
    for part, seed in (("train", 1), ("val", 2)):
        convert(discs(3, (48, 48), seed=seed), tmp_path / "set" / part, "label-images", quiet=True)
    assert kinds(look(tmp_path / "set")) == {}
    shutil.copy(picture_of(tmp_path / "set/val"), picture_of(tmp_path / "set/train", 2))
    found = look(tmp_path / "set")
    assert kinds(found) == {"image in two sets": 1}
    assert found.findings[0].data.endswith("(train)") and "(val)" in found.findings[0].words
    assert look(tmp_path / "set", split="train").findings == []


def test_an_image_twice_in_one_set_is_a_fault_and_one_much_like_another_a_note(tmp_path, clean_labels):
    folder = tmp_path / "set"
    shutil.copytree(clean_labels, folder)
    first = picture_of(folder)
    for name in ("y", "z"):
        shutil.copy(folder / "masks" / f"{first.stem}.tif", folder / "masks" / f"{name}.tif")
    shutil.copy(first, folder / "images" / "y.png")
    noise = np.random.default_rng(0).integers(0, 8, (64, 80)).astype(np.uint8)
    Image.fromarray(np.asarray(Image.open(first)) // 2 + noise).save(folder / "images" / "z.png")
    found = look(folder)
    assert {(one.fault, one.image) for one in found.findings} == {("image twice", "y"), ("images alike", "z")}
    repair(found, tmp_path / "fixed", quiet=True)
    assert kinds(look(tmp_path / "fixed")) == {"images alike": 1}


def test_images_of_one_value_throughout_are_not_one_image(tmp_path):
    blank = Dataset(
        path=tmp_path,
        format="generated",
        classes=("object",),
        names=("a", "b"),
        files=(None, None),
        read_image=lambda index: np.zeros((20, 20, 1), np.uint8),
        read_truth=lambda index: Instances.empty((20, 20)),
    )
    assert kinds(check(blank, minimum=0, quiet=True)) == {"no objects": 2}


# --- label images -----------------------------------------------------------------------------------------------------


def put_labels(folder, label_map, name="a"):
    for inner in ("images", "masks"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(len(name)).integers(0, 255, label_map.shape).astype(np.uint8)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    tifffile.imwrite(folder / "masks" / f"{name}.tif", label_map)


def grid(count, kind):
    """So many squares of 4 x 4 pixels, numbered row by row."""
    columns = 20
    cells = np.zeros((-(-count // columns), columns), int)
    cells.ravel()[:count] = np.arange(1, count + 1)
    label_map = np.kron(cells, np.ones((6, 6), int))
    label_map[np.arange(len(label_map)) % 6 > 3] = 0
    label_map[:, np.arange(120) % 6 > 3] = 0
    return label_map.astype(kind)


def test_label_images_of_8_bits_that_are_full_are_found(tmp_path):
    for count, kind, expected in ((254, np.uint8, {}), (255, np.uint8, {"8-bit labels": 1}), (300, np.uint16, {})):
        folder = tmp_path / f"{count}"
        put_labels(folder, grid(count, kind))
        assert kinds(look(folder)) == expected
    found = look(tmp_path / "255")
    assert found.findings[0].entry is None and found.findings[0].image == "a"
    repair(found, tmp_path / "fixed", quiet=True)
    assert kinds(look(tmp_path / "fixed")) == {} and look(tmp_path / "fixed").objects == 255


def test_numbers_that_begin_anew_after_255_are_seen(tmp_path):
    wrapped = grid(400, np.uint16) % 256
    put_labels(tmp_path, wrapped.astype(np.uint8))
    found = kinds(look(tmp_path))
    assert found["8-bit labels"] == 1 and found["number given twice"] > 100


def test_objects_of_one_pixel_in_a_label_image_are_named_by_their_number(tmp_path):
    label_map = grid(9, np.uint16)
    label_map[3, 3] = 70
    put_labels(tmp_path, label_map)
    assert [(one.fault, one.entry, one.box) for one in look(tmp_path).findings] == [
        ("one pixel", "number 70", (3.0, 3.0, 4.0, 4.0))
    ]


def test_a_label_image_that_cannot_be_read_does_not_hide_another(tmp_path, clean_labels):
    folder = tmp_path / "set"
    shutil.copytree(clean_labels, folder)
    masks = sorted((folder / "masks").iterdir())
    masks[1].write_bytes(masks[1].read_bytes()[:60])
    masks[3].write_text("nothing")
    found = look(folder)
    assert kinds(found) == {"unreadable annotation": 2} and found.images == 6
    repair(found, tmp_path / "fixed", quiet=True)
    assert kinds(look(tmp_path / "fixed")) == {} and look(tmp_path / "fixed").images == 4


# --- other formats ----------------------------------------------------------------------------------------------------


CROSSED, OUTSIDE = [[4, 3], [60, 15], [60, 3], [4, 15]], [[-20, 3], [14, 3], [14, 15]]


def to_yolo(folder, points):
    file = sorted((folder / "labels").rglob("*.txt"))[0]
    numbers = " ".join(f"{x / 80:.6f} {y / 64:.6f}" for x, y in points)
    file.write_text(f"{file.read_text().rstrip()}\n0 {numbers}\n")


def to_labelme(folder, points):
    file = sorted(folder.rglob("*.json"))[0]
    content = json.loads(file.read_text())
    content["shapes"].append({**content["shapes"][0], "points": points, "shape_type": "polygon", "group_id": None})
    file.write_text(json.dumps(content))


def to_cvat(folder, points):
    (file,) = folder.rglob("*.xml")
    numbers = ";".join(f"{x},{y}" for x, y in points)
    polygon = f'<polygon label="disc" occluded="0" source="manual" points="{numbers}" z_order="0"></polygon>'
    file.write_text(file.read_text().replace("</image>", f"{polygon}</image>", 1))


@pytest.mark.parametrize(
    "to, add, fault, points",
    [
        ("yolo", to_yolo, "crossing outline", CROSSED),
        ("labelme", to_labelme, "crossing outline", CROSSED),
        ("labelme", to_labelme, "out of the image", OUTSIDE),
        ("cvat", to_cvat, "crossing outline", CROSSED),
        ("cvat", to_cvat, "out of the image", OUTSIDE),
    ],
)
def test_outlines_of_other_formats_are_looked_at_as_they_are_drawn(tmp_path, clean_coco, to, add, fault, points):
    convert(clean_coco, tmp_path / "set", to, quiet=True)
    assert kinds(look(tmp_path / "set")) == {}
    add(tmp_path / "set", points)
    found = look(tmp_path / "set")
    assert kinds(found) == {fault: 1}
    repair(found, tmp_path / "fixed", quiet=True)
    assert kinds(look(tmp_path / "fixed")) == {} and look(tmp_path / "fixed").objects == found.objects


@pytest.mark.parametrize("line, said", [("7 0.1 0.1 0.2 0.1 0.2 0.2", "7"), ("0 -0.5 0.1 0.2 0.1 0.2 0.2", "-0.5")])
def test_an_unknown_class_and_a_place_outside_are_found_in_each_yolo_file(tmp_path, clean_coco, line, said):
    convert(clean_coco, tmp_path / "set", "yolo", quiet=True)
    for file in sorted((tmp_path / "set/labels").rglob("*.txt"))[:2]:
        file.write_text(f"{file.read_text()}{line}\n")
    found = look(tmp_path / "set")
    assert kinds(found) == {"unreadable annotation": 2} and said in found.findings[0].words


# --- real sets --------------------------------------------------------------------------------------------------------


def test_the_real_street_frames_are_found_in_the_photographs_they_were_made_of_and_nothing_else(shared_data):
    photographs = open_dataset(shared_data / "coco", split="val2017")
    frames = open_dataset(shared_data / "street", split="val")
    assert kinds(check(photographs, [frames], minimum=0, quiet=True)) == {"image in two sets": len(frames)}


# --- whole sets -------------------------------------------------------------------------------------------------------


def test_a_set_that_cannot_be_opened_is_a_fault_and_the_others_are_looked_at(tmp_path, clean_labels):
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": 3, "annotations": [], "categories": []}')
    found = look(clean_labels, [broken])
    assert kinds(found) == {"unreadable set": 1} and found.images == 6
    found = look(broken, [clean_labels])
    assert kinds(found) == {"unreadable set": 1}
    with pytest.raises(InputError, match="nothing"):
        repair(found, tmp_path / "fixed")


def test_a_path_without_a_data_set_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        check(tmp_path / "nowhere")
    with pytest.raises(InputError, match="an empty folder"):
        check(tmp_path)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_table_json_and_page_tell_all_of_it(tmp_path, coco):
    folder, change = coco
    for number in range(8):
        box = {"segmentation": square(5, 3 * number, 30), "bbox": [40, 40, 5, 5], "area": 900}
        change(lambda content, box=box, number=number: added(content, id=800 + number, **box))
    change(lambda content: added(content, id=899, image_id=99))
    found = look(folder)
    table = found.table(100)
    assert "and 3 more" in table and "annotation 800" in table and table.endswith("9 faults, 0 notes")
    assert all(len(line) <= 100 for line in table.splitlines())
    figures = json.loads(found.to_json())
    assert (figures["faults"], figures["notes"], figures["images"]) == (9, 0, 6)
    assert figures["by_kind"] == {"unknown image": 1, "box off its mask": 8}
    assert figures["findings"][-1]["box"] == [21, 5, 51, 35]
    write_inspection_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png") == 8 and "box off its mask: 8" in page and "image 99" in page


def test_a_repaired_copy_is_never_written_over_the_data(tmp_path, coco):
    folder, change = coco
    change(doubled)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = look(folder)
    for out in (folder, tmp_path):
        with pytest.raises(InputError):
            repair(found, out, overwrite=True)
    repair(found, tmp_path / "fixed", quiet=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco", "fixed"]


def test_a_repaired_coco_set_keeps_ids_polygons_and_all_that_was_well(tmp_path, coco):
    folder, change = coco
    change(lambda content: content["categories"][0].update(id=17))
    change(lambda content: [entry.update(category_id=17) for entry in content["annotations"]])
    change(lambda content: content["annotations"].append({**content["annotations"][0], "id": 900}))
    repair(look(folder), tmp_path / "fixed", quiet=True)
    fixed = json.loads((tmp_path / "fixed/annotations.json").read_text())
    source = json.loads((folder / "annotations.json").read_text())
    assert fixed["categories"] == source["categories"]
    assert fixed["annotations"] == source["annotations"][:-1]
