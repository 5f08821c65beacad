"""Scoring against the peers that are installed, on the same sets in one run: seconds and peak memory, as JSON.

    python benchmarks/scoring.py [--peers PYTHON] [--out FILE] [--quick]

`--peers` is a Python that has faster-coco-eval and hotcoco (pip install faster-coco-eval hotcoco pycocotools); without
it only apiece is measured. Each measurement is a process of its own. "files" includes reading the JSON and drawing the
masks, "memory" does not; `cpu` is the whole process's, imports and (for "memory") reading included. "files:...:2" is
with two processes, of which `cpu` is all and `peak_mb` the first's. (Growth with objects: scoring_growth.py.)
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SETS = {"dense": (40, 1000, 1024, 1, 80), "coco": (5000, 7.4, 480, 80, 12)}
"""Images, mean objects in one, height (width = 4/3), classes, height over the objects' median radius."""
LIMITS = {"dense": [1, 10, 3000], "coco": [1, 10, 100]}


def outline(generator, radius, height, width):
    """A wobbly disc as polygon."""
    angle, center = np.linspace(0, 2 * np.pi, 24, endpoint=False), generator.uniform(0, (width, height))
    reach = radius * (1 + 0.25 * generator.normal(size=24))
    points = center + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return points.clip(0, (width - 1, height - 1))


def draw(points, height, width):
    from pycocotools import mask

    runs = mask.merge(mask.frPyObjects([points.ravel().tolist()], height, width))
    return runs, float(mask.area(runs)), mask.toBbox(runs).tolist()


def generate(name, folder, quick):
    """A set as COCO's JSON files."""
    images, mean, height, classes, ratio = SETS[name]
    images, width, generator = max(1, images // (10 if quick else 1)), height * 4 // 3, np.random.default_rng(0)
    truth, results = [], []

    def result(image, label, score, points):
        runs, _, box = draw(points, height, width)
        segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
        entry = {"image_id": image, "category_id": label, "score": score, "segmentation": segmentation, "bbox": box}
        results.append(entry)

    for image in range(1, images + 1):
        for _ in range(generator.poisson(mean)):
            label, radius = (
                int(generator.integers(1, classes + 1)),
                float(np.exp(generator.normal(np.log(height / ratio), 0.7))),
            )
            points = outline(generator, radius, height, width)
            _, area, box = draw(points, height, width)
            if area < 4:
                continue
            ring = [points.ravel().round(2).tolist()]
            entry = {
                "id": len(truth) + 1,
                "image_id": image,
                "category_id": label,
                "iscrowd": 0,
                "area": area,
                "bbox": box,
            }
            truth.append({**entry, "segmentation": ring})
            if generator.random() < 0.8:
                moved = (
                    points
                    + generator.normal(scale=0.08 * radius, size=points.shape)
                    + generator.normal(scale=0.1 * radius, size=2)
                )
                label = label if generator.random() < 0.9 else int(generator.integers(1, classes + 1))
                result(image, label, float(generator.beta(4, 2)), moved.clip(0, (width - 1, height - 1)))
        for _ in range(generator.poisson(0.45 * mean)):
            radius, label = (
                float(np.exp(generator.normal(np.log(height / ratio), 0.7))),
                int(generator.integers(1, classes + 1)),
            )
            result(image, label, float(generator.beta(1.5, 4)), outline(generator, radius, height, width))
    heads = [{"id": i, "height": height, "width": width, "file_name": f"{i}.jpg"} for i in range(1, images + 1)]
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, classes + 1)]
    (folder / f"{name}_truth.json").write_text(
        json.dumps({"images": heads, "annotations": truth, "categories": categories})
    )
    (folder / f"{name}_found.json").write_text(json.dumps(results))


def apiece_files(name, folder, kind, processes="1"):
    """From two JSON files to figures."""
    from apiece.scoring import score

    options = {"kinds": [kind], "max_detections": LIMITS[name]}
    files = folder / f"{name}_found.json", folder / f"{name}_truth.json"
    start = time.perf_counter()
    figures = score(*files, ["coco"], coco_options=options, jobs=int(processes))["coco"][kind]
    return time.perf_counter() - start, figures["AP"]


