"""Recurrent segmentation: counting discs, sticks that cross, and what a step costs.

    python benchmarks/recurrent.py [--parts discs,sticks,time] [--steps 1000] [--pictures FOLDER] [--json]

"discs": 1 to 8 discs in 64 x 64 pixels, learned from 2,000 images of one seed, the threshold chosen on 60 of another,
judged on 200 of a third: mean absolute error of the count, SBD, accuracy at IoU 0.5. "sticks": 2 to 4 sticks in 96 x 96
pixels that cross, 60 unseen images, and hard ones whose midpoints are one: AP50. "time": CPU seconds of a prediction
that finds 1 to 40 objects in 192 x 192 pixels, the least of three, and of each step.
"""

import argparse
import json
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import apiece
from apiece.draw import contact_sheet, overlay
from apiece.methods.method import Frame
from apiece.png import write_png


def learned(data: Any, validation: Any, steps: int, **options: Any) -> tuple[apiece.Method, dict[str, float]]:
    """A model and what it took."""
    model = apiece.Recurrent(1, data.channels(), step=2, curriculum=0.1, **options)
    begun = time.process_time()
    model = apiece.train(model, data, validation=validation, steps=steps, batch_size=8, average=0.995, evaluations=1)
    return model, {"steps": steps, "cpu_seconds": round(time.process_time() - begun, 1)}


def discs(steps: int, pictures: Path | None) -> dict[str, float]:
    sets = [apiece.discs(count, (64, 64), seed, objects=(1, 8)) for seed, count in ((1, 2000), (2, 60), (3, 200))]
    model, cost = learned(*sets[:2], steps)
    show(model, sets[2], pictures, "discs")
    report = apiece.evaluate(model, sets[2], metrics=["leaves", "matching"], quiet=True)
    figures = {name: round(report["leaves"][name], 4) for name in ("absDiC", "DiC", "SBD")}
    return {**figures, "accuracy@0.50": round(report["matching"]["0.50"]["accuracy"], 4), **cost}


def sticks(steps: int, pictures: Path | None) -> dict[str, dict[str, float]]:
    result = {}
    for kind, hard in (("crossing", False), ("hard", True)):
        seeds = (0, 400), (2, 40), (1, 60)
        sets = [apiece.crossing_sticks(count, (96, 96), seed, hard=hard) for seed, count in seeds]
        model, cost = learned(*sets[:2], steps)
        show(model, sets[2], pictures, f"sticks_{kind}")
        report = apiece.evaluate(model, sets[2], metrics=["coco", "leaves"], quiet=True)
        figures = {name: round(report["coco"]["segm"][name], 4) for name in ("AP", "AP50")}
        result[kind] = {**figures, "absDiC": round(report["leaves"]["absDiC"], 4), **cost}
    return result


def show(model: apiece.Method, data: Any, folder: Path | None, name: str) -> None:
    """Four images as found, in which order, and each step's map."""
    if folder is None:
        return
    tiles = []
    for index in range(4):
        image = data.image(index)
        frame = Frame(image.shape[:2], image.shape[:2])
        outputs = model.eval().infer(torch.from_numpy(model.normalize(image))[None], [frame])
        inside = model.inside(outputs, [frame])[0]
        found = overlay(image, model.decode(outputs, [frame])[0])
        tiles += [found, inside["order"], inside.get("steps", found)]
    sheet = contact_sheet(tiles, 3)
    folder.mkdir(parents=True, exist_ok=True)
    write_png(folder / f"recurrent_{name}.png", [sheet], sheet.shape[:2])


def held(taken: list[int], objects: int, _: Any, __: Any, score: torch.Tensor) -> torch.Tensor:
    taken[0] += 1
    return torch.full_like(score, 5.0 if taken[0] <= objects else -5.0)


def times() -> dict[str, Any]:
    """With scores that are held above one half for as many steps as there are to be objects, and then below."""
    torch.manual_seed(0)
    whole, side = {}, 192
    image = torch.rand(1, 3, side, side)
    for objects in (1, 5, 10, 20, 40):
        model = apiece.Recurrent(1, 3, canvas=(side, side), max_objects=60).eval()
        taken = [0]
        model.recurrence.score.register_forward_hook(partial(held, taken, objects))
        seconds = []
        for _ in range(3):
            taken[0], begun = 0, time.process_time()
            model.predict(image)
            seconds.append(time.process_time() - begun)
        whole[objects] = {"seconds": round(min(seconds), 4), "steps": taken[0]}
    return {"prediction": whole, "step": step_times(side)}


@torch.no_grad()
def step_times(side: int, steps: int = 40) -> dict[str, float]:
    model = apiece.Recurrent(1, 3, canvas=(side, side)).eval()
    best = [float("inf")] * steps
    for _ in range(5):
        each = model.recurrence.each(model._start(torch.rand(1, 3, side, side), torch.tensor([[side, side]])))
        begun = time.process_time()
        for number, _ in enumerate(islice(each, steps)):
            ended = time.process_time()
            best[number], begun = min(best[number], ended - begun), ended
    ten = {"first_ten": sum(best[:10]) / 10, "last_ten": sum(best[-10:]) / 10}
    return {name: round(seconds, 5) for name, seconds in ten.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="discs,sticks,time")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = {
        "discs": lambda: discs(options.steps, options.pictures),
        "sticks": lambda: sticks(options.steps, options.pictures),
        "time": times,
    }
    result = {name: parts[name]() for name in options.parts.split(",")}
    print(json.dumps(result, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
