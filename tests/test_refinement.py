"""Refinement: masks follow the image's edges, whatever the image; nothing else of the objects changes."""

import numpy as np
import pytest

import apiece
from apiece.data.generated import discs
from apiece.instances import Instances
from apiece.parts.crf import CRF
from apiece.prediction import find, finer, sure
from apiece.refinement import VALUES, intensities, refined, windows

SIZE = (60, 80)
AT = ((20, 22, 11), (38, 52, 13))
QUICK = CRF(steps=2, bilateral_sxy=2.0, gaussian_sxy=1.0)


def disc(y, x, radius, size=SIZE):
    rows, columns = np.indices(size)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def picture(at=AT, size=SIZE):
    """Discs, each of its own color, on a dark and grainy ground."""
    image = np.full((*size, 3), 60.0)
    for place, color in zip(at, ((190, 120, 60), (90, 190, 120)), strict=True):
        image[disc(*place, size)] = color
    return (image + np.random.default_rng(0).normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)


def shifted(by=3, **fields):
    """Masks that miss the discs by some pixels."""
    return Instances.from_dense(np.stack([disc(y + by, x - by, radius) for y, x, radius in AT]), **fields)


def overlap(found, at=AT):
    return [
        (one & disc(*place)).sum() / (one | disc(*place)).sum() for one, place in zip(found.dense(), at, strict=True)
    ]


def test_masks_move_to_the_edges_in_the_image():
    found = shifted()
    assert max(overlap(found)) < 0.7
    assert min(overlap(refined(found, picture(), CRF()))) > 0.97


def test_everything_but_the_masks_stays():
    columns = {"order": np.array([5, 3])}
    found = shifted(labels=[2, 1], scores=np.array([0.4, 0.9]), ignore=[False, True], columns=columns)
    better = refined(found.replace(boxes=np.zeros((2, 4)), areas=np.ones(2)), picture(), CRF())
    assert better.size == found.size and better.labels.tolist() == [2, 1] and better.ignore.tolist() == [False, True]
    assert better.scores.tolist() == found.scores.tolist() and better.columns["order"].tolist() == [5, 3]
    assert better.areas.tolist() == better.dense().sum((1, 2)).tolist(), "given boxes and areas are gone"
    assert refined(shifted(), picture(), CRF()).scores is None


def test_without_objects_masks_or_pixels_nothing_happens():
    for found, image in (
        (Instances.empty(SIZE, scored=True), picture()),
        (Instances.from_boxes([(1, 2, 9, 9)], SIZE), picture()),
        (Instances.empty((0, 5), scored=True), np.zeros((0, 5, 3), np.uint8)),
    ):
        assert refined(found, image, CRF()) is found


@pytest.mark.parametrize("kind", ["gray", "flat", "deep", "real", "five", "bool", "not a number"])
def test_any_image_will_do(kind):
    gray = picture()[:, :, 0]
    image = {
        "gray": gray,
        "flat": gray[:, :, None],
        "deep": gray.astype(np.uint16) * 150 + 1000,
        "real": gray / 255.0,
        "five": np.repeat(gray[:, :, None], 5, 2),
        "bool": gray > 75,
        "not a number": np.where(np.indices(SIZE).sum(0) == 0, np.nan, gray / 255.0),
    }[kind]
    found = shifted()
    better = refined(found, image, CRF())
    assert overlap(better)[0] > 0.95 > overlap(found)[0]


def test_overlaps_are_shared_by_color_and_else_go_to_the_surer():
    one, other = np.zeros((2, 40, 60), bool)
    one[10:30, 5:35], other[10:30, 25:55] = True, True
    image = np.full((40, 60, 3), 50, np.uint8)
    image[10:30, 5:32] = (200, 60, 60)
    image[10:30, 32:55] = (60, 200, 60)
    found = Instances.from_dense(np.stack([one, other]), scores=np.array([0.3, 0.8]))
    masks = refined(found, image, CRF()).dense()
    assert not (masks[0] & masks[1]).any()
    assert masks[0, 15:25, 26:31].all() and masks[1, 15:25, 33:].sum() == 10 * 22
    twins = Instances.from_dense(np.stack([one, one]), labels=[4, 7], scores=np.array([0.3, 0.8]))
    alone = refined(twins, image, CRF())
    assert alone.labels.tolist() == [7], "what is left without a pixel is left out"


