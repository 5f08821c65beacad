import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, pad

from apiece.instances import Instances
from apiece.parts.cell_masks import Coverage, cut, known_samples, stacked, windows
from apiece.parts.cells import ANY, Shapes, assigned, cells_for, numbered_grids, ranges_of, sized_grids
from apiece.statistics import Statistics

SIZE = (64, 96)
RANGES = [(0.0, 20.0), (12.0, 40.0), (24.0, 1000.0)]


def ellipses(count: int, size=SIZE, seed: int = 0, ignored: int = 0) -> Instances:
    generator, (row, column) = np.random.default_rng(seed), np.indices(size)
    masks = []
    while len(masks) < count:
        (y, x), (a, b) = generator.uniform(0, size), generator.uniform(1, 22, 2)
        mask = ((row - y) / a) ** 2 + ((column - x) / b) ** 2 < 1
        masks += [mask] if mask.any() else []
    ignore = np.arange(count) >= count - ignored
    return Instances.from_dense(np.array(masks), generator.integers(0, 3, count), ignore=ignore)


def grids_of(kind: str, size=SIZE):
    if kind == "sized":
        return sized_grids((4, 8, 16), size, RANGES, (2, 2, 4), 8)
    return numbered_grids((10, 7, 3), size, RANGES, (4, 4, 8))


def owners_by_loops(truth: Instances, grid, sigma: float) -> np.ndarray:
    """The object of each cell, from the definition: the largest objects first, the later ones over them."""
    owner = np.full(grid.shape, -1)
    for index in np.argsort(-truth.mask_areas, kind="stable"):
        rows, columns = np.nonzero(truth.dense()[index])
        sides = np.array([np.ptp(rows), np.ptp(columns)]) + 1
        size = sides.max() if grid.period else np.sqrt(sides.prod())
        if not grid.sizes[0] <= size <= grid.sizes[1]:
            continue
        center = np.array([rows.mean(), columns.mean()]) + 0.5
        for row, column in np.ndindex(grid.shape):
            cell = np.array([row, column])
            low, high = cell * grid.cell, (cell + 1) * grid.cell
            touched = (low <= center + sides * sigma / 2).all() and (high > center - sides * sigma / 2).all()
            if touched and (np.abs(cell - np.floor(center / grid.cell)) <= 1).all():
                owner[row, column] = index
    return owner


@pytest.mark.parametrize("kind", ["sized", "numbered"])
def test_cells_in_charge_are_those_that_the_middle_of_a_box_touches(kind):
    truth = ellipses(12)
    for grid in grids_of(kind):
        found = assigned(Shapes.of(truth), grid, 3)
        expected = owners_by_loops(truth, grid, 0.2)
        assert (expected >= 0).sum() == len(found.rows) > 0
        order = np.argsort(-truth.mask_areas, kind="stable")
        assert (order[found.objects] == expected[found.rows, found.columns]).all()
        labels = np.where(expected >= 0, truth.labels[expected], -1)
        assert np.array_equal(found.labels.numpy(), labels)


def test_the_smaller_of_two_objects_has_the_cell_whatever_their_order():
    large, small = np.zeros((2, *SIZE), bool)
    large[8:24, 8:24], small[13:19, 13:19] = True, True
    grid = sized_grids((8,), SIZE, [(0.0, 1000.0)], (2,), 8)[0]
    for pair, number in (([large, small], 1), ([small, large], 0)):
        found = assigned(Shapes.of(Instances.from_dense(np.array(pair), np.array([number ^ 1, number]))), grid, 2)
        assert found.labels[2, 2] == 1


def test_in_their_own_order_the_later_object_has_the_cell_and_both_are_listed_where_asked():
    first, second = np.zeros((2, *SIZE), bool)
    first[12:20, 12:20], second[8:24, 8:24] = True, True
    shapes = Shapes.of(Instances.from_dense(np.array([first, second]), np.array([0, 1])), ordered=False)
    grid = numbered_grids((4,), SIZE, [(1.0, 1000.0)], (4,))[0]
    once, twice = assigned(shapes, grid, 2, legacy=True), assigned(shapes, grid, 2, legacy=True, repeated=True)
    assert once.objects.tolist() == [1] * len(once.objects)
    assert {0, 1} == set(twice.objects.tolist()) and torch.equal(once.labels, twice.labels)


