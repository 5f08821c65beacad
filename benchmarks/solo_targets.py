"""SOLO's targets, all cells of a grid at once against loops over grids, objects and cells, on the same objects.

    python benchmarks/solo_targets.py [--json] [--threads N]

One image of 768 x 1088 pixels with ellipses, the papers' five grids. "loops" is the rule as the authors' program goes
about it: for each grid and object the center of mass of a full-size mask, the mask shrunk, and a copy of it for each
cell in charge ("v2"), or a table of S^2 masks for each grid ("vanilla"). "ours" is what the method runs with
`legacy=True`, from the same label layers to the same classes of cells and masks: they are compared. "cells" are the
targets of the method's own default, cells of 4, 8 and 16 pixels with masks in windows, at a stride of 2.
"""

import argparse
import json
import time

import numpy as np
import torch

from apiece.instances import Instances
from apiece.methods.solo import PAPER_RANGES, PAPER_STRIDES
from apiece.parts.cell_masks import Coverage
from apiece.parts.cells import Grid, Shapes, assigned, numbered_grids, sized_grids

SIZE = (768, 1088)
GRIDS = (40, 36, 24, 16, 12)


def objects(count: int) -> Instances:
    """Ellipses of all sizes, many of which overlap."""
    generator, (row, column) = np.random.default_rng(count), np.indices(SIZE)
    masks = []
    while len(masks) < count:
        (y, x), (a, b) = generator.uniform((40, 40), (728, 1048)), generator.uniform(8, 900 / count**0.5, 2)
        masks.append(((row - y) / a) ** 2 + ((column - x) / b) ** 2 < 1)
    found = Instances.from_dense(np.array(masks), generator.integers(0, 80, count))
    # As they come out of augmentation.
    return found.with_layers(found.layers())


def shrunk(mask: np.ndarray, step: int) -> np.ndarray:
    """A mask of bytes at a coarser step, linearly: of each square the rounded mean of 2 x 2 pixels in its middle."""
    middle = step // 2 - 1
    total = sum(mask[i::step, j::step].astype(np.uint8) for i in (middle, middle + 1) for j in (middle, middle + 1))
    return (total >= 2).astype(np.uint8)


def loops(
    truth: Instances, masks: torch.Tensor, steps: list[int], table: bool
) -> list[tuple[np.ndarray, list[int], np.ndarray]]:
    """Classes of cells, cells in charge and their masks for each grid."""
    boxes = truth.mask_boxes
    sizes = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    found = []
    for (low, high), count, step in zip(PAPER_RANGES, GRIDS, steps, strict=True):
        size = SIZE[0] // step, SIZE[1] // step
        labels = np.full((count, count), -1)
        cells: list[int] = []
        kept: list[np.ndarray] = []
        whole = np.zeros((count**2 if table else 0, *size), np.uint8)
        hit = np.flatnonzero((sizes >= low) & (sizes <= high))
        chosen = masks[torch.from_numpy(hit)].float()
        total = chosen.sum((1, 2)).clamp(min=1e-6)
        across = (chosen * torch.arange(SIZE[1])).sum((1, 2)) / total
        down = (chosen * torch.arange(SIZE[0])[:, None]).sum((1, 2)) / total
        for index, x, y in zip(hit.tolist(), across, down, strict=True):
            x1, y1, x2, y2 = boxes[index].tolist()
            half = torch.tensor([y2 - y1, x2 - x1]) * 0.1
            places = [(y, half[0], SIZE[0]), (x, half[1], SIZE[1])]
            spans = []
            for center, reach, side in places:
                middle, first, last = (
                    int((place / side) // (1.0 / count)) for place in (center, center - reach, center + reach)
                )
                spans.append(range(max(first, 0, middle - 1), min(last, count - 1, middle + 1) + 1))
            labels[spans[0].start : spans[0].stop, spans[1].start : spans[1].stop] = truth.labels[index]
            small = shrunk(masks[index].numpy(), step)
            for row in spans[0]:
                for column in spans[1]:
                    cell = row * count + column
                    cells.append(cell)
                    if table:
                        whole[cell] = small
                    else:
                        copy = np.zeros(size, np.uint8)
                        copy[:] = small
                        kept.append(copy)
        if table:
            cells = sorted(set(cells))
            found.append((labels, cells, whole[cells]))
        else:
            found.append((labels, cells, np.stack(kept) if kept else whole))
    return found


def ours(truth: Instances, grids: list[Grid], legacy: bool, repeated: bool) -> list[tuple]:
    """The same, as the method makes them."""
    shapes, coverages, found = Shapes.of(truth, ordered=not legacy), {}, []
    for grid in grids:
        cells = assigned(shapes, grid, 80, legacy=legacy, repeated=repeated)
        if grid.step not in coverages:
            coverages[grid.step] = Coverage.of(shapes, grid.step, legacy)
        corners = grid.corners(cells.rows, cells.columns).numpy()
        masks = coverages[grid.step].in_windows(cells.objects.numpy(), corners, grid.window)
        found.append((cells.labels.numpy(), (cells.rows * grid.shape[1] + cells.columns).tolist(), masks))
    return found


def timed(function, repeats: int) -> tuple[float, list]:
    """Least milliseconds, and what it gave."""
    times, found = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        found = function()
        times.append(time.perf_counter() - began)
    return min(times) * 1e3, found


def compared(count: int, variant: str) -> dict[str, float | int | str]:
    truth = objects(count)
    steps = [4 if variant == "v2" else stride // 2 for stride in PAPER_STRIDES]
    grids = numbered_grids(GRIDS, SIZE, PAPER_RANGES, steps)
    # Theirs are full-size masks from the start.
    masks = torch.from_numpy(truth.dense())
    slow, theirs = timed(lambda: loops(truth, masks, steps, variant == "vanilla"), 3)
    fast, mine = timed(lambda: ours(truth, grids, True, variant == "v2"), 7)
    for (labels, cells, masks), (own_labels, own_cells, own_masks) in zip(theirs, mine, strict=True):
        if not np.array_equal(labels, own_labels) or cells != own_cells or not np.array_equal(masks, own_masks):
            raise AssertionError(f"{variant}, {count} objects: the targets differ")
    sized = sized_grids((4, 8, 16), SIZE, [(0, 24), (12, 48), (24, 1e9)], (2, 2, 2), 8)
    cells = timed(lambda: ours(truth, sized, False, False), 7)[0]
    figures = {"loops_ms": slow, "ours_ms": fast, "ratio": slow / fast, "cells_ms": cells}
    rounded = {name: round(value, 1) for name, value in figures.items()}
    return {"variant": variant, "objects": count, "cells": sum(len(one[1]) for one in mine), **rounded}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [compared(count, variant) for variant in ("vanilla", "v2") for count in (5, 20, 100)]
    if options.json:
        print(json.dumps({"threads": options.threads, "image": SIZE, "rows": rows}))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
