"""Pasted objects lie on top: what they cover belongs to nobody else, and every pixel is where it says it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiece.data.augment import Augmentation
from apiece.data.copy_paste import VISIBLE, paste
from apiece.data.examples import ExampleMaker
from apiece.data.generated import discs
from apiece.instances import Instances


def scene(size, count, seed, first):
    """Overlapping discs; the column `id` counts from `first`, and each pixel of the image holds `first`."""
    generator = np.random.default_rng(seed)
    rows, columns = np.ogrid[: size[0], : size[1]]
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        y, x, radius = generator.integers(size[0]), generator.integers(size[1]), generator.integers(2, 9)
        mask[:] = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    ids = np.arange(first, first + count)
    truth = Instances.from_dense(masks, ids % 3, ignore=generator.random(count) < 0.2, columns={"id": ids})
    return np.full((2, *size), first, np.float32), truth


def masks_by_id(truth):
    return dict(zip(truth.columns["id"].tolist(), truth.dense(), strict=True))


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    other=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    counts=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    seed=st.integers(0, 2**31),
)
def test_every_pixel_belongs_to_the_image_it_shows(size, other, counts, seed):
    image, truth = scene(size, counts[0], seed, 1)
    source, objects = scene(other, counts[1], seed + 1, 1001)
    before, given_masks, given_objects = image.copy(), truth.dense(), objects.dense()
    pasted_image, found = paste(image, truth, source, objects, np.random.default_rng(seed))
    assert (image == before).all() and (truth.dense() == given_masks).all() and (objects.dense() == given_objects).all()
    masks, old = masks_by_id(found), masks_by_id(truth)
    covered = (pasted_image == 1001).all(0)
    pasted = {number: mask for number, mask in masks.items() if number > 1000}
    assert (covered == np.any([*pasted.values(), np.zeros(size, bool)], axis=0)).all()
    assert (pasted_image[:, ~covered] == 1).all()
    for number, mask in old.items():
        left = mask & ~covered
        if left.sum() < VISIBLE * mask.sum() or not left.any():
            assert number not in masks
        else:
            assert (masks[number] == left).all()
    assert not objects[np.isin(objects.columns["id"], list(pasted))].ignore.any()
    assert (found.labels == found.columns["id"] % 3).all()
    for number, mask in pasted.items():
        # Moved, and cut by nothing but the image itself.
        whole = masks_by_id(objects)[number]
        if all(there <= here for there, here in zip(other, size, strict=True)):
            assert mask.sum() == whole.sum()
        assert mask.sum() <= whole.sum()


def test_an_object_whose_cut_would_be_seen_stays_where_it_is():
    touching, free = np.zeros((2, 10, 10), bool)
    touching[0:4, 2:6], free[5:8, 5:8] = True, True
    objects = Instances.from_dense(np.stack([touching, free]), columns={"id": np.arange(2)})
    empty = Instances.empty((30, 30)).replace(columns={"id": np.zeros(0, int)})
    for seed in range(20):
        image = np.zeros((1, 30, 30), np.float32)
        _, found = paste(image, empty, np.ones((1, 10, 10), np.float32), objects, np.random.default_rng(seed))
        assert found.columns["id"].tolist() == [1]
    # In an image as large the border that cuts it is that image's own.
    empty = Instances.empty((10, 10)).replace(columns={"id": np.zeros(0, int)})
    seen = set()
    for seed in range(20):
        image = np.zeros((1, 10, 10), np.float32)
        _, found = paste(image, empty, np.ones((1, 10, 10), np.float32), objects, np.random.default_rng(seed))
        seen |= set(found.columns["id"].tolist())
    assert seen == {0, 1}


def test_any_number_of_objects_may_come():
    image, truth = scene((40, 40), 2, 0, 1)
    label_map = np.zeros((40, 40), np.uint16)
    for number in range(9):
        label_map[4 * number + 1 : 4 * number + 3, 5:8] = number + 1
    objects = Instances.from_label_map(label_map)
    source = np.zeros((2, 40, 40), np.float32)
    generator = np.random.default_rng(0)
    counts = {int(sum(paste(image, truth[:0], source, objects, generator)[1].labels == 0)) for _ in range(200)}
    assert counts == set(range(1, 10))


def test_as_many_layers_as_the_deeper_image_needs():
    deep = Instances.from_dense(np.ones((3, 12, 12), bool))
    flat = Instances.from_label_map(np.pad(np.full((4, 4), 1, np.uint16), 4))
    image = np.zeros((1, 12, 12), np.float32)
    _, found = paste(image, deep, image + 1, flat, np.random.default_rng(0))
    assert found.store.layers().shape[0] == 3 and len(found) == 4


def test_blending_changes_the_border_of_the_image_and_no_mask():
    square = Instances.from_label_map(np.pad(np.full((20, 20), 1, np.uint16), 10))
    empty, image, source = (
        Instances.empty((40, 40)),
        np.zeros((1, 40, 40), np.float32),
        np.ones((1, 40, 40), np.float32),
    )
    crisp, truth = paste(image, empty, source, square, np.random.default_rng(0))
    soft, same = paste(image, empty, source, square, np.random.default_rng(0), blend=1.5)
    assert truth.equals(same)
    assert set(np.unique(crisp)) == {0, 1}
    assert 0.2 < soft[0, 10, 20] < 0.8 and soft[0, 20, 20] > 0.99 and soft[0, 2, 2] == 0
    assert abs(soft.sum() - crisp.sum()) < 1


def test_a_maker_pastes_into_the_chosen_share_of_samples():
    data = discs(8, (32, 32), objects=(1, 3))

    def prepare(image):
        return np.moveaxis(image, 2, 0).astype(np.float32) / 255

    def counts(share):
        maker = ExampleMaker(data, prepare, Augmentation(copy_paste=share, centered=0.0), None, 0, 1 << 30)
        return np.array([len(maker(epoch, index).truth) for epoch in range(6) for index in range(8)])

    alone = np.array([len(data.truth(index)) for _ in range(6) for index in range(8)])
    assert (counts(0.0) == alone).all()
    assert 0.2 < (counts(0.5) != alone).mean() < (counts(1.0) != alone).mean()


@pytest.mark.parametrize("count", [0, 3])
def test_images_without_objects_give_and_take_nothing_wrong(count):
    image, truth = scene((20, 20), count, 0, 1)
    source, objects = scene((20, 20), 0, 1, 1001)
    same_image, same = paste(image, truth, source, objects, np.random.default_rng(0))
    assert same.equals(truth) and (same_image == image).all()