def apiece_memory(name, folder, kind):
    """From objects in memory to figures."""
    from apiece.data.formats import open_dataset, open_found
    from apiece.scoring import Scorer

    truth = open_dataset(folder / f"{name}_truth.json")
    found = open_found(folder / f"{name}_found.json", truth)
    scorer = Scorer(truth.classes, ["coco"], coco_options={"kinds": [kind], "max_detections": LIMITS[name]})
    seconds = 0.0
    for i in range(len(truth)):
        pair = found.truth(i), truth.truth(i)
        start = time.perf_counter()
        scorer.add(truth.names[i], *pair)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    figures = scorer.report()["coco"][kind]
    return seconds + time.perf_counter() - start, figures["AP"]


def label_images(count=20_000, side=4096):
    """All of matching between two label maps."""
    from apiece.instances import Instances
    from apiece.scoring import Scorer

    cells = int(np.sqrt(count))
    step = side // cells
    row, column = np.divmod(np.arange(side), step)
    number = (row[:, None] * (side // step + 1) + row[None] + 1).astype(np.int32)
    inside = (column[:, None] - step / 2) ** 2 + (column[None] - step / 2) ** 2 < (step * 0.4) ** 2
    truth = np.where(inside, number, 0)
    found = np.roll(truth, (2, 1), (0, 1))
    start = time.perf_counter()
    scorer = Scorer(["object"], ["matching"])
    scorer.add("a", Instances.from_label_map(found), Instances.from_label_map(truth))
    figures = scorer.report()["matching"]["0.50"]
    return time.perf_counter() - start, figures["n_true"]


def peer(library, name, folder, kind):
    """The same figures by a peer."""
    if library == "faster-coco-eval":
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    elif library == "hotcoco":
        from hotcoco import COCO
        from hotcoco import COCOeval as Evaluation
    else:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    start = time.perf_counter()
    truth = COCO(str(folder / f"{name}_truth.json"))
    load = truth.loadRes if hasattr(truth, "loadRes") else truth.load_res
    evaluation = Evaluation(truth, load(str(folder / f"{name}_found.json")), kind)
    evaluation.params.maxDets = LIMITS[name]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return time.perf_counter() - start, float(evaluation.stats[0])


def measure(what, folder):
    """One measurement in this process, its result as the last line."""
    job, *arguments = what.split(":")
    jobs = {"files": apiece_files, "memory": apiece_memory}
    if job == "labels":
        seconds, figure = label_images()
    elif job in jobs:
        seconds, figure = jobs[job](arguments[0], folder, *arguments[1:])
    else:
        seconds, figure = peer(job, *arguments[:1], folder, arguments[1])
    print(json.dumps({"seconds": round(seconds, 3), "cpu": round(cpu(), 3), "peak_mb": peak(), "figure": figure}))


def cpu():
    """Seconds of this process and of those it started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak():
    """Megabytes; not the parent's, which the kernel's count begins with."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", help="a Python with the peers installed")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--quick", action="store_true", help="a tenth of the images")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return measure(options.measure, options.folder)
    jobs = [
        (sys.executable, f"{job}:{name}:{kind}")
        for name in SETS
        for kind in ("segm", "bbox")
        for job in ("files", "memory")
    ]
    jobs += [(sys.executable, f"files:{name}:segm:2") for name in SETS]
    if options.peers:
        peers = ("faster-coco-eval", "hotcoco")
        jobs += [(options.peers, f"{one}:{name}:{kind}") for name in SETS for kind in ("segm", "bbox") for one in peers]
    jobs += [(sys.executable, "labels")]
    results = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    with tempfile.TemporaryDirectory() as folder:
        # As after an installation: what is imported is compiled.
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        environment = {**os.environ, **compiled}
        for name in SETS:
            generate(name, Path(folder), options.quick)
        for python, job in jobs:
            call = [python, __file__, "--measure", job, "--folder", folder]
            done = subprocess.run(call, capture_output=True, text=True, env=environment)
            results[job] = (
                json.loads(done.stdout.splitlines()[-1]) if not done.returncode else {"failed": done.stderr[-300:]}
            )
            print(job, results[job], file=sys.stderr, flush=True)
    text = json.dumps(results, indent=2)
    print(text) if options.out is None else options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
