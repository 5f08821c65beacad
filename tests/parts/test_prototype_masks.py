"""Masks from prototypes at the original size against whole masks enlarged by torch; pictures."""

import numpy as np
import pytest
import torch

from apiece.parts import prototype_masks
from apiece.parts.prototype_masks import Raster, mosaic, objects_of, together


def drawn(cells, size, count=12, seed=0):
    """Prototypes, coefficients and boxes, some beyond the image's border."""
    generator = np.random.default_rng(seed)
    prototypes = np.maximum(generator.standard_normal((6, *cells)), 0).astype(np.float32)
    coefficients = np.tanh(2 * generator.standard_normal((count, 6))).astype(np.float32)
    corner = generator.uniform(-5, 0.8 * min(size), (count, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(3, 0.7 * min(size), (count, 2))], 1)
    boxes[0] = (0, 0, size[1], size[0])
    return prototypes, coefficients, boxes


def whole(prototypes, coefficients, boxes, raster: Raster) -> np.ndarray:
    """Every mask on all cells, cut to its box as the authors do, enlarged by torch, cut at one half."""
    (height, width), (down, across) = raster.cells, raster.steps
    soft = 1 / (1 + np.exp(-np.einsum("nk,khw->nhw", coefficients, prototypes)))
    row, column = np.mgrid[:height, :width]
    x1, y1, x2, y2 = (boxes / (across, down, across, down)).T[:, :, None, None]
    soft *= (column >= x1 - 1) & (column < x2 + 1) & (row >= y1 - 1) & (row < y2 + 1)
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(soft)[None].float(), raster.size, mode="bilinear")[0]
    return enlarged.numpy() > 0.5


@pytest.mark.parametrize(("cells", "size"), [((16, 24), (32, 48)), ((20, 20), (53, 37)), ((30, 18), (15, 31))])
def test_masks_are_those_of_whole_maps_to_the_pixel(cells, size, monkeypatch):
    monkeypatch.setattr(prototype_masks, "STRIP", 100)
    monkeypatch.setattr(prototype_masks, "UNPACKED", 500)
    prototypes, coefficients, boxes = drawn(cells, size)
    raster = Raster(cells, (size[0] / cells[0], size[1] / cells[1]), size)
    wanted = whole(prototypes, coefficients, boxes, raster)
    labels, scores = np.arange(len(boxes)) % 3, np.linspace(1, 0.5, len(boxes))
    found = objects_of(prototypes, coefficients, boxes, raster, labels, scores)
    taken = wanted.any((1, 2))
    assert 6 < taken.sum() and np.array_equal(found.dense(), wanted[taken])
    assert np.array_equal(found.labels, labels[taken]) and np.array_equal(found.scores, scores[taken])
    assert np.allclose(found.boxes, boxes[taken].clip(0, np.tile(size[::-1], 2)))


def test_padded_cells_beyond_the_image_do_not_matter():
    prototypes, coefficients, boxes = drawn((16, 24), (30, 43))
    whole_raster, cut = Raster((16, 24), (2.0, 2.0), (32, 48)), Raster((16, 24), (2.0, 2.0), (30, 43))
    labels, scores = np.zeros(len(boxes), int), np.ones(len(boxes))
    large = objects_of(prototypes, coefficients, boxes, whole_raster, labels, scores).dense()[:, :30, :43]
    small = objects_of(prototypes, coefficients, boxes, cut, labels, scores).dense()
    assert np.array_equal(large[large.any((1, 2))], small)


def test_no_boxes_make_no_objects():
    raster = Raster((4, 4), (2.0, 2.0), (8, 8))
    nothing = np.zeros(0)
    found = objects_of(np.zeros((3, 4, 4)), np.zeros((0, 3)), np.zeros((0, 4)), raster, nothing.astype(int), nothing)
    assert len(found) == 0 and found.size == (8, 8) and found.scores is not None


def test_a_mosaic_shows_every_prototype_as_bright_as_it_is_active():
    maps = np.stack([np.full((5, 7), value, np.float32) for value in (0, 1, 2, 3, 4)])
    sheet = mosaic(maps).astype(int).sum(2)
    assert sheet.shape == (2 * 7, 3 * 9)
    brightness = [sheet[3 + 7 * (n // 3), 4 + 9 * (n % 3)] for n in range(5)]
    assert brightness == sorted(brightness) and len(set(brightness)) == 5


def test_soft_masks_lie_on_one_picture_in_their_boxes():
    prototypes = np.full((1, 8, 8), 3.0, np.float32)
    places = np.array([[0, 0, 3, 3], [5, 5, 8, 8]])
    picture = together(prototypes, np.array([[1.0], [-1.0]], np.float32), places).astype(int).sum(2)
    assert picture[1, 1] > picture[6, 6] > picture[4, 1]
