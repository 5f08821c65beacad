import json

import numpy as np
import pytest

from apiece.data.generated import crossing_sticks, discs
from apiece.errors import CallError, InputError
from apiece.recommendation import recommend
from apiece.recommendation_page import part_of, write_recommendation_page

NAMES = ("SpatialEmbedding", "DCME", "Discriminative")


@pytest.fixture(scope="module")
def hard():
    return recommend(crossing_sticks(6, seed=1, hard=True), names=NAMES, images=4, quiet=True)


def test_what_cannot_show_the_objects_is_not_recommended(hard):
    assert hard.chosen() == ["Discriminative"]
    assert hard.commands() == [f"apiece train {hard.data.path} --method Discriminative --minutes 25"]
    assert "The representation is in the way of SpatialEmbedding, DCME." in hard.reasons()


def test_where_all_can_show_them_the_prior_decides():
    found = recommend(discs(3, (64, 64), seed=2), names=NAMES, options=("--split", "a b"), quiet=True)
    assert found.chosen()[0] == "SpatialEmbedding" and "Discriminative" in found.chosen()
    train, compare = found.commands()
    assert train == f"apiece train {found.data.path} --split 'a b' --method SpatialEmbedding --minutes 25"
    assert compare.startswith(f"apiece compare {found.data.path} --split 'a b' --methods SpatialEmbedding,")


def test_the_table_has_bounds_reasons_and_commands(hard):
    text = hard.table(width=160)
    lines = text.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("Discriminative ")]
    assert row[1:4] == ["1.0000"] * 3 and row[-2] == "4"
    assert "share a center with another" in text and "Try first: Discriminative" in lines
    assert any(line.startswith("SpatialEmbedding: ") and "cannot be shown" in line for line in lines)
    assert hard.commands()[0] in lines


def test_figures_are_json_with_everything_in_it(hard):
    figures = json.loads(hard.to_json())
    assert figures["recommended"] == "Discriminative" and set(figures["bounds"]) == set(NAMES)
    one = figures["bounds"]["SpatialEmbedding"]
    assert one["images"] == 4 and one["AP"] < 0.5 and "cannot be shown" in one["words"] and one["parameters"] > 1000
    assert figures["objects"]["images"] == 6 and figures["objects"]["traits"]["shares_center"] == 1


def test_the_page_shows_truth_beside_what_is_left_of_it(hard, tmp_path):
    write_recommendation_page(hard, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    worst = sum(len(bound.worst) for bound in hard.bounds)
    assert worst >= 4 and text.count("<img") == worst
    assert "Try first: Discriminative" in text and "mean IoU of the whole image" in text


def test_of_a_large_image_the_page_shows_what_is_lost_most():
    found = recommend(crossing_sticks(1, (400, 400), seed=1, hard=True), names=("SpatialEmbedding",), quiet=True)
    (loss,) = found.bounds[0].worst
    rows, columns = part_of(loss)
    x1, y1, x2, y2 = loss.excerpt.known.mask_boxes[int(np.argmin(loss.ious))].tolist()
    assert rows.start <= y1 and y2 <= rows.stop and columns.start <= x1 and x2 <= columns.stop


def test_the_choice_of_images_is_the_same_each_time():
    data = discs(9, (48, 48), seed=2)
    first, again = (recommend(data, names=("DCME",), images=3, quiet=True).bounds[0] for _ in range(2))
    assert [one.name for one in first.scorer.records] == [one.name for one in again.scorer.records]
    assert first.figures() == again.figures()


def test_where_annotations_took_all_the_time_it_is_said_that_the_time_was_over():
    found = recommend(discs(3, (48, 48), seed=2), names=("DCME", "Discriminative"), seconds=1e-6, quiet=True)
    assert [words.partition(",")[0] for _, words in found.lines()] == ["all 7 objects can be shown"] * 2
    assert any(sentence.startswith("The time was over after 1 of 3 images: ") for sentence in found.reasons())


def test_data_without_objects_is_refused():
    with pytest.raises(InputError, match="no objects in the 2 images looked at"):
        recommend(discs(2, (48, 48), objects=(0, 0)), names=("DCME",), quiet=True)


@pytest.mark.parametrize("given", [{"images": 0}, {"seconds": 0.0}, {"seed": -1}, {"names": ("Nothing",)}])
def test_what_cannot_be_meant_is_refused(given):
    with pytest.raises(CallError):
        recommend(discs(2, (48, 48)), quiet=True, **given)
