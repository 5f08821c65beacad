"""Grouping by center: binned embeddings against full passes over the foreground, on the same outputs.

    python benchmarks/spatial_embedding_clustering.py [--json] [--plot FILE]

1024 x 2048 pixels with discs of 8 to 50 pixels radius. "sequential" is the algorithm as it is told, in torch: every
step takes the highest seed left and computes phi of all foreground pixels. "binned" is apiece's group_by_center with
the same stopping rule and later objects on top; both label maps and scores must be identical.
"""

import argparse
import json
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import torch

from apiece.parts.group import group_by_center

HEIGHT, WIDTH, STEP = 1024, 2048, 1 / 1024


def outputs(count: int, seed: int = 0) -> dict:
    """What a good but noisy network would say of discs at random places, later ones in front."""
    generator = np.random.default_rng(seed)
    offsets = np.zeros((2, HEIGHT, WIDTH), np.float32)
    log_precision = np.zeros((1, HEIGHT, WIDTH), np.float32)
    seeds = (0.2 * generator.random((HEIGHT, WIDTH))).astype(np.float32)
    for _ in range(count):
        center_y, center_x, radius = (int(generator.integers(*span)) for span in ((0, HEIGHT), (0, WIDTH), (8, 50)))
        rows = slice(max(0, center_y - radius), min(HEIGHT, center_y + radius))
        columns = slice(max(0, center_x - radius), min(WIDTH, center_x + radius))
        window = rows, columns
        row, column = np.mgrid[window]
        inside = (row - center_y) ** 2 + (column - center_x) ** 2 < radius**2
        noise = generator.standard_normal((4, *inside.shape))
        x, y = (0.8 * (center_x - column) + 2 * noise[0]) * STEP, (0.8 * (center_y - row) + 2 * noise[1]) * STEP
        precision = np.log(2) / (radius / 2 * STEP) ** 2
        phi = np.exp(-((x + (column - center_x) * STEP) ** 2 + (y + (row - center_y) * STEP) ** 2) * precision)
        offsets[0][window][inside], offsets[1][window][inside] = x[inside], y[inside]
        log_precision[0][window][inside] = (np.log(precision) + 0.05 * noise[2])[inside]
        seeds[window][inside] = (phi + 0.05 * noise[3]).clip(0, 1 - 1e-6)[inside]
    coordinates = tuple((np.arange(size) * STEP).astype(np.float32) for size in (WIDTH, HEIGHT))
    return {"offsets": offsets, "log_precision": log_precision, "seeds": seeds, "coordinates": coordinates}


def sequential(offsets, log_precision, seeds, coordinates) -> tuple[np.ndarray, np.ndarray]:
    chosen = torch.from_numpy(seeds) > 0.5
    x, y = (torch.from_numpy(axis) for axis in coordinates)
    coordinate_map = torch.stack([x.expand(chosen.shape), y[:, None].expand(chosen.shape)])
    embeddings = (torch.from_numpy(offsets) + coordinate_map)[:, chosen]
    seed, log_precision = torch.from_numpy(seeds)[chosen], torch.from_numpy(log_precision)[:, chosen]
    left = torch.ones(len(seed), dtype=torch.bool)
    labels, scores = torch.zeros(len(seed), dtype=torch.int32), []
    while left.sum() > 128:
        start = (seed * left).argmax()
        if seed[start].item() < 0.9:
            break
        left[start] = False
        distance = ((embeddings - embeddings[:, start, None]) ** 2 * log_precision[:, start, None].exp()).sum(0)
        proposal = torch.exp(-distance) > 0.5
        if proposal.sum() > 128 and left[proposal].sum() / proposal.sum() > 0.5:
            scores.append(seed[start].item())
            labels[proposal] = len(scores)
        left[proposal] = False
    label_map = torch.zeros(chosen.shape, dtype=torch.int32)
    label_map[chosen] = labels
    return label_map.numpy(), np.array(scores, np.float32)


def binned(**inputs) -> tuple[np.ndarray, np.ndarray]:
    groups = group_by_center(**inputs, overlap="last")
    return groups.labels, groups.scores


def timed(function, inputs: dict, repeats: int) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    times, result = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        result = function(**inputs)
        times.append(time.perf_counter() - began)
    return min(times) * 1e3, result


def compared(count: int) -> dict[str, float | int | bool]:
    inputs = outputs(count)
    slow, (slow_labels, slow_scores) = timed(sequential, inputs, 1)
    fast, (fast_labels, fast_scores) = timed(binned, inputs, 3)
    tracemalloc.start()
    binned(**inputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "discs": count,
        "objects_found": len(fast_scores),
        "foreground_pixels": int((inputs["seeds"] > 0.5).sum()),
        "sequential_ms": round(slow, 1),
        "binned_ms": round(fast, 1),
        "ratio": round(slow / fast, 1),
        "different_pixels": int((slow_labels != fast_labels).sum()),
        "scores_equal": bool(np.array_equal(slow_scores, fast_scores)),
        "binned_peak_mb_with_labels": round(peak / 2**20, 1),
    }


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (the most since it was last cleared) of this process in MB; Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def report_peak(name: str) -> None:
    inputs = outputs(300)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    {"sequential": sequential, "binned": binned}[name](**inputs)
    print(resident("VmHWM") - before)


def peak_megabytes(name: str) -> float:
    """What grouping 300 discs adds to a fresh process."""
    arguments = [sys.executable, __file__, "--peak", name]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def plot(rows: list[dict], file: str) -> None:
    from matplotlib import pyplot

    for name in ("sequential_ms", "binned_ms"):
        pyplot.loglog([row["discs"] for row in rows], [row[name] for row in rows], "o-", label=name)
    pyplot.xlabel("objects")
    pyplot.ylabel("milliseconds")
    pyplot.legend()
    pyplot.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--plot", metavar="FILE", help="time over number of objects (needs matplotlib)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", choices=["sequential", "binned"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        return report_peak(options.peak)
    rows = [compared(count) for count in (10, 30, 100, 300, 600)]
    peaks = {f"{name}_peak_mb_at_300": round(peak_megabytes(name), 1) for name in ("sequential", "binned")}
    if options.plot:
        plot(rows, options.plot)
    if options.json:
        print(json.dumps({"threads": options.threads, "image": [HEIGHT, WIDTH], "rows": rows, **peaks}))
        return None
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(peaks)


if __name__ == "__main__":
    main()
