"""Report: the figures of a scoring, for programs (JSON) and for people (a table)."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from apiece.errors import CallError
from apiece.files import write_text
from apiece.metrics.diagnosis import Diagnosis
from apiece.metrics.sheets import facts, sheets
from apiece.metrics.terminal import written


@dataclass(frozen=True)
class Report:
    """All figures of a scoring.

    Attributes:
        figures: nested by metric, as in `report["matching"]["0.50"]["accuracy"]`; None where a figure does not exist.
        rows: for each image its name and figures.
        diagnose: makes `diagnosis`.
        notes: what is to be said beside the figures.
    """

    figures: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    diagnose: Callable[[], Diagnosis] | None = field(default=None, repr=False, compare=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What lies behind the figures: curves, calibration, confusions, the worst images. Made when first asked for.

        Raises:
            CallError: this report was not made by a scoring.
        """
        if self.diagnose is None:
            raise CallError("this report has figures only: it was not made by a scoring.")
        return self.diagnose()

    def __getitem__(self, metric: str) -> Any:
        """The figures of one metric."""
        return self.figures[metric]

    def __contains__(self, metric: object) -> bool:
        """Was this metric asked for?"""
        return metric in self.figures

    def to_json(self, *, rows: bool = False) -> str:
        """One JSON object; `rows` adds the images' under "by_image". What is not a number is null."""
        return json.dumps(
            _plain({**self.figures, **({"by_image": self.rows} if rows else {})}), indent=2, allow_nan=False
        )

    def write_json(self, path: Path, *, rows: bool = True) -> None:
        """Write the JSON to a file.

        Raises:
            InputError: it cannot be written.
        """
        write_text(path, self.to_json(rows=rows) + "\n")

    def table(self, width: int | None = None) -> str:
        """The main figures as text: in color where standard output is a terminal, plain where it is piped.

        Args:
            width: characters in a line; by default the terminal's.
        """
        return written((facts(self.figures), *self.notes), sheets(self.figures), width)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
