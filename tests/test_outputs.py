"""Files of what was found: each kind, each name once, skipped when there, whole or not at all."""

import csv
import json
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

import apiece
from apiece.data.coco import open_coco
from apiece.errors import CallError, InputError
from apiece.outputs import KINDS, predict_files
from apiece.prediction import find


@pytest.fixture(scope="module")
def model(model_file):
    return apiece.load(model_file)


@pytest.fixture
def images(tmp_path, disc_folder):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, image in zip("abc", sorted((disc_folder / "images").iterdir()), strict=False):
        shutil.copy(image, folder / f"{name}.png")
    return folder


def names(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_kind_of_file_holds_what_was_found(model, images, tmp_path):
    out = tmp_path / "found"
    counts = predict_files(model, [images], out, tuple(KINDS), quiet=True)
    inside = ("displaced", "margin", "offsets", "seeds")
    each = [".tif", ".csv", "_overlay.png", *(f"_inside_{what}.png" for what in inside)]
    assert names(out) == {"found.json", *(f"{name}{ending}" for name in "abc" for ending in each)}
    classes, total = model.card.classes, 0
    written = open_coco(out / "found.json")
    assert written.classes == classes
    for place, name in enumerate("abc"):
        found = find(model, images / f"{name}.png")
        certain = found[found.scores >= model.card.threshold]
        total += len(certain)
        assert np.array_equal(tifffile.imread(out / f"{name}.tif"), certain.label_map())
        assert len(list(csv.reader((out / f"{name}.csv").read_text().splitlines()))) == len(certain) + 1
        assert apiece.read_image(out / f"{name}_overlay.png").shape == (*found.size, 3)
        assert np.array_equal(written.truth(place).dense(), found.dense()), "COCO holds the unsure ones too"
        np.testing.assert_allclose(written.truth(place).scores, found.scores)
    assert counts == {"images": 3, "objects": total, "skipped": 0, "bad": 0}
    files = [image["file_name"] for image in json.loads((out / "found.json").read_text())["images"]]
    assert files == ["a.png", "b.png", "c.png"]


def test_labels_are_counted_in_16_bits_where_they_fit(model, images, tmp_path):
    predict_files(model, [images / "a.png"], tmp_path / "found", ("labels",), threshold=0, quiet=True)
    labels = tifffile.imread(tmp_path / "found" / "a.tif")
    assert labels.dtype == np.uint16 and labels.max() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_is_not_made_again_unless_asked(model, images, tmp_path, kind):
    out = tmp_path / "found"
    predict_files(model, [images / "a.png"], out, (kind,), quiet=True)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    counts = predict_files(model, [images], out, (kind,), quiet=True)
    assert (counts["images"], counts["skipped"]) == (2, 1)
    kept = {path: time for path, time in before.items() if path.name != "found.json"}
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert predict_files(model, [images], out, (kind,), quiet=True)["skipped"] == 3
    assert predict_files(model, [images], out, (kind,), overwrite=True, quiet=True)["images"] == 3


def test_a_kind_that_is_missing_is_made(model, images, tmp_path):
    predict_files(model, [images], tmp_path / "found", ("labels",), quiet=True)
    counts = predict_files(model, [images], tmp_path / "found", ("labels", "csv"), quiet=True)
    assert counts["images"] == 3 and (tmp_path / "found" / "b.csv").exists()


def test_a_second_run_adds_to_the_coco_file(model, images, tmp_path):
    first = predict_files(model, [images / "a.png"], tmp_path / "found", ("coco",), threshold=0, quiet=True)
    predict_files(model, [images / "b.png"], tmp_path / "found", ("coco",), quiet=True)
    written = open_coco(tmp_path / "found" / "found.json")
    assert written.names == ("a", "b") and len(written.truth(0)) == first["objects"]


def test_results_of_other_classes_are_not_mixed(model, images, tmp_path):
    predict_files(model, [images], tmp_path / "found", ("coco",), quiet=True)
    other = apiece.SpatialEmbedding(2, channels=1, network="tiny")
    other.card.classes = ("date", "fig")
    with pytest.raises(InputError, match=r"found\.json: holds results of other classes \(disc\)"):
        predict_files(other, [images], tmp_path / "found", ("coco",), quiet=True)


def test_images_of_one_name_in_two_folders_keep_their_folders(model, images, tmp_path):
    shutil.copytree(images, tmp_path / "more")
    predict_files(model, [images / "a.png", tmp_path / "more" / "a.png"], tmp_path / "found", ("labels",), quiet=True)
    assert names(tmp_path / "found") == {"images/a.tif", "more/a.tif"}


def test_no_result_takes_the_place_of_an_image(model, images, tmp_path):
    tifffile.imwrite(images / "d.tif", np.zeros((9, 9), np.uint16))
    before = {path: path.read_bytes() for path in images.iterdir()}
    with pytest.raises(CallError, match=r"d\.tif, a result of .*d\.tif, is an image itself: give another --out"):
        predict_files(model, [images], images, quiet=True)
    with pytest.raises(CallError, match="is an image itself"):
        predict_files(model, [images], tmp_path / "other" / ".." / "images", quiet=True)
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_bad_images_stop_the_job_or_are_counted(model, images, tmp_path, capsys):
    (images / "b.png").write_text("no image")
    color = np.arange(9 * 9 * 3, dtype=np.uint8).reshape(9, 9, 3)
    Image.fromarray(color).save(images / "c.png")
    with pytest.raises(InputError, match=r"b\.png: this is text"):
        predict_files(model, [images], tmp_path / "found", ("labels", "coco"), quiet=True)
    assert names(tmp_path / "found") == {"a.tif", "found.json"}, "what was done is kept"
    counts = predict_files(model, [images], tmp_path / "found", ("labels", "coco"), skip_bad=True, quiet=True)
    assert (counts["images"], counts["skipped"], counts["bad"]) == (0, 1, 2)
    said = capsys.readouterr().err
    assert "skipped: " in said and "b.png" in said and "c.png: the image has 3 channels" in said


def test_images_of_odd_kinds_go_through_with_every_kind_of_file(model, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    grey = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    Image.fromarray(grey[:1, :1]).save(folder / "pixel.png")
    Image.fromarray(np.tile(grey, (1, 9))[:3, :500]).save(folder / "wide.png")
    Image.fromarray(grey[:17, :31]).save(folder / "odd.png")
    Image.fromarray(grey > 128).save(folder / "bits.png")
    Image.fromarray(np.zeros_like(grey)).save(folder / "black.png")
    Image.fromarray(np.dstack([grey, grey])).save(folder / "alpha.png")
    tifffile.imwrite(folder / "deep.tif", grey.astype(np.uint16) * 99)
    tifffile.imwrite(folder / "float.tif", grey.astype(np.float32) / 7)
    counts = predict_files(model, [folder], tmp_path / "found", tuple(KINDS), threshold=0, quiet=True)
    assert counts["images"] == 8 and counts["bad"] == 0
    assert tifffile.imread(tmp_path / "found" / "wide.tif").shape == (3, 500)
    assert tifffile.imread(tmp_path / "found" / "pixel.tif").shape[-2:] == (1, 1)


def test_what_cannot_be_saved_is_said_before_anything_is_done(model, images, tmp_path):
    for save in (("labels", "png"), ()):
        with pytest.raises(CallError, match="choose from labels, overlay, csv, coco, inside"):
            predict_files(model, [images], tmp_path / "found", save, quiet=True)
    assert not (tmp_path / "found").exists()


def test_a_folder_of_results_can_be_scored_as_it_is(model, disc_folder, tmp_path):
    truth = apiece.open_dataset(disc_folder)
    predict_files(model, [disc_folder / "images"], tmp_path / "labels", ("labels", "overlay", "csv"), quiet=True)
    predict_files(model, [disc_folder / "images"], tmp_path / "coco", ("coco",), quiet=True)
    evaluated = apiece.evaluate(model, truth, quiet=True)
    point = model.card.threshold
    from_labels = apiece.score(tmp_path / "labels", disc_folder, ["matching"])
    from_coco = apiece.score(tmp_path / "coco", disc_folder, threshold=point)
    assert from_coco["matching"]["0.50"]["tp"] == evaluated["matching"]["0.50"]["tp"]
    assert from_coco["coco"]["segm"]["AP"] == pytest.approx(evaluated["coco"]["segm"]["AP"])
    assert from_labels["matching"]["0.50"]["n_pred"] <= evaluated["matching"]["0.50"]["n_pred"]
