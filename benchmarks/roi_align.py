"""RoIAlign of a pyramid's features, forward and backward: ours on a CPU against torchvision's operator.

    python benchmarks/roi_align.py [--threads 1] [--times 5]

Prints one JSON object: milliseconds, best of several runs that take turns, and the largest difference.
"""

import argparse
import json
import time

import torch
from torchvision.ops import roi_align

from apiece.parts.regions import pooled

CASES = {
    "1000 proposals, 256 channels, 7 x 7": (1000, 256, 7, 120, 160),
    "100 objects, 256 channels, 14 x 14": (100, 256, 14, 120, 160),
    "128 regions, 64 channels, 14 x 14": (128, 64, 14, 128, 128),
}
STRIDE = 4


def case(count: int, channels: int, side: int, height: int, width: int, times: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, channels, height, width, generator=generator).to(memory_format=torch.channels_last)
    features.requires_grad_()
    corners = torch.rand(count, 2, generator=generator) * torch.tensor([width, height]) * STRIDE * 0.8
    sides = 10 + torch.rand(count, 2, generator=generator) * 90
    regions = torch.cat([torch.zeros(count, 1), corners, corners + sides], 1)
    runs = {
        "torchvision": lambda: roi_align(features, regions, side, 1 / STRIDE, 2, True),
        "ours": lambda: pooled([features], [STRIDE], [regions[:, 1:]], side),
    }
    best = {name: {"forward": float("inf"), "and backward": float("inf")} for name in runs}
    values = {}
    for _ in range(times + 1):
        for name, run in runs.items():
            features.grad = None
            start = time.perf_counter()
            found = run()
            middle = time.perf_counter()
            found.sum().backward()
            seconds = {"forward": middle - start, "and backward": time.perf_counter() - start}
            best[name] = {part: round(min(best[name][part], 1e3 * seconds[part]), 1) for part in seconds}
            values[name] = found.detach()
    difference = float((values["ours"] - values["torchvision"]).abs().max())
    ratios = {part: round(best["torchvision"][part] / best["ours"][part], 1) for part in best["ours"]}
    return {"milliseconds": best, "times as fast": ratios, "largest difference": difference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps({name: case(*one, options.times) for name, one in CASES.items()}, indent=2))


if __name__ == "__main__":
    main()
