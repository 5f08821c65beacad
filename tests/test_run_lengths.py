import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from apiece import masks, run_lengths

few = settings(max_examples=40, deadline=None)
images = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda size: arrays(bool, size))


def text_of(mask) -> bytes:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


def stretches(mask) -> list[tuple[int, int]]:
    """Where the ones begin and end, down the columns, by looking at every pixel."""
    flat = [0, *mask.T.ravel().astype(int).tolist(), 0]
    edges = [place for place in range(len(flat) - 1) if flat[place] != flat[place + 1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def of_each(runs) -> list[list[tuple[int, int]]]:
    pairs = list(zip(runs.start.tolist(), runs.stop.tolist(), strict=True))
    return [pairs[first:last] for first, last in zip(runs.offsets[:-1], runs.offsets[1:], strict=True)]


@few
@given(images)
def test_run_lengths_equal_cocos(mask):
    crop, box = masks.tighten(mask, (0, 0))
    counts = run_lengths.crop_to_counts(crop, box, mask.shape)
    assert run_lengths.compress_counts(counts, mask.shape).encode() == text_of(mask)
    edges = np.array(stretches(mask), np.int64).reshape(-1)
    assert run_lengths.edges_to_counts(edges, mask.shape) == counts


@few
@given(st.lists(images, max_size=6))
def test_texts_of_many_images_are_read_at_once(several):
    texts, pixels = [text_of(mask) for mask in several], np.array([mask.size for mask in several], np.int64)
    wanted = [stretches(mask) for mask in several]
    assert of_each(run_lengths.read_texts(texts, pixels)) == wanted
    assert of_each(run_lengths.read_texts([text.decode() for text in texts], pixels)) == wanted


def test_run_lengths_of_large_images_need_several_groups_of_bits():
    mask = np.zeros((3000, 2000), bool)
    mask[7, 3] = mask[2999, 1999] = mask[100:2900, 500:1500] = True
    runs = run_lengths.read_texts([text_of(mask)] * 2, np.array([mask.size] * 2))
    assert of_each(runs) == [stretches(mask)] * 2
    assert runs.start.dtype == np.int32


def test_images_with_more_pixels_than_32_bits_are_counted_in_64():
    text = "PPPPPP4" + "PP4"  # 4 * 2**30 zeros, then 4 * 2**10 ones
    runs = run_lengths.read_texts([text], np.array([2**32 + 2**12]))
    assert (runs.start.tolist(), runs.stop.tolist()) == ([2**32], [2**32 + 2**12])
    with pytest.raises(ValueError, match="more than run lengths can hold"):
        run_lengths.compress_counts([2**32], (2**16, 2**16))


@pytest.mark.parametrize(
    "counts, wanted",
    [([2, 1, 0, 1, 2], [(2, 4)]), ([0, 0, 6], []), ([0, 3, 0, 0, 0, 3], [(0, 6)]), ([3, 0, 0, 3], [(3, 6)])],
)
def test_runs_of_no_length_are_read_like_others(counts, wanted):
    text = run_lengths.compress_counts(counts, (3, 2))
    runs = run_lengths.read_texts([text, run_lengths.compress_counts([5, 1], (3, 2)), text], np.array([6, 6, 6]))
    assert of_each(runs) == [wanted, [(5, 6)], wanted]


@pytest.mark.parametrize("counts", [[], [5], [13], [20, -8], [6, 7], [2**60] * 16 + [12]])
def test_runs_that_do_not_fill_the_image_are_refused(counts):
    with pytest.raises(ValueError, match="image of 12 pixels"):
        run_lengths.compress_counts(counts, (3, 4))


def test_texts_that_do_not_fill_the_image_are_refused():
    whole = run_lengths.compress_counts([2, 4, 6], (3, 4))
    for other, pixels in [("", 12), (run_lengths.compress_counts([5], (5, 1)), 13), ("5O8", 12), ("2O2O", 4)]:
        with pytest.raises(ValueError, match=f"image of {pixels} pixels"):
            run_lengths.read_texts([whole, other, whole], np.array([12, pixels, 12]))
    # What one lacks the next one cannot have too many of.
    with pytest.raises(ValueError, match="image of 13 pixels"):
        run_lengths.read_texts([whole, whole], np.array([13, 11]))


@pytest.mark.parametrize("text", ["o", "0\x7f", " ", "o" * 12 + "0", "Zo", "\u00e9", "\ud800"])
def test_damaged_compressed_runs_are_refused(text):
    for texts in ([text], ["<", text], [text, "<"]):
        with pytest.raises(ValueError, match="damaged"):
            run_lengths.read_texts(texts, np.full(len(texts), 12))
