"""Prediction: images of any kind through a model, alone or together, and the operating point."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import apiece
from apiece.data.generated import discs
from apiece.errors import InputError
from apiece.methods.spatial_embedding import SpatialEmbedding
from apiece.prediction import find, look, ordered, sure

IMAGES = [sample.image for sample in discs(3, (40, 56), seed=5)]


@pytest.fixture(scope="module")
def model(model_file):
    return apiece.load(model_file)


def same(first, second) -> bool:
    return (
        first.size == second.size
        and np.array_equal(first.scores, second.scores)
        and np.array_equal(first.labels, second.labels)
        and np.array_equal(first.dense(), second.dense())
    )


def test_an_image_is_an_array_with_or_without_channels_or_a_file(model, tmp_path):
    image = IMAGES[0]
    Image.fromarray(image[:, :, 0]).save(tmp_path / "a.png")
    found = apiece.predict(model, image, threshold=0)
    assert len(found) > 0 and found.size == (40, 56)
    assert same(found, apiece.predict(model, image[:, :, 0], threshold=0))
    assert same(found, apiece.predict(model, tmp_path / "a.png", threshold=0))
    assert same(found, apiece.predict(model, str(tmp_path / "a.png"), threshold=0))


def test_a_model_may_be_its_file(model, model_file):
    assert same(apiece.predict(model_file, IMAGES[0]), apiece.predict(model, IMAGES[0]))
    assert same(apiece.predict(str(model_file), IMAGES[0]), apiece.predict(model, IMAGES[0]))


def test_several_images_give_what_each_gives_alone(model, tmp_path):
    alone = [apiece.predict(model, image, threshold=0) for image in IMAGES]
    for number, image in enumerate(IMAGES):
        Image.fromarray(image[:, :, 0]).save(tmp_path / f"{number}.png")
    paths = sorted(tmp_path.iterdir())
    for several in (IMAGES, np.stack(IMAGES), tmp_path, str(tmp_path / "*.png"), paths, [paths[0], *IMAGES[1:]]):
        found = apiece.predict(model, several, threshold=0)
        assert len(found) == 3 and all(map(same, alone, found))
    assert apiece.predict(model, []) == []


def test_an_image_gives_the_same_objects_alone_and_in_a_padded_batch(model):
    wide = np.pad(IMAGES[1][:30], ((0, 0), (0, 8), (0, 0)), mode="reflect")
    images = [IMAGES[0], wide]
    frames = [model.frame(image.shape[:2]) for image in images]
    batch = torch.zeros(2, 1, 40, 64)
    for place, image in enumerate(images):
        batch[place, :, : image.shape[0], : image.shape[1]] = torch.from_numpy(model.normalize(image))
    for found, image in zip(model.predict(batch, frames), images, strict=True):
        alone = find(model, image)
        assert len(alone) == len(found)
        np.testing.assert_allclose(ordered(found).scores, alone.scores, atol=1e-5)


def test_the_threshold_is_the_models_unless_another_is_given(model):
    everything = apiece.predict(model, IMAGES[0], threshold=0)
    middle = float(np.sort(everything.scores)[len(everything) // 2])
    kept = apiece.predict(model, IMAGES[0], threshold=middle)
    assert 0 < len(kept) < len(everything) and kept.scores.min() == middle, "at the threshold counts as found"
    assert len(apiece.predict(model, IMAGES[0], threshold=1.01)) == 0
    point = model.card.threshold
    assert same(apiece.predict(model, IMAGES[0]), everything[everything.scores >= point])


def test_the_surest_object_comes_first(model):
    scores = find(model, IMAGES[0]).scores
    assert len(scores) > 1 and (np.diff(scores) <= 0).all()


def test_what_has_no_scores_is_kept_whole(model):
    truth = discs(1)[0].truth
    assert sure(model, truth, threshold=0.9) is truth and ordered(truth) is truth


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (17, 31), (1, 40), (200, 180)], ids=str)
def test_images_of_any_size_keep_it(model, size):
    image = np.resize(IMAGES[0], (*size, 1))
    found = apiece.predict(model, image, threshold=0)
    assert found.size == size and found.dense().shape[1:] == size


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (7, 0)], ids=str)
def test_an_image_without_pixels_has_no_objects(model, size):
    found = apiece.predict(model, np.zeros((*size, 1), np.uint8))
    assert found.size == size and len(found) == 0 and found.scores is not None


@pytest.mark.parametrize("value", [0, 255])
def test_an_image_of_one_value_is_no_trouble(model, value):
    apiece.predict(model, np.full((20, 30), value, np.uint8), threshold=0)


def test_the_number_type_makes_no_difference(model, tmp_path):
    grey = IMAGES[0][:, :, 0]
    found = find(model, grey)
    deep, real = grey.astype(np.uint16) * 256, grey.astype(np.float32) / 255
    tifffile.imwrite(tmp_path / "deep.tif", deep)
    tifffile.imwrite(tmp_path / "real.tif", real)
    for other in (deep, real, grey.astype(np.float64), tmp_path / "deep.tif", tmp_path / "real.tif"):
        there = find(model, other)
        assert len(there) == len(found)
        np.testing.assert_allclose(there.scores, found.scores, atol=1e-4)


def test_values_that_are_no_numbers_do_no_harm(model):
    image = IMAGES[0].astype(np.float32)
    plain = find(model, image)
    image[0, 0], image[0, 1], image[0, 2] = np.nan, np.inf, -np.inf
    found = find(model, image)
    assert np.isfinite(found.scores).all()
    # Three pixels of 2,240 change a little, not everything.
    assert abs(len(found) - len(plain)) < 10


def test_alpha_tells_a_network_nothing(model, tmp_path):
    grey = IMAGES[0][:, :, 0]
    Image.fromarray(np.dstack([grey, np.full_like(grey, 7)])).save(tmp_path / "alpha.png")
    assert same(find(model, tmp_path / "alpha.png"), find(model, grey))


def test_a_color_model_takes_grey_color_and_alpha():
    model = SpatialEmbedding(1, channels=3, network="tiny", seed_threshold=0.0, foreground_threshold=0.0).eval()
    grey = IMAGES[0]
    color, alpha = np.repeat(grey, 3, 2), np.dstack([np.repeat(grey, 3, 2), np.zeros_like(grey)])
    assert same(find(model, grey), find(model, color)) and same(find(model, grey), find(model, alpha))


def test_channels_that_a_model_does_not_know_are_named_with_the_file(model, tmp_path):
    five = np.zeros((6, 7, 5), np.uint8)
    tifffile.imwrite(tmp_path / "five.tif", five, photometric="minisblack", planarconfig="contig")
    with pytest.raises(InputError, match=r"five\.tif: the image has 5 channels, but the model was trained on 1"):
        apiece.predict(model, tmp_path / "five.tif")
    with pytest.raises(InputError, match="the image has 5 channels"):
        apiece.predict(model, five)
    with pytest.raises(InputError, match="two or three dimensions"):
        apiece.predict(model, np.zeros(5, np.uint8))
    with pytest.raises(InputError, match="no such file"):
        apiece.predict(model, tmp_path / "nothing.png")


def test_looking_leaves_no_gradients_and_evaluates(model):
    model.train()
    outputs, frame = look(model, IMAGES[0])
    assert not model.training and frame.original == (40, 56)
    assert not any(output.requires_grad for output in outputs.values())