def test_an_object_may_fill_the_image_or_a_single_pixel():
    full = Instances.from_dense(np.ones((1, 20, 30), bool))
    assert refined(full, np.full((20, 30), 9, np.uint8), CRF()).areas.tolist() == [600]
    dot = np.zeros((2, 20, 30), bool)
    dot[0, 4, 5], dot[1, 10:, 10:] = True, True
    found = refined(Instances.from_dense(dot), np.full((20, 30), 9, np.uint8), QUICK)
    assert 1 <= len(found) <= 2


def test_large_images_are_refined_in_windows_without_a_trace():
    size, grid = (120, 900), [(y, x) for y in range(15, 120, 30) for x in range(15, 900, 30)]
    label_map, image = np.zeros((2, *size), np.uint16)
    for number, (y, x) in enumerate(grid, 1):
        image[y - 8 : y + 8, x - 8 : x + 8] = 180
        label_map[y - 6 : y + 9, x - 9 : x + 7] = number
    found = Instances.from_label_map(label_map)
    pieces = list(windows(found, QUICK))
    covered = np.zeros(size, int)
    for (x1, y1, x2, y2), (left, top, right, bottom), objects in pieces:
        covered[y1:y2, x1:x2] += 1
        assert left <= x1 and top <= y1 and right >= x2 and bottom >= y2
        assert (len(objects) + 1) * (right - left) * (bottom - top) <= VALUES
    assert len(pieces) > 1 and covered.max() == 1 and covered[label_map > 0].all()
    better = refined(found, image.astype(np.uint8), QUICK)
    assert len(better) == len(grid)
    # Every object is the same, wherever windows begin and end.
    places = better.mask_boxes - np.array(grid)[:, [1, 0, 1, 0]]
    assert (places == places[0]).all() and not np.array_equal(better.areas, found.areas)
    assert all(np.array_equal(crop, better.crop(0)) for crop in better.crops())


def test_intensities_are_eight_bits_or_percentiles():
    image = picture()
    np.testing.assert_array_equal(intensities(image)(image[3:9, 4:8]), np.moveaxis(image[3:9, 4:8], 2, 0))
    deep = np.linspace(500, 60_000, 5000).astype(np.uint16).reshape(50, 100)
    levels = intensities(deep)(deep)
    assert levels.shape == (1, 50, 100) and levels.min() == 0 and levels.max() == 255
    assert levels[0, 25, 0] == pytest.approx(255 * (0.5 - 0.005) / 0.993, abs=1)


@pytest.fixture(scope="module")
def model(model_file):
    return apiece.load(model_file)


IMAGES = [sample.image for sample in discs(2, (40, 48), seed=5)]


def test_prediction_refines_what_it_shows(model):
    shown = sure(model, find(model, IMAGES[0]), 0.2)
    expected = refined(shown, IMAGES[0], QUICK)
    assert len(shown) and apiece.predict(model, IMAGES[0], threshold=0.2, crf=QUICK).equals(expected)
    several = apiece.predict(model, IMAGES, threshold=0.2, crf=QUICK)
    assert several[0].equals(expected)
    assert apiece.predict(model, IMAGES[0], crf=None).equals(apiece.predict(model, IMAGES[0]))
    assert apiece.predict(model, IMAGES[0], crf=True).equals(apiece.predict(model, IMAGES[0], crf=CRF()))


def test_unsure_objects_stay_as_they_are_and_take_nothing(model):
    everything = find(model, IMAGES[0])
    middle = float(np.median(everything.scores))
    both = finer(model, everything, IMAGES[0], QUICK, middle)
    certain = everything.scores >= middle
    assert both[both.scores >= middle].equals(refined(everything[certain], IMAGES[0], QUICK))
    assert np.array_equal(both[both.scores < middle].dense(), everything[~certain].dense())


def test_evaluation_scores_what_prediction_gives(model):
    data = discs(2, (40, 48), seed=5)
    found = [finer(model, find(model, sample.image), sample.image, QUICK, 0.2) for sample in data]
    by_hand = apiece.score(found, [sample.truth for sample in data], ("matching", "leaves"), threshold=0.2)
    report = apiece.evaluate(model, data, metrics=("matching", "leaves"), threshold=0.2, crf=QUICK, quiet=True)
    assert report["leaves"] == by_hand["leaves"]
    assert report["matching"]["0.50"]["tp"] == by_hand["matching"]["0.50"]["tp"]
