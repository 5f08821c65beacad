"""Division: images to learn from, images to choose by, and images to judge by; none is in two parts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apiece.data.dataset import Dataset
from apiece.data.formats import cut, of_classes, open_dataset
from apiece.data.sampling import spread
from apiece.errors import CallError, InputError
from apiece.files import write_text


@dataclass(frozen=True)
class Parts:
    """The images of a comparison: none is in two parts.

    Attributes:
        training: what the methods learn from.
        validation: what their best weights and score thresholds are chosen by.
        test: what they are judged by.
    """

    training: Dataset
    validation: Dataset
    test: Dataset

    def facts(self) -> dict[str, Any]:
        """For each part how many images it has, and its fingerprint."""
        return {name: {"images": len(one), "fingerprint": one.fingerprint()} for name, one in vars(self).items()}


def divided(
    data: Dataset | Path | str, validation: Dataset | Path | str | float, test: Dataset | Path | str | float
) -> tuple[Parts, Dataset]:
    """Training, validation and test images, always the same, and the set that the test images are of.

    Args:
        validation, test: data sets, or shares of `data`.

    Raises:
        CallError: shares or classes that make no sense, or an image that is in two parts.
        InputError: data that cannot be read.
    """
    whole = data = data if isinstance(data, Dataset) else open_dataset(data)
    validation, test = (open_dataset(one) if isinstance(one, str | Path) else one for one in (validation, test))
    shares = [share for share in (validation, test) if isinstance(share, int | float)]
    if not all(0 < share < 1 for share in shares) or sum(shares) >= 1 or len(data) < 1 + len(shares):
        raise CallError(
            f"{data.path}: {len(data)} images cannot be cut into training, validation and test images with shares of "
            f"{' and '.join(map(str, shares))}: give shares between 0 and 1, together below 1, and enough images."
        )
    left = 1.0
    if isinstance(test, Dataset):
        whole, test = test, of_classes(test, data)
    else:
        left -= test
        data, test = data.split(test)
    data, held_out = cut(data, validation / left if isinstance(validation, int | float) else validation)
    if held_out is None:
        raise CallError(f"{data.path}: a comparison needs validation images.")
    parts = Parts(data, held_out, test)
    _check_apart(parts)
    for truth in spread(test, images=20):
        if not truth.has_masks:
            raise InputError(f"{test.path}: its annotations have boxes only, but a comparison needs masks.")
    return parts, whole


def write_parts(parts: Parts, whole: Dataset, path: Path) -> None:
    """Which images are in which part, and the numbers that results must have: for whoever trains another tool.

    Args:
        whole: what the test images are of.
    """
    ids = dict(zip(whole.names, whole.image_ids or range(1, len(whole) + 1), strict=True))
    facts: dict[str, Any] = {name: list(one.names) for name, one in vars(parts).items()}
    facts["test ids"] = {name: ids[name] for name in parts.test.names}
    classes = whole.class_ids or range(1, len(whole.classes) + 1)
    facts["class ids"] = dict(zip(whole.classes, classes, strict=True))
    write_text(path, json.dumps(facts, indent=1) + "\n")


def _check_apart(parts: Parts) -> None:
    """What a method learned from must not judge it."""
    files = {name: {file.resolve() for file in one.files if file is not None} for name, one in vars(parts).items()}
    for first, second in (("training", "test"), ("validation", "test"), ("training", "validation")):
        both = files[first] & files[second]
        if both:
            raise CallError(f"{min(both)}: is a {first} and a {second} image ({len(both)} are): give sets without any.")
