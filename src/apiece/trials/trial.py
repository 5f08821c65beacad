"""Trials: one method trained with a budget and sent over the test images; what is kept of it.

A trial's cell, `cells/NAME.json`, says how far it is: "training" (begun, or interrupted), "trained", "found", "done"
(scored), or "failed", with the sentence that says why.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apiece.errors import CallError, InputError, TrainingError
from apiece.files import write_text
from apiece.journal import plain
from apiece.trials.division import Parts
from apiece.trials.method_options import MethodOptions


@dataclass(frozen=True)
class Budget:
    """The same for every method: minutes of wall-clock time, or steps."""

    minutes: float | None = None
    steps: int | None = None

    def __str__(self) -> str:
        number, unit = (self.minutes or 0, "minute") if self.steps is None else (self.steps, "step")
        # Three digits of a part of a minute, and all of whole numbers.
        written = f"{number:.3g}" if number < 100 else f"{number:.0f}"
        return f"{written} {unit}" + "s" * (written != "1")


@dataclass(frozen=True)
class Trial:
    """One method's part of a comparison.

    Attributes:
        name: of the method.
        options: what it is built and trained with.
        out: the folder of the whole comparison.
        device: where it predicts.
    """

    name: str
    options: MethodOptions
    parts: Parts
    budget: Budget
    seed: int
    out: Path
    device: str
    quiet: bool = False

    @property
    def cell_file(self) -> Path:
        """What is known of it, as JSON."""
        return self.out / "cells" / f"{self.name}.json"

    @property
    def run(self) -> Path:
        """The folder of its training."""
        return self.out / "runs" / self.name

    @property
    def model_file(self) -> Path:
        """The best model so far."""
        return self.run / "model.safetensors"

    @property
    def state_file(self) -> Path:
        """What an interrupted training goes on from."""
        return self.run / "state.safetensors"

    @property
    def log_file(self) -> Path:
        """The course of its training."""
        return self.run / "log.jsonl"

    @property
    def found_file(self) -> Path:
        """What it found in the test images, as COCO JSON."""
        return self.out / "found" / f"{self.name}.json"

    def identity(self) -> dict[str, Any]:
        """What must be the same for a trial to be the same: data, budget, options, seed."""
        facts = {"data": self.parts.facts(), **vars(self.budget), "options": vars(self.options), "seed": self.seed}
        return json.loads(json.dumps(facts, default=str))

    def cell(self) -> dict[str, Any]:
        """What is known of it; nothing if it was not begun.

        Raises:
            InputError: the file is damaged.
        """
        if not self.cell_file.is_file():
            return {}
        try:
            cell = json.loads(self.cell_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.cell_file}: is damaged ({error}): take it away to begin anew.") from error
        return cell if isinstance(cell, dict) else {}

    def note(self, **facts: Any) -> None:
        """Add what is now known to its cell; "why" is forgotten unless it is given."""
        known = {name: value for name, value in self.cell().items() if name not in ("why", "trace")}
        content = {"method": self.name, **known, "identity": self.identity(), **facts}
        write_text(self.cell_file, json.dumps(plain(content), indent=1) + "\n")

    def forget(self) -> None:
        """Begin anew: an earlier trial's files make way."""
        for file in (self.state_file, self.model_file, self.log_file, self.cell_file, self.found_file):
            file.unlink(missing_ok=True)


def noting(trial: Trial, work: Callable[[Trial], None]) -> None:
    """Do a part of a trial's work; where it fails, the cell says why."""
    try:
        work(trial)
    # Whatever goes wrong with one method must not end the comparison: the cell says what it was.
    except Exception as error:
        trial.note(**failing(error))


def failing(error: Exception) -> dict[str, Any]:
    """What a cell says of a trial that failed; to be called where the error is caught."""
    known = isinstance(error, InputError | CallError | TrainingError)
    return {"status": "failed", "why": _sentence(error), **({} if known else {"trace": _trace()})}


def _sentence(error: Exception) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, InputError | CallError | TrainingError):
        return message
    if isinstance(error, MemoryError) or "out of memory" in message or "can't allocate memory" in message:
        return f"not enough memory ({message or 'no more is left'}): smaller images, crops or batches need less."
    return f"{type(error).__name__}: {message} (this is a fault in apiece; its cell says where)."


def _trace() -> str:
    from traceback import format_exc

    return format_exc()
