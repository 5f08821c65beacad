"""Results as Cityscapes' evaluation takes them: for each image a text file, with a line for each found object.

    <name>*.txt        masks/<name>_0.png 24 0.93        its mask (all that is not 0), relative; its label; its score

Format: evaluation/evalInstanceLevelSemanticLabeling.py of https://github.com/mcordts/cityscapesScripts
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from apiece.data.cityscapes_labels import STANDARD, numbers_of
from apiece.data.dataset import Dataset, Sample
from apiece.data.images import read_image
from apiece.errors import InputError
from apiece.files import write_text
from apiece.instances import Instances
from apiece.masks import bounding_box
from apiece.png import write_png

FORMAT = "cityscapes-results"


class Line(NamedTuple):
    """A found object: its mask's file, its label's number and its score."""

    mask: Path
    number: int
    score: float


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is a folder of results, in words; None if it is not."""
    if not path.is_dir():
        return None
    for file in _text_files(path):
        with file.open("rb") as lines:
            first = next((line for line in lines if line.strip()), b"").split()
        if len(first) >= 3 and first[-3].lower().endswith(b".png"):
            return f"text files of masks ({file.name})"
    return None


def open_cityscapes_results(path: str | Path, truth: Dataset) -> Dataset:
    """A folder of results as findings. Reads no mask.

    Objects of labels that are no class of the truth (stuff, void) are left out, as the original does.

    Args:
        truth: says the names of the images, and the labels of the classes. A text file belongs to the image that its
            name begins with; those of no image keep their own names.

    Raises:
        InputError: no text file, two for one image, or what is wrong with which line.
    """
    path = Path(path)
    files = _by_image(path, truth)
    if not files:
        raise InputError(f"{path}: no results of Cityscapes' evaluation: looked for text files, one for each image.")
    numbers = numbers_of(truth)
    known = {*numbers, *(label.number for label in STANDARD)}
    places = {name: place for place, name in enumerate(truth.names)}
    return Dataset(
        path=path,
        format=FORMAT,
        classes=truth.classes,
        names=tuple(files),
        files=(None,) * len(files),
        read_image=partial(_no_image, path),
        read_truth=partial(
            _found, path, tuple(files.values()), numbers, known, truth, tuple(places.get(name) for name in files)
        ),
        class_ids=numbers,
    )


def _text_files(path: Path) -> Iterator[Path]:
    return (file for file in path.rglob("*.txt") if not file.name.startswith("."))


def _by_image(path: Path, truth: Dataset) -> dict[str, Path]:
    """The text files by the names of their images."""
    last = Counter(name.rsplit("/", 1)[-1] for name in truth.names)
    names = {one: name for name in truth.names if last[one := name.rsplit("/", 1)[-1]] == 1}
    names |= {name.replace("/", "_"): name for name in truth.names}
    found: dict[str, Path] = {}
    for file in sorted(_text_files(path)):
        stem = file.stem
        # The longest beginning that is an image's name and does not end inside a word or number.
        ends = [end for end in range(len(stem), 0, -1) if end == len(stem) or not stem[end].isalnum()]
        name = next((names[stem[:end]] for end in ends if stem[:end] in names), stem)
        if name in found:
            raise InputError(f"{found[name]} and {file} are both results for {name}: take one of them away.")
        found[name] = file
    return dict(sorted(found.items()))


def _no_image(path: Path, index: int) -> ndarray:
    raise InputError(f"{path}: these are results without their images.")


def _found(
    root: Path,
    files: tuple[Path, ...],
    numbers: tuple[int, ...],
    known: set[int],
    truth: Dataset,
    places: tuple[int | None, ...],
    index: int,
) -> Instances:
    file, place = files[index], places[index]
    lines = [line for line in _lines(root, file, known) if line.number in numbers]
    crops, boxes, size = [], [], None
    for line in lines:
        mask = _mask(line.mask)
        if size is not None and mask.shape != size:
            raise InputError(
                f"{line.mask}: {mask.shape[0]} x {mask.shape[1]} pixels, but others have {size[0]} x {size[1]}."
            )
        size = mask.shape
        x1, y1, x2, y2 = box = bounding_box(mask)
        crops.append(mask[y1:y2, x1:x2].copy())
        boxes.append(box)
    if size is None:
        size = (0, 0) if place is None else truth.size(place)
    labels, scores = [numbers.index(line.number) for line in lines], [line.score for line in lines]
    return Instances.from_crops(crops, np.array(boxes).reshape(-1, 4), size, labels, scores=scores)


def _lines(root: Path, file: Path, known: set[int]) -> list[Line]:
    """The lines of a text file, checked."""
    found: dict[Path, Line] = {}
    for place, text in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            name, label, score = text.rsplit(None, 2)
            line = Line(file.parent / name, int(float(label)), float(score))
        except (ValueError, OverflowError) as error:
            raise InputError(f"{file}: line {place} is not 'mask.png label score': {text[:80]!r}.") from error
        if Path(name).is_absolute() or not line.mask.resolve().is_relative_to(root.resolve()):
            raise InputError(f"{file}: line {place} names {name}, which is not inside {root}.")
        if line.number not in known:
            raise InputError(f"{file}: line {place} has label {line.number}, which does not exist.")
        if not np.isfinite(line.score):
            raise InputError(f"{file}: line {place} has a score of {score}: give a finite number.")
        if line.mask in found:
            raise InputError(f"{file}: line {place} names {name}, which a line before it has named too.")
        found[line.mask] = line
    return list(found.values())


def _mask(path: Path) -> Bool[ndarray, "H W"]:
    """All that is not 0."""
    image = read_image(path)
    colors = image[:, :, : {2: 1, 4: 3}.get(image.shape[2], image.shape[2])]  # opacity says nothing
    return (colors != 0).any(2)


def write_cityscapes_results(
    found: Iterable[Sample | tuple[str, Instances]], folder: str | Path, truth: Dataset
) -> Counter[str]:
    """Write findings as `<name>.txt` and `masks/<name>_<number>.png`, best first, scores in full precision.

    Returns:
        How many objects without a pixel were left out: they never count.

    Args:
        found: samples, or pairs of the truth's name and objects.
        truth: says the labels of the classes.

    Raises:
        InputError: an image that the truth lacks, or a file that cannot be written.
    """
    folder, numbers, known, lost = Path(folder), numbers_of(truth), set(truth.names), Counter()
    for name, objects in ((sample[0], sample[-1]) for sample in found):
        if name not in known:
            raise InputError(f"{folder}: {truth.path} has no image {name}.")
        scores = np.ones(len(objects)) if objects.scores is None else objects.scores
        stem, lines = name.replace("/", "_"), []
        for index in np.argsort(-scores, kind="stable").tolist():
            mask = np.zeros(objects.size, np.uint8)
            x1, y1, x2, y2 = objects.mask_boxes[index].tolist()
            mask[y1:y2, x1:x2] = objects.crop(index) * np.uint8(255)
            lost["objects without a pixel"] += x1 == x2
            if x1 < x2:
                file = f"masks/{stem}_{len(lines):04d}.png"
                write_png(folder / file, [mask], objects.size)
                lines.append(f"{file} {numbers[objects.labels[index]]} {float(scores[index])!r}\n")
        write_text(folder / f"{stem}.txt", "".join(lines))
    return +lost
