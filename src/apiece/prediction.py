"""Prediction: images of any size and type through a method; objects at full size, and their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch.nn.functional import interpolate

from apiece import checkpoint
from apiece.data.images import image_files, read_image
from apiece.errors import InputError
from apiece.instances import Instances, concatenate
from apiece.masks import Size
from apiece.methods.method import Frame, Method
from apiece.parts.crf import CRF
from apiece.refinement import refined

Image = str | Path | ndarray


def predict(
    model: Method | str | Path,
    images: Image | Sequence[Image],
    *,
    threshold: float | None = None,
    crf: CRF | bool | None = False,
) -> Any:
    """The objects of an image, or of each of several.

    Args:
        model: a method or its file.
        images: a file; an array H W or H W C of any number type; or several: a sequence of these, an array B H W C, a
            folder, a glob. Channels and values as in training: nothing is normalized before.
        threshold: objects with a lower score are left out; None = the model's operating point, 0 = all.
        crf: bring the masks to the image's edges, afterwards without overlap; True = a CRF with default values.

    Returns:
        `Instances` with scores for one image, a list of them for several.

    Raises:
        InputError: a file that cannot be read, or channels that the model was not trained on.
    """
    model = model if isinstance(model, Method) else checkpoint.load(model)
    if isinstance(images, str | Path) and Path(images).is_file() or isinstance(images, ndarray) and images.ndim < 4:
        return sure(model, find(model, images, crf, threshold), threshold)
    several = image_files(images) if isinstance(images, str | Path) else images
    return [sure(model, find(model, image, crf, threshold), threshold) for image in several]


def sure(model: Method, found: Instances, threshold: float | None = None) -> Instances:
    """The objects at or above the operating point (or another threshold)."""
    limit = model.card.threshold if threshold is None else threshold
    return found if found.scores is None else found[found.scores >= limit]


def find(model: Method, image: Image, crf: CRF | bool | None = False, threshold: float | None = None) -> Instances:
    """All objects of one image, a file or H W or H W C, however unsure, the surest first; refined as `finer` says.

    Raises:
        InputError: see `look`, `look_at`.
    """
    pixels, outputs, frame = (image, *look(model, image)) if isinstance(image, ndarray) else look_at(model, Path(image))
    return finer(model, told(model, outputs, frame), pixels, crf, threshold)


def told(model: Method, outputs: dict[str, torch.Tensor], frame: Frame) -> Instances:
    """What a network's outputs for one image say, the surest first."""
    return ordered(model.decode(outputs, [frame])[0]) if outputs else Instances.empty(frame.original, scored=True)


def finer(
    model: Method, found: Instances, image: ndarray, crf: CRF | bool | None, threshold: float | None = None
) -> Instances:
    """With a CRF, the objects at or above the operating point (or another threshold) refined; the others as they are.

    Those are not shown to anybody but AP, and must not take pixels from what is shown.
    """
    if crf is None or crf is False:
        return found
    certain = sure(model, found, threshold)
    device = next((parameter.device for parameter in model.parameters()), "cpu")
    better = refined(certain, image, CRF() if crf is True else crf, device)
    # They come first: the surest are at the beginning.
    return concatenate([better, found[len(certain) :].replace(boxes=None, areas=None)]) if found.has_masks else better


def ordered(found: Instances) -> Instances:
    """The surest first."""
    return found if found.scores is None else found[np.argsort(-found.scores, kind="stable")]


def look_at(model: Method, file: Path) -> tuple[ndarray, dict[str, torch.Tensor], Frame]:
    """An image file, and a network's outputs for it.

    Raises:
        InputError: it cannot be read, or has channels that the model was not trained on.
    """
    image = read_image(file)
    try:
        return image, *look(model, image)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


@torch.no_grad()
def look(model: Method, image: ndarray) -> tuple[dict[str, torch.Tensor], Frame]:
    """A network's outputs for one image; none for an image without pixels.

    Raises:
        InputError: channels that the model was not trained on, or other dimensions than H W or H W C.
    """
    if image.ndim not in (2, 3):
        raise InputError(f"an image has two or three dimensions, H W or H W C, but this array has {image.ndim}.")
    original: Size = (image.shape[0], image.shape[1])
    frame = model.frame(original)
    if not image.size:
        return {}, frame
    pixels = torch.from_numpy(model.normalize(image))[None]
    if frame.size != original:
        pixels = interpolate(pixels, frame.size, mode="bilinear", antialias=True)
    model.eval()
    return model.infer(pixels, [frame]), frame
