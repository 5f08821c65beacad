"""What a box cannot tell apart: crossing sticks by the discriminative loss or others, and by an oracle of boxes.

    python benchmarks/crossing_sticks.py [--methods Discriminative,MaskRCNN] [--steps 500] [--json]

The oracle is given every true box and every true mask; of boxes that overlap by more than 0.5 only the larger is kept,
as detectors' suppression mostly does. What it then loses no network on top of such boxes could find; apiece's own
detectors raise that limit as far as the data needs (`nms`). "crossing" sticks cross
anywhere, "hard" ones at their midpoints, so that centers do not tell them apart either. The network learns from 400
images of one seed and is judged on 60 of another. Figure 1 of De Brabandere et al. 2017 is the same task.
"""

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import torch
from torchvision.ops import nms

import apiece
from apiece import methods
from apiece.data.dataset import Dataset
from apiece.instances import Instances


def suppressed(truth: Instances, overlap: float = 0.5) -> Instances:
    """The true objects whose boxes survive suppression, the larger first."""
    boxes, areas = torch.tensor(truth.boxes), torch.tensor(truth.areas)
    kept = nms(boxes.float(), areas.float(), overlap).numpy()
    return truth[kept].replace(scores=areas[kept].numpy() / float(areas.max()))


def figures(found: list[Instances], truth: Dataset) -> dict[str, float]:
    report = apiece.score(replace(truth, read_truth=found.__getitem__), truth, metrics=["coco"])
    return {name: round(report["coco"]["segm"][name], 4) for name in ("AP", "AP50", "AR100")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="Discriminative")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = {}
    for kind, hard in (("crossing", False), ("hard", True)):
        learned = apiece.crossing_sticks(400, size=(96, 96), seed=0, hard=hard)
        unseen = apiece.crossing_sticks(60, size=(96, 96), seed=1, hard=hard)
        oracle = [suppressed(unseen.truth(index)) for index in range(len(unseen))]
        result[kind] = {"oracle of boxes": figures(oracle, unseen)}
        for name in options.methods.split(","):
            begun = time.process_time()
            family: Any = methods.find(name)
            model = apiece.train(family(num_classes=1), learned, validation=0, steps=options.steps, crop=96, quiet=True)
            seconds = time.process_time() - begun
            found = [apiece.predict(model, unseen.image(index), threshold=0) for index in range(len(unseen))]
            result[kind][name] = {**figures(found, unseen), "steps": options.steps, "cpu seconds": round(seconds, 1)}
    print(json.dumps(result, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
