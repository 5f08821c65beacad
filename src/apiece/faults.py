"""What can be wrong with a data set: the kinds of faults, and one that was found."""

from typing import Any, Literal, NamedTuple

Severity = Literal["fault", "note"]


class Kind(NamedTuple):
    """One kind of fault: how severe it is, and what a repaired copy does about it (nothing: empty)."""

    severity: Severity
    remedy: str


DROPPED = "left out"
LEFT = ""
KINDS = {
    "unreadable set": Kind("fault", LEFT),
    "unreadable image": Kind("fault", "left out with its objects"),
    "unreadable annotation": Kind("fault", DROPPED),
    "unknown image": Kind("fault", DROPPED),
    "unknown category": Kind("fault", DROPPED),
    "id twice": Kind("fault", "given a number of its own"),
    "another size": Kind("fault", "left out with its objects"),
    "EXIF turn": Kind("fault", "written upright, with its objects"),
    "empty mask": Kind("fault", DROPPED),
    "one pixel": Kind("fault", DROPPED),
    "out of the image": Kind("fault", "cut at the image's border"),
    "crossing outline": Kind("fault", "redrawn along its mask"),
    "same object twice": Kind("fault", DROPPED),
    "box off its mask": Kind("fault", "read from the mask"),
    "8-bit labels": Kind("fault", "written with 16 bits (objects that share a number stay one)"),
    "crowd flag": Kind("fault", "taken away"),
    "image in two sets": Kind("fault", "left out of the first of them"),
    "image twice": Kind("fault", DROPPED),
    "area off its mask": Kind("note", "read from the mask"),
    "images alike": Kind("note", LEFT),
    "number given twice": Kind("note", LEFT),
    "small object": Kind("note", LEFT),
    "rare class": Kind("note", LEFT),
    "no objects": Kind("note", LEFT),
}
"""All kinds, gravest first. Faults spoil a training or its figures; notes are harmless where they are meant."""


class Finding(NamedTuple):
    """One fault that was found.

    Attributes:
        fault: one of `KINDS`.
        words: what was found, as the end of a sentence that begins with the file and entry.
        data: the data set's path, and its part.
        image: the image's name; None where the whole set is meant.
        file: the image's file.
        entry: what the object is called in its file.
        box: `x1 y1 x2 y2` of the place in the image.
        index: the object's number in its image's truth.
    """

    fault: str
    words: str
    data: str = ""
    image: str | None = None
    file: str | None = None
    entry: str | None = None
    box: tuple[float, float, float, float] | None = None
    index: int | None = None

    @property
    def severity(self) -> Severity:
        """Fault or note."""
        return KINDS[self.fault].severity

    def place(self) -> str:
        """File, or image, or set; and entry."""
        return ": ".join(part for part in (self.file or self.image or self.data, self.entry) if part)

    def row(self) -> dict[str, Any]:
        """For JSON."""
        row = self._asdict()
        del row["index"]
        return {"fault": self.fault, "severity": self.severity, **row}
