"""Mask R-CNN end to end against torchvision's, with the same random weights: image in, masks at its size out.

    python benchmarks/detectors.py [--size 480 640] [--threads 2] [--times 3] [--objects 100]

Prints one JSON object. Seconds: best of several runs that take turns. Weights are random, but so loud that at least 100
objects pass the score threshold, which is the same for both (0.05, and at most 100 objects). Ours predicts with batch
norm folded into the convolutions, channels last. Memory: what is allocated above the outputs of the forward pass
while masks are made at full size, by the peak of a fresh process each (Linux).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sized
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.mask_rcnn import MaskRCNN as Theirs
from torchvision.models.detection.roi_heads import paste_masks_in_image

from apiece import checkpoint
from apiece.foreign import torchvision_mask_rcnn
from apiece.methods import find
from apiece.methods.mask_rcnn import MaskRCNN
from apiece.methods.method import Frame, Method
from apiece.networks.folding import folded


def pair(shorter: int) -> tuple[torch.nn.Module, Method]:
    """torchvision's detector, frozen norms as in its trained ones, and ours made of its weights."""
    torch.manual_seed(0)
    sides = {"min_size": shorter, "max_size": 1333}
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
    theirs = Theirs(backbone, num_classes=91, **sides).eval()
    for name, tensor in theirs.state_dict().items():
        if name.endswith("bn3.weight"):
            tensor.fill_(0.3)
        elif name.endswith("cls_score.weight"):
            tensor.mul_(60)
    state = dict(theirs.state_dict())
    kind, arguments = torchvision_mask_rcnn.describe(state)
    arguments |= {"min_side": sides["min_size"], "max_side": 1333, "epsilon": 1e-5}
    ours = checkpoint.build(find(kind), arguments, torchvision_mask_rcnn.translate(state)).eval()
    return theirs, ours


@torch.no_grad()
def ours_of(model: Method, image: np.ndarray):
    frame = model.frame(image.shape[:2])
    pixels = torch.from_numpy(model.normalize(image))[None]
    if frame.size != frame.original:
        pixels = torch.nn.functional.interpolate(pixels, frame.size, mode="bilinear", antialias=True)
    return model.decode(model.infer(pixels.to(memory_format=torch.channels_last), [frame]), [frame])[0]


@torch.no_grad()
def theirs_of(model: torch.nn.Module, image: np.ndarray):
    (found,) = model([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
    return found["masks"][:, 0] >= 0.5


def pasting_memory(who: str, side: int, objects: int) -> float:
    """MiB above the outputs of the network that masks of some objects at side x side take."""
    # What is loaded at the first use is not counted.
    pasting(who, 256, 2)()
    run = pasting(who, side, objects)
    # The high-water mark begins anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_kib("VmRSS")
    kept = run()
    return (memory_kib("VmHWM") - before) / 1024 if len(kept) else 0.0


def pasting(who: str, side: int, objects: int) -> Callable[[], Sized]:
    """What makes full-size masks of made-up outputs."""
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, side - 200, (objects, 2))
    boxes = torch.from_numpy(np.concatenate([corners, corners + generator.uniform(40, 200, (objects, 2))], 1)).float()
    masks = torch.from_numpy(generator.random((objects, 28, 28)).astype(np.float32))
    if who == "torchvision":
        return lambda: paste_masks_in_image(masks[:, None], boxes, (side, side))
    labels = torch.zeros(1, objects, dtype=torch.long)
    outputs = {"boxes": boxes[None], "scores": torch.ones(1, objects), "labels": labels, "masks": masks[None]}
    model = MaskRCNN(1, 3, "tiny", max_objects=objects + 1)
    return lambda: model.decode(outputs, [Frame((side, side), (side, side))])[0]


def memory_kib(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def in_fresh_process(*arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, __file__, "--memory", *arguments], capture_output=True, text=True, check=True
    )
    return round(float(done.stdout), 1)


def times_of(size: tuple[int, int], times: int) -> dict:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    theirs, whole = pair(min(size))
    ours = folded(whole).to(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {"torchvision": [], "ours": []}
    counts = {}
    for _ in range(times + 1):
        for name, run in (("torchvision", lambda: theirs_of(theirs, image)), ("ours", lambda: ours_of(ours, image))):
            start = time.perf_counter()
            found = run()
            seconds[name].append(time.perf_counter() - start)
            counts[name] = len(found)
    best = {name: round(min(each[1:]), 3) for name, each in seconds.items()}
    return {"seconds": best, "objects": counts, "ratio": round(best["ours"] / best["torchvision"], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=[480, 640])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--objects", type=int, default=100)
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        print(pasting_memory(options.memory[0], *map(int, options.memory[1:])))
        return
    result: dict = {"size": options.size, "threads": options.threads, "torch": torch.__version__}
    result |= times_of(tuple(options.size), options.times)
    memory = {who: in_fresh_process(who, "2048", str(options.objects)) for who in ("torchvision", "ours")}
    result["masks_of_2048_x_2048_mib"] = memory
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
