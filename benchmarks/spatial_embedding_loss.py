"""The instance term of spatial embeddings, pairs in reach against the whole image for every object, on the same inputs.

    python benchmarks/spatial_embedding_loss.py [--json] [--plot FILE]

512 x 512 pixels with discs of about 400 pixels, forward and backward. "plain" is the formula as it is told: for each
object a Gaussian over the image, a sort of all its errors, first differences of the Jaccard loss. "sparse" is what the
method runs (instance_windows, gaussian_membership, lovasz_hinge): exact but for pixels of phi < 1e-6, worth at most
2e-6 of the loss. "total" is the method's whole loss. Stages of training: "start" (offsets zero, margin 5.7 pixels, as
initialized), "middle" (offsets 80 % of the way, margin 8), "end" (95 %, margin 4).
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
from apiece.methods.spatial_embedding import SpatialEmbedding
from apiece.parts.losses import gaussian_membership, instance_windows, lovasz_hinge

SIDE, RADIUS, STEP = 512, 11.3, 1 / 1024
STAGES = {"start": (0.0, 5.7), "middle": (0.8, 8.0), "end": (0.95, 4.0)}


def inputs(count: int, stage: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Offsets, coordinates, owners, centers and precisions of discs on a lattice."""
    pull, margin = STAGES[stage]
    generator = torch.Generator().manual_seed(count)
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    across = int(count**0.5 + 0.999)
    pitch = SIDE / across
    owner = torch.full((SIDE, SIDE), -1)
    for number in range(count):
        y, x = pitch * (number // across + 0.5), pitch * (number % across + 0.5)
        owner[(row - y) ** 2 + (column - x) ** 2 < RADIUS**2] = number
    coordinates = torch.stack([column, row]) * STEP
    centers = torch.stack([coordinates[:, owner == number].mean(1) for number in range(count)])
    offsets = STEP / 2 * torch.randn(2, SIDE, SIDE, generator=generator)
    inside = owner >= 0
    offsets[:, inside] += pull * (centers[owner[inside]].T - coordinates[:, inside])
    precisions = torch.full((count, 1), 0.693147 / (margin * STEP) ** 2)
    return offsets, coordinates, owner, centers, precisions


def plain(offsets: Tensor, coordinates: Tensor, owner: Tensor, centers: Tensor, precisions: Tensor) -> Tensor:
    embeddings = offsets + coordinates
    total = offsets.new_zeros(())
    for number, (center, precision) in enumerate(zip(centers, precisions, strict=True)):
        inside = (owner == number).flatten()
        phi = torch.exp(-((embeddings - center[:, None, None]) ** 2 * precision[:, None, None]).sum(0)).flatten()
        errors, order = (1 - (2 * phi - 1) * (2.0 * inside - 1)).sort(descending=True)
        labels = inside[order].float()
        positives = labels.sum()
        jaccard = 1 - (positives - labels.cumsum(0)) / (positives + (1 - labels).cumsum(0))
        total = total + (errors.relu() * torch.diff(jaccard, prepend=jaccard.new_zeros(1))).sum()
    return total / len(centers)


def sparse(offsets: Tensor, coordinates: Tensor, owner: Tensor, centers: Tensor, precisions: Tensor) -> Tensor:
    embeddings = offsets + coordinates
    pixels, objects = instance_windows(embeddings, centers, precisions, owner)
    phi = gaussian_membership(embeddings, centers, precisions, pixels, objects)
    sizes = torch.bincount(owner.flatten() + 1, minlength=len(centers) + 1)[1:]
    return lovasz_hinge(2 * phi - 1, owner.flatten()[pixels] == objects, objects, sizes).mean()


def total(offsets: Tensor, coordinates: Tensor, owner: Tensor, centers: Tensor, precisions: Tensor) -> Tensor:
    method = SpatialEmbedding(num_classes=1, network="tiny", coordinate_step=STEP)
    truth = Instances.from_label_map((owner + 1).int().numpy())
    sigma = (precisions[0].log() / 10).expand(1, 1, SIDE, SIDE).clone().requires_grad_()
    seeds = torch.full((1, 1, SIDE, SIDE), 0.3, requires_grad=True)
    losses = method.loss_of({"offsets": offsets[None], "sigma": sigma, "seeds": seeds}, [truth])
    return torch.stack(list(losses.values())).sum()


def timed(function, data, repeats: int) -> tuple[float, float, Tensor]:
    """Least milliseconds of forward and backward, value, gradient."""
    offsets, *rest = data
    times, value, gradient = [], 0.0, offsets
    for _ in range(repeats + 1):
        leaf = offsets.clone().requires_grad_()
        began = time.perf_counter()
        loss = function(leaf, *rest)
        loss.backward()
        times.append(time.perf_counter() - began)
        value, gradient = loss.item(), leaf.grad
    return min(times[1:]) * 1e3, value, gradient


def compared(count: int, stage: str) -> dict[str, float | int | str]:
    data = inputs(count, stage)
    pairs = len(instance_windows(data[0] + data[1], *data[3:], data[2])[0])
    slow, slow_value, slow_gradient = timed(plain, data, 1)
    fast, fast_value, fast_gradient = timed(sparse, data, 5)
    return {
        "objects": count,
        "stage": stage,
        "pairs": pairs,
        "plain_ms": round(slow, 1),
        "sparse_ms": round(fast, 1),
        "ratio": round(slow / fast, 1),
        "total_loss_ms": round(timed(total, data, 5)[0], 1),
        "value_difference": abs(slow_value - fast_value),
        "gradient_difference": ((slow_gradient - fast_gradient).norm() / slow_gradient.norm()).item(),
    }


def peak_megabytes(name: str) -> float:
    """What one forward and backward at 100 objects adds to a fresh process."""
    arguments = [sys.executable, __file__, "--peak", name]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (the most since it was last cleared) of this process in MB; Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def report_peak(name: str) -> None:
    data = inputs(100, "middle")
    function = {"plain": plain, "sparse": sparse}[name]
    first = inputs(1, "middle")
    function(first[0].requires_grad_(), *first[1:]).backward()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    function(data[0].requires_grad_(), *data[1:]).backward()
    print(resident("VmHWM") - before)


def plot(rows: list[dict], file: str) -> None:
    from matplotlib import pyplot

    for name in ("plain_ms", "sparse_ms"):
        chosen = [row for row in rows if row["stage"] == "middle"]
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
    parser.add_argument("--peak", choices=["plain", "sparse"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        return report_peak(options.peak)
    cases = [(5, "middle"), (20, "middle"), (50, "middle"), *((100, stage) for stage in STAGES), (200, "middle")]
    rows = [compared(*case) for case in cases]
    peaks = {f"{name}_peak_mb_at_100": round(peak_megabytes(name), 1) for name in ("plain", "sparse")}
    if options.plot:
        plot(rows, options.plot)
    if options.json:
        print(json.dumps({"threads": options.threads, "image": [SIDE, SIDE], "rows": rows, **peaks}))
        return None
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(peaks)


if __name__ == "__main__":
    main()
