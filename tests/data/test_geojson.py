import json

import numpy as np
import pytest

from apiece.data.formats import open_dataset, recognize
from apiece.data.geojson import open_geojson, write_geojson
from apiece.data.images import write_image
from apiece.data.writing import Entry
from apiece.errors import InputError
from apiece.instances import Instances

OUTER = [[1, 0], [6, 0], [6, 5], [1, 5], [1, 0]]
HOLE = [[2, 1], [2, 3], [4, 3], [4, 1], [2, 1]]
CORNER = [[7, 4], [8, 4], [8, 5], [7, 5], [7, 4]]


def feature(coordinates=(OUTER,), kind="Polygon", **properties):
    return {
        "type": "Feature",
        "id": "7a",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", **properties},
    }


def make(folder, *features, name="a", content=None):
    folder.mkdir(parents=True, exist_ok=True)
    write_image(np.full((5, 8, 3), 9, np.uint8), folder / f"{name}.png")
    content = {"type": "FeatureCollection", "features": list(features)} if content is None else content
    (folder / f"{name}.geojson").write_text(json.dumps(content))
    return folder


def drawn(hole=False, corner=False):
    mask = np.zeros((5, 8), bool)
    mask[:, 1:6] = True
    if hole:
        mask[1:3, 2:4] = False
    mask[4, 7] = corner
    return mask


# --- features -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one, mask",
    [
        (feature(), drawn()),
        (feature([OUTER[:-1]]), drawn()),
        (feature([[[*point, 0.0] for point in OUTER]]), drawn()),
        (feature([OUTER, HOLE]), drawn(hole=True)),
        (feature([OUTER, HOLE[::-1]]), drawn(hole=True)),
        (feature([[OUTER, HOLE], [CORNER]], "MultiPolygon"), drawn(hole=True, corner=True)),
        (feature([[CORNER], [OUTER], [OUTER]], "MultiPolygon"), drawn(corner=True)),
    ],
)
def test_polygons_with_holes_and_parts_are_drawn(tmp_path, one, mask):
    data = open_geojson(make(tmp_path, one))
    assert (data.truth(0).dense() == mask[None]).all() and (data[0].image == 9).all() and data.size(0) == (5, 8)


def test_holes_between_pixels_are_left_out_by_cocos_rule(tmp_path):
    hole = [[2.4, 1.2], [2.4, 3.3], [4.6, 3.3], [4.6, 1.2]]
    found = open_geojson(make(tmp_path, feature([OUTER, hole]))).truth(0).dense()[0]
    parts = Instances.from_polygons([[OUTER], [hole]], (5, 8)).dense()
    assert (found == (parts[0] & ~parts[1])).all() and parts[1].any()


@pytest.mark.parametrize(
    "properties, name",
    [
        ({"classification": {"name": "Tumor", "color": [200, 0, 0]}}, "Tumor"),
        ({"classification": "Tumor", "name": "cell 3"}, "Tumor"),
        ({"class": "Tumor", "name": "cell 3"}, "Tumor"),
        ({"name": "Tumor"}, "Tumor"),
        ({"classification": {"name": None}}, "object"),
        ({}, "object"),
    ],
)
def test_the_class_is_read_from_where_programs_put_it(tmp_path, properties, name):
    assert open_geojson(make(tmp_path, feature(**properties))).classes == (name,)


def test_ignored_objects_and_scores(tmp_path):
    kinds = [
        {"classification": {"name": "Ignore*"}, "measurements": {"score": 0.5}},
        {"name": "fig", "metadata": {"ignore": "true"}, "measurements": {"score": 1}},
        {"name": "fig", "measurements": [{"name": "area", "value": 3}, {"name": "score", "value": 0.25}]},
    ]
    data = open_geojson(make(tmp_path, *(feature(**kind) for kind in kinds)))
    assert data.classes == ("fig",) and data.truth(0).labels.tolist() == [-1, 0, 0]
    assert data.truth(0).ignore.tolist() == [True, True, False] and data.truth(0).scores.tolist() == [0.5, 1, 0.25]


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [[feature(), feature()], {"type": "FeatureCollection", "features": [feature()] * 2}]
)
def test_collections_and_lists_are_read(tmp_path, content):
    assert len(open_geojson(make(tmp_path, content=content)).truth(0)) == 2


def test_one_feature_is_a_file_too_and_json_may_be_given_by_hand(tmp_path):
    make(tmp_path, content=feature())
    (tmp_path / "a.geojson").rename(tmp_path / "a.json")
    data = open_dataset(tmp_path / "a.json")
    assert data.format == "geojson" and len(data.truth(0)) == 1
    assert recognize(tmp_path) == {}


