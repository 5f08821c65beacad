"""Time and memory of scoring one image over its number of objects, as one self-contained page.

    python benchmarks/scoring_growth.py [--peers PYTHON] [--out docs/scoring_growth.html]

Objects of about 25 x 25 pixels, found ones beside true ones and others anywhere; the image grows with their number. The
same objects come as COCO's files (polygons and run lengths) and as label maps. `--peers` is a Python that has
faster-coco-eval (pip install faster-coco-eval). Each measurement is a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scoring import draw, outline

COUNTS = (10, 100, 1000, 10_000)
NAMES = {
    "files": "apiece, COCO files",
    "labels": "apiece, label maps",
    "faster-coco-eval": "faster-coco-eval, COCO files",
}
TEXT = (
    "One image with so many objects of about 25 x 25 pixels, and about as many found ones; the image grows with them. "
    "apiece compares runs of pixels, so only objects that touch the same pixels cost anything: time and memory go with "
    "the objects, not with the pairs of them."
)


def files(folder, count):
    """A set of one image as COCO's JSON files."""
    generator, side = np.random.default_rng(0), image_side(count)
    truth, results = [], []
    for number in range(1, count + 1):
        points = outline(generator, 12, side, side)
        _, area, box = draw(points, side, side)
        entry = {"image_id": 1, "category_id": 1}
        ring = [points.ravel().round(2).tolist()]
        truth.append({**entry, "id": number, "iscrowd": 0, "area": area, "bbox": box, "segmentation": ring})
        moved = points + generator.normal(scale=1.5, size=2)
        kept = moved if generator.random() < 0.8 else outline(generator, 12, side, side)
        runs, _, box = draw(kept.clip(0, side - 1), side, side)
        segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
        results.append({**entry, "score": float(generator.random()), "segmentation": segmentation, "bbox": box})
    head = [{"id": 1, "height": side, "width": side, "file_name": "1.jpg"}]
    content = {"images": head, "annotations": truth, "categories": [{"id": 1, "name": "object"}]}
    (folder / f"{count}_truth.json").write_text(json.dumps(content))
    (folder / f"{count}_found.json").write_text(json.dumps(results))


def image_side(count):
    return int(40 * np.sqrt(count)) + 40


def of_files(folder, count):
    """AP by apiece."""
    from apiece.scoring import score

    options = {"kinds": ["segm"], "max_detections": [1, 10, count]}
    sides = folder / f"{count}_found.json", folder / f"{count}_truth.json"
    return lambda: score(*sides, ["coco"], coco_options=options)["coco"]["segm"]["AP"]


def of_labels(folder, count):
    """Matching by apiece; the smaller objects lie on top."""
    from apiece.data.formats import open_dataset, open_found
    from apiece.instances import Instances
    from apiece.scoring import score

    truth = open_dataset(folder / f"{count}_truth.json")
    found = open_found(folder / f"{count}_found.json", truth)
    maps = found.truth(0).label_map(), truth.truth(0).label_map()
    return lambda: score(*([Instances.from_label_map(one)] for one in maps), ["matching"])["matching"]["0.50"]["f1"]


def of_peer(folder, count):
    """AP by faster-coco-eval."""
    from faster_coco_eval import COCO, COCOeval_faster

    def figure():
        truth = COCO(str(folder / f"{count}_truth.json"))
        evaluation = COCOeval_faster(truth, truth.loadRes(str(folder / f"{count}_found.json")), "segm")
        evaluation.params.maxDets = [1, 10, count]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return float(evaluation.stats[0])

    return figure


JOBS = {"files": of_files, "labels": of_labels, "faster-coco-eval": of_peer}


def measure(job, count, folder):
    """One measurement in this process, its result as the last line: the best of up to three, the peak of all."""
    JOBS[job](folder, COUNTS[0])()  # what is imported late
    work = JOBS[job](folder, count)
    before, seconds = memory("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    while len(seconds) < 3 and sum(seconds) < 5:
        start = time.perf_counter()
        figure = work()
        seconds.append(time.perf_counter() - start)
    extra = memory("VmHWM") - before
    print(json.dumps({"seconds": round(min(seconds), 4), "extra_mb": round(extra, 1), "figure": figure}))


def memory(what):
    """Megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def measured(python, job, count, folder):
    call = [python, __file__, "--measure", f"{job}:{count}", "--folder", folder]
    # As after an installation: what is imported is compiled.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    print(job, count, result, file=sys.stderr, flush=True)
    return result


def write_page(results, path):
    from apiece.page import Page

    page = Page("Scoring over the number of objects")
    page.text(TEXT)
    powers = [np.log10(count) for count in COUNTS]
    for key, title, label in (("seconds", "Time", "seconds"), ("extra_mb", "Memory", "megabytes")):
        page.heading(title)
        series = {
            NAMES[job]: (powers, [results[job, count][key] for count in COUNTS])
            for job in NAMES
            if (job, 10) in results
        }
        page.plot(series, "objects in the image, power of ten", label, log=True)
        rows = [
            [f"{count}", *(results[job, count][key] for job in NAMES if (job, count) in results)] for count in COUNTS
        ]
        page.table(rows, ["objects", *(f"{name}, {label}" for name in series)])
    page.text("Memory is what the process took beyond imports (and, for label maps, beyond the maps themselves).")
    page.write(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", help="a Python with faster-coco-eval installed")
    parser.add_argument("--out", type=Path, help="HTML file; by default the figures are printed as JSON")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        job, count = options.measure.split(":")
        return measure(job, int(count), options.folder)
    jobs = [(sys.executable, "files"), (sys.executable, "labels")]
    jobs += [(options.peers, "faster-coco-eval")] if options.peers else []
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            files(Path(folder), count)
            for python, job in jobs:
                results[job, count] = measured(python, job, count, folder)
    if options.out is None:
        print(json.dumps({f"{job}:{count}": result for (job, count), result in results.items()}, indent=2))
    else:
        write_page(results, options.out)


if __name__ == "__main__":
    main()
