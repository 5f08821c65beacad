"""Files of what was found: label images, overlays, CSV, COCO JSON and pictures of the network's inside."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy import ndarray
from torch import Tensor

from apiece.data.coco import open_coco, write_coco
from apiece.data.coco_json import parse_data_set
from apiece.data.images import image_files, image_names
from apiece.data.label_images import write_label_image
from apiece.draw import write_overlay
from apiece.errors import CallError, InputError, Interrupted
from apiece.instances import Instances, concatenate
from apiece.interruption import Interruption
from apiece.methods.method import Frame, Method
from apiece.parts.crf import CRF
from apiece.png import write_png
from apiece.prediction import finer, look_at, sure, told
from apiece.progress import say, track
from apiece.regions import write_regions

KINDS = {"labels": ".tif", "overlay": "_overlay.png", "csv": ".csv", "coco": "", "inside": "_inside_*.png"}
"""What can be saved, and how each image's files of it end; coco is one file for all images."""
COCO_FILE = "found.json"


def predict_files(
    model: Method,
    images: Sequence[str | Path],
    out: Path,
    save: Sequence[str] = ("labels", "overlay"),
    *,
    threshold: float | None = None,
    crf: CRF | bool | None = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Find the objects of images in files and write them to a folder, under each image's own name.

    What is already there is not made again. Label images, overlays and CSV hold the objects at the operating point; the
    COCO file holds all with their scores, since AP uses all, and the operating point, which `score` goes by.

    Args:
        images: files, folders, globs.
        out: for `NAME.tif` (labels, 16 or 32 bit), `NAME_overlay.png`, `NAME.csv`, `NAME_inside_*.png`, `found.json`.
        save: any of "labels", "overlay", "csv", "coco", "inside".
        threshold: operating point in place of the model's.
        crf: bring the masks to the image's edges, afterwards without overlap; True = with default values.
        overwrite: make anew what is there.
        skip_bad: leave out images that cannot be read, and count them.

    Returns:
        How many images were done, skipped, bad, and how many objects were found in those done.

    Raises:
        CallError: something to save that does not exist, or a result that would take an image's place.
        InputError: an image that cannot be read or has channels that the model was not trained on, a file that cannot
            be written.
        Interrupted: stopped by the user, after the image at hand (a second time at once); what is done is kept.
    """
    unknown = [kind for kind in save if kind not in KINDS]
    if unknown or not save:
        raise CallError(f"cannot save {', '.join(map(repr, unknown)) or 'nothing'}: choose from {', '.join(KINDS)}.")
    files = image_files(images)
    names = image_names(files)
    _check_apart(files, names, out)
    job = _Job(model, out, tuple(save), threshold, overwrite, crf)
    counts = {"images": 0, "objects": 0, "skipped": 0, "bad": 0}
    try:
        with Interruption() as interruption:
            for name, file in track(list(zip(names, files, strict=True)), len(files), "predicting", quiet):
                if interruption.wanted():
                    again = "the same command without --overwrite" if overwrite else "the same command"
                    done = f"{counts['images']} images are done in {out}"
                    raise Interrupted(f"interrupted; {done}: {again} does the rest.")
                if job.is_done(name):
                    counts["skipped"] += 1
                    continue
                try:
                    image, outputs, frame = look_at(model, file)
                except InputError as error:
                    if not skip_bad:
                        raise
                    counts["bad"] += 1
                    say(f"skipped: {error}")
                    continue
                counts["objects"] += job.run(name, file, image, outputs, frame)
                counts["images"] += 1
    finally:
        job.close()
    return counts


def _check_apart(files: Sequence[Path], names: Sequence[str], out: Path) -> None:
    """No result may be written over an image."""
    folder, images = out.resolve(), {file.resolve() for file in files}
    for name, file in zip(names, files, strict=True):
        for ending in (KINDS["labels"], KINDS["overlay"]):
            if folder / f"{name}{ending}" in images:
                raise CallError(f"{out / name}{ending}, a result of {file}, is an image itself: give another --out.")


@dataclass
class _Job:
    """One prediction run over files."""

    model: Method
    out: Path
    save: tuple[str, ...]
    threshold: float | None
    overwrite: bool
    crf: CRF | bool | None
    found: dict[str, Instances] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    pictured: set[str] = field(default_factory=set)
    changed: bool = False

    def __post_init__(self) -> None:
        if "inside" in self.save:
            pictures = (path.relative_to(self.out).as_posix() for path in self.out.rglob("*_inside_*.png"))
            self.pictured = {picture.rpartition("_inside_")[0] for picture in pictures}
        if "coco" in self.save and not self.overwrite and (self.out / COCO_FILE).is_file():
            earlier = open_coco(self.out / COCO_FILE)
            if earlier.classes != self.model.card.classes:
                raise InputError(
                    f"{self.out / COCO_FILE}: holds results of other classes ({', '.join(earlier.classes)}) than the "
                    f"model's ({', '.join(self.model.card.classes)}): give another folder, or --overwrite."
                )
            self.found = {name: earlier.truth(index) for index, name in enumerate(earlier.names)}
            images = parse_data_set(self.out / COCO_FILE).images
            self.files = dict(zip(earlier.names, (image["file_name"] for image in images), strict=True))

    def is_done(self, name: str) -> bool:
        """Does every file asked for exist?"""
        files = all(
            (self.out / f"{name}{KINDS[kind]}").exists() for kind in self.save if kind not in ("coco", "inside")
        )
        kept = [self.found] * ("coco" in self.save) + [self.pictured] * ("inside" in self.save)
        return not self.overwrite and files and all(name in names for names in kept)

    def run(self, name: str, file: Path, image: ndarray, outputs: dict[str, Tensor], frame: Frame) -> int:
        """Find and write the objects of one image; how many are at the operating point."""
        found = finer(self.model, told(self.model, outputs, frame), image, self.crf, self.threshold)
        certain = sure(self.model, found, self.threshold)
        if "inside" in self.save and outputs:
            for what, picture in self.model.inside(outputs, [frame])[0].items():
                write_png(self.out / f"{name}_inside_{what.replace(' ', '_')}.png", [picture], picture.shape[:2])
        del outputs
        if "labels" in self.save:
            write_label_image(certain, self.out / f"{name}.tif")
        if "overlay" in self.save and image.size:
            write_overlay(image, certain, self.out / f"{name}_overlay.png")
        if "csv" in self.save:
            write_regions(certain, self.out / f"{name}.csv", image, classes=self.model.card.classes)
        if "coco" in self.save:
            # As crops: a label map each would be kept until the end.
            self.found[name], self.files[name], self.changed = concatenate([found]), file.name, True
        return len(certain)

    def close(self) -> None:
        """Write the one file of all images, those of an interrupted run too."""
        if self.changed:
            threshold = self.model.card.threshold if self.threshold is None else self.threshold
            names: dict[str, Any] = {"file_names": self.files, "threshold": threshold}
            write_coco(self.found.items(), self.out / COCO_FILE, self.model.card.classes, **names)
