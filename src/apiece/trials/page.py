"""The page of a comparison: tables, accuracy over time, learning curves, one image under all methods, failures."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apiece.metrics.mistakes import KINDS
from apiece.metrics.report import Report
from apiece.page import Page
from apiece.pairs import Shown, pair_picture
from apiece.score_page import showing
from apiece.trials.division import Parts
from apiece.trials.lineups import accuracies, found_picture, telling, truth_picture, worst_of
from apiece.trials.speed_chart import Mark, svg_speed
from apiece.trials.standings import RANKED_BY, Standing
from apiece.trials.tables import sheets

SHOWN = 8
"""Images that are shown under all methods."""
CHOSEN_BY = "accuracy"


def write_comparison_page(
    standings: Sequence[Standing], apart: Mapping[str, Any], parts: Parts, path: Path, *, title: str, budget: str
) -> None:
    """One self-contained HTML page of a comparison.

    Args:
        standings: ranked, the best first.
        apart: their `differences`.
        budget: of each method, in words.

    Raises:
        InputError: an image cannot be read, or the page cannot be written.
    """
    page = Page(title)
    page.text(*_facts(standings, parts, budget))
    for sheet in sheets(standings, apart):
        page.heading(sheet.title)
        page.table([[_unbroken(value) for value in line] for line in sheet.lines], sheet.head, decimals=3)
        if sheet.note:
            page.text(sheet.note)
    done = [one for one in standings if one.report is not None]
    if done:
        with page.columns():
            _add_speed(page, done)
            _add_courses(page, standings)
        _add_images(page, done, parts)
        _add_failures(page, done, parts)
    _add_losses(page, standings)
    page.write(path)


def _unbroken(value: Any) -> Any:
    """A cell whose interval stays on one line."""
    return re.sub(r" (?=[^\[]*\])", "\N{NO-BREAK SPACE}", value) if isinstance(value, str) else value


def _facts(standings: Sequence[Standing], parts: Parts, budget: str) -> list[str]:
    counts = ", ".join(f"{len(one)} {name}" for name, one in vars(parts).items())
    lines = [
        f"Every method was trained for {budget} on the same images ({counts}), and its best weights and score "
        "threshold were chosen by the validation images. All figures are of the test images, which no method saw, and "
        f"come from the same code. Ranked by {RANKED_BY}.",
    ]
    machines = {_machine(one.facts["machine"]) for one in standings if one.facts.get("machine")}
    dates = sorted({one.facts["date"] for one in standings if one.facts.get("date")})
    lines += [f"Computed on {' and on '.join(sorted(machines))}; {' to '.join(dict.fromkeys(dates[:1] + dates[-1:]))}."]
    lines = lines if machines and dates else lines[:1]
    tools = [one.name for one in standings if one.tool and one.report is not None]
    return lines + ([f"Of other tools, by their results' files: {', '.join(tools)}."] if tools else [])


def _machine(facts: dict[str, Any]) -> str:
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    where = facts["gpu"] or f"{threads} of {facts['processor']}"
    # Cells that were made before an update say so.
    versions = ", ".join(
        f"{name} {facts[name.lower()]}" for name in ("Python", "torch", "apiece") if name.lower() in facts
    )
    return f"{where} ({facts['system']}, {versions})"


def _colors(standings: Sequence[Standing]) -> dict[str, int]:
    """Each method's color, the same in all plots; tools come last."""
    names = sorted((one for one in standings if one.report is not None), key=lambda one: one.tool)
    return {one.name: number for number, one in enumerate(names)}


def _add_speed(page: Page, done: Sequence[Standing]) -> None:
    page.heading("Accuracy over time")
    colors, marks = _colors(done), []
    for one in done:
        value, low, high = (one.main[RANKED_BY][key] for key in ("value", "low", "high"))
        if value is not None:
            time = one.facts.get("prediction", {}).get("total", {}).get("median")
            bar = (value, value) if low is None or high is None else (low, high)
            marks.append(Mark(one.name, value, *bar, time, colors[one.name]))
    caption = "Each dot a method: the higher the better, the further left the quicker. Bars: 95 % intervals."
    caption += " Dashed: another tool, whose time is not known." * any(one.tool for one in done)
    page.chart(svg_speed(marks, "milliseconds an image, from file to file", RANKED_BY), caption)


