import numpy as np
import pytest

from apiece.views import viewable, written


def ramp(kind: str, channels: int = 1) -> np.ndarray:
    values = np.linspace(0, 1, 64 * 64).reshape(64, 64, 1) * (np.arange(channels) + 1)
    scale = {"bool": 1, "uint8": 20, "int16": 3000, "uint16": 9000, "uint32": 4e9 / channels}.get(kind, 5.0)
    return (values * scale).astype(kind) if kind != "bool" else values > 0.5


@pytest.mark.parametrize("kind", ["bool", "uint8", "int16", "uint16", "uint32", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_any_image_fills_the_range_and_keeps_its_order(kind: str, channels: int):
    image = ramp(kind, channels)
    shown = viewable(image)(image)
    assert shown.shape == (64, 64, 3) and shown.dtype == np.uint8
    assert shown.min() <= 1 and shown.max() >= 254
    assert (np.diff(shown.reshape(-1, 3).astype(int), axis=0) >= 0).all()


def test_an_image_without_a_channel_axis_is_grey():
    image = ramp("uint16")[:, :, 0]
    assert np.array_equal(viewable(image)(image), viewable(image[:, :, None])(image[:, :, None]))


def test_sixteen_bits_are_stretched_not_cut():
    image = np.full((50, 50), 1000, np.uint16)
    image[:25] += np.arange(50, dtype=np.uint16)
    assert len(np.unique(viewable(image)(image))) == 50


def test_an_8_bit_image_of_good_contrast_is_shown_as_it_is():
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert np.array_equal(viewable(photo)(photo), photo)


def test_colors_of_a_dim_8_bit_photograph_keep_their_balance():
    photo = np.zeros((40, 40, 3), np.uint8)
    photo[:, 20:] = (60, 30, 0)
    red, green, blue = viewable(photo)(photo)[0, 30].tolist()
    assert red == 255 and abs(green - 127) <= 2 and blue == 0


def test_two_channels_are_green_and_magenta_and_an_alpha_channel_is_not_one():
    image = np.zeros((20, 20, 2), np.uint16)
    image[:10, :, 0] = image[:, :10, 1] = 500
    shown = viewable(image)(image)
    assert shown[0, 19].tolist() == [0, 255, 0] and shown[19, 0].tolist() == [255, 0, 255]
    image[:, :, 1] = 7
    shown = viewable(image)(image)
    assert shown[0, 19].tolist() == [255, 255, 255]


def test_what_is_no_number_is_black_and_disturbs_nothing():
    image = ramp("float32")[:, :, 0].copy()
    clean = viewable(image)(image)
    image[0, :3] = np.nan, np.inf, -np.inf
    shown = viewable(image)(image)
    assert shown[0, :3, 0].tolist() == [0, 255, 0]
    assert np.abs(shown[1:].astype(int) - clean[1:]).max() <= 1
    nothing = np.full((4, 4), np.nan)
    assert not viewable(nothing)(nothing).any()


@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_even_8_bit_image_stays_even(value: int):
    image = np.full((9, 9), value, np.uint8)
    assert (viewable(image)(image) == value).all()


def test_a_view_of_some_rows_is_part_of_the_whole():
    image = np.random.default_rng(0).normal(size=(30, 20, 2))
    assert np.array_equal(viewable(image)(image[7:12]), viewable(image)(image)[7:12])


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_images_of_hardly_a_pixel(size: tuple[int, int]):
    image = np.zeros(size, np.uint16)
    assert viewable(image)(image).shape == (*size, 3)


def test_longer_text_is_wider_and_has_ink():
    short, long = written("cell"), written("cell 0.95, rather sure")
    assert long.shape[1] > short.shape[1] and short.shape[0] == long.shape[0]
    assert short.max() > 0.5 and written("").max() == 0
