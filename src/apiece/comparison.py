"""Comparison: several methods trained with one budget on the same images, and judged by the same others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apiece import methods as all_methods
from apiece.data.coco import open_coco
from apiece.data.dataset import Dataset
from apiece.devices import best_device
from apiece.errors import CallError, InputError, Interrupted
from apiece.files import write_text
from apiece.journal import plain
from apiece.metrics.terminal import written
from apiece.progress import clock, say
from apiece.trials.division import Parts, divided, write_parts
from apiece.trials.findings import send_over_test
from apiece.trials.method_options import MethodOptions, options_of, read_options
from apiece.trials.page import write_comparison_page
from apiece.trials.separate import run_apart
from apiece.trials.standings import DONE, Apart, Standing, differences, ranked, score_found, score_tools
from apiece.trials.tables import sheets
from apiece.trials.training import train_trial
from apiece.trials.trial import Budget, Trial, failing

PAGE, FIGURES = "comparison.html", "comparison.json"
"""Files of a comparison's folder, beside `cells/`, `runs/`, `found/` and `parts.json`, the names of its images."""
MINUTES = 10.0
"""The budget of each method where none is given."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison gave.

    Attributes:
        standings: the best first, those that are not finished last.
        out: its folder.
        budget: of each method, in words.
        images: for each part of the data how many images it has.
        apart: everybody's differences to the best (see `standings.differences`).
    """

    standings: list[Standing]
    out: Path
    budget: str
    images: dict[str, int]
    apart: Apart

    @property
    def page(self) -> Path:
        """One self-contained HTML file."""
        return self.out / PAGE

    def figures(self) -> dict[str, Any]:
        """All of it, for JSON."""
        facts = {"budget": self.budget, "images": self.images, "page": str(self.page)}
        standings = [one.figures() for one in self.standings]
        return plain({**facts, "standings": standings, "differences": self.apart})

    def table(self, width: int | None = None) -> str:
        """The main figures as text; `width` as for `Report.table`."""
        parts = ", ".join(f"{count} {name}" for name, count in self.images.items())
        lines = (f"{self.budget} each; images: {parts}.",)
        return written(lines, sheets(self.standings, self.apart), width)


def compare(
    data: Dataset | Path | str,
    *,
    methods: str | Sequence[str] = "all",
    minutes: float | None = None,
    steps: int | None = None,
    validation: Dataset | Path | str | float = 0.15,
    test: Dataset | Path | str | float = 0.25,
    tools: Sequence[str] = (),
    options: Mapping[str, Any] | Path | str | None = None,
    out: Path | str = Path("comparison"),
    overwrite: bool = False,
    seed: int = 0,
    quiet: bool = False,
) -> Comparison:
    """Train methods one after another, each with the same budget and in a process of its own, and judge them.

    Best weights and score threshold are chosen by validation images, figures are of test images, which no method saw.
    What is done is kept in `out`: the same call again does the rest and goes on with what was interrupted. What an
    earlier call did there with other methods, on the same images with the same budget, stands beside it. A method that
    fails is reported, and does not end the comparison; the same call tries it again.

    Args:
        data: images with their objects, or their path.
        methods: "all", or names of methods.
        minutes: budget of each method's training, validation included; 10 where neither is given.
        steps: budget in optimizer steps instead.
        validation, test: data sets, or shares of `data` to set aside.
        tools: files of what others found in the test images: COCO results with `data`'s image ids (else their numbers
            in it from 1, see `parts.json`), or whatever `score` reads; FILE@0.5 gives a score threshold.
        options: what methods are built and trained with, or a YAML file of it (see `method_options`).
        out: the folder for everything.
        overwrite: make anew what was made with another budget, other options or data.
        seed: of the trainings.
        quiet: show no progress.

    Raises:
        CallError: methods or options that do not exist, or images that are in two parts.
        InputError: data that cannot be read; a folder with results of another comparison.
        Interrupted: stopped by the user; what is done is kept.
    """
    budget = _budget(minutes, steps)
    given = read_options(Path(options)) if isinstance(options, str | Path) else dict(options or {})
    chosen = options_of(_names(methods), given)
    parts, whole = divided(data, validation, test)
    out = Path(out)
    trials = [Trial(name, one, parts, budget, seed, out, _device(one), quiet) for name, one in chosen.items()]
    _make_way(trials, overwrite)
    write_parts(parts, whole, out / "parts.json")
    trials += _of_earlier_calls(trials, parts, budget, seed, out)
    others = score_tools(tools, parts.test, whole, taken=[one.name for one in trials])
    for tool in others:
        _say_standing(tool, quiet)
    images = {name: len(one) for name, one in vars(parts).items()}
    standings, pairs = {trial.name: _unfinished(trial) for trial in trials}, {}

    def told() -> Comparison:
        order = ranked([*standings.values(), *others])
        comparison = Comparison(order, out, str(budget), images, differences(order, pairs))
        write_text(out / FIGURES, json.dumps(comparison.figures(), indent=1) + "\n")
        heading = f"Methods compared on {whole.path.resolve().name}"
        write_comparison_page(order, comparison.apart, parts, comparison.page, title=heading, budget=str(budget))
        return comparison

    _announce(trials, budget, quiet)
    # What is done comes first, so that the page shows it while the others train.
    for number, trial in enumerate(sorted(trials, key=lambda one: one.cell().get("status") != DONE), 1):
        try:
            standings[trial.name] = _standing(trial)
        except KeyboardInterrupt:
            done = sum(one.report is not None for one in standings.values())
            where = f"stopped at {trial.name}; {done} of {len(trials)} methods are done in {out}"
            raise Interrupted(f"{where}: the same command goes on.") from None
        _say_standing(standings[trial.name], quiet)
        try:
            if number < len(trials):
                told()
        # A page that cannot be made yet must not keep the others from being trained: the last one says why.
        except Exception as error:
            say(f"no page so far: {error}")
    return told()


