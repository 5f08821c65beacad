"""The memory contract: 10,000 objects in 8192 x 8192 pixels, from label map to scores and saved files.

    python benchmarks/instances_memory.py [--size 8192] [--objects 10000] [--forms map,crops,decode]

Prints one JSON object: for each form of the masks (backed by the label map; packed crops; decoded from outputs of
SpatialEmbedding, made here with noise) and each step, seconds and the most memory above what was held when the image,
the label map, the outputs and the imported modules lay in memory. The steps run one after another in a process of its
own, and what a step leaves behind counts in all later ones. Memory is the process's anonymous memory (RssAnon), read
every millisecond, so pages of mapped files do not count. "peak" is over all steps; the goal is below 200 MB.
"""

import argparse
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

GOAL = 200.0


def anonymous() -> float:
    """MB of anonymous memory in use now."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


class Meter:
    """Samples the process's memory in the background; `step` times a function and notes its peak."""

    def __init__(self) -> None:
        gc.collect()
        # Freed memory goes back to the system, or later steps could use it unseen.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        self.base, self.peak, self.steps = anonymous(), 0.0, {}
        self.largest_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, anonymous())
            time.sleep(0.001)

    def step(self, name: str, run: Callable[[], Any]) -> Any:
        self.peak, start = anonymous(), time.perf_counter()
        result = run()
        seconds = time.perf_counter() - start
        peak, after = max(self.peak, anonymous()), anonymous()
        figures = {"seconds": round(seconds, 2), "peak_mb": round(peak - self.base, 1)}
        self.steps[name] = figures | {"left_mb": round(after - self.base, 1)}
        return result


def make(size: int, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """A label map of ellipses with half-axes of 10 to 16 pixels, one in each cell of a grid, and a noisy image."""
    random, per_row = np.random.default_rng(0), int(np.ceil(objects**0.5))
    pitch = size / per_row
    label_map, image = np.zeros((size, size), np.uint16), np.zeros((size, size), np.uint8)
    for number in range(objects):
        row, column = divmod(number, per_row)
        room = max(pitch / 2 - 17, 0)
        y0, x0 = (np.array([row, column]) + 0.5) * pitch + random.uniform(-room, room, 2)
        (a, b), angle = random.uniform(10, 16, 2), random.uniform(0, np.pi)
        top, left = max(int(y0) - 17, 0), max(int(x0) - 17, 0)
        y, x = np.ogrid[top : min(top + 35, size), left : min(left + 35, size)]
        along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
        aside = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
        label_map[top : top + 35, left : left + 35][(along / a) ** 2 + (aside / b) ** 2 <= 1] = number + 1
    for top in range(0, size, 256):
        rows = slice(top, top + 256)
        image[rows] = random.integers(0, 40, image[rows].shape, np.uint8) + 90 * (label_map[rows] > 0)
    return label_map, image


def measure(form: str, size: int, objects: int, folder: Path) -> dict[str, Any]:
    from apiece.data.coco import write_coco
    from apiece.data.label_images import write_label_image
    from apiece.draw import write_overlay
    from apiece.instances import Instances
    from apiece.metrics.overlap import overlap
    from apiece.regions import write_regions
    from apiece.scoring import score

    label_map, image = make(size, objects)
    _use_libraries(folder)
    method, outputs = _outputs(label_map) if form == "decode" else (None, {})
    meter = Meter()
    scores = np.random.default_rng(1).random(objects)
    truth = meter.step("from_label_map", lambda: Instances.from_label_map(label_map))
    found = truth.replace(scores=scores[: len(truth)])
    if method is not None:
        from apiece.methods.method import Frame

        meter.base += label_map.nbytes / 2**20
        found = meter.step("decode", lambda: method.decode(outputs, [Frame(label_map.shape, label_map.shape)])[0])
    if form == "crops":
        found = meter.step(
            "pack_crops", lambda: Instances.from_crops(list(found.crops()), found.mask_boxes, found.size, scores=scores)
        )
    meter.step("boxes_and_areas", lambda: (found.boxes, found.areas))
    found = meter.step("filter_by_score", lambda: found[found.scores > 0.1])
    meter.step("write_label_tif", lambda: write_label_image(found, folder / "labels.tif"))
    meter.step("write_overlay_png", lambda: write_overlay(image, found, folder / "overlay.png"))
    meter.step("write_csv", lambda: write_regions(found, folder / "regions.csv", image))
    meter.step("write_coco_rle", lambda: write_coco([("image", found)], folder / "found.json", ["object"]))
    meter.step("overlap_table", lambda: overlap(found, truth))
    report = meter.step("score_matching_and_coco", lambda: score([found], [truth]))
    peak = max(step["peak_mb"] for step in meter.steps.values())
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "objects_found": len(found),
        "peak_mb": peak,
        "within_goal": peak < GOAL,
        "maxrss_grown_mb": round(largest - meter.largest_before, 1),
        "base_mb": round(meter.base, 1),
        "recall_at_0.5": report.figures["matching"]["0.50"]["recall"],
        "steps": meter.steps,
        "files_mb": {file.name: round(file.stat().st_size / 2**20, 1) for file in sorted(folder.iterdir())},
    }


