"""The course of one or more trainings, as one self-contained page.

    python benchmarks/learning_curve.py NAME=RUN_FOLDER ... --out docs/nuclei.html --title "..."

Reads each folder's log.jsonl: validation figures and loss terms over minutes.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from apiece.page import Page

FIGURES = ("accuracy@0.50", "accuracy@0.75", "accuracy", "AP")


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--title", default="Learning curves")
    parser.add_argument("--text", nargs="*", default=[])
    options = parser.parse_args()
    page = Page(options.title)
    page.text(*options.text)
    runs = {name: records(Path(folder)) for name, folder in (run.split("=", 1) for run in options.runs)}
    page.heading("Accuracy on held-out training images")
    rows, series = [], {}
    for name, lines in runs.items():
        judged = [line for line in lines if "figures" in line]
        minutes = np.array([line["seconds"] / 60 for line in judged])
        for figure in ("accuracy@0.50", "accuracy@0.75"):
            series[f"{name}, IoU {figure[-4:]}"] = (minutes, np.array([line["figures"][figure] for line in judged]))
        last = judged[-1]
        rows.append([name, last["step"], last["seconds"] / 60, *(last["figures"][figure] for figure in FIGURES)])
    page.plot(series, "minutes", "tp / (tp + fp + fn)")
    page.table(rows, ["run", "steps", "minutes", *FIGURES])
    page.heading("Instance loss")
    losses = {}
    for name, lines in runs.items():
        steps = [line for line in lines if "losses" in line]
        values = np.array([line["losses"]["instance"] for line in steps])
        width = max(1, len(values) // 100)
        kept = len(values) // width * width
        means = values[:kept].reshape(-1, width).mean(1)
        minutes = np.array([line["seconds"] / 60 for line in steps])[:kept].reshape(-1, width).mean(1)
        losses[name] = (minutes, means)
    page.plot(losses, "minutes", "Lovász hinge, mean over objects")
    page.write(options.out)


if __name__ == "__main__":
    main()