def _budget(minutes: float | None, steps: int | None) -> Budget:
    given = [number for number in (minutes, steps) if number is not None]
    if len(given) > 1 or not all(number > 0 for number in given):
        raise CallError("give a budget in minutes or in steps, not in both, and more than 0.")
    return Budget(minutes, steps) if given else Budget(MINUTES)


def _names(methods: str | Sequence[str]) -> list[str]:
    """Methods by name, each once."""
    names = list(all_methods.PLACES) if methods == "all" else methods
    return list(dict.fromkeys(name.strip() for name in (names.split(",") if isinstance(names, str) else names)))


def _device(options: MethodOptions) -> str:
    """Where a method predicts: as it is trained."""
    return "cpu" if options.training.get("accelerator") == "cpu" else best_device()


def _make_way(trials: Sequence[Trial], overwrite: bool) -> None:
    """What is there of the same trial is gone on with; of another one, it makes way only where that is wished."""
    for trial in trials:
        cell, identity = trial.cell(), trial.identity()
        known = cell.get("identity", {})
        other = [name for name, value in identity.items() if known.get(name) != value]
        if cell and other and not overwrite:
            raise InputError(
                f"{trial.cell_file}: was made with another choice of {', '.join(other)}: give another --out, or "
                "--overwrite to make it anew."
            )
        if not cell or other or (cell.get("status") in ("trained", "found") and not trial.model_file.is_file()):
            trial.forget()


def _of_earlier_calls(trials: Sequence[Trial], parts: Parts, budget: Budget, seed: int, out: Path) -> list[Trial]:
    """What is done in the folder beside these trials, of the same images and budget."""
    device, quiet = best_device(), True
    earlier = []
    for name in sorted(set(all_methods.PLACES) - {one.name for one in trials}):
        trial = Trial(name, MethodOptions(), parts, budget, seed, out, device, quiet)
        cell = trial.cell()
        options = cell.get("identity", {}).get("options", {})
        trial = replace(trial, options=MethodOptions(**options))
        if cell.get("status") == DONE and cell["identity"] == trial.identity() and trial.found_file.is_file():
            earlier.append(trial)
    return earlier


def _unfinished(trial: Trial) -> Standing:
    """How an earlier call left it."""
    cell = trial.cell()
    status = cell.get("status", "not begun")
    # Done is what is scored.
    return Standing(trial.name, "to be scored" if status == DONE else status, cell.get("why", ""), cell)


def _standing(trial: Trial) -> Standing:
    """One method trained, sent over the test images and scored: what of it is not done yet."""
    status = trial.cell().get("status")
    try:
        if status not in ("trained", "found", DONE):
            trial.note(status="training")
            run_apart(train_trial, trial)
            status = trial.cell().get("status")
        if status == "trained" or (status in ("found", DONE) and not trial.found_file.is_file()):
            run_apart(send_over_test, trial)
        cell = trial.cell()
        if cell.get("status") in ("found", DONE):
            scored = score_found(trial.name, open_coco(trial.found_file), trial.parts.test, facts=cell)
            trial.note(status=DONE, figures=scored.report.figures if scored.report else {})
            return scored
    # One method that fails must not end the comparison.
    except Exception as error:
        trial.note(**failing(error))
    return _unfinished(trial)


def _announce(trials: Sequence[Trial], budget: Budget, quiet: bool) -> None:
    left = [trial for trial in trials if trial.cell().get("status") not in ("trained", "found", DONE)]
    if not quiet:
        done = len(trials) - len(left)
        say(f"{len(left)} methods to train" + (f", {done} are trained" if done else "") + f"; {budget} each")
        if budget.minutes is not None and left:
            say(f"that is about {clock(60 * budget.minutes * len(left))} in all")


def _say_standing(one: Standing, quiet: bool) -> None:
    if one.report is None:
        say(f"{one.name}: {one.status}" + (f": {one.why}" if one.why else ""))
    elif not quiet:
        figure = one.main["AP"]["value"]
        say(f"{one.name}: AP {figure:.3f}" if figure is not None else f"{one.name}: done")
