"""How often images are seen: exactly as often as asked for on average, and nearly so in every epoch."""

from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiece.data.dataset import Dataset
from apiece.data.loading import Batches
from apiece.data.sampling import Order, Sampling, repeat_factors
from apiece.errors import CallError, InputError
from apiece.instances import Instances


def truth_of(labels, index):
    """Two-pixel objects side by side, one for each label; negative ones are ignored objects of class 0."""
    label_map = np.zeros((12, 40), np.uint16)
    for number in range(len(labels[index])):
        label_map[4:6, 3 * number + 1] = number + 1
    kinds = np.array(labels[index], int)
    return Instances.from_label_map(label_map, np.maximum(kinds, 0), ignore=kinds < 0)


def image_of(index):
    return np.full((12, 40, 1), index, np.uint8)


def dataset(*labels):
    names = tuple(map(str, range(len(labels))))
    files = (None,) * len(labels)
    return Dataset(Path("folder"), "made", ("a", "b", "c"), names, files, image_of, partial(truth_of, labels))


def prepare(image):
    return np.moveaxis(image, 2, 0).astype(np.float32)


def test_repeat_factors_are_those_of_the_paper():
    # f_a = 4/5, f_b = 2/5, f_c = 1/5; max over an image's classes of max(1, sqrt(0.5 / f)).
    labels = [np.array(of_image, int) for of_image in ([0], [0, 1], [0, 1, 2], [0], [])]
    expected = [1, np.sqrt(0.5 / 0.4), np.sqrt(0.5 / 0.2), 1, 1]
    assert np.allclose(repeat_factors(labels, 0.5), expected)
    assert (repeat_factors(labels, 0.0) == 1).all()


def test_by_default_no_annotation_is_read_and_every_image_comes_once():
    def fail(index):
        raise AssertionError("read")

    data = dataset([0], [1], [2])
    order = Sampling().order(Dataset(data.path, "made", data.classes, data.names, data.files, fail, fail))
    assert order == Order.plain(3)
    images, copies = order.epoch(4, 2)
    assert images.tolist() == np.random.default_rng((4, 2)).permutation(3).tolist()
    assert not copies.any()


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.sampled_from([0.0, 0.3, 1.0, 1.7, 2.0, 6.4]), min_size=1, max_size=30),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
)
def test_an_epoch_has_each_image_as_often_as_asked_up_to_rounding(times, seed, epoch):
    wanted = np.array([*times, 1.0])
    order = Order(len(wanted), max(1, round(wanted.sum())), wanted)
    images, copies = order.epoch(seed, epoch)
    assert len(images) == order.length
    drawn = np.bincount(images, minlength=len(wanted))
    exact = wanted * order.length / wanted.sum()
    assert (drawn >= np.floor(exact - 1e-9)).all() and (drawn <= np.ceil(exact + 1e-9)).all()
    # The copies of one image are numbered: each looks different.
    assert len(set(zip(images.tolist(), copies.tolist(), strict=True))) == order.length
    assert all(sorted(copies[images == image]) == list(range(count)) for image, count in enumerate(drawn))
    again = order.epoch(seed, epoch)
    assert (again[0] == images).all() and (again[1] == copies).all()


def test_over_many_epochs_the_mean_is_what_was_asked_for():
    times = np.array([0.25, 1.0, 1.5, 2.25])
    order = Order(4, 5, times)
    counts = sum(np.bincount(order.epoch(0, number)[0], minlength=4) for number in range(2000))
    assert np.allclose(counts / 2000, times, atol=0.05)


def test_images_with_rare_classes_are_seen_more_often():
    data = dataset(*[[0]] * 97, [0, 1], [1], [2])
    order = Sampling(repeat=0.25).order(data)
    assert order.times is not None
    assert np.allclose(order.times[:97], 1)
    assert np.allclose(order.times[97:], [np.sqrt(0.25 / 0.02)] * 2 + [np.sqrt(0.25 / 0.01)])


def test_ignored_objects_make_no_image_rare_or_full():
    order = Sampling(repeat=0.5, empty=0.5).order(dataset([0], [0], [0], [-1]))
    assert order.times is not None and order.times.tolist() == [1, 1, 1, 3]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_images_without_objects_have_the_chosen_share(share):
    data = dataset(*[[0]] * 20, *[[]] * 10)
    order = Sampling(empty=share).order(data)
    drawn = np.concatenate([order.epoch(1, number)[0] for number in range(50)])
    assert abs((drawn >= 20).mean() - share) < 0.02
    assert set(range(20)) <= set(drawn.tolist())


def test_a_share_that_no_image_can_have_is_refused():
    with pytest.raises(InputError, match="no image without objects"):
        Sampling(empty=0.1).order(dataset([0], [1]))
    with pytest.raises(InputError, match="no image with objects"):
        Sampling(empty=0.1).order(dataset([], []))
    assert Sampling(empty=0.0).order(dataset([0], [1])).length == 2


def test_samples_without_objects_have_the_chosen_share_in_crops_too():
    # One narrow object in the corner: three of four crops cut anywhere would miss it.
    data = dataset(*[[0]] * 6, *[[]] * 6)
    order = Sampling(empty=0.25).order(data)
    options = {"crop": 8, "batch_size": 8, "steps": 25}
    found = [len(target) for batch in Batches(data, prepare, order=order, **options) for target in batch.targets]
    assert abs(np.equal(found, 0).mean() - 0.25) < 0.03
    as_they_come = [len(target) for batch in Batches(data, prepare, **options) for target in batch.targets]
    assert np.equal(as_they_come, 0).mean() > 0.6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_goes_on_with_the_same_samples(workers):
    from apiece.data.augment import Augmentation

    data = dataset(*[[0]] * 12, [1, 2], [1], [], [])
    order = Sampling(repeat=0.9, empty=0.3).order(data)
    options = {"augmentation": Augmentation(copy_paste=0.5), "crop": 10, "batch_size": 4, "order": order, "seed": 3}
    whole = [batch for batch in Batches(data, prepare, steps=20, **options)]
    rest = list(Batches(data, prepare, start=28, steps=13, workers=workers, **options))
    for before, after in zip(whole[7:], rest, strict=True):
        assert before.names == after.names
        assert (before.images == after.images).all()
        assert all(one.equals(other) for one, other in zip(before.targets, after.targets, strict=True))


def test_copies_of_an_image_in_an_epoch_look_different():
    from apiece.data.augment import Augmentation

    order = Order(1, 8, np.array([8.0]))
    batch = next(iter(Batches(dataset([0, 1]), prepare, Augmentation(), crop=10, batch_size=8, order=order)))
    assert len({image.numpy().tobytes() for image in batch.images}) == 8


@pytest.mark.parametrize("wrong", [{"repeat": -0.1}, {"repeat": 2.0}, {"empty": 1.0}, {"empty": -0.1}])
def test_options_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(CallError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_every_option_is_described():
    assert all(f"        {option.name}: " in str(Sampling.__doc__) for option in fields(Sampling))