def _add_courses(page: Page, standings: Sequence[Standing]) -> None:
    page.heading("Learning curves")
    courses = {}
    # In the order of the colors above.
    for one in (one for one in standings if not one.tool):
        points = one.facts.get("training", {}).get("curve", [])
        if points:
            minutes = [point["seconds"] / 60 for point in points]
            courses[one.name] = (minutes, [_number(point.get(CHOSEN_BY)) for point in points])
    caption = "Mean accuracy over IoU 0.50 to 0.95 on the validation images, by which the best weights are chosen."
    page.plot(courses, "minutes", "accuracy", caption=caption)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _shows(done: Sequence[Standing], parts: Parts) -> list[Callable[[int], Shown]]:
    """For each standing how a test image is had, with what counts as found."""

    def certain(one: Standing) -> Callable[[int], Shown]:
        if one.report is None or one.found is None:
            raise ValueError(one.name)
        show, threshold = showing(one.report.diagnosis, one.found, parts.test), one.report["threshold"]

        def shown(place: int) -> Shown:
            full = show(place)
            if threshold is None or full.found.scores is None:
                return full
            return full._replace(found=full.found[full.found.scores >= threshold])

        return shown

    return [certain(one) for one in done]


def _reports(done: Sequence[Standing]) -> list[Report]:
    return [one.report for one in done if one.report is not None]


def _add_images(page: Page, done: Sequence[Standing], parts: Parts) -> None:
    page.heading("The same images under all methods")
    page.text(
        "Some test images from easy to hard, then those that tell the methods apart. Blue: right at an IoU of 0.5. "
        "Orange: wrong. Grey: ignored. True objects each have a color of their own."
    )
    shows = _shows(done, parts)
    for place in telling(accuracies(_reports(done)), SHOWN):
        page.heading(parts.test.names[place], 3)
        page.figures(_lineup([one.name for one in done], shows, place))


def _lineup(names: Sequence[str], shows: Sequence[Callable[[int], Shown]], place: int) -> Iterator[Any]:
    for number, (name, show) in enumerate(zip(names, shows, strict=True)):
        shown = show(place)
        if not number:
            yield truth_picture(shown)
        yield found_picture(name, shown)


def _add_failures(page: Page, done: Sequence[Standing], parts: Parts) -> None:
    page.heading("Failures")
    lines = []
    for one in done:
        if one.report is not None:
            kinds = one.report.diagnosis.errors["kinds"]
            lines.append([one.name, *(f"{kind['count']} ({_cost(kind['cost'])})" for kind in kinds.values())])
    page.table(lines, ["", *(done[0].report.diagnosis.errors["kinds"] if done[0].report is not None else KINDS)])
    page.text("How many objects are of each kind of mistake, and by how much AP50 would rise if it alone were mended.")
    page.text("For each the image in which it falls furthest behind the others: truth on the left, found on the right.")
    pictures = []
    for one, show, place in zip(done, _shows(done, parts), worst_of(accuracies(_reports(done))), strict=True):
        picture, caption = pair_picture(show(place), parts.test.classes)
        pictures.append((picture, f"{one.name}, {caption}"))
    page.figures(pictures, pairs=True)


def _cost(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _add_losses(page: Page, standings: Sequence[Standing]) -> None:
    courses = {one.name: one.facts.get("training", {}).get("losses", []) for one in standings}
    if not any(courses.values()):
        return
    page.heading("Losses")
    page.text("Each method's own terms: they say whether it has learned all it can, not which method is better.")
    with page.columns():
        for name, points in courses.items():
            if points:
                minutes = [point["seconds"] / 60 for point in points]
                terms = [term for term in points[-1] if term != "seconds"]
                page.heading(name, 3)
                series = {term: (minutes, [_number(point.get(term)) for point in points]) for term in terms}
                page.plot(series, "minutes", "loss", log=True)
