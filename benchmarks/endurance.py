"""Long trainings of the detectors on whatever may come: no loss or gradient that is not finite, no memory that grows.

    python benchmarks/endurance.py [--methods SOLO,YOLACT] [--steps 1000] [--json] [--threads N]

Each method, with its smallest network and in a process of its own, learns from two generated images a step: 64 to 160
pixels long, with no objects, discs, overlapping bars that are cut off at the border, one object as large as the image,
or up to 2,000 objects of one pixel; in every third image some regions are ignored. Every loss and gradient is looked
at. "mb_200" and "mb" are the process's resident megabytes after a fifth of the steps and after the last. Then
outputs for 2,000 objects are decoded, those of a perfect network ("ideal_ms", "shown") and its own ("predict_ms").
Milliseconds are the processor's, of one thread.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad

from apiece import methods
from apiece.instances import Instances
from apiece.masks import Size
from apiece.methods.method import Frame, Method
from apiece.statistics import Statistics

METHODS = ("MaskRCNN", "PointRend", "YOLACT", "PolarMask", "SOLO")
KINDS = ("none", "discs", "discs", "bars", "bars", "whole", "dots")
OPTIONS = {"SOLO": {"finest": 4, "width": 16, "head_width": 16, "depth": 1, "mask_width": 16, "kernel_width": 16}}
"""Smaller yet than its smallest network, which works at half of the image's size."""
CLASSES = 2
MOST = 2000
GROWTH = 0.02


def truth(generator: np.random.Generator, kind: str, size: Size) -> Instances:
    """Objects of one kind, some of them ignored in every third image."""
    height, width = size
    label_map, masks = np.zeros(size, np.uint16), []
    if kind == "dots":
        count = int(np.exp(generator.uniform(np.log(10), np.log(min(MOST, height * width // 2)))))
        label_map.flat[generator.permutation(height * width)[:count]] = np.arange(1, count + 1)
    elif kind == "discs":
        row, column = np.ogrid[:height, :width]
        for number in range(int(generator.integers(1, 40))):
            (y, x), (a, b) = generator.uniform((0, 0), size), generator.uniform(0.7, 15, 2)
            label_map[((row - y) / a) ** 2 + ((column - x) / b) ** 2 < 1] = number + 1
    elif kind == "bars":
        for _ in range(int(generator.integers(1, 12))):
            mask, (y, x) = np.zeros(size, bool), generator.integers(0, size)
            mask[y : y + generator.integers(1, 20), x : x + generator.integers(1, 90)] = True
            masks.append(mask if generator.random() < 0.5 else mask[::-1, ::-1])
    elif kind == "whole":
        label_map[:] = 1
    found = Instances.from_dense(np.array(masks)) if masks else Instances.from_label_map(label_map)
    ignore = generator.random(len(found)) < (0.3 if generator.random() < 1 / 3 else 0)
    # A crowd of any class has none.
    labels = np.where(ignore & (generator.random(len(found)) < 0.5), -1, generator.integers(0, CLASSES, len(found)))
    return found.replace(labels=labels, ignore=ignore)


def batch(seed: int) -> tuple[torch.Tensor, list[Instances]]:
    """Two images of different sizes, noise in which objects are brighter, and their truth."""
    generator, images, targets = np.random.default_rng(seed), [], []
    for _ in range(2):
        height, width = generator.integers(64, 161, 2).tolist()
        target = truth(generator, KINDS[generator.integers(len(KINDS))], (height, width))
        image = 0.3 * generator.random((height, width), np.float32) + 0.5 * (target.label_map() > 0)
        images.append(torch.from_numpy(image.astype(np.float32))[None])
        targets.append(target)
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    filled = [pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images]
    return torch.stack(filled), targets


def built(name: str) -> Method:
    """A method as a training would begin it."""
    torch.manual_seed(0)
    method = methods.find(name)(num_classes=CLASSES, channels=1, network="tiny", **OPTIONS.get(name, {}))
    method.adapt(Statistics.of([target for seed in range(50) for target in batch(seed)[1]]))
    return method.train()


def megabytes() -> float:
    """Resident memory of this process, when what the C library keeps for later is given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def trained(method: Method, steps: int) -> dict[str, float]:
    """Steps of a training; memory after a fifth of them and at the end.

    Raises:
        AssertionError: a loss or gradient is not finite, or is missing.
    """
    optimizer, memory = torch.optim.AdamW(method.parameters(), lr=1e-3), {}
    began = time.process_time()
    for step in range(steps):
        images, targets = batch(step)
        method.at(step / steps)
        optimizer.zero_grad()
        losses = method.loss(images, targets)
        torch.stack([*losses.values()]).sum().backward()
        wrong = [name for name, loss in losses.items() if not loss.isfinite()]
        wrong += [
            name
            for name, weight in method.named_parameters()
            if weight.grad is None or not bool(weight.grad.isfinite().all())
        ]
        if wrong:
            raise AssertionError(f"{type(method).__name__}, step {step}: not finite, or missing: {', '.join(wrong)}")
        optimizer.step()
        if step + 1 in (steps // 5, steps):
            memory["mb_200" if step + 1 == steps // 5 else "mb"] = round(megabytes(), 1)
    return {"step_ms": round((time.process_time() - began) / steps * 1e3, 1), **memory}


def decoded(method: Method) -> dict[str, float]:
    """2,000 objects of 2 x 2 pixels through what a perfect network says, and the image through this one."""
    label_map = np.zeros((160, 200), np.uint16)
    for shift in ((0, 0), (0, 1), (1, 0), (1, 1)):
        label_map[shift[0] :: 4, shift[1] :: 4] = np.arange(1, MOST + 1).reshape(40, 50)
    target, frame = Instances.from_label_map(label_map), Frame((160, 200), (160, 200))
    began = time.process_time()
    (found,) = method.decode(method.ideal([target], [frame]), [frame])
    middle = time.process_time()
    method.predict(torch.from_numpy((label_map > 0).astype(np.float32))[None, None])
    ended = time.process_time()
    return {"shown": len(found), "ideal_ms": round((middle - began) * 1e3), "predict_ms": round((ended - middle) * 1e3)}


def endured(name: str, steps: int) -> dict[str, float | str]:
    """One method's figures."""
    method = built(name)
    row = {"method": name, "steps": steps, **trained(method, steps), **decoded(method)}
    return {**row, "growth": round(row["mb"] / row["mb_200"] - 1, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names, rows = options.methods.split(","), []
    for name in names:
        if len(names) == 1:
            rows.append(endured(name, options.steps))
        else:
            given = ["--methods", name, "--steps", str(options.steps), "--threads", str(options.threads), "--json"]
            done = subprocess.run([sys.executable, __file__, *given], check=True, stdout=subprocess.PIPE, text=True)
            rows += json.loads(done.stdout.splitlines()[-1])["rows"]
        if not options.json:
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if options.json:
        print(json.dumps({"threads": options.threads, "rows": rows}))
    grown = [row["method"] for row in rows if row["growth"] >= GROWTH]
    if grown:
        sys.exit(f"memory grew by {GROWTH:.0%} or more: {', '.join(grown)}")


if __name__ == "__main__":
    main()
