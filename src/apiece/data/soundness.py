"""What of a damaged data set is sound: images that can be read with their truth; and what remains of a whole set."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from numpy import ndarray

from apiece.data.dataset import Dataset
from apiece.errors import InputError
from apiece.faults import Finding
from apiece.instances import Instances
from apiece.progress import track


def sound(data: Dataset, *, quiet: bool = False) -> tuple[Dataset, list[str]]:
    """The images that can be read with their truth, and a sentence for each that cannot. Reads every image.

    Args:
        quiet: show no progress.
    """
    kept, complaints = [], []
    for index in track(range(len(data)), len(data), "reading", quiet):
        try:
            data[index]
        except InputError as error:
            complaints.append(str(error))
        else:
            kept.append(index)
    return (data.subset(kept) if complaints else data), complaints


class Rest(NamedTuple):
    """What can be read of an image's annotation: objects, their source's outlines, and what is wrong with others."""

    truth: Instances | None
    outlines: list[list[ndarray]]
    found: list[Finding]


class Salvage(NamedTuple):
    """A data set as far as it can be opened.

    Attributes:
        data: without what is so broken that no set could be opened with it.
        found: what that is.
        rest: index and error -> what can be read of an image whose truth raises that error.
    """

    data: Dataset
    found: list[Finding]
    rest: Callable[[int, InputError], Rest]


def salvage(path: Path, split: str | None = None, format: str | None = None) -> Salvage:
    """Open a data set as far as that can be done. Of COCO only the broken entries are lost.

    Raises:
        InputError: nothing of it can be opened.
    """
    from apiece.data import coco, formats
    from apiece.data.coco_salvage import salvage_coco

    if format == coco.FORMAT or (format is None and list(formats.recognize(path)) == [coco.FORMAT]):
        return salvage_coco(path, split)
    return Salvage(formats.open_dataset(path, split=split, format=format), [], nothing)


def nothing(index: int, error: InputError) -> Rest:
    """Nothing of an image's annotation is known to be sound."""
    return Rest(None, [], [Finding("unreadable annotation", str(error).rstrip("."))])
