"""Table 2 of the paper of the discriminative loss in kind: what a dense network costs, and what it finds.

    python benchmarks/networks.py [--networks enet,erfnet] [--sizes 192x256,288x384] [--threads 2] [--device cpu]
                                  [--data TRAIN --test TEST --minutes 6 --out FOLDER] [--page networks.html]

Prints one JSON object: a row for each network and size, as in table 2 of De Brabandere et al., 2017, whose rows are
beside ours. Weights are random where speed and memory are measured, each row in a process of its own: the best of three
passes of one image in float32 with eight dimensions and eight classes; `memory_mb` is the most the passes needed above
weights and libraries (on a CPU: resident memory, on Linux; on a GPU: what torch held, weights included, as in the
paper).

With data, each network is trained there from scratch for some minutes with the same options, images and objects resized
to each size, and AP is that on the test data, AP_gt with the true classes given. Models are kept in the folder, where
the same call finds them again.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image

from apiece import Discriminative, evaluate, train
from apiece.checkpoint import load
from apiece.data.dataset import Dataset
from apiece.data.formats import open_dataset
from apiece.instances import Instances
from apiece.masks import Size
from apiece.networks.dense import DenseName, dense
from apiece.page import Page

HEADS = (8, 8)
PAPER = {
    # AP and AP_gt of cars on Cityscapes' validation images; frames a second on a GPU of 2017.
    ("enet", (384, 768)): {"AP": 0.21, "AP_gt": 0.25, "fps": 94, "parameters": 0.36e6},
    ("segnet", (384, 768)): {"AP": 0.22, "AP_gt": 0.26, "fps": 14, "parameters": 29.4e6},
    ("dilation", (384, 768)): {"AP": 0.24, "AP_gt": 0.29, "fps": 6, "parameters": 134.3e6},
    ("resnet38", (384, 768)): {"AP": 0.29, "AP_gt": 0.34, "fps": 5, "parameters": 124e6},
}
ORACLES: dict[str, Any] = {"AP": None, "AP_gt": "classes"}
COLUMNS = ("network", "size", "AP", "AP_gt", "fps", "parameters", "memory_mb")


def resident(line: str) -> float:
    """MB of memory that the process holds now (VmRSS), or held at most since it was last forgotten (VmHWM)."""
    return next(int(one.split()[1]) for one in Path("/proc/self/status").open() if one.startswith(line)) / 1024


@torch.inference_mode()
def measure(name: str, size: tuple[int, int], threads: int, device: str) -> dict[str, Any]:
    """Frames a second, parameters and memory, in this process."""
    torch.set_num_threads(threads)
    on_gpu = device != "cpu"
    network = dense(name, 3, HEADS).eval().to(device).to(memory_format=torch.channels_last)
    padded = tuple(-(-side // network.stride) * network.stride for side in size)
    image = torch.rand(1, 3, *padded, device=device).contiguous(memory_format=torch.channels_last)
    network(image[..., : 2 * network.stride, : 2 * network.stride])
    before, seconds = resident("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")  # Forget what was held at most so far.
    for _ in range(3):
        start = time.perf_counter()
        network(image)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else resident("VmHWM") - before
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"fps": round(1 / min(seconds), 2), "parameters": parameters, "memory_mb": round(memory)}


def apart(name: str, size: tuple[int, int], threads: int, device: str) -> dict[str, Any]:
    """The same in a process of its own, so that no row's memory is another's."""
    call = [sys.executable, __file__, "--one", name, f"{size[0]}x{size[1]}", "--threads", str(threads)]
    run = subprocess.run([*call, "--device", device], capture_output=True, text=True)
    if run.returncode:
        return {"error": run.stderr.strip().rpartition("\n")[2] or f"ended with status {run.returncode}"}
    return json.loads(run.stdout)


class Resized:
    """A data set's images and objects at one size."""

    def __init__(self, data: Dataset, size: Size):
        self.data, self.size = data, size

    def image(self, index: int) -> np.ndarray:
        height, width = self.size
        return np.asarray(Image.fromarray(self.data.image(index)).resize((width, height), Image.Resampling.BOX))

    def truth(self, index: int) -> Instances:
        return self.data.truth(index).resized(self.size)

    def read_size(self, _: int) -> Size:
        return self.size

    def all(self) -> Dataset:
        readers: dict[str, Any] = {"read_image": self.image, "read_truth": self.truth, "read_size": self.read_size}
        return replace(self.data, **readers, read_outlines=None)


def precision(name: str, size: Size, options: argparse.Namespace) -> dict[str, Any]:
    """AP and AP_gt of a network trained at a size."""
    learned, unseen = (Resized(open_dataset(path), size).all() for path in (options.data, options.test))
    torch.set_num_threads(options.threads)
    out = options.out / f"{name}_{size[0]}x{size[1]}"
    model: Any = out / "model.safetensors"
    if not model.is_file():
        fresh = Discriminative(len(learned.classes), learned.channels(), network=name)
        recipe: dict[str, Any] = {"crop": 192, "batch_size": 4, "lr": 2e-3, "optimizer": "adamw", "average": 0.998}
        recipe |= {"schedule": "one_cycle", "augmentation": {"rotation": 180.0, "scale": (0.7, 1.4)}}
        train(fresh, learned, validation=0, minutes=options.minutes, out=out, quiet=True, **recipe)
    found = {
        name: round(evaluate(model, unseen, metrics=["coco"], oracle=oracle, quiet=True)["coco"]["segm"]["AP"], 3)
        for name, oracle in ORACLES.items()
    }
    return {**found, "steps": load(model).card.training["steps"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(name for name in get_args(DenseName) if name != "tiny"))
    parser.add_argument("--sizes", default="384x768,512x1024", help="HEIGHTxWIDTH, with commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", type=Path, help="images to learn from")
    parser.add_argument("--test", type=Path, help="images to judge by")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--out", type=Path, default=Path("networks"), help="a folder for models")
    parser.add_argument("--page", type=Path, help="an HTML page with the table")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        height, width = map(int, options.one[1].split("x"))
        print(json.dumps(measure(options.one[0], (height, width), options.threads, options.device)))
        return
    rows = []
    for name in options.networks.split(","):
        for size in options.sizes.split(","):
            height, width = map(int, size.split("x"))
            row = {"network": name, "size": [height, width]}
            row |= precision(name, (height, width), options) if options.data else {"AP": None, "AP_gt": None}
            row |= apart(name, (height, width), options.threads, options.device)
            rows.append({**row, "paper": PAPER.get((name, (height, width)))})
    hardware = torch.cuda.get_device_name() if options.device != "cpu" else platform.machine()
    about = {"device": hardware, "threads": options.threads, "torch": torch.__version__, "heads": HEADS}
    print(json.dumps({**about, "rows": rows}, indent=2))
    if options.page:
        page = Page("Dense networks")
        page.text(f"{hardware}, {options.threads} threads, torch {torch.__version__}. One image, float32.")
        page.table([[str(row.get(column, "")) for column in COLUMNS] for row in rows], list(COLUMNS))
        page.write(options.page)


if __name__ == "__main__":
    main()
