"""Images and their objects must stay together to the pixel, whatever is done to them."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiece.data.augment import Augmentation
from apiece.errors import CallError
from apiece.instances import Instances

STILL = {"gain": 0.0, "offset": 0.0, "gamma": 0.0, "noise": 0.0}


def every_pixel_an_object(height, width):
    """An image whose two channels hold row + 1 and column + 1, and truth in which pixel number p is object p."""
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1].astype(np.float32)
    numbers = np.arange(1, height * width + 1, dtype=np.uint16).reshape(height, width)
    return np.stack([rows, columns]), Instances.from_label_map(numbers, columns={"pixel": np.arange(height * width)})


def places_of_objects(found, width):
    """Row + 1 and column + 1 of the source pixel that each pixel's object stands for; 0 for background."""
    pixel = np.concatenate([[-1], found.columns["pixel"]])[found.label_map()]
    return np.stack([pixel // width + 1, pixel % width + 1]) * (pixel >= 0)


def discs(size, count, generator):
    """Overlapping random discs."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    places = zip(
        generator.integers(size[0], size=count),
        generator.integers(size[1], size=count),
        generator.integers(2, 9, count),
        strict=True,
    )
    return np.stack([(rows - y) ** 2 + (columns - x) ** 2 <= radius**2 for y, x, radius in places])


options = st.fixed_dictionaries(
    {
        "flips": st.booleans(),
        "quarter_turns": st.booleans(),
        "rotation": st.sampled_from([0.0, 7.0, 180.0]),
        "scale": st.sampled_from([(1.0, 1.0), (0.5, 2.0), (1.3, 1.3)]),
        "centered": st.sampled_from([0.0, 0.5, 1.0]),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    options=options,
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    crop=st.sampled_from([None, 1, 8, 17, 64]),
    seed=st.integers(0, 2**31),
)
def test_image_and_objects_stay_on_the_same_pixels(options, height, width, crop, seed):
    image, truth = every_pixel_an_object(height, width)
    changed, found = Augmentation(**options, **STILL)(image, truth, crop, np.random.default_rng(seed))
    assert changed.shape[1:] == found.size
    places = places_of_objects(found, width)
    sampled = options["rotation"] or options["scale"] != (1.0, 1.0)
    # The nearest pixel is at most half a pixel away from the point between pixels that the image shows.
    assert np.abs(changed - places).max() <= (0.5 + 1e-3 if sampled else 0)
    assert options["rotation"] or (places > 0).all()


@settings(max_examples=60, deadline=None)
@given(options=options, crop=st.sampled_from([None, 24, 200]), seed=st.integers(0, 2**31))
def test_the_size_is_the_crop_or_the_image_where_that_is_smaller(options, crop, seed):
    image, truth = every_pixel_an_object(20, 50)
    changed, found = Augmentation(**options, **STILL)(image, truth, crop, np.random.default_rng(seed))
    if options["scale"] == (1.0, 1.0):
        allowed = {(20, 50), (50, 20)} if crop != 24 else {(20, 24), (24, 20)}
        assert found.size in allowed if options["quarter_turns"] else found.size == min(allowed)
    assert crop is None or max(found.size) <= crop
    assert changed.flags.c_contiguous and changed.dtype == np.float32


def test_flips_and_turns_give_all_eight_orientations_and_nothing_else():
    image, truth = every_pixel_an_object(3, 3)
    seen = {
        Augmentation(**STILL)(image, truth, None, np.random.default_rng(seed))[0][:, ::2, ::2].tobytes()
        for seed in range(200)
    }
    assert len(seen) == 8
    mirrored = {
        Augmentation(quarter_turns=False, **STILL)(image, truth, None, np.random.default_rng(seed))[0].tobytes()
        for seed in range(50)
    }
    assert mirrored == {image.tobytes(), np.ascontiguousarray(image[:, :, ::-1]).tobytes()}


def test_crops_reach_every_place_of_the_image_equally_often():
    image, truth = every_pixel_an_object(1, 6)
    starts = [
        int(Augmentation.none()(image, truth, 4, np.random.default_rng(seed))[0][1, 0, 0]) - 1 for seed in range(600)
    ]
    assert set(starts) == {0, 1, 2}
    assert np.bincount(starts).min() > 160


def test_a_turned_window_stays_inside_a_large_image():
    image, truth = every_pixel_an_object(60, 70)
    turned = Augmentation(rotation=180.0, centered=0.0, **STILL)
    for seed in range(50):
        assert turned(image, truth, 40, np.random.default_rng(seed))[0].min() >= 1


def test_the_outside_of_the_image_is_zero_and_without_objects():
    image, truth = np.ones((1, 30, 30), np.float32), Instances.from_label_map(np.ones((30, 30), np.uint16))
    turned = Augmentation(rotation=45.0, flips=False, quarter_turns=False, **STILL)
    changed, found = turned(image, truth, None, np.random.default_rng(3))
    assert 0.5 < found.areas[0] / 900 < 1
    assert (changed[0] == found.dense()[0]).all()


@pytest.mark.parametrize(("scale", "side"), [(2.0, 20), (0.5, 5)])
def test_scale_magnifies(scale, side):
    image, square = np.zeros((1, 40, 40), np.float32), np.zeros((1, 40, 40), bool)
    square[0, 15:25, 15:25] = True
    changed, found = Augmentation(scale=(scale, scale), **STILL)(
        image, Instances.from_dense(square), None, np.random.default_rng(0)
    )
    assert changed.shape == (1, 40 * scale, 40 * scale)
    assert found.areas.tolist() == [side * side]


def test_free_rotation_keeps_shapes():
    rows, columns = np.ogrid[:64, :64]
    disc = ((rows - 31.5) ** 2 + (columns - 31.5) ** 2 <= 20**2)[None]
    truth = Instances.from_dense(disc)
    for seed in range(5):
        _, found = Augmentation(rotation=180.0, **STILL)(
            np.zeros((1, 64, 64), np.float32), truth, None, np.random.default_rng(seed)
        )
        assert abs(found.areas[0] / truth.areas[0] - 1) < 0.01
        assert (found.dense()[0] != disc[0]).mean() < 0.02


def test_overlapping_objects_are_cut_each_for_itself_with_their_fields():
    generator = np.random.default_rng(0)
    stack = discs((50, 60), 30, generator)
    truth = Instances.from_dense(
        stack, generator.integers(3, size=30), ignore=generator.random(30) < 0.3, columns={"id": np.arange(30)}
    ).replace(areas=np.full(30, 7.0))
    image = np.stack(np.mgrid[:50, :60]).astype(np.float32)
    for seed in range(20):
        cut, found = Augmentation(flips=False, quarter_turns=False, **STILL)(
            image, truth, 20, np.random.default_rng(seed)
        )
        top, left = cut[:, 0, 0].astype(int)
        window = stack[:, top : top + 20, left : left + 20]
        seen = np.flatnonzero(window.any((1, 2)))
        assert found.columns["id"].tolist() == seen.tolist()
        assert (found.dense() == window[seen]).all()
        assert (found.labels == truth.labels[seen]).all() and (found.ignore == truth.ignore[seen]).all()
        assert (found.areas == window[seen].sum((1, 2))).all()


@pytest.mark.parametrize("sampled", [{}, {"rotation": 180.0, "scale": (0.7, 1.4)}])
def test_centered_crops_hold_the_middle_of_an_object_that_counts(sampled):
    label_map = np.zeros((300, 200), np.uint16)
    for number, (y, x) in enumerate([(5, 5), (150, 100), (295, 190), (40, 160)], start=1):
        label_map[y - 1 : y + 2, x - 1 : x + 2] = number
    truth = Instances.from_label_map(label_map, ignore=[False, False, False, True], columns={"id": np.arange(4)})
    image, around = np.zeros((1, 300, 200), np.float32), Augmentation(centered=1.0, **sampled)
    seen = [around(image, truth, 32, np.random.default_rng(seed))[1].columns["id"].tolist() for seed in range(60)]
    assert {number for numbers in seen for number in numbers} == {0, 1, 2}
    assert all(seen)


@pytest.mark.parametrize(("balanced", "share"), [(False, 1 / 9), (True, 1 / 2)])
def test_crops_are_centered_on_any_object_or_on_one_of_any_class(balanced, share):
    """Eight objects of class 0 in the upper half, and one of class 1 far below: how often is it in the middle?"""
    label_map = np.zeros((400, 200), np.uint16)
    for number in range(8):
        label_map[20, 20 + 20 * number] = number + 1
    label_map[360, 100] = 9
    truth = Instances.from_label_map(label_map, [0] * 8 + [1])
    image, around = np.zeros((1, 400, 200), np.float32), Augmentation(centered=1.0, balanced=balanced, **STILL)
    rare = [1 in around(image, truth, 32, np.random.default_rng(seed))[1].labels for seed in range(400)]
    assert abs(np.mean(rare) - share) < 0.06


def test_nothing_to_center_on_is_no_obstacle():
    image, around = np.zeros((1, 30, 30), np.float32), Augmentation(centered=1.0, rotation=20.0)
    void = Instances.from_label_map(np.ones((30, 30), np.uint16), ignore=[True])
    for truth in (Instances.empty((30, 30)), void, void[:0]):
        assert len(around(image, truth, 16, np.random.default_rng(0))[1]) == len(truth)


def test_the_same_generator_gives_the_same_and_the_given_arrays_stay_as_they_are():
    generator = np.random.default_rng(1)
    image = generator.random((3, 40, 50), np.float32)
    truth = Instances.from_dense(discs((40, 50), 6, generator))
    before, masks = image.copy(), truth.dense()
    everything = Augmentation(rotation=30.0, scale=(0.8, 1.2), blur=1.0)
    for augmentation in (everything, Augmentation(), Augmentation.none()):
        first = augmentation(image, truth, 32, np.random.default_rng(7))
        second = augmentation(image, truth, 32, np.random.default_rng(7))
        other = augmentation(image, truth, 32, np.random.default_rng(8))
        assert (first[0] == second[0]).all() and first[1].equals(second[1])
        assert (first[0] != other[0]).any()
        first[0][:] = -1
        assert (image == before).all() and (truth.dense() == masks).all()


# --- intensities ---


@pytest.fixture
def ramp():
    return np.linspace(-2, 3, 100 * 20, dtype=np.float32).reshape(1, 100, 20).repeat(2, 0)


def only(**strengths):
    return Augmentation(**{"flips": False, "quarter_turns": False, **STILL, **strengths})


def changed(image, augmentation, seed):
    return augmentation(image, Instances.empty(image.shape[1:]), None, np.random.default_rng(seed))[0]


def test_without_strengths_an_image_stays_as_it_is(ramp):
    assert (changed(ramp, Augmentation.none(), 0) == ramp).all()


def test_gain_multiplies_and_offset_adds_to_each_channel_apart(ramp):
    factors = np.concatenate([changed(ramp, only(gain=0.5), seed)[:, -1, -1] / 3 for seed in range(200)])
    assert 1 / 1.5 <= factors.min() < 0.75 and 1.4 < factors.max() <= 1.5 + 1e-6
    shifts = np.concatenate([changed(ramp, only(offset=0.3), seed)[:, 0, 0] + 2 for seed in range(200)])
    assert -0.3 - 1e-6 <= shifts.min() < -0.25 and 0.25 < shifts.max() <= 0.3 + 1e-6
    gained = changed(ramp, only(gain=0.5), 1)
    assert np.allclose(gained, ramp * (gained[:, -1:, -1:] / 3), atol=1e-6)
    assert (gained[0] != gained[1]).any()


def test_gamma_bends_what_lies_between_zero_and_one_only(ramp):
    middle = (ramp > 0) & (ramp < 1)
    exponents = []
    for seed in range(100):
        bent = changed(ramp, only(gamma=0.5), seed)
        assert np.allclose(bent[~middle], ramp[~middle], atol=1e-6)
        assert (np.diff(bent.reshape(2, -1), axis=1) > -1e-6).all()
        exponents += [float(np.median(np.log(bent[c][middle[c]]) / np.log(ramp[c][middle[c]]))) for c in range(2)]
    assert 1 / 1.5 - 1e-3 <= min(exponents) < 0.75 and 1.35 < max(exponents) <= 1.5 + 1e-3


def test_noise_has_a_random_strength_up_to_the_given_one():
    flat = np.zeros((1, 64, 64), np.float32)
    strengths = [float(changed(flat, only(noise=0.2), seed).std()) for seed in range(100)]
    assert min(strengths) < 0.02 and 0.17 < max(strengths) < 0.21


def test_noise_is_normal_and_independent():
    noise = changed(np.zeros((1, 300, 300), np.float32), only(noise=1.0), 0)[0]
    noise /= noise.std()
    assert abs(noise.mean()) < 0.02 and abs((noise**3).mean()) < 0.05 and abs((noise**4).mean() - 3) < 0.1
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.02 and abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.02


def test_blur_spreads_a_point_but_keeps_its_sum():
    point = np.zeros((2, 41, 41), np.float32)
    point[0, 20, 20] = 1
    blurred = changed(point, only(blur=2.0), 0)
    assert 0.01 < blurred[0, 20, 20] < 1 and abs(blurred[0].sum() - 1) < 1e-4
    assert (blurred[1] == 0).all()


@pytest.mark.parametrize(
    "wrong",
    [{"rotation": -1.0}, {"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}, {"centered": 1.5}, {"noise": float("nan")}]
    + [{"copy_paste": -0.5}, {"blend": -1.0}],
)
def test_options_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(CallError, match=next(iter(wrong))):
        Augmentation(**wrong)


def test_every_option_is_described():
    assert all(f"        {option.name}: " in str(Augmentation.__doc__) for option in fields(Augmentation))
