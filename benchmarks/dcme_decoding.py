"""Displacements to objects: how long the votes take, beside the bytes that have to be moved.

    python benchmarks/dcme_decoding.py [--json] [--objects 100]

1024 x 2048 pixels with discs of 4 to 90 pixels radius and noisy displacements, one thread. "floor" is one read of the
field and one write of the label map, as copies of as many bytes. (The first paper's program,
a loop over pixels and centers in Python, needs 8.3 s for 340 x 680 pixels.)
"""

import argparse
import json
import time

import numpy as np

from apiece.parts.votes import group_by_votes

HEIGHT, WIDTH = 1024, 2048


def field(count: int, size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy displacements of discs, later ones in front, and the label map."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(size, np.int64)
    for number in range(1, count + 1):
        radius = int(np.exp(generator.uniform(np.log(4), np.log(90))))
        y, x = generator.integers(0, size[0]), generator.integers(0, size[1])
        rows, columns = slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1)
        row, column = np.mgrid[: size[0], : size[1]][:, rows, columns]
        labels[rows, columns][(row - y) ** 2 + (column - x) ** 2 <= radius**2] = number
    row, column = np.indices(size)
    area = np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
    x = np.bincount(labels.ravel(), column.ravel(), count + 1) / area
    y = np.bincount(labels.ravel(), row.ravel(), count + 1) / area
    way = np.stack([x[labels] - column, y[labels] - row]) * (labels > 0)
    noise = generator.standard_normal((2, *size))
    return (way * (1 + 0.05 * noise) + 0.2 * noise).astype(np.float32), labels


def seconds(function, *arguments, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    displacement, labels = field(options.objects, (HEIGHT, WIDTH))
    found = group_by_votes(displacement, min_size=20)
    result = {
        "objects": int(len(np.unique(labels)) - 1),
        "found": len(found.peaks),
        "seconds": seconds(lambda: group_by_votes(displacement, min_size=20)),
        "floor_seconds": seconds(lambda: (displacement.copy(), found.labels.copy())),
        "megabytes_moved": (displacement.nbytes + found.labels.nbytes) / 1e6,
    }
    print(json.dumps(result) if options.json else "\n".join(f"{key:32}{value:.5g}" for key, value in result.items()))


if __name__ == "__main__":
    main()