def test_cells_of_ignored_objects_and_of_the_padding_are_unknown():
    masks = np.zeros((3, *SIZE), bool)
    masks[0, 2:10, 2:10], masks[1, 30:46, 30:46], masks[2, 0:8, 80:96] = True, True, True
    truth = Instances.from_dense(masks, np.array([0, 1, -1]), ignore=np.array([False, True, True]))
    grid = sized_grids((8,), (80, 112), [(0.0, 1000.0)], (2,), 8)[0]
    known = assigned(Shapes.of(truth), grid, 2).known.numpy()
    expected = np.ones((2, 10, 14), bool)
    expected[:, 8:], expected[:, :, 12:] = False, False
    expected[1, 3:6, 3:6] = False  # of its own class only
    expected[:, 0, 10:12] = False  # of any class
    assert np.array_equal(known, expected)
    samples = known_samples(Shapes.of(truth), (80, 112), 2).numpy()
    assert samples[:32, :48].sum() == 32 * 48 - 64 - 32 and samples.sum() == samples[:32, :48].sum()


@pytest.mark.parametrize(("side", "step"), [(4, 1), (4, 2), (8, 2), (16, 4)])
def test_places_in_a_window_are_told_from_its_cells_center_in_units_of_two_cells(side, step):
    grid = sized_grids((side,), (128, 128), [(0.0, 9.0)], (step,), 12)[0]
    one, x, y, xx, yy, xy = grid.relative(torch.device("cpu"))
    for row, column in ((0, 0), (3, 5), (4, 1)):
        top, left = grid.corners(torch.tensor([row]), torch.tensor([column]))[0].tolist()
        down = ((top + np.arange(12 * side // step) + 0.5) * step - (row + 0.5) * side) / (2 * side)
        across = ((left + np.arange(12 * side // step) + 0.5) * step - (column + 0.5) * side) / (2 * side)
        np.testing.assert_allclose(y, np.broadcast_to(down[:, None], y.shape), atol=1e-6)
        np.testing.assert_allclose(x, np.broadcast_to(across, x.shape), atol=1e-6)
    assert (one == 1).all() and torch.equal(xx, x * x) and torch.equal(yy, y * y) and torch.equal(xy, x * y)


@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_coverage_is_the_share_of_each_square(step):
    truth = ellipses(9)
    shapes = Shapes.of(truth)
    order = np.argsort(-truth.mask_areas, kind="stable")
    dense = torch.from_numpy(truth.dense()[order]).float()
    expected = avg_pool2d(dense, step).numpy()
    objects = np.array([4, 0, 8, 4])
    found = Coverage.of(shapes, step).in_windows(objects, np.zeros((4, 2), np.int64), expected.shape[1:])
    np.testing.assert_allclose(found, expected[objects], atol=1e-6)


@pytest.mark.parametrize("legacy", [False, True])
def test_specks_lines_and_corners_are_covered_as_pixel_by_pixel(legacy):
    generator, size = np.random.default_rng(3), (48, 80)
    masks = np.stack([generator.random(size) < share for share in (0.02, 0.5, 0.98)] + [np.zeros(size, bool)] * 4)
    masks[3, 47, 79], masks[4, :, 79], masks[5, 0], masks[6, 20:, 33:] = True, True, True, True
    truth = Instances.from_dense(masks)
    shapes = Shapes.of(truth, ordered=False)
    rows, columns = np.indices(size)
    for one, mask in enumerate(masks):
        assert shapes.boxes[one].tolist() == truth.mask_boxes[one].tolist()
        np.testing.assert_allclose(shapes.centers[one], [rows[mask].mean(), columns[mask].mean()], rtol=1e-12)
    for step in (2, 8):
        squares = masks.reshape(7, 48 // step, step, 80 // step, step)
        middle = squares[:, :, step // 2 - 1 : step // 2 + 1, :, step // 2 - 1 : step // 2 + 1].sum((2, 4)) >= 2
        wanted = middle if legacy else squares.mean((2, 4))
        corners = np.zeros((7, 2), np.int64)
        found = Coverage.of(shapes, step, legacy).in_windows(np.arange(7), corners, (48 // step, 80 // step))
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_authors_shrinking_takes_the_middle_pixels_of_a_square():
    truth = ellipses(9)
    shapes = Shapes.of(truth, ordered=False)
    found = Coverage.of(shapes, 8, legacy=True).in_windows(np.arange(9), np.zeros((9, 2), np.int64), (8, 12))
    dense = truth.dense()
    middle = sum(dense[:, i::8, j::8].astype(int) for i in (3, 4) for j in (3, 4))
    assert np.array_equal(found, (middle >= 2).astype(np.float32))


def test_windows_are_cut_from_the_whole():
    truth = ellipses(9)
    objects, corners = np.array([0, 1, 2, 8]), np.array([[-5, -7], [3, 40], [20, -2], [10, 10]])
    found = Coverage.of(Shapes.of(truth), 2).in_windows(objects, corners, (16, 12))
    whole = Coverage.of(Shapes.of(truth), 2).in_windows(objects, np.zeros((4, 2), np.int64), (32, 48))
    padded = np.pad(whole, ((0, 0), (20, 20), (20, 20)))
    for one, canvas, (y, x) in zip(found, padded, corners + 20, strict=True):
        assert np.array_equal(one, canvas[y : y + 16, x : x + 12])


def test_sums_in_windows_are_those_over_the_whole_map_in_value_and_gradient():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(5, 12, 17, dtype=torch.float64, generator=generator, requires_grad=True)
    kernels = torch.randn(150, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    corners = torch.stack([torch.randint(-6, side, (150,), generator=generator) for side in (10, 15)], 1)
    found = windows(maps, kernels, corners, (6, 4))
    whole = pad(torch.einsum("pe,ehw->phw", kernels, maps), (10, 10, 10, 10))
    expected = torch.stack([
        one[y : y + 6, x : x + 4] for one, (y, x) in zip(whole, (corners + 10).tolist(), strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(found, expected)
    weight = torch.randn(found.shape, dtype=torch.float64, generator=generator)
    ours = torch.autograd.grad((found * weight).sum(), (maps, kernels))
    theirs = torch.autograd.grad((expected * weight).sum(), (maps, kernels))
    torch.testing.assert_close(ours, theirs)


def test_parts_of_windows_are_as_large_as_asked_and_zero_beyond():
    whole = torch.arange(48.0).reshape(2, 4, 6)
    found = cut(whole, torch.tensor([[1, 2], [0, 0]]), torch.tensor([[3, 4], [2, 1]]), (3, 4))
    assert torch.equal(found[0], whole[0, 1:, 2:])
    assert torch.equal(found[1, :2, 0], whole[1, :2, 0]) and found[1].count_nonzero() == 2


def test_tensors_of_different_size_are_stacked_with_padding_at_their_ends():
    found = stacked([torch.ones(0, 2, 3), torch.ones(2, 3, 1)])
    assert found.shape == (2, 2, 3, 3) and found.sum() == 6 and found[1, :, :, 0].min() == 1
    assert stacked([torch.ones(0)]).shape == (1, 1)


def test_an_image_without_objects_or_of_one_pixel_has_no_faults():
    for truth in (Instances.empty(SIZE), ellipses(3)[:0]):
        shapes = Shapes.of(truth)
        found = assigned(shapes, grids_of("sized")[0], 2)
        assert not len(found.rows) and found.known.all()
        assert Coverage.of(shapes, 2).in_windows(np.zeros(0, int), np.zeros((0, 2), int), (3, 3)).shape == (0, 3, 3)
    point = np.zeros((1, *SIZE), bool)
    point[0, 63, 95] = True
    found = assigned(Shapes.of(Instances.from_dense(point)), grids_of("sized")[0], 1)
    assert (found.rows.tolist(), found.columns.tolist()) == ([15], [23])


def test_cells_of_thin_objects_are_finer_but_their_windows_hold_them():
    def chosen(length: int, breadth: int, period: int = 12) -> dict:
        sides = np.full((9, 2), (length, breadth))
        return cells_for(Statistics(sides.prod(1), sides, np.array([9])), period, most=4)

    assert chosen(70, 70) == chosen(70, 45) == {"cells": (16,), "reach": 6.0}
    assert chosen(70, 4) == {"cells": (8,), "reach": 10.8}
    # The window about its own cell holds an object: half a cell off its middle, of twelve.
    for length in range(20, 200, 10):
        assert length <= 11 * chosen(length, 3)["cells"][-1]
    # A short period has no room for more.
    assert chosen(70, 4, period=4) == {"cells": (16,), "reach": 6.0}


def test_sizes_of_grids_overlap_and_have_no_gap():
    assert ranges_of((4, 8, 16)) == ((0.0, 24.0), (12.0, 48.0), (24.0, ANY))
    assert ranges_of((4, 8), 9.0) == ((0.0, 36.0), (18.0, ANY))
