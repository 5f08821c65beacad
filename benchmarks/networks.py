"""Dense networks at several resolutions: frames a second, parameters, memory; and AP where it was measured.

    python benchmarks/networks.py [--networks enet,erfnet] [--sizes 384x768,512x1024] [--threads 2] [--device cpu]
                                  [--measured FILES...] [--page networks.html]

Prints one JSON object: a row for each network and size, as in table 2 of the paper of the discriminative loss
(De Brabandere et al., 2017), whose rows are beside ours. Weights are random: a forward pass costs the same with any.
Each row is measured in a process of its own: the best of three passes of one image in float32 with eight dimensions and
eight classes; `memory_mb` is the most the passes needed above weights and libraries (on a CPU: resident memory, on
Linux; on a GPU: what torch held, weights included, as in the paper).

AP and AP_gt are null unless FILES say them: reports of `apiece evaluate MODEL DATA --metrics coco --json FILE`, without
and with `--oracle classes`, called NETWORK_HEIGHTxWIDTH.json and NETWORK_HEIGHTxWIDTH_gt.json; or model files called
NETWORK_HEIGHTxWIDTH.safetensors, from which the AP on their validation data is read.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import torch

from apiece.checkpoint import load
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


def measured(files: list[Path]) -> dict[str, float]:
    """AP by the name of the file."""
    found = {}
    for file in files:
        if file.suffix == ".safetensors":
            found[file.stem] = load(file).card.metrics.get("validation", {}).get("AP")
        else:
            found[file.stem] = json.loads(file.read_text())["coco"]["AP"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(name for name in get_args(DenseName) if name != "tiny"))
    parser.add_argument("--sizes", default="384x768,512x1024", help="HEIGHTxWIDTH, with commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measured", type=Path, nargs="+", default=[], help="reports or models, named as above")
    parser.add_argument("--page", type=Path, help="an HTML page with the table")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        height, width = map(int, options.one[1].split("x"))
        print(json.dumps(measure(options.one[0], (height, width), options.threads, options.device)))
        return
    precision, rows = measured(options.measured), []
    for name in options.networks.split(","):
        for size in options.sizes.split(","):
            height, width = map(int, size.split("x"))
            row = {"network": name, "size": [height, width]}
            row |= {"AP": precision.get(f"{name}_{size}"), "AP_gt": precision.get(f"{name}_{size}_gt")}
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
