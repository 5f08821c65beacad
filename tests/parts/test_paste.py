from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apiece.instances import Instances
from apiece.parts.paste import enlarged, paste

few = settings(max_examples=40, deadline=None)
sides = st.tuples(st.integers(1, 40), st.integers(1, 90), st.data())


def test_a_window_at_its_own_size_comes_back():
    values = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    found, box = paste(values, (2, 1, 6, 4), (9, 8), (9, 8))
    assert box == (2, 1, 6, 4)
    assert np.allclose(found, values, atol=1e-6)


def test_a_whole_image_is_interpolated_as_torch_does():
    values = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    found, box = paste(values, (0, 0, 5, 6), (6, 5), (17, 23))
    wanted = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], (17, 23), mode="bilinear")[0, 0]
    assert box == (0, 0, 23, 17)
    assert np.allclose(found, wanted.numpy(), atol=1e-5)


def test_inside_a_window_with_a_margin_the_values_are_those_of_the_whole_image():
    whole = np.zeros((12, 10), np.float32)
    whole[4:8, 3:7] = np.random.default_rng(0).random((4, 4))
    wanted, _ = paste(whole, (0, 0, 10, 12), (12, 10), (31, 33))
    found, (x1, y1, x2, y2) = paste(whole[3:9, 2:8], (2, 3, 8, 9), (12, 10), (31, 33))
    again = np.zeros_like(wanted)
    again[y1:y2, x1:x2] = found
    assert np.allclose(again, wanted, atol=1e-5)


@few
@given(sides)
def test_a_pasted_box_is_the_smallest_that_holds_the_window_and_lies_in_the_image(side):
    size, original, data = side
    low = data.draw(st.integers(0, size - 1))
    high = data.draw(st.integers(low + 1, size))
    values = np.ones((high - low, high - low), np.float32)
    found, (x1, y1, x2, y2) = paste(values, (low, low, high, high), (size, size), (original, original))
    assert (x1, y1) == (x2 - found.shape[1], y2 - found.shape[0]) == (low * original // size,) * 2
    # ceil in whole numbers
    assert x2 == y2 == (high * original + size - 1) // size <= original
    assert np.allclose(found, 1)


def test_a_rounded_scale_adds_no_pixel_beyond_the_window():
    size, original, high = next(
        (size, original, high)
        for size in range(3, 60)
        for original in range(size, 200)
        for high in range(1, size)
        if ceil(high * (original / size)) > -(-high * original // size)
    )
    _, (_, _, x2, _) = paste(np.ones((1, high), np.float32), (0, 0, high, 1), (1, size), (1, original))
    assert x2 == -(-high * original // size)


@pytest.mark.parametrize("original", [(16, 20), (40, 30), (5, 7)])
def test_enlarged_squares_are_squares_of_their_share_of_the_image(original):
    label_map = np.zeros((8, 10), np.uint16)
    label_map[1:5, 2:6], label_map[5:8, 6:10] = 1, 2
    found = Instances.from_label_map(label_map, [1, 0], scores=[0.9, 0.8])

    def soft(index, window):
        return (label_map[window] == index + 1).astype(np.float32)

    large = enlarged(found, soft, original)
    shares = large.areas / (original[0] * original[1])
    assert large.size == original and large.labels.tolist() == [1, 0] and large.scores.tolist() == [0.9, 0.8]
    assert shares == pytest.approx([16 / 80, 12 / 80], abs=0.06)
    assert not large.dense().all(0).any()


def test_an_enlarged_object_takes_no_pixel_of_its_neighbor_whatever_it_claims():
    label_map = np.zeros((4, 6), np.uint16)
    label_map[1:3, 1:3], label_map[1:3, 3:5] = 1, 2
    found = Instances.from_label_map(label_map)
    large = enlarged(found, lambda index, window: np.ones(label_map[window].shape, np.float32), (8, 12))
    # Beyond its own pixels each reaches one pixel of network size into the background.
    assert large.boxes.tolist() == [[0, 0, 8, 8], [4, 0, 12, 8]]
    claimed = large.dense()
    assert claimed[0, 2:6, 2:6].all() and claimed[1, 2:6, 6:10].all()
    assert not claimed[0, 2:6, 6:10].any() and not claimed[1, 2:6, 2:6].any()
