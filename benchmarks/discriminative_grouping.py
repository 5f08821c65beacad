"""Grouping by mean shift: starts that follow the density against full passes over the foreground, on the same points.

    python benchmarks/discriminative_grouping.py [--json] [--plot FILE]

Well separated clusters (balls of radius d_v = 0.5, means 3 apart) in 8 dimensions. "plain" is the paper's loop: from
one free point after another shift to the mean of all within the bandwidth, until it stands. "binned" is apiece's
group_by_mean_shift. "sklearn" is scikit-learn's MeanShift, every point a start, where it is installed. All must agree
in the partition. "images" are 512 x 1024 pixels, all foreground: with coordinates, a lattice of objects as a network
that has them would say; without, clusters in 16 dimensions.
"""

import argparse
import json
import time

import numpy as np
import torch
from torch import Tensor

from apiece.parts.mean_shift import group_by_mean_shift

BANDWIDTH, REACH, MIN_SIZE = 1.0, 1.5, 10


def clusters(pixels: int, count: int, dimensions: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points in balls of radius one half, and whose each is; in the order of an image of bands."""
    generator = np.random.default_rng(seed)
    centers, spread = np.zeros((0, dimensions)), 4.0
    while len(centers) < count:
        spread += 0.01
        one = generator.uniform(-spread, spread, (1, dimensions))
        if not len(centers) or np.linalg.norm(centers - one, axis=1).min() >= 3:
            centers = np.concatenate([centers, one])
    owner = np.sort(generator.integers(0, count, pixels))
    away = generator.standard_normal((pixels, dimensions)).astype(np.float32)
    away *= (0.5 * generator.random(pixels) / np.linalg.norm(away, axis=1))[:, None]
    return torch.from_numpy((centers[owner] + away).astype(np.float32)), torch.from_numpy(owner)


def image(count: int, height: int = 512, width: int = 1024) -> tuple[Tensor, Tensor]:
    """A lattice of rectangles that fill the image, each pixel drawn to its rectangle's middle but for some noise."""
    generator = torch.Generator().manual_seed(count)
    across = round((2 * count) ** 0.5)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    side = width / across
    y, x = (row / side).floor(), (column / side).floor()
    owner = (y * across + x).flatten().long()
    points = 0.15 * torch.randn(height * width, 8, generator=generator)
    points[:, 0] += 3 * x.flatten()
    points[:, 1] += 3 * y.flatten()
    return points, owner


def plain(points: Tensor) -> Tensor:
    labels = torch.zeros(len(points), dtype=torch.long)
    number = 0
    while not bool(labels.all()):
        center = points[int((labels == 0).int().argmax())]
        for _ in range(100):
            moved = points[(points - center).square().sum(1) <= BANDWIDTH**2].mean(0)
            still = bool((moved - center).norm() < 1e-3 * BANDWIDTH)
            center = moved
            if still:
                break
        number += 1
        labels[((points - center).square().sum(1) <= BANDWIDTH**2) & (labels == 0)] = number
    return labels


def binned(points: Tensor) -> Tensor:
    return group_by_mean_shift(points, BANDWIDTH, reach=REACH, min_size=MIN_SIZE).labels


def sklearn(points: Tensor) -> Tensor:
    from sklearn.cluster import MeanShift

    return torch.from_numpy(MeanShift(bandwidth=BANDWIDTH).fit(points.numpy()).labels_)


def same_partition(one: Tensor, other: Tensor) -> bool:
    pairs = torch.stack([one, other], 1).unique(dim=0)
    return len(pairs) == len(pairs[:, 0].unique()) == len(pairs[:, 1].unique())


def timed(function, points: Tensor, repeats: int) -> tuple[float, Tensor]:
    times, labels = [], points
    for _ in range(repeats):
        began = time.perf_counter()
        labels = function(points)
        times.append(time.perf_counter() - began)
    return min(times) * 1e3, labels


def compared(pixels: int, count: int, peer: bool) -> dict:
    points, owner = clusters(pixels, count, 8)
    fast, labels = timed(binned, points, 3)
    row = {"pixels": pixels, "clusters": count, "binned_ms": round(fast, 1), "right": same_partition(labels, owner)}
    for name, function in {"plain": plain, **({"sklearn": sklearn} if peer else {})}.items():
        slow, theirs = timed(function, points, 1)
        row |= {f"{name}_ms": round(slow, 1), f"{name}_ratio": round(slow / fast, 1)}
        row |= {f"{name}_same": same_partition(labels, theirs)}
    return row


def embedded(count: int, coordinates: bool) -> dict:
    points, owner = image(count) if coordinates else clusters(512 * 1024, count, 16)
    fast, labels = timed(binned, points, 3)
    return {
        "pixels": len(points),
        "objects": count,
        "coordinates": coordinates,
        "binned_ms": round(fast, 1),
        "pixels_right": round(_agreement(labels, owner), 5),
    }


def _agreement(labels: Tensor, owner: Tensor) -> float:
    """Share of the pixels whose cluster's commonest object is theirs, and the other way around; the smaller one."""
    objects, found = int(owner.max()) + 1, int(labels.max()) + 1
    table = torch.bincount(labels * objects + owner, minlength=found * objects).view(found, objects)
    return float(min(table[1:].amax(1).sum(), table[1:].amax(0).sum()) / len(labels))


def plot(rows: list[dict], file: str) -> None:
    from matplotlib import pyplot

    for name in ("plain_ms", "binned_ms", "sklearn_ms"):
        chosen = [row for row in rows if name in row]
        pyplot.loglog([row["clusters"] for row in chosen], [row[name] for row in chosen], "o-", label=name)
    pyplot.xlabel("clusters")
    pyplot.ylabel("milliseconds")
    pyplot.legend()
    pyplot.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--plot", metavar="FILE", help="time over number of clusters (needs matplotlib)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        import sklearn.cluster  # noqa: F401

        peer = True
    except ImportError:
        peer = False
    # With every point a start, scikit-learn's takes many minutes beyond this.
    cases = ((20_000, 20), (20_000, 100), (100_000, 400))
    rows = [compared(pixels, count, peer and pixels <= 20_000) for pixels, count in cases]
    images = [embedded(count, coordinates) for coordinates in (True, False) for count in (50, 200, 1000)]
    if options.plot:
        plot(rows, options.plot)
    if options.json:
        print(json.dumps({"threads": options.threads, "rows": rows, "images": images}))
        return
    for row in rows + images:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
