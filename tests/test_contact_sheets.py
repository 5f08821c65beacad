import numpy as np
import pytest
from PIL import Image

from apiece.contact_sheets import digits, fitted, thumbnail, with_masks, write_sheets
from apiece.data.dataset import Sample
from apiece.instances import Instances


def squares(*places, size=(100, 120), side=20, **fields):
    label_map = np.zeros(size, np.uint16)
    for number, (y, x) in enumerate(places, start=1):
        label_map[y : y + side, x : x + side] = number
    return Instances.from_label_map(label_map, **fields)


def test_digits_can_be_told_apart_and_read_from_left_to_right():
    alone = [digits(number) for number in range(10)]
    assert len({one.tobytes() for one in alone}) == 10
    together = digits(407)
    assert together.shape == (5, 11)
    assert all((together[:, 4 * place : 4 * place + 3] == alone[digit]).all() for place, digit in enumerate((4, 0, 7)))


def test_an_object_carries_its_number_in_its_own_pixels():
    image = np.full((100, 120, 1), 90, np.uint8)
    places = [(10, 10), (60, 70)]
    picture = thumbnail(Sample("x", image, squares(*places)), ("cell",), side=120)
    for number, (y, x) in enumerate(places, start=1):
        inside = (picture[y : y + 20, x : x + 20] == 255).all(2)
        ink = digits(number)
        windows = np.lib.stride_tricks.sliding_window_view(inside, ink.shape)
        assert any((window == ink).all() for row in windows for window in row)
    outside = picture.copy()
    for y, x in places:
        outside[y : y + 20, x : x + 20] = 90
    assert (outside == 90).all()


def test_numbers_are_those_of_the_annotation_even_if_some_objects_vanish_on_the_way():
    label_map = np.zeros((400, 400), np.uint16)
    label_map[7, 7], label_map[100:300, 100:300] = 1, 2
    picture = thumbnail(
        Sample("x", np.zeros((400, 400, 1), np.uint8), Instances.from_label_map(label_map)), ("a",), 100
    )
    ink = digits(2).repeat(2, 0).repeat(2, 1)
    windows = np.lib.stride_tricks.sliding_window_view((picture == 255).all(2), ink.shape)
    assert any((window == ink).all() for row in windows for window in row)


def test_objects_of_several_classes_have_the_class_written_and_its_color():
    image = np.full((100, 300, 1), 90, np.uint8)
    truth = squares((10, 10), (10, 110), (10, 210), size=(100, 300), side=80, labels=[0, 1, 0])
    picture = thumbnail(Sample("x", image, truth), ("nut", "fig"), side=300)
    first, second, third = (picture[50, x] for x in (50, 150, 250))
    assert (first == third).all() and (first != second).any()
    # The caption's ground is the object's outline color, over more than a line of pixels.
    assert (picture[12:22, 12:16] == picture[40, 10]).all(2).mean() > 0.5


@pytest.mark.parametrize(
    ("size", "expected"),
    [((50, 30), (500, 300)), ((1000, 500), (512, 256)), ((300, 300), (300, 300)), ((1, 9000), (1, 512))],
)
def test_pictures_have_a_like_size(size, expected):
    picture = fitted(np.zeros((*size, 3), np.uint8), 512)
    assert picture.shape == (*expected, 3)


def test_enlarged_pixels_stay_sharp_and_deep_images_are_shown():
    image = np.array([[[0], [1000]], [[4000], [60000]]], np.uint16)
    picture = fitted(image, 8)
    assert picture.shape == (8, 8, 3) and len(np.unique(picture[:4, :4])) == 1
    assert picture[7, 7, 0] == 255 and picture[0, 0, 0] == 0


def test_boxes_are_rectangles_where_there_are_no_masks():
    truth = with_masks(Instances.from_boxes([[-5, 2, 4, 8], [90, 90, 99, 99]], (20, 30), [1, 0]))
    assert truth.mask_areas.tolist() == [24, 0] and truth.labels.tolist() == [1, 0]


@pytest.mark.parametrize("count", [1, 12, 13])
def test_sheets_hold_twelve_pictures_each(tmp_path, count):
    pictures = [np.full((30 + number, 50, 3), number, np.uint8) for number in range(count)]
    files = write_sheets(pictures, [f"image {number}" for number in range(count)], tmp_path)
    assert [file.name for file in files] == [f"sheet-{number}.png" for number in range(1, -(-count // 12) + 1)]
    with Image.open(files[-1]) as sheet:
        last = np.asarray(sheet)
    assert (last == count - 1).all(2).sum() >= (30 + count - 1) * 50
