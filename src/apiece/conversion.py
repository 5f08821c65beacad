"""One format into another, through `Instances`; what the other cannot hold is counted and named."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from apiece.data.dataset import Dataset
from apiece.data.formats import FORMATS, open_dataset, part_names
from apiece.data.soundness import sound
from apiece.data.writing import Entry, entries
from apiece.errors import CallError, InputError
from apiece.progress import say, track

Writer = Callable[..., Counter[str]]


@dataclass
class Tally:
    """What was written, and what was lost, counted by name."""

    images: int = 0
    objects: int = 0
    skipped: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    def loss(self) -> str:
        """What was lost, in words: "12 holes, 3 parts"; empty if nothing was."""
        return ", ".join(f"{count:,} {name}" for name, count in self.lost.most_common())


def convert(
    data: Dataset | str | Path,
    out: str | Path,
    to: str,
    *,
    split: str | None = None,
    format: str | None = None,
    link: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write a data set in another format. The new folder is whole or not there.

    Of a set that is divided (train, val, ...) all parts are written, each a data set of its own in `out/PART`.
    Annotation ids, and boxes and areas that a source gives besides its masks, are kept where the format has a place for
    them; they are not counted as lost.

    Args:
        data: a data set or its path.
        out: the folder to make.
        to: name of the format.
        split: only this part.
        format: of the data, where it cannot be told by itself.
        link: images become symbolic links to the old ones, not copies.
        strict: refuse if anything would be lost.
        overwrite: put it in the place of such a data set that is there; nothing else is taken away.
        skip_bad: leave out images that cannot be read with their objects, and count them.
        quiet: show no progress.

    Returns:
        `images`, `objects`, `skipped`, what was `lost` by name, and where it is: `out`, its `parts`.

    Raises:
        CallError: there is no format of that name, or apiece does not write it.
        InputError: data that cannot be read or held, something in the way, or with `strict` what would be lost.
    """
    out, writer, tally = Path(out), find_writer(to), Tally()
    sets = {None: data} if isinstance(data, Dataset) else open_parts(Path(data), split, format)
    source = next(iter(sets.values())).path
    with filled(out, overwrite, [source]) as folder:
        for part, one in sets.items():
            if not quiet:
                say(f"{source}{f' ({part})' if part else ''}: {len(one)} images, format {one.format}")
            if skip_bad:
                one, complaints = sound(one, quiet=quiet)
                tally.skipped += len(complaints)
                for complaint in complaints:
                    say(f"skipped: {complaint}")
            passing = _counted(one, to, tally, quiet)
            tally.lost += writer(passing, folder / part if part else folder, one.classes, link=link)
        if strict and tally.lost:
            raise InputError(f"{source}: {to} cannot hold all of it: {tally.loss()} would be lost; nothing is written.")
    parts = [part for part in sets if part]
    return {**vars(tally), "lost": dict(tally.lost), "format": to, "out": str(out), "parts": parts}


def find_writer(to: str) -> Writer:
    """The writer of a format.

    Raises:
        CallError: there is none of that name.
    """
    writers = {one.name: one.write for one in FORMATS if one.write is not None}
    if to not in writers:
        raise CallError(f"cannot write the format {to!r}: choose from {', '.join(writers)}.")
    return writers[to]


def open_parts(path: Path, split: str | None = None, format: str | None = None) -> dict[str | None, Dataset]:
    """The data set at a path by the names of its parts, or alone under None where it is not divided.

    Raises:
        InputError: as for `open_dataset`.
    """
    names = [split] if split is not None or not path.exists() else part_names(path, format) or [None]
    # A part that was asked for is the whole of what is written.
    return {None if split else name: open_dataset(path, split=name, format=format) for name in names}


def _counted(data: Dataset, to: str, tally: Tally, quiet: bool) -> Iterator[Entry]:
    """The images to be written, counted as they pass."""
    for entry in track(entries(data), len(data), "writing", quiet):
        if not entry.truth.has_masks and len(entry.truth) and to != "coco":
            raise InputError(f"{data.path}: the objects of {entry.name} are boxes without masks: only coco holds them.")
        tally.images += 1
        tally.objects += len(entry.truth)
        yield entry


@contextmanager
def filled(out: Path, overwrite: bool, sources: Sequence[Path]) -> Iterator[Path]:
    """A new folder beside `out` that takes its place when the block ends well; else it is gone.

    Args:
        overwrite: `out` may be such a folder, which makes way.
        sources: what is read, which `out` may not hold.

    Raises:
        InputError: `out` is in the way, or cannot be written.
    """
    _check_free(out, overwrite, sources)
    temporary, old = (out.with_name(f".{out.name}.{uuid4().hex[:8]}.{kind}") for kind in ("new", "old"))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if out.exists():
            _check_alike(out, temporary)
            os.replace(out, old)
        os.replace(temporary, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _check_free(out: Path, overwrite: bool, sources: Sequence[Path]) -> None:
    """May a folder be made at `out`?"""
    place = out.resolve()
    if not place.name or any(source.resolve().is_relative_to(place) for source in sources if source.exists()):
        raise InputError(f"{out}: holds the data itself: give another folder.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise InputError(f"{out}: this is a file: give a folder that is not there yet.")
    if not overwrite:
        raise InputError(f"{out}: there is something in this folder: give another, or --overwrite.")


def _check_alike(out: Path, new: Path) -> None:
    """Is there nothing at `out` but what the new folder has too? Only that is replaced."""
    spare = sorted({child.name for child in out.iterdir()} - {child.name for child in new.iterdir()})
    if spare:
        raise InputError(f"{out}: holds {', '.join(spare[:3])}, which the new data set has not: give another folder.")
