"""What loading costs: images a second on one core through the loader, beside decoding alone; and memory over epochs.

    python benchmarks/loading.py [--images 64] [--epochs 4] [--json]

Images of 512 x 512 with three 8-bit channels as PNG, each with 100 discs in a label image (PNG), on disk (in the
system's cache after the first pass). "decoding" reads both and does nothing else; all others give batches of 8 crops of
256. CPU time of this process and its workers counts, so others on the machine matter little. Memory is what a worker
has for itself, not shared with its parent, over five times as many epochs.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter

# One core a process: before any library starts its threads.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
from augmentation import scattered_discs
from PIL import Image

from apiece.data.augment import Augmentation
from apiece.data.dataset import Dataset
from apiece.data.formats import open_dataset
from apiece.data.label_images import write_label_image
from apiece.data.loading import Batches
from apiece.data.sampling import Sampling

SIDE, CROP, BATCH = 512, 256, 8


def write_images(folder: Path, count: int) -> Dataset:
    """Noisy discs, as files."""
    truth = scattered_discs(100, SIDE)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(count):
        image = np.random.default_rng(number).normal(60, 12, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
        image[truth.label_map() > 0] += 90
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        write_label_image(truth, folder / "masks" / f"{number}.png")
    return open_dataset(folder)


def prepare(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, 2, 0).astype(np.float32) / 255


def measured(work: Callable[[], int]) -> dict[str, float]:
    """Images a second of CPU time, and of wall-clock time."""
    spent = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    begun, images = perf_counter(), work()
    wall = perf_counter() - begun
    now = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    seconds = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(spent, now, strict=True))
    return {"per core": images / seconds, "per second": images / wall}


def loaded(data: Dataset, epochs: int, **options) -> int:
    """Goes through the data that often; how many images were seen."""
    steps = epochs * len(data) // BATCH
    for _ in Batches(data, prepare, crop=CROP, batch_size=BATCH, steps=steps, **options):
        pass
    return steps * BATCH


def decoded(data: Dataset, epochs: int) -> int:
    for _ in range(epochs):
        for _, _, truth in data:
            truth.layers()
    return epochs * len(data)


def rates(data: Dataset, epochs: int) -> dict[str, dict[str, float]]:
    """Images a second."""
    usual, sampled = Augmentation(), Augmentation(rotation=180.0, scale=(0.8, 1.25))
    repeated = Sampling(repeat=0.01).order(data)
    ways: dict[str, dict] = {
        "crops only": {"cache": 0},
        "the default augmentation": {"augmentation": usual, "cache": 0},
        "rotation and scale": {"augmentation": sampled, "cache": 0},
        "copy-paste in half the samples": {"augmentation": Augmentation(copy_paste=0.5), "cache": 0},
        "the default, repeat factors": {"augmentation": usual, "cache": 0, "order": repeated},
        "the default, 2 workers": {"augmentation": usual, "cache": 0, "workers": 2},
        "the default, in RAM after the first epoch": {"augmentation": usual, "cache": 1 << 30},
    }
    # Files come into the system's cache, torch is imported.
    decoded(data, 1)
    loaded(data, 1)
    result = {"decoding alone": measured(lambda: decoded(data, epochs))}
    for name, options in ways.items():
        result[name] = measured(lambda options=options: loaded(data, epochs, **options))
    return result


def memory(data: Dataset, epochs: int, workers: int = 2) -> dict[str, list[float]]:
    """Megabytes that each worker has for itself after each epoch."""
    batches = Batches(data, prepare, Augmentation(copy_paste=0.5), CROP, BATCH, workers=workers, cache=0)
    stream, after = iter(batches), []
    for _ in range(epochs):
        for _ in range(len(data) // BATCH):
            next(stream)
        after.append([_own_megabytes(child.pid) for child in multiprocessing.active_children()])
    stream.close()
    places = {"first epoch": 0, "fifth part of the epochs": epochs // 5 - 1, "last epoch": -1}
    return {when: after[place] for when, place in places.items()}


def _own_megabytes(pid: int | None) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        data = write_images(Path(folder), options.images)
        report: dict = {"images a second": rates(data, options.epochs)}
        if Path("/proc/self/smaps_rollup").exists():
            report["megabytes of each worker"] = memory(data, 5 * options.epochs)
    alone = report["images a second"]["decoding alone"]["per core"]
    report["share of decoding alone"] = {
        name: rate["per core"] / alone for name, rate in report["images a second"].items()
    }
    if options.json:
        print(json.dumps(report, indent=1))
        return
    print("images a second                             a core   wall clock   against decoding alone")
    for name, rate in report["images a second"].items():
        share = report["share of decoding alone"][name]
        print(f"  {name:42}{rate['per core']:8.0f}{rate['per second']:13.0f}{share:18.2f}")
    for when, sizes in report.get("megabytes of each worker", {}).items():
        print(f"  memory of each worker after the {when}: {', '.join(f'{size:.1f} MB' for size in sizes)}")


if __name__ == "__main__":
    main()
