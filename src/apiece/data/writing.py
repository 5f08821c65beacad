"""What every writer of a format is given, and where images go.

A writer is `write_FORMAT(entries, folder, classes, *, link=False) -> Counter[str]`: it writes a whole data set into a
folder that is empty, places images with `place_image`, and counts by name what its format could not hold.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from numpy import ndarray

from apiece.data.dataset import Dataset
from apiece.data.images import lossless_suffix, write_image
from apiece.errors import InputError
from apiece.files import replacing
from apiece.instances import Instances


class Entry(NamedTuple):
    """One image to be written, not read yet: name, its file if it has one, how to read it, and its objects."""

    name: str
    file: Path | None
    read_image: Callable[[], ndarray]
    truth: Instances


def entries(data: Dataset) -> Iterator[Entry]:
    """The images of a data set as writers take them; no image is read."""
    for index, name in enumerate(data.names):
        yield Entry(name, data.files[index], partial(data.image, index), data.truth(index))


def place_image(entry: Entry, target: Path, suffixes: Sequence[str], link: bool = False) -> Path:
    """Put an image at `target`, which has no suffix yet: its own file where the format takes that suffix.

    Args:
        suffixes: that the format takes, in small letters with the dot; empty = any.
        link: a symbolic link in place of a copy.

    Returns:
        The path with its suffix. What is no file, or of another suffix, is written without loss (.png or .tif).

    Raises:
        InputError: the image cannot be read, or holds what the format's images cannot.
    """
    source = entry.file
    if source is not None and (not suffixes or source.suffix.lower() in suffixes):
        path = target.with_name(target.name + source.suffix.lower())
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            if link:
                os.symlink(source.resolve(), temporary)
            else:
                shutil.copyfile(source, temporary)
        return path
    image = entry.read_image()
    suffix = lossless_suffix(image)
    if suffixes and suffix not in suffixes:
        what = f"{image.dtype} with {image.shape[2]} channels"
        raise InputError(f"{source or entry.name}: an image of {what} cannot be written as {' or '.join(suffixes)}.")
    path = target.with_name(target.name + suffix)
    write_image(image, path)
    return path
