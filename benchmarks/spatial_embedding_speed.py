"""Spatial embeddings on one image of 1024 x 2048: network and clustering apart, as in section 4.5 of the paper.

    python benchmarks/spatial_embedding_speed.py [--objects 300] [--threads 2] [--page speed.html]

Prints one JSON object: for each network and precision the milliseconds of its forward pass (best of three), and those
of decoding made-up outputs (noisy embeddings, graded seeds) for a growing number of objects. The paper's figures, on a
GTX 1080 Ti: 65 ms forward and 26 ms clustering. Random weights: a forward pass costs the same with any.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from apiece.instances import Instances
from apiece.methods.method import Frame
from apiece.methods.spatial_embedding import SpatialEmbedding
from apiece.page import Page

SIZE = (1024, 2048)


def best_of(run: Callable[[], object], times: int = 3) -> float:
    """Milliseconds of the fastest run."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return round(1000 * min(seconds), 1)


def truth_of(objects: int) -> Instances:
    """Discs on a grid, as large as fit."""
    rows = max(1, round((objects / 2) ** 0.5))
    columns = -(-objects // rows)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    cell_y, cell_x = SIZE[0] / rows, SIZE[1] / columns
    row, column = (y / cell_y).astype(int), (x / cell_x).astype(int)
    away = np.hypot(y - (row + 0.5) * cell_y, x - (column + 0.5) * cell_x)
    number = row * columns + column + 1
    radius = min(0.45 * min(cell_y, cell_x), 40)
    return Instances.from_label_map(np.where((away < radius) & (number <= objects), number, 0).astype(np.uint16))


def noisy(method: SpatialEmbedding, truth: Instances) -> dict[str, torch.Tensor]:
    """Ideal outputs made worse: embeddings scattered by 3 pixels, a margin of 10, seeds that fall with the distance."""
    outputs = method.ideal([truth], [Frame(SIZE, SIZE)])
    generator = torch.Generator().manual_seed(0)
    scatter = torch.randn(outputs["offsets"].shape, generator=generator) * 3 * method.step
    outputs["offsets"] += scatter
    outputs["sigma"][:] = float(np.log(np.log(2) / (10 * method.step) ** 2) / 10)
    outputs["seeds"] *= torch.exp(-(scatter / (10 * method.step)).square().sum(1, keepdim=True) * np.log(2))
    return outputs


def write_page(result: dict, path: Path) -> None:
    page = Page("Spatial embeddings on one image of 1024 x 2048")
    page.text(f"{result['threads']} threads of a CPU, torch {result['torch']}. Forward and clustering apart.")
    page.table([[name, ms] for name, ms in result["forward_ms"].items()], ["forward pass of", "milliseconds"])
    rows = [[row["objects"], row["pixels"], row["ms"]] for row in result["clustering"]]
    page.table(rows, ["objects", "foreground pixels", "clustering, milliseconds"])
    objects, _, milliseconds = np.array(rows, float).T
    page.plot({"": (objects, milliseconds)}, "objects", "clustering, milliseconds")
    page.write(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[10, 30, 100, 300, 1000, 3000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--page", type=Path, help="an HTML page with a plot of the cost over the number of objects")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result: dict = {"size": SIZE, "threads": options.threads, "torch": torch.__version__, "forward_ms": {}}
    frame, image = Frame(SIZE, SIZE), torch.rand(1, 3, *SIZE)
    for network in ("unet", "erfnet"):
        model = SpatialEmbedding(1, 3, network).eval().to(memory_format=torch.channels_last)
        pixels = image.contiguous(memory_format=torch.channels_last)
        result["forward_ms"][network] = best_of(lambda model=model, pixels=pixels: model.infer(pixels, [frame]))
        with torch.autocast("cpu", torch.bfloat16):
            half = best_of(lambda model=model, pixels=pixels: model.infer(pixels, [frame]))
        result["forward_ms"][f"{network}, bfloat16"] = half
    result["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    method, result["clustering"] = SpatialEmbedding(1, 3, "tiny", coordinate_step=1 / 128, min_size=10), []
    for objects in options.objects:
        outputs = noisy(method, truth_of(objects))
        (found,) = method.decode(outputs, [frame])
        pixels = int((outputs["seeds"] > method.foreground_threshold).sum())
        milliseconds = best_of(lambda outputs=outputs: method.decode(outputs, [frame]))
        result["clustering"].append({"objects": objects, "found": len(found), "pixels": pixels, "ms": milliseconds})
    print(json.dumps(result, indent=2))
    if options.page:
        write_page(result, options.page)


if __name__ == "__main__":
    main()
