"""The table of all methods on four sets: kept figures of comparisons, a page, and the README's table.

    python benchmarks/results.py keep COMPARISON SET [--note TEXT]   cells of `apiece compare` to docs/results/SET/
    python benchmarks/results.py bounds REPORT.json SET              upper bounds of `apiece recommend` beside them
    python benchmarks/results.py write                               docs/results.html and the table of README.md

A cell is one method on one set: its main figures with their intervals, times, sizes, machine and date. What is not
there yet is said to be so.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from apiece.methods import PLACES
from apiece.page import Page
from apiece.trials.speed_chart import Mark, svg_speed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
SETS = {
    "nuclei": "401 fluorescence images, 52 to judge by: up to hundreds of nuclei of 5 to 70 pixels (BBBC038)",
    "leaves": "160 rosettes composed of at most 56 real leaves of 7 photographs, 30 to judge by of at most 11 "
    "leaves of one other (intervals do not know that): 4 to 20 leaves, many half covered",
    "fruits_nuts": "14 photographs, 4 to judge by: dates, figs and hazelnuts of 85 to 195 pixels, 3 classes",
    "crossing_sticks": "400 generated images, 100 to judge by: sticks that cross anywhere",
}
COMMAND = "apiece compare {data} --methods all --minutes {minutes:g} --options options.yaml"
PLACES_OF_SETS = {
    "nuclei": "nuclei/train --test nuclei/val",
    "leaves": "leaves/composed/train --test leaves/composed/val",
    "fruits_nuts": "fruits/train.json --test fruits/val.json",
    "crossing_sticks": "sticks/train --test sticks/test",
}
BEGIN, END = "<!-- results: made by benchmarks/results.py -->\n", "<!-- /results -->"
NOTHING = "not yet"


def heading(name: str) -> str:
    """A set's name in words."""
    return "fruits and nuts" if name == "fruits_nuts" else name.replace("_", " ")


def keep(comparison: Path, name: str, note: str) -> None:
    """The finished cells of a comparison, without curves and paths."""
    for file in sorted((comparison / "cells").glob("*.json")):
        cell = json.loads(file.read_text())
        if cell["status"] != "done":
            print(f"{file.stem}: {cell['status']}, not kept")
            continue
        figures, training = cell["figures"], cell["training"]
        main = {**figures["intervals"]["coco"], **figures["intervals"]["matching"]}
        prediction = {key: value for key, value in cell["prediction"].items() if key != "device_memory"}
        identity = cell["identity"]
        kept = {
            "method": cell["method"],
            "set": name,
            "minutes": identity["minutes"],
            "seed": identity["seed"],
            "options": identity["options"],
            "images": {part: facts["images"] for part, facts in identity["data"].items()},
            "figures": main | {"APs": {"value": figures["coco"]["segm"]["APs"]}},
            "steps": training["steps"],
            "curve": [{key: point[key] for key in ("seconds", "accuracy")} for point in training["curve"]],
            "training memory": training["memory"],
            "milliseconds": prediction,
            "parameters": cell["parameters"],
            "file size": cell["file_size"],
            "threshold": cell["threshold"],
            "machine": cell["machine"],
            "date": cell["date"],
            "note": note,
        }
        target = RESULTS / name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{name}/{file.stem}: AP {main['AP']['value']:.3f}")


def keep_bounds(report: Path, name: str) -> None:
    """The upper bounds of a recommendation."""
    bounds = {method: one for method, one in json.loads(report.read_text())["bounds"].items() if not one["stopped"]}
    (RESULTS / name).mkdir(parents=True, exist_ok=True)
    (RESULTS / name / "bounds.json").write_text(json.dumps(bounds, indent=1) + "\n")


def cells(name: str) -> dict[str, dict[str, Any]]:
    files = {method: RESULTS / name / f"{method}.json" for method in PLACES}
    return {method: json.loads(file.read_text()) for method, file in files.items() if file.is_file()}


def limits(name: str) -> dict[str, Any]:
    file = RESULTS / name / "bounds.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def value(cell: dict[str, Any], figure: str) -> str | None:
    found = cell["figures"][figure]["value"]
    return None if found is None else f"{found:.3f}"


def interval(cell: dict[str, Any]) -> tuple[float, float, float]:
    """AP, and its lower and upper bound."""
    low, middle, high = (cell["figures"]["AP"][key] for key in ("low", "value", "high"))
    return middle, low, high


