import time
from xml.etree import ElementTree

import numpy as np
import pytest

from apiece.data.cvat import open_cvat, recognize, write_cvat
from apiece.data.formats import open_dataset, part_names
from apiece.data.images import write_image
from apiece.data.writing import Entry
from apiece.errors import InputError
from apiece.instances import Instances

POINTS = "2.00,1.00;6.00,1.00;6.00,3.00;2.00,3.00"
POLYGON = f'<polygon label="fig" source="manual" occluded="0" points="{POINTS}" z_order="0">'
LABELS = "<labels><label><name>fig</name><attributes><attribute><name>x</name></attribute></attributes></label>"
META = f"<meta><task><name>t</name>{LABELS}<label><name>date</name></label></labels></task></meta>"


def image(*shapes, name="a.png", more=""):
    return f'<image id="0" name="{name}" width="8" height="5" {more}>{"".join(shapes)}</image>'


def polygon(inside="", **said):
    more = " ".join(f'{key}="{value}"' for key, value in said.items())
    return f"{POLYGON.removesuffix('>')} {more}>{inside}</polygon>"


def make(folder, *images, meta=META, head='<?xml version="1.0" encoding="utf-8"?>'):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "annotations.xml"
    file.write_text(f"{head}<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>")
    return folder


def drawn(*places):
    mask = np.zeros((5, 8), bool)
    for rows, columns in places:
        mask[rows, columns] = True
    return mask


SQUARE = drawn((slice(1, 3), slice(2, 6)))


# --- shapes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, mask",
    [
        (polygon(), SQUARE),
        ('<box label="fig" xtl="2.0" ytl="1.0" xbr="6.0" ybr="3.0"/>', SQUARE),
        ('<box label="fig" xtl="3.0" ytl="0.0" xbr="5.0" ybr="4.0" rotation="90.0"/>', SQUARE),
        ('<ellipse label="fig" cx="4" cy="2" rx="2" ry="1"/>', SQUARE),
        ('<ellipse label="fig" cx="4" cy="2" rx="1" ry="2" rotation="90"/>', SQUARE),
        ('<mask label="fig" rle="0, 1, 1, 3, 1" left="2" top="1" width="3" height="2"/>', None),
    ],
)
def test_each_kind_of_shape_is_drawn(tmp_path, shape, mask):
    data = open_cvat(make(tmp_path, image(shape)))
    wanted = drawn((1, [2, 4]), (2, [2, 3])) if mask is None else mask
    assert data.classes == ("fig", "date") and data.truth(0).labels.tolist() == [0]
    assert (data.truth(0).dense()[0] == wanted).all()


def test_a_turn_is_clockwise_on_the_screen(tmp_path):
    make(tmp_path, image('<box label="fig" xtl="1" ytl="2" xbr="5" ybr="3" rotation="45"/>'))
    mask = open_cvat(tmp_path).truth(0).dense()[0]
    rows, columns = np.nonzero(mask)
    assert np.corrcoef(rows, columns)[0, 1] > 0.5


def test_a_group_is_one_object_for_each_label_and_group_0_is_none(tmp_path):
    shapes = [polygon(group_id=3), polygon(group_id=3), polygon(group_id=0), polygon(group_id=0), "<tag label='x'/>"]
    data = open_cvat(make(tmp_path, image(*shapes)))
    assert data.truth(0).mask_areas.tolist() == [8, 8, 8]


def test_ignored_objects_and_scores(tmp_path):
    ignore, score = '<attribute name="ignore">true</attribute>', '<attribute name="score">0.5</attribute>'
    other = POLYGON.replace("fig", "__ignore__") + f"{score}</polygon>"
    data = open_cvat(make(tmp_path, image(polygon(ignore + score), other, polygon(score))))
    truth = data.truth(0)
    assert truth.labels.tolist() == [0, -1, 0] and truth.ignore.tolist() == [True, True, False]
    assert truth.scores.tolist() == [0.5] * 3
    data = open_cvat(make(tmp_path, image(polygon(score), polygon('<attribute name="score"></attribute>'))))
    assert data.truth(0).scores is None


# --- files --------------------------------------------------------------------------------------------------------


def test_classes_without_meta_are_those_that_occur(tmp_path):
    make(tmp_path, image(polygon(), POLYGON.replace("fig", "date") + "</polygon>"), meta="")
    data = open_cvat(tmp_path)
    assert data.classes == ("date", "fig") and data.truth(0).labels.tolist() == [1, 0]


@pytest.mark.parametrize("where", ["images/x/a.png", "x/a.png", "images/a.png", "a.png"])
def test_images_lie_in_images_or_beside_the_file(tmp_path, where):
    make(tmp_path, image(polygon(), name="x/a.png"))
    write_image(np.full((5, 8, 3), 9, np.uint8), tmp_path / where)
    data = open_dataset(tmp_path)
    assert data.format == "cvat" and data.names == ("x/a",) and (data[0].image == 9).all()
    assert open_dataset(tmp_path / "annotations.xml").names == ("x/a",)


def test_subsets_of_a_project_are_parts(tmp_path):
    make(tmp_path, image(more='subset="Train"'), image(polygon(), name="b.png", more='subset="Test"'))
    write_image(np.full((5, 8, 3), 9, np.uint8), tmp_path / "images/Test/b.png")
    assert part_names(tmp_path) == ["Test", "Train"]
    with pytest.raises(InputError, match="parts Test, Train: choose one"):
        open_cvat(tmp_path)
    data = open_cvat(tmp_path, "Test")
    assert data.names == ("b",) and len(data[0].truth) == 1
    assert len(open_cvat(tmp_path, "Train").truth(0)) == 0


