import re
from functools import partial
from html import unescape

import numpy as np
import pytest
from PIL import Image

from apiece.data.generated import crossing_sticks, discs
from apiece.data.label_images import write_label_images
from apiece.data.writing import entries
from apiece.errors import CallError, InputError
from apiece.viewing import PAGE, SHOWN, view


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five images of discs, one of them without any."""
    folder = tmp_path_factory.mktemp("data") / "set"
    data = discs(5, (64, 80), objects=(3, 6))
    *full, last = entries(data)
    write_label_images([*full, last._replace(truth=last.truth[:0])], folder, data.classes)
    return folder


def plain_text(page):
    return unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page.read_text(), flags=re.S))


def test_sheets_and_page_are_written_and_say_what_is_there(folder, tmp_path):
    survey = view(folder, tmp_path, quiet=True)
    assert (survey.images, survey.empty) == (5, 1) and survey.objects > 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet-1.png", PAGE]
    with Image.open(tmp_path / "sheet-1.png") as sheet:
        assert sheet.size[0] > 1000
    text = plain_text(tmp_path / PAGE)
    assert f"5 images (label-images), {survey.objects} objects of one class." in text
    assert "1 of 5 (20 %) show no object" in text
    assert "uint8, 1 channel, values below 256" in text
    assert "most objects" in text and "smallest object" in text


def test_the_page_needs_nothing_else(folder, tmp_path):
    view(folder, tmp_path, quiet=True)
    page = (tmp_path / PAGE).read_text()
    assert page.count("<img") == 5 + 1
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    assert page.count("<svg") >= 5


def test_the_same_seed_shows_the_same_images_and_another_one_others(tmp_path):
    data = crossing_sticks(16, (48, 48))

    def shown(seed, place):
        view(data, tmp_path / place, count=5, seed=seed, quiet=True)
        return re.findall(r"crossing-sticks-0-\d+(?=, \d+ object)", plain_text(tmp_path / place / PAGE))

    assert shown(1, "a") == shown(1, "b") and len(set(shown(1, "c"))) == 5
    assert shown(1, "d") != shown(2, "e")


def test_a_rare_class_is_shown(tmp_path):
    from dataclasses import replace

    data = discs(40, (48, 48), objects=(2, 3))
    reader = partial(with_rare_class, data.read_truth)
    view(replace(data, classes=("disc", "rare"), read_truth=reader), tmp_path, count=6, quiet=True)
    assert "with rare" in plain_text(tmp_path / PAGE)


def with_rare_class(read_truth, index):
    truth = read_truth(index)
    return truth.replace(labels=np.full(len(truth), int(index == 23)))


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_as_many_images_as_asked_for_are_shown(tmp_path, count):
    view(discs(14, (48, 48)), tmp_path, count=count, quiet=True)
    pictures = (tmp_path / PAGE).read_text().count("<img") - 1
    assert pictures == min(count, 14, SHOWN)
    assert (tmp_path / "sheet-1.png").exists() == (count > 0) and (tmp_path / "sheet-2.png").exists() == (count > 12)


def test_without_a_folder_no_image_is_read_and_nothing_is_written():
    from dataclasses import replace

    def fail(index):
        raise AssertionError("an image was read")

    assert view(replace(discs(3, (48, 48)), read_image=fail), quiet=True).images == 3


def test_what_cannot_be_read_is_an_error_or_skipped_by_name(tmp_path, capsys):
    data = discs(6, (48, 48))
    folder = tmp_path / "set"
    write_label_images(entries(data), folder, data.classes)
    bad = sorted((folder / "masks").iterdir())[2]
    bad.write_bytes(b"no image")
    image = sorted((folder / "images").iterdir())[4]
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(InputError, match=bad.name):
        view(folder, quiet=True)
    survey = view(folder, tmp_path / "out", skip_bad=True, quiet=True)
    assert survey.images == 5
    said = capsys.readouterr().err
    assert said.count("skipped: ") == 2 and bad.name in said and image.name in said


@pytest.mark.parametrize("wrong", [{"count": -1}, {"seed": -1}])
def test_numbers_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(CallError, match=next(iter(wrong))):
        view(discs(2, (48, 48)), **wrong)


def test_a_set_without_images_is_refused():
    with pytest.raises(InputError, match="no images"):
        view(discs(0, (48, 48)))


@pytest.mark.parametrize("place", ["nuclei/val", "fruits_nuts"])
def test_real_sets_can_be_viewed(shared_data, tmp_path, place):
    survey = view(shared_data / place, tmp_path, count=4, quiet=True)
    assert survey.objects > 100 and (tmp_path / PAGE).stat().st_size < 2_000_000
