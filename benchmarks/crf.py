"""The fully connected CRF: how long mean field takes, and the memory; with --exact, how far the fast path is off.

    python benchmarks/crf.py [--json] [--size 500] [--objects 20] [--exact] [--threads 2]

An image of grainy discs, and masks that lie some pixels beside them; every label is possible everywhere, so that
nothing is saved on labels out of reach. "refinement" is the same through `refined`. "floor" is what the distances and
exponentials of the pairs of pixels at hand take alone, once for each step and once for the normalization. Seconds of
the clock; "cpu seconds" do not count other jobs on the machine, beside which two threads wait for each other: compare
with --threads 1. 2,000 objects: --objects 2000 --size 2000 --only-refined.
"""

import argparse
import json
import time

import numpy as np
import torch

from apiece.instances import Instances
from apiece.parts.crf import CRF, REACH, TILE, _Tiles, mean_field
from apiece.refinement import refined
from apiece.trials.timing import machine, peak_memory


def scene(objects: int, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image, and a label map that lies beside its discs."""
    generator = np.random.default_rng(seed)
    image, labels = np.full((side, side, 3), 90.0), np.zeros((side, side), np.uint16)
    largest = side / (2 * objects**0.5)
    for number in range(1, objects + 1):
        y, x, radius = generator.uniform((0, 0, largest / 2), (side, side, largest))
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        place = np.s_[top : int(y + radius) + 2, left : int(x + radius) + 2]
        rows, columns = np.mgrid[place][:, : side - top, : side - left]
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        labels[place][inside] = number
        image[place][inside] = generator.uniform(60, 220, 3)
    image += generator.normal(0, 8, image.shape)
    return image.clip(0, 255).astype(np.uint8), np.roll(labels, (3, -3), (0, 1))


def timed(function) -> dict[str, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    function()
    return {"seconds": time.perf_counter() - clock, "cpu seconds": time.process_time() - cpu}


def floor(side: int, crf: CRF) -> dict[str, float]:
    """The distances and exponentials of all pairs of tiles in reach, steps + 1 times."""
    pairs = len(_Tiles(side, side).pairs(REACH * crf.bilateral_sxy)) * (crf.steps + 1)
    left, right = torch.randn(16, TILE**2, 7), torch.randn(16, 7, TILE**2)

    def run() -> None:
        for _ in range(0, pairs, 16):
            torch.bmm(left, right).exp2_()

    return timed(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--exact", action="store_true", help="compare with all pairs: minutes, except for small sizes")
    parser.add_argument("--only-refined", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    crf, (image, labels) = CRF(), scene(options.objects, options.size)
    before = peak_memory()
    found = Instances.from_label_map(labels)
    result: dict = {"machine": machine(), "size": options.size, "objects": len(found)}
    result["refinement"] = timed(lambda: refined(found, image, crf))
    result["megabytes more at the peak of refinement"] = (peak_memory() - before) / 1e6
    if not options.only_refined:
        shares = np.full((len(found) + 1, *labels.shape), 0.05 / len(found), np.float32)
        np.put_along_axis(shares, found.label_map()[None].astype(np.int64), 0.95, 0)
        energies, pixels = -torch.from_numpy(np.log(shares)), torch.from_numpy(image).permute(2, 0, 1).float()
        result["mean field"] = timed(lambda: mean_field(energies, pixels, crf))
        result["megabytes more at the peak"] = (peak_memory() - before) / 1e6
        result["floor"] = floor(options.size, crf)
        if options.exact:
            exact: list[torch.Tensor] = []
            result["exact"] = timed(lambda: exact.append(mean_field(energies, pixels, CRF(exact=True))))
            result["largest difference"] = float((mean_field(energies, pixels, crf) - exact[0]).abs().max())
    print(json.dumps(result, indent=1) if options.json else "\n".join(f"{name}: {it}" for name, it in result.items()))


if __name__ == "__main__":
    main()