def test_other_xml_is_not_claimed(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation><object/></annotation>")
    assert recognize(tmp_path) is None and recognize(tmp_path / "a.xml") is None
    assert recognize(make(tmp_path, image())) == "CVAT XML (annotations.xml)"


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, said",
    [
        (POLYGON.replace(";6.00,3.00;2.00,3.00", "") + "</polygon>", r"\(polygon\): 2 points outline nothing"),
        (POLYGON.replace("6.00,3.00", "6.00") + "</polygon>", "its points are not pairs x,y;x,y"),
        (POLYGON.replace("6.00", "nan") + "</polygon>", "its point is no number: 'nan'"),
        (POLYGON.replace("6.00", "6e7") + "</polygon>", "a point lies far outside the image"),
        ('<polygon label="fig"/>', "0 points outline nothing"),
        ('<box label="fig" xtl="2.0" ytl="1.0" xbr="6.0"/>', r"\(box\): its ybr is no number: 'None'"),
        ('<ellipse label="fig" cx="4" cy="2" rx="0" ry="1"/>', r"\(ellipse\): its radius is zero"),
        ('<polyline label="fig" points="1,1;2,2"/>', r"\(polyline\): this outlines no object: apiece reads polygon"),
        ('<mask label="fig" rle="0, 5" left="2" top="1" width="3" height="2"/>', "run lengths do not fill its box"),
        ('<mask label="fig" rle="0, x" left="2" top="1" width="3" height="2"/>', "run lengths are not whole numbers"),
        ('<mask label="fig" rle="6" left="6" top="1" width="3" height="2"/>', "its mask reaches out of the image"),
        ('<mask label="fig" rle="6" left="6" top="1" width="1e11" height="2"/>', "its mask reaches out of the image"),
    ],
)
def test_a_broken_shape_is_named(tmp_path, shape, said):
    data = open_cvat(make(tmp_path, image(polygon(), shape)))
    with pytest.raises(InputError, match=rf"annotations\.xml: image a\.png, shape 2 .*{said}"):
        data.truth(0)


@pytest.mark.parametrize(
    "content, said",
    [
        ([image(POLYGON.replace("fig", "plum") + "</polygon>")], r"shape 1 \(polygon\): its label 'plum' is not among"),
        ([image(), image()], "two images of the name a"),
        (['<image name="a.png" width="8"/>'], r"image a\.png lacks a name, width or height"),
        (['<image id="4" width="8" height="5"/>'], "image 4 lacks a name"),
        (['<track id="0" label="fig"/>'], 'tracks through a video: export it as "CVAT for images'),
        (["<image"], "not valid XML"),
        (["&nothing;"], "not valid XML"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, said):
    with pytest.raises(InputError, match=rf"annotations\.xml: .*{said}"):
        open_cvat(make(tmp_path, *content))


def test_definitions_of_entities_are_refused_at_once(tmp_path):
    bomb = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 20))
    reading = '<!ENTITY file SYSTEM "file:///etc/passwd">'
    for inside in (f'<!ENTITY a0 "x">{bomb}', reading):
        make(tmp_path, image(name="&a19;"), head=f"<!DOCTYPE annotations [{inside}]>")
        start = time.perf_counter()
        with pytest.raises(InputError, match="has a DOCTYPE"):
            open_cvat(tmp_path)
        assert time.perf_counter() - start < 1
    (tmp_path / "annotations.xml").write_text("<?xml version='1.0' encoding='utf-16'?><annotations/>", "utf-16")
    with pytest.raises(InputError, match="not written in UTF-8"):
        open_cvat(tmp_path / "annotations.xml")


def test_deep_nesting_is_no_trouble(tmp_path):
    make(tmp_path, image(polygon("<a>" * 50_000 + "</a>" * 50_000)))
    assert len(open_cvat(tmp_path).truth(0)) == 1


def test_several_files_need_a_choice(tmp_path):
    file = make(tmp_path, image()) / "annotations.xml"
    (tmp_path / "more.xml").write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="parts annotations, more: choose one"):
        open_cvat(tmp_path)
    assert open_cvat(tmp_path, "more").names == ("a",)
    with pytest.raises(InputError, match="no CVAT XML file here"):
        open_cvat((tmp_path / "empty").mkdir() or tmp_path / "empty")


# --- writing ------------------------------------------------------------------------------------------------------


def test_objects_of_one_part_are_polygons_parts_a_group_and_holes_a_mask(tmp_path):
    ring, parts = drawn((slice(0, 5), slice(0, 5))), drawn((0, 0), (4, 7))
    ring[2, 2] = False
    truth = Instances.from_dense(np.stack([SQUARE, parts, ring]), [0, 0, 1])
    write_cvat([Entry("a", None, lambda: np.zeros((5, 8, 1), np.uint8), truth)], tmp_path, ["fig", 'a<"&'])
    root = ElementTree.parse(tmp_path / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert [one.findtext("name") for one in root.iter("label")] == ["fig", 'a<"&', "__ignore__"]
    (image,) = root.iter("image")
    assert (image.get("name"), image.get("width"), image.get("height")) == ("a.png", "8", "5")
    assert [(one.tag, one.get("group_id")) for one in image] == [
        ("polygon", None),
        ("polygon", "2"),
        ("polygon", "2"),
        ("mask", None),
    ]
    assert image[3].attrib.items() >= {"left": "0", "top": "0", "width": "5", "height": "5", "label": 'a<"&'}.items()
    assert image[3].get("rle") == "0, 12, 1, 12"


def test_names_that_xml_cannot_hold_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds characters that XML cannot"):
        write_cvat([], tmp_path, ["a\0b"])
    with pytest.raises(InputError, match="two classes of the name '__ignore__'"):
        write_cvat([], tmp_path, ["__ignore__"])
