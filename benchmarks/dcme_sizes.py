"""Does the bounded gradient help small objects? DCME with both errors on discs of two orders of magnitude in area.

    python benchmarks/dcme_sizes.py [--steps 600] [--seeds 3] [--json]

Discs of 4 to 60 pixels radius on 192 x 192 pixels (area 50 to 11,000), 200 images to learn from and 60 others to judge
by; one network and schedule, the error alone differs. AP by COCO's rule; small are discs of up to 9 pixels radius,
large those of 28 and more.
"""

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

import apiece
from apiece.data.dataset import Dataset
from apiece.instances import Instances
from apiece.methods.method import Stage

SIDE = 192
SMALL, LARGE = (0.0, 9.5**2 * np.pi), (27.5**2 * np.pi, 1e10)


def truth(seed: int, index: int) -> Instances:
    generator = np.random.default_rng((seed, index))
    labels, row_column = np.zeros((SIDE, SIDE), np.uint16), np.indices((SIDE, SIDE))
    radii = sorted(np.exp(generator.uniform(np.log(4), np.log(60), 10)), reverse=True)
    for number, radius in enumerate(radii, start=1):
        y, x = generator.uniform(0, SIDE, 2)
        inside = np.hypot(row_column[0] - y, row_column[1] - x) <= radius
        if (labels[inside] == 0).all():
            labels[inside] = number
    return Instances.from_label_map(labels)


def image(seed: int, index: int) -> np.ndarray:
    generator = np.random.default_rng((seed, index, 1))
    labels = truth(seed, index).label_map()
    bright = np.concatenate([[0.15], generator.uniform(0.4, 0.9, int(labels.max()))])
    picture = bright[labels] + 0.05 * generator.standard_normal(labels.shape)
    return (picture.clip(0, 1) * 255).astype(np.uint8)[:, :, None]


def data_set(count: int, seed: int) -> Dataset:
    names = tuple(f"{seed}-{index}" for index in range(count))
    reading = partial(image, seed), partial(truth, seed)
    return Dataset(Path("discs"), "generated", ("disc",), names, (None,) * count, *reading)


def figures(error: str, seed: int, steps: int) -> dict[str, float]:
    torch.manual_seed(seed)
    model = apiece.DCME(1, 1, classes_from="nothing", error=error)
    stages = [Stage(crop=128, batch_size=8)]
    apiece.train(model, data_set(200, 0), validation=0, steps=steps, stages=stages, seed=seed, quiet=True)
    unseen = data_set(60, 1)
    found = [apiece.predict(model, unseen.image(index)) for index in range(len(unseen))]
    areas = {"all": (0, 1e10), "small": SMALL, "large": LARGE}
    options = {"kinds": ["segm"], "areas": areas}
    judged = replace(unseen, read_truth=found.__getitem__)
    report = apiece.score(judged, unseen, metrics=["coco"], coco_options=options)
    scores = report["coco"]["segm"]
    return {name: round(scores[name], 4) for name in ("AP", "AP50", "APsmall", "APlarge")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for error in ("squared", "logistic"):
        for seed in range(options.seeds):
            print(json.dumps({"error": error, "seed": seed, **figures(error, seed, options.steps)}), flush=True)