def _outputs(label_map: np.ndarray) -> tuple[Any, dict[str, Any]]:
    """A method, and outputs as its network makes them: noisy embeddings near their centers, graded seeds."""
    import torch

    from apiece.masks import strips
    from apiece.methods.method import Frame
    from apiece.methods.spatial_embedding import SpatialEmbedding

    torch.set_num_threads(1)
    method = SpatialEmbedding(1, 1, "tiny", coordinate_step=1 / 128, min_size=10)
    small = np.zeros((64, 64), np.uint16)
    small[20:40, 20:40] = 1
    from apiece.instances import Instances

    frame = Frame(small.shape, small.shape)
    method.decode(method.ideal([Instances.from_label_map(small)], [frame]), [frame])
    height, width = label_map.shape
    outputs = {"offsets": torch.zeros(1, 2, height, width), "seeds": torch.zeros(1, 1, height, width)}
    margin = 8 / 128
    outputs["sigma"] = torch.full((1, 1, height, width), float(np.log(np.log(2) / margin**2) / 10))
    boxes = Instances.from_label_map(label_map).mask_boxes
    middle = np.concatenate([[[0, 0]], (boxes[:, :2] + boxes[:, 2:] - 1) / 2]).astype(np.float32)
    random = np.random.default_rng(2)
    for rows in strips(label_map.shape):
        y, x = np.nonzero(label_map[rows])
        y += rows.start
        aim = middle[label_map[y, x]] + random.normal(0, 2, (len(y), 2)).astype(np.float32)
        far = np.hypot(*(aim - middle[label_map[y, x]]).T)
        outputs["offsets"][0, 0, y, x] = torch.from_numpy((aim[:, 0] - x) / 128).float()
        outputs["offsets"][0, 1, y, x] = torch.from_numpy((aim[:, 1] - y) / 128).float()
        outputs["seeds"][0, 0, y, x] = torch.from_numpy(np.exp(-((far / 8) ** 2) * 0.69)).float()
    return method, outputs


def _use_libraries(folder: Path) -> None:
    """Whatever the steps import lies in memory before it is measured."""
    from apiece.data.coco import write_coco
    from apiece.data.label_images import write_label_image
    from apiece.draw import write_overlay
    from apiece.instances import Instances
    from apiece.regions import write_regions
    from apiece.scoring import score

    one = np.ones((8, 8), np.uint8)
    tiny = Instances.from_label_map(one, scores=[1.0])
    write_label_image(tiny, folder / "labels.tif")
    write_overlay(one, tiny, folder / "overlay.png")
    write_regions(tiny, folder / "regions.csv", one)
    write_coco([("image", tiny)], folder / "found.json", ["object"])
    score([tiny], [tiny])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, help="side of the image in pixels")
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--forms", default="map,crops,decode", help="where the masks lie: map, crops, decode")
    parser.add_argument("--inner", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        with TemporaryDirectory() as folder:
            print(json.dumps(measure(options.inner, options.size, options.objects, Path(folder))))
        return
    base = [sys.executable, __file__, "--size", str(options.size), "--objects", str(options.objects)]
    source = str(Path(__file__).resolve().parents[1] / "src")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))}
    result: dict[str, Any] = {"size": options.size, "objects": options.objects, "goal_mb": GOAL}
    for form in options.forms.split(","):
        done = subprocess.run([*base, "--inner", form], env=environment, stdout=subprocess.PIPE, check=True, text=True)
        result[form] = json.loads(done.stdout)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
