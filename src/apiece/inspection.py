"""Data sets looked at for faults before a night of training is lost: `check`, and what it found."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apiece.checks.images import Look, copies, look_at, rare_classes
from apiece.data.dataset import Dataset
from apiece.data.formats import part_names, recognize
from apiece.data.soundness import Salvage, nothing, salvage
from apiece.errors import InputError
from apiece.faults import KINDS, Finding
from apiece.files import write_text
from apiece.progress import say, track

SHOWN = 5
"""Findings of one kind that the table shows; JSON has all."""


@dataclass(frozen=True)
class Subject:
    """A data set, or one part of one, that is looked at.

    Attributes:
        argument: which of the data sets that were given, which several parts share: 0 is the first.
        source: its path.
        part: the part's name.
        salvage: the set as far as it can be opened.
    """

    argument: int
    source: str
    part: str | None
    salvage: Salvage

    @property
    def name(self) -> str:
        """Path and part."""
        return f"{self.source} ({self.part})" if self.part else self.source


@dataclass(frozen=True)
class Inspection:
    """What was found in one or more data sets."""

    subjects: list[Subject]
    findings: list[Finding]
    images: int
    objects: int

    @property
    def faults(self) -> int:
        """How many faults, notes not counted."""
        return sum(found.severity == "fault" for found in self.findings)

    def by_kind(self) -> dict[str, list[Finding]]:
        """The findings of each kind that there is, gravest kinds first."""
        kinds: dict[str, list[Finding]] = {name: [] for name in KINDS}
        for found in self.findings:
            kinds[found.fault].append(found)
        return {name: found for name, found in kinds.items() if found}

    def figures(self) -> dict[str, Any]:
        """Counts, and every finding, for JSON."""
        return {
            "sets": [subject.name for subject in self.subjects],
            "images": self.images,
            "objects": self.objects,
            "faults": self.faults,
            "notes": len(self.findings) - self.faults,
            "by_kind": {name: len(found) for name, found in self.by_kind().items()},
            "findings": [found.row() for found in self.findings],
        }

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(self.figures(), indent=2, allow_nan=False)

    def write_json(self, path: Path) -> None:
        """Write the JSON to a file.

        Raises:
            InputError: it cannot be written.
        """
        write_text(path, self.to_json() + "\n")

    def summary(self) -> str:
        """What was looked at and found, in one line."""
        notes = len(self.findings) - self.faults
        looked = f"{self.images:,} images, {self.objects:,} objects"
        return f"{looked}: {self.faults:,} faults, {notes:,} notes" if self.findings else f"{looked}: no faults"

    def table(self, width: int | None = None) -> str:
        """The first findings of each kind as text for the terminal, and the summary."""
        from rich.console import Console
        from rich.table import Table

        console = Console(width=width, highlight=False, markup=False, force_jupyter=False)
        if width is None and not console.is_terminal:
            console.width = 160
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for name, side in (("", "left"), ("kind", "left"), ("count", "right"), ("where and what", "left")):
            table.add_column(name, justify=side, no_wrap=name != "where and what")  # pyright: ignore[reportArgumentType]
        for name, found in self.by_kind().items():
            lines = [f"{one.place()}: {one.words}" for one in found[:SHOWN]]
            lines += [f"and {len(found) - SHOWN:,} more"] * (len(found) > SHOWN)
            table.add_row(KINDS[name].severity, name, f"{len(found):,}", "\n".join(lines))
        with console.capture() as captured:
            if self.findings:
                console.print(table)
        lines = captured.get().splitlines()
        return "\n".join([*(line if console.is_terminal else line.rstrip() for line in lines), self.summary()])


def check(
    data: Dataset | str | Path,
    others: Sequence[Dataset | str | Path] = (),
    *,
    split: str | None = None,
    format: str | None = None,
    stride: int = 4,
    minimum: int = 10,
    quiet: bool = False,
) -> Inspection:
    """Look at every image and object of data sets for faults, and for images that two of them, or two parts, share.

    Outlines are looked at as the source has them where the format says them (`Dataset.outlines`); elsewhere only what
    their masks show is seen. Of COCO every broken entry is found, of other formats one for each image.

    Args:
        data: a data set or its path; of a set that is divided all parts are looked at.
        others: further ones, such as the test set.
        split: only this part of `data`.
        format: of `data`, where it cannot be told by itself.
        stride: objects with both sides shorter are noted.
        minimum: classes with fewer objects in all parts of a set are noted.
        quiet: show no progress.

    Raises:
        InputError: there is no data set at a path.
    """
    subjects, findings = [], []
    for number, one in enumerate((data, *others)):
        for subject in _subjects(number, one, *((split, format) if number == 0 else (None, None))):
            if isinstance(subject, Subject):
                subjects.append(subject)
            else:
                findings.append(subject)
    looks: list[Look] = []
    counts: dict[str, Counter[str]] = {}
    for place, subject in enumerate(subjects):
        findings += [found._replace(data=subject.name) for found in subject.salvage.found]
        classes = subject.salvage.data.classes
        if not quiet:
            say(f"{subject.name}: {len(subject.salvage.data)} images, format {subject.salvage.data.format}")
        counted = counts.setdefault(subject.source, Counter(dict.fromkeys(classes, 0)))
        for look in _looks(subject, place, stride, quiet):
            findings += look.findings
            counted.update(classes[label] for label in look.labels)
            looks.append(look._replace(findings=[]))
    findings += copies(looks, [subject.name for subject in subjects])
    findings += rare_classes(counts, minimum)
    return Inspection(subjects, findings, len(looks), sum(look.objects for look in looks))


def _subjects(
    argument: int, data: Dataset | str | Path, split: str | None = None, format: str | None = None
) -> Iterator[Subject | Finding]:
    """The parts of a data set, or what keeps one from being opened."""
    if isinstance(data, Dataset):
        yield Subject(argument, str(data.path), None, Salvage(data, [], nothing))
        return
    path = Path(data)
    known = format is not None or (path.exists() and len(recognize(path)) == 1)
    parts = [split] if split is not None or not known else part_names(path, format) or [None]
    for part in parts:
        try:
            yield Subject(argument, str(path), part, salvage(path, part, format))
        except InputError as error:
            if not known:
                raise
            name = f"{path} ({part})" if part else str(path)
            yield Finding("unreadable set", str(error).removeprefix(f"{path}: ").rstrip("."), data=name)


def _looks(subject: Subject, place: int, stride: int, quiet: bool) -> Iterator[Look]:
    """Each image of a subject, looked at."""
    count = len(subject.salvage.data)
    for index in track(range(count), count, f"checking {subject.part or Path(subject.source).name}", quiet):
        look = look_at(subject.salvage, index, stride)
        named = [found._replace(data=subject.name) for found in look.findings]
        yield look._replace(subject=place, findings=named)
