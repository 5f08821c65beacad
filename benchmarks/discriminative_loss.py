"""The discriminative loss by segment means against the one-hot formulation, on the same inputs.

    python benchmarks/discriminative_loss.py [--json] [--plot FILE]

Embeddings of 16 dimensions with discs of about 400 pixels, forward and backward, float32. "one_hot" is the loss as its
well-known programs write it: every embedding times every object's mask, B x n x K x HW numbers in each step. "segments"
is what the method runs: sums by object over the objects' pixels. "total" is the method's whole loss, the semantic
branch's included. Values must be equal.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from apiece.instances import Instances
from apiece.methods.discriminative import Discriminative

DIMENSIONS, RADIUS = 16, 11.3
CASES = [(256, 5), (256, 20), (512, 5), (512, 20), (512, 100), (512, 300)]
MOST_ONE_HOT = 1 << 29
"""Numbers in one B x n x K x HW tensor beyond which the one-hot formulation is left out (2 GB each, and several)."""


def inputs(side: int, count: int) -> tuple[Tensor, Tensor]:
    """Embeddings D H W of a half-trained network, and whose each pixel is, -1 for none."""
    generator = torch.Generator().manual_seed(count)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    across = int(count**0.5 + 0.999)
    pitch, radius = side / across, min(RADIUS, 0.45 * side / across)
    owner = torch.full((side, side), -1)
    for number in range(count):
        y, x = pitch * (number // across + 0.5), pitch * (number % across + 0.5)
        owner[(row - y) ** 2 + (column - x) ** 2 < radius**2] = number
    means = 2 * torch.randn(count + 1, DIMENSIONS, generator=generator)
    noise = 0.3 * torch.randn(DIMENSIONS, side, side, generator=generator)
    return means[owner].movedim(2, 0) + noise, owner


def one_hot(embeddings: Tensor, owner: Tensor) -> Tensor:
    count = int(owner.max()) + 1
    masks = torch.nn.functional.one_hot(owner.flatten() + 1, count + 1)[:, 1:].T.to(embeddings.dtype)
    sizes = masks.sum(1)
    repeated = embeddings.flatten(1)[:, None].expand(-1, count, -1)
    means = (repeated * masks).sum(2) / sizes
    distance = (repeated - means[:, :, None]).norm(dim=0)
    variance = ((distance - 0.5).relu().square() * masks).sum(1) / sizes
    between = (means[:, :, None] - means[:, None, :]).norm(dim=0)
    margin = 3.0 * (1 - torch.eye(count))
    push = (margin - between).relu().square().sum() / max(1, count * (count - 1))
    return variance.mean() + push + 0.001 * means.norm(dim=0).mean()


def terms(embeddings: Tensor, owner: Tensor) -> dict[str, Tensor]:
    method = Discriminative(num_classes=1, network="tiny", dimensions=DIMENSIONS, coordinates=0.0)
    truth = Instances.from_label_map((owner + 1).int().numpy())
    semantic = torch.zeros(1, 1, *owner.shape, requires_grad=True)
    return method.loss_of({"embeddings": embeddings[None], "semantic": semantic}, [truth])


def segments(embeddings: Tensor, owner: Tensor) -> Tensor:
    losses = terms(embeddings, owner)
    return losses["variance"] + losses["distance"] + losses["regularization"]


def total(embeddings: Tensor, owner: Tensor) -> Tensor:
    return torch.stack(list(terms(embeddings, owner).values())).sum()


def timed(function, data: tuple[Tensor, Tensor], repeats: int) -> tuple[float, float, Tensor]:
    """Least milliseconds of forward and backward, value, gradient."""
    embeddings, owner = data
    times, value, gradient = [], 0.0, embeddings
    for _ in range(repeats + 1):
        leaf = embeddings.clone().requires_grad_()
        began = time.perf_counter()
        loss = function(leaf, owner)
        loss.backward()
        times.append(time.perf_counter() - began)
        value, gradient = loss.item(), leaf.grad
    return min(times[1:]) * 1e3, value, gradient


def compared(side: int, count: int) -> dict[str, float | int | None]:
    data = inputs(side, count)
    fast, value, gradient = timed(segments, data, 5)
    row = {"side": side, "objects": count, "segments_ms": round(fast, 1)}
    row["total_ms"] = round(timed(total, data, 3)[0], 1)
    if DIMENSIONS * count * side**2 > MOST_ONE_HOT:
        return {**row, "one_hot_ms": None, "ratio": None, "value_difference": None, "gradient_difference": None}
    slow, slow_value, slow_gradient = timed(one_hot, data, 1)
    return {
        **row,
        "one_hot_ms": round(slow, 1),
        "ratio": round(slow / fast, 1),
        "value_difference": abs(slow_value - value),
        "gradient_difference": ((slow_gradient - gradient).norm() / slow_gradient.norm()).item(),
    }


def peak_megabytes(name: str) -> float:
    """What one forward and backward at 512 x 512 and 100 objects adds to a fresh process."""
    arguments = [sys.executable, __file__, "--peak", name]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (the most since it was last cleared) of this process in MB; Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def report_peak(name: str) -> None:
    function = {"one_hot": one_hot, "segments": segments}[name]
    embeddings, owner = inputs(512, 100)
    first, whose = inputs(64, 2)
    function(first.requires_grad_(), whose).backward()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    function(embeddings.requires_grad_(), owner).backward()
    print(resident("VmHWM") - before)


def plot(rows: list[dict], file: str) -> None:
    from matplotlib import pyplot

    for name in ("one_hot_ms", "segments_ms"):
        chosen = [row for row in rows if row["side"] == 512 and row[name] is not None]
        pyplot.loglog([row["objects"] for row in chosen], [row[name] for row in chosen], "o-", label=name)
    pyplot.xlabel("objects")
    pyplot.ylabel("milliseconds, forward and backward")
    pyplot.legend()
    pyplot.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--plot", metavar="FILE", help="time over number of objects (needs matplotlib)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", choices=["one_hot", "segments"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        return report_peak(options.peak)
    rows = [compared(*case) for case in CASES]
    peaks = {f"{name}_peak_mb_at_100": round(peak_megabytes(name), 1) for name in ("one_hot", "segments")}
    if options.plot:
        plot(rows, options.plot)
    if options.json:
        print(json.dumps({"threads": options.threads, "dimensions": DIMENSIONS, "rows": rows, **peaks}))
        return None
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(peaks)


if __name__ == "__main__":
    main()
