import numpy as np
import pytest

from apiece.advice import advice
from apiece.instances import Instances
from apiece.statistics import Survey

KIND = {"uint8, 1 channel, values below 256": 3}


def squares(places, side=20, size=(200, 200), **fields):
    label_map = np.zeros(size, np.uint16)
    for number, (y, x) in enumerate(places, start=1):
        label_map[y : y + side, x : x + side] = number
    return Instances.from_label_map(label_map, **fields)


def told(*truths, classes=("a",), kinds=KIND):
    survey = Survey(classes)
    for number, truth in enumerate(truths):
        survey.add(f"image {number}", truth)
    return dict(advice(survey, kinds))


APART = [(10, 10), (60, 60), (110, 110), (160, 20)]


def test_ordinary_data_need_few_words():
    said = told(squares(APART), squares(APART[:2]))
    assert set(said) == {"sizes", "crops", "numbers", "overlap", "background", "image sizes"}
    assert "22 to 22 px across" in said["sizes"]
    assert "--crop 32" in said["crops"]
    assert "at most 4 (image image 0)" in said["numbers"]
    assert "No pixel" in said["overlap"] and said["image sizes"] == "All are 200 x 200 (height x width)."


def test_the_median_count_is_exact():
    many = squares([(y, x) for y in range(0, 64, 8) for x in range(0, 64, 8)], side=5)
    assert told(many)["numbers"].startswith("An image with objects has 64 in the median, at most 64 (image ")


def test_small_objects_and_a_wide_range_are_told():
    said = told(squares(APART, side=4), squares([(10, 10)], side=150))
    assert "0.6 cells of a feature map at stride 8" in said["small objects"]
    assert "37 times" in said["range of sizes"]
    assert "small objects" not in told(squares(APART))


def test_rare_and_missing_classes_are_told_with_a_threshold_that_reaches_them():
    frequent = [squares(APART, labels=[0, 0, 0, 1]) for _ in range(20)]
    said = told(*frequent, squares(APART[:1], labels=[2]), classes=("cat", "dog", "newt", "unicorn"))
    assert "cat has the most objects (60), newt the fewest (1 in 1 image): 60 to 1" in said["classes"]
    assert said["missing classes"].startswith("unicorn:")
    assert "1 are in fewer than 10 % of the images: --sampling.repeat 0.1" in said["rare classes"]
    assert "rare classes" not in told(*frequent, classes=("cat", "dog"))


def test_overlap_and_close_boxes_and_touching_are_told():
    masks = np.zeros((3, 100, 100), bool)
    masks[0, 10:50, 10:50] = masks[1, 12:50, 10:50] = masks[2, 80:90, 80:90] = True
    said = told(Instances.from_dense(masks))
    assert (
        said["overlap"].startswith("67 % of the objects share pixels") and "up to 2 lie on one pixel" in said["overlap"]
    )
    assert said["boxes"].startswith("67 %") and said["touching"].startswith("67 %")


def test_images_without_objects_and_ignored_regions_are_told():
    said = told(squares(APART, ignore=[True, False, False, False]), Instances.empty((50, 300)))
    assert said["empty images"].startswith("1 of 2 (50 %)") and "--sampling.empty" in said["empty images"]
    assert said["ignored"].startswith("1 crowds")
    assert said["image sizes"] == "2 different ones, from 50 x 300 to 200 x 200 (height x width)."


def test_objects_in_the_middle_and_at_the_border_are_told():
    assert "places" in told(squares([(90, 90), (60, 60), (110, 110)]))
    assert told(squares([(0, 20), (60, 60)]))["border"].startswith("50 %")


def test_images_of_several_kinds_are_told():
    kinds = {"uint8, 1 channel, values below 256": 1, "uint8, 3 channels, values below 256": 2}
    assert "(1 channel, 3 channels)" in told(squares(APART), kinds=kinds)["channels"]


@pytest.mark.parametrize("truths", [[], [Instances.empty((10, 10))]])
def test_without_any_object_one_sentence_says_so(truths):
    assert told(*truths) == {"objects": "No image has an object: there is nothing to learn."}
