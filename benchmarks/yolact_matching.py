"""YOLACT's matching of priors by sparse pairs against the loop over objects, on the same inputs.

    python benchmarks/yolact_matching.py [--json] [--threads N]

"loop" is the rule as the authors' program runs it: a table of IoU of every object with every prior, from which as many
times as there are objects the greatest entry is taken and its row and column are blanked. "pairs" is what the method
runs: IoU only where priors can overlap enough, and one to one in few rounds. "same" is the share of priors that stand
for the same object in both: equal overlaps come in the order of rounding in the loop, of distance in the other.
"""

import argparse
import json
import time

import numpy as np
import torch
from torch import Tensor

from apiece.parts.priors import Level, matched, shapes

RATIOS = (1.0, 2.0, 0.5)
CASES = [("550, paper", 550, 10), ("550, paper", 550, 30), ("550, paper", 550, 100), ("550, paper", 550, 300)]
CASES += [("128, nuclei", 128, 12), ("512, nuclei", 512, 100), ("1024, nuclei", 1024, 300)]


def priors(kind: str, side: int) -> list[Level]:
    """Those of the paper (strides 8 to 128), or those that follow nuclei of 8 to 40 pixels (strides 4 to 16)."""
    sizes, first = ((24.0, 48.0, 96.0, 192.0, 384.0), 8) if "paper" in kind else ((9.0, 18.0, 36.0), 4)
    levels = []
    for number, size in enumerate(sizes):
        count = -(-side // (first * 2**number))
        levels.append(Level(shapes(size, (1.0,), RATIOS), (count, count), (side / count, side / count), (count, count)))
    return levels


def objects(kind: str, side: int, count: int) -> Tensor:
    """Boxes `x1 y1 x2 y2` in whole pixels, as masks have them."""
    generator = np.random.default_rng(count)
    least, most = (8, 300) if "paper" in kind else (6, 40)
    size = np.exp(generator.uniform(np.log(least), np.log(most), (count, 1))) * generator.uniform(0.7, 1.4, (count, 2))
    corner = generator.uniform(-0.3, 0.9, (count, 2)) * side
    boxes = np.concatenate([corner, corner + size], 1).round().clip(0, side)
    return torch.from_numpy(boxes[((boxes[:, 2:] - boxes[:, :2]) >= 2).all(1)]).float()


def loop(boxes: Tensor, points: Tensor) -> Tensor:
    """For each prior its object, -1 for background, -2 for neutral."""
    count, total = len(boxes), len(points)
    low = torch.max(boxes[:, None, :2].expand(count, total, 2), points[None, :, :2].expand(count, total, 2))
    high = torch.min(boxes[:, None, 2:].expand(count, total, 2), points[None, :, 2:].expand(count, total, 2))
    common = (high - low).clamp(min=0).prod(2)
    areas = [((one[:, 2] - one[:, 0]) * (one[:, 3] - one[:, 1])) for one in (boxes, points)]
    table = common / (areas[0][:, None] + areas[1][None] - common)
    best, owner = table.max(0)
    for _ in range(count):
        values, places = table.max(1)
        one = values.argmax()
        prior = places[one]
        table[:, prior] = -1
        table[one] = -1
        best[prior], owner[prior] = 2, one
    owner[best < 0.5] = -2
    owner[best < 0.4] = -1
    return owner


def pairs(levels: list[Level], boxes: Tensor) -> Tensor:
    """The same from the method's own matching."""
    match = matched(levels, boxes)
    owner = torch.where(match.neutral, -2, -1)
    owner[match.priors] = match.objects
    return owner


def least_time(function, *arguments) -> tuple[float, Tensor]:
    """Milliseconds, least of some runs, and the answer."""
    times, answer = [], function(*arguments)
    while len(times) < 5 and sum(times) < 4:
        began = time.perf_counter()
        answer = function(*arguments)
        times.append(time.perf_counter() - began)
    return min(times) * 1e3, answer


def compared(kind: str, side: int, count: int) -> dict[str, float | int | str]:
    levels, boxes = priors(kind, side), objects(kind, side, count)
    points = torch.cat([level.boxes for level in levels])
    slow, wanted = least_time(loop, boxes, points)
    fast, found = least_time(pairs, levels, boxes)
    taken = (wanted >= 0) | (found >= 0)
    same = (wanted == found)[taken].float().mean().item()
    row = {"case": kind, "priors": len(points), "objects": len(boxes), "loop_ms": round(slow, 1)}
    return {**row, "pairs_ms": round(fast, 1), "ratio": round(slow / fast, 1), "same": round(same, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [compared(*case) for case in CASES]
    if options.json:
        print(json.dumps({"threads": options.threads, "rows": rows}))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