def row(method: str, cell: dict[str, Any] | None, bound: dict[str, Any] | None) -> list[Any]:
    limit = None if bound is None else bound.get("AP")
    if cell is None:
        return [method, None, NOTHING, None, None, limit, None, None, None]
    middle, low, high = interval(cell)
    return [
        method,
        round(middle, 3),
        f"{low:.2f} to {high:.2f}",
        value(cell, "AP50"),
        value(cell, "accuracy@0.50"),
        limit,
        round(cell["milliseconds"]["total"]["median"]),
        round(cell["parameters"] / 1e6, 2),
        f"{cell['minutes']:g} min, {cell['steps']:,} steps",
    ]


HEAD = ("", "AP", "95 %", "AP50", "accuracy", "AP bound", "ms", "million weights", "training")


def write_page() -> None:
    page = Page("Nine methods, four sets of images")
    page.text(
        "Each method is trained from scratch with its light network and its own defaults for the same minutes on the "
        "same images, and judged by the same code on images that none has seen. AP is COCO's mask AP of all objects "
        "found, with its interval by resampling images (too narrow for the four images of fruits and nuts); accuracy "
        "is tp / (tp + fp + fn) at IoU 0.5 and the threshold chosen by validation images. The bound is "
        "decode(ideal(truth)): the AP that the representation could reach, on images of the same set; a detector can "
        "pass it where boxes not quite the true ones escape its suppression of duplicates. ms: the median from an "
        "image's file to its label image's, while other jobs ran: rough, not to be compared beyond a factor of two.",
        "Two trainings ran at a time, with one thread each and now and then tests beside them: steps tell what each "
        "method got out of its minutes.",
        "Minutes are short: this shows what a small machine learns quickly, not what a method can do at last. The "
        "images themselves are not ours to publish: a comparison's own page shows them side by side, and the failures.",
    )
    for name, about in SETS.items():
        found, bounds = cells(name), limits(name)
        page.heading(heading(name))
        page.text(about[0].upper() + about[1:] + ".")
        minutes = max(one["minutes"] for one in found.values())
        page.text(f"{COMMAND.format(data=PLACES_OF_SETS[name], minutes=minutes)} (train: {{evaluations: 4}})")
        order = sorted(PLACES, key=lambda one: -(found[one]["figures"]["AP"]["value"] or 0) if one in found else 1)
        page.table([row(method, found.get(method), bounds.get(method)) for method in order], HEAD, decimals=3)
        marks = [
            Mark(method, *interval(cell), cell["milliseconds"]["total"]["median"], list(PLACES).index(method))
            for method, cell in found.items()
        ]
        if marks:
            with page.columns():
                page.chart(svg_speed(marks, "milliseconds an image", "AP"))
                courses = {
                    method: (
                        [point["seconds"] / 60 for point in one["curve"]],
                        [point["accuracy"] for point in one["curve"]],
                    )
                    for method, one in found.items()
                }
                page.plot(courses, "minutes", "accuracy", caption="Mean accuracy over IoU 0.50 to 0.95 while training.")
            machines = {
                f"{one['machine']['processor']}, {one['machine']['threads']} thread(s)" for one in found.values()
            }
            notes = sorted({one["note"] for one in found.values() if one["note"]})
            dates = sorted({one["date"] for one in found.values()})
            page.text("; ".join([*sorted(machines), " to ".join(dict.fromkeys((dates[0], dates[-1]))), *notes]) + ".")
    page.write(ROOT / "docs" / "results.html")


def write_table() -> None:
    """AP and AP50 of all methods in README.md."""
    found = {name: cells(name) for name in SETS}
    lines = ["| | " + " | ".join(map(heading, SETS)) + " |", "|---|" + "---|" * len(SETS)]
    best = {
        name: max((cell["figures"]["AP"]["value"] for cell in some.values()), default=0) for name, some in found.items()
    }
    for method in PLACES:
        entries = []
        for name, some in found.items():
            cell = some.get(method)
            if cell is None:
                entries.append(NOTHING)
                continue
            leads = len(some) > 1 and cell["figures"]["AP"]["value"] == best[name]
            entries.append((f"**{value(cell, 'AP')}**" if leads else value(cell, "AP")) + f" / {value(cell, 'AP50')}")
        lines.append(f"| {method} | " + " | ".join(entries) + " |")
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    readme.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    keeping = commands.add_parser("keep")
    keeping.add_argument("comparison", type=Path)
    keeping.add_argument("set", choices=SETS)
    keeping.add_argument("--note", default="")
    bounding = commands.add_parser("bounds")
    bounding.add_argument("report", type=Path)
    bounding.add_argument("set", choices=SETS)
    commands.add_parser("write")
    options = parser.parse_args()
    if options.command == "keep":
        keep(options.comparison, options.set, options.note)
    elif options.command == "bounds":
        keep_bounds(options.report, options.set)
    else:
        write_page()
        write_table()


if __name__ == "__main__":
    main()
