"""What augmentation costs: images a second on one core, beside decoding, and over the number of objects in an image.

    python benchmarks/augmentation.py [--json]

Images of 512 x 512 with three 8-bit channels and 100 discs, crops of 256. The cost over the number of objects is for
crops of 256 from 1024 x 1024, discs shrinking as they grow in number; "copy-paste" lays objects of another such crop on
top, both images being in RAM; "dense" is the obvious version, which cuts and turns one full-size mask for each object.
"""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

# One core: before any library starts its threads.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
from PIL import Image

from apiece.data.augment import Augmentation
from apiece.data.copy_paste import paste
from apiece.data.images import read_image
from apiece.data.label_images import read_label_image, write_label_image
from apiece.instances import Instances

NO_INTENSITIES = {"gain": 0.0, "offset": 0.0, "gamma": 0.0, "noise": 0.0}
KINDS = {
    "flips, turns, crop": Augmentation(**NO_INTENSITIES),
    "the same with intensities, no noise": Augmentation(noise=0.0),
    "the default (with noise)": Augmentation(),
    "rotation, scale, crop": Augmentation(rotation=180.0, scale=(0.8, 1.25), **NO_INTENSITIES),
    "everything": Augmentation(rotation=180.0, scale=(0.8, 1.25), blur=1.0),
    "the default and copy-paste": Augmentation(copy_paste=1.0),
}
COUNTS = (10, 30, 100, 300, 1000)
ROUNDS = 5


def scattered_discs(count: int, side: int) -> Instances:
    """Discs on a shaken grid that cover about a third of the image, touching none."""
    generator = np.random.default_rng(0)
    cells = int(np.ceil(np.sqrt(count)))
    cell = side / cells
    rows, columns = np.ogrid[:side, :side]
    label_map = np.zeros((side, side), np.uint16)
    for number, place in enumerate(generator.permutation(cells**2)[:count], start=1):
        y, x = (np.array(divmod(place, cells)) + generator.uniform(0.4, 0.6, 2)) * cell
        top, left, reach = int(max(y - cell, 0)), int(max(x - cell, 0)), int(2 * cell)
        window = slice(top, top + reach), slice(left, left + reach)
        near = (rows[window[0]] - y) ** 2 + (columns[:, window[1]] - x) ** 2 <= (0.33 * cell) ** 2
        label_map[window][near] = number
    return Instances.from_label_map(label_map)


def changed(image: np.ndarray, truth: Instances, crop: int, augmentation: Augmentation, seed: int) -> Instances:
    """What a loader does with an image in RAM; pasted are objects of the same image."""
    generator = np.random.default_rng(seed)
    seen, found = augmentation(image, truth, crop, generator)
    if augmentation.copy_paste:
        others = augmentation(image, truth, crop, generator)
        seen, found = paste(seen, found, *others, generator, blend=augmentation.blend)
    return found


def seconds(work: Callable[[int], object], times: int) -> float:
    """Median CPU time of a call: other processes on the machine do not count."""
    work(0)
    taken = []
    for number in range(times):
        start = process_time()
        work(number)
        taken.append(process_time() - start)
    return float(np.median(taken))


def rates(folder: Path) -> dict[str, float]:
    """Images a second."""
    truth = scattered_discs(100, 512)
    image = np.random.default_rng(0).normal(60, 12, (512, 512, 3)).clip(0, 255).astype(np.uint8)
    image[truth.label_map() > 0] += 90
    Image.fromarray(image).save(folder / "image.png")
    write_label_image(truth, folder / "mask.png")

    def decode(_: int) -> None:
        read_image(folder / "image.png")
        read_label_image(folder / "mask.png").layers()

    normalized = np.ascontiguousarray(np.moveaxis(image, 2, 0).astype(np.float32) / 255)
    result = {"decoding PNG image and mask": 1 / seconds(decode, 30)}
    for name, augmentation in KINDS.items():
        result[name] = 1 / seconds(lambda n, a=augmentation: changed(normalized, truth, 256, a, n), 100)
    return result


def cost_over_objects() -> dict[str, dict[str, float]]:
    """Milliseconds for each number of objects."""
    image = np.random.default_rng(0).random((1, 1024, 1024), np.float32)
    kinds = {"slice": KINDS["flips, turns, crop"], "sampled": KINDS["rotation, scale, crop"]}
    kinds |= {f"{name}, copy-paste": replace(kind, copy_paste=1.0) for name, kind in kinds.items()}
    result: dict[str, dict[str, float]] = {name: {} for name in (*kinds, "dense")}
    truths = {count: scattered_discs(count, 1024) for count in COUNTS}
    # The best of several rounds: what others do on the machine meanwhile must not look like a trend.
    for _ in range(ROUNDS):
        for count, truth in truths.items():
            for name, kind in kinds.items():
                work = lambda n, a=kind, t=truth: changed(image, t, 256, a, n)  # noqa: E731
                taken = 1e3 * seconds(work, 150 // ROUNDS)
                result[name][str(count)] = min(taken, result[name].get(str(count), taken))
    for count, truth in truths.items():
        stack = truth.dense()

        def dense(n: int, stack: np.ndarray = stack) -> Instances:
            y, x = np.random.default_rng(n).integers(0, 768, 2)
            cut = np.rot90(stack[:, y : y + 256, x : x + 256], 1, axes=(1, 2)).copy()
            return Instances.from_dense(cut[cut.any((1, 2))])

        result["dense"][str(count)] = 1e3 * seconds(dense, 10)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    as_json = parser.parse_args().json
    with TemporaryDirectory() as folder:
        report = {"images a second": rates(Path(folder)), "milliseconds over objects": cost_over_objects()}
    costs = report["milliseconds over objects"]
    report["most objects over fewest"] = {
        name: cost[str(COUNTS[-1])] / cost[str(COUNTS[0])] for name, cost in costs.items()
    }
    if as_json:
        print(json.dumps(report, indent=1))
        return
    print("images a second, one core")
    for name, rate in report["images a second"].items():
        print(f"  {name:36} {rate:8.0f}")
    print("milliseconds a crop     " + "".join(f"{count:>9}" for count in COUNTS) + "   last / first")
    for name, cost in costs.items():
        ratio = report["most objects over fewest"][name]
        print(f"  {name:22}" + "".join(f"{cost[str(count)]:9.2f}" for count in COUNTS) + f"{ratio:12.2f}")


if __name__ == "__main__":
    main()