def test_the_image_is_found_by_its_name(tmp_path):
    write_image(np.zeros((5, 8, 1), np.uint8), tmp_path / "images/x/a.png")
    file = tmp_path / "annotations/x/a.png.geojson"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(feature()))
    data = open_dataset(tmp_path)
    assert data.names == ("x/a.png",) and data.files == (tmp_path / "images/x/a.png",)


def test_classes_json_names_the_classes_and_their_order(tmp_path):
    make(tmp_path, feature(name="fig"))
    (tmp_path / "classes.json").write_text('{"classes": ["fig", "date"]}')
    assert open_geojson(tmp_path).classes == ("fig", "date")
    make(tmp_path, feature(name="fig"), feature(name="plum"))
    with pytest.raises(InputError, match=r"a\.geojson: feature 2: its class 'plum' is not among those of cla"):
        open_geojson(tmp_path)
    (tmp_path / "classes.json").write_text('["fig"]')
    with pytest.raises(InputError, match=r"classes\.json: not understood"):
        open_geojson(tmp_path)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one, said",
    [
        (feature([[[1, 1], [2, 2], [1, 1]]]), "2 points outline nothing"),
        (feature([[[1, 1], [2], [3, 3]]]), "not a list of pairs of numbers"),
        (feature([[[1, 1], [2, float("inf")], [3, 3]]]), "not a list of pairs of numbers"),
        (feature([[[1, 1], [2, -7e5], [3, 3]]]), "a point lies far outside the image"),
        (feature([]), "a polygon has no rings"),
        (feature(None), "a polygon has no rings"),
        (feature([], "MultiPolygon"), "it has no coordinates"),
        (feature({}, "MultiPolygon"), "it has no coordinates"),
        (feature([1, 1], "Point"), "a geometry of type Point outlines no object"),
        ({"type": "Feature", "geometry": None}, "a geometry of type None outlines no object"),
    ],
)
def test_a_broken_feature_is_named(tmp_path, one, said):
    data = open_geojson(make(tmp_path, feature(), one))
    with pytest.raises(InputError, match=rf"a\.geojson: feature 2: .*{said}"):
        data.truth(0)


def test_broken_files_are_named(tmp_path):
    for content, said in [
        ({"type": "Topology"}, "no GeoJSON: it should be a FeatureCollection"),
        ([3], "feature 1 is no Feature"),
        ({"features": [feature(), {}]}, "feature 2 is no Feature"),
    ]:
        with pytest.raises(InputError, match=rf"a\.geojson: {said}"):
            open_geojson(make(tmp_path, content=content))
    (tmp_path / "a.geojson").write_text("[")
    with pytest.raises(InputError, match=r"a\.geojson: not valid JSON"):
        open_geojson(tmp_path)
    (make(tmp_path, feature()) / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.geojson: its image is not there: put it, named a, beside the file"):
        open_geojson(tmp_path)


# --- writing ------------------------------------------------------------------------------------------------------


def test_the_written_file_is_what_qupath_reads(tmp_path):
    truth = Instances.from_dense(np.stack([drawn(hole=True), drawn(corner=True)]), [1, -1], ignore=[False, True])
    write_geojson([Entry("a", None, lambda: np.zeros((5, 8, 1), np.uint8), truth)], tmp_path, ["date", "fig"])
    content = json.loads((tmp_path / "a.geojson").read_text())
    first, second = content["features"]
    assert content["type"] == "FeatureCollection" and first["type"] == "Feature"
    assert first["geometry"]["type"] == "Polygon"
    for ring, wanted in zip(first["geometry"]["coordinates"], [OUTER, HOLE], strict=True):
        assert ring[0] == ring[-1]
        place = ring.index(wanted[0])
        assert [*ring[place:], *ring[1 : place + 1]] == wanted  # clockwise outside, holes the other way
    assert first["properties"] == {"objectType": "annotation", "classification": {"name": "fig"}}
    assert second["geometry"]["type"] == "MultiPolygon"
    assert [[len(ring) for ring in polygon] for polygon in second["geometry"]["coordinates"]] == [[5], [5]]
    assert second["properties"]["classification"] == {"name": "Ignore*"}
    assert json.loads((tmp_path / "classes.json").read_text())["classes"] == ["date", "fig"]


def test_a_class_that_means_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"two classes of the name 'Ignore\*'"):
        write_geojson([], tmp_path, ["Ignore*"])
