"""Dataset: images with their objects, read when asked for; `open_dataset` finds out the format."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from apiece.errors import InputError
from apiece.files import digest
from apiece.instances import Instances
from apiece.masks import Size


class Sample(NamedTuple):
    """One image of a data set. `image` is H W C as in the file; `name` is unique in the set and names its outputs."""

    name: str
    image: ndarray
    truth: Instances


@dataclass(frozen=True)
class Together:
    """A `read_truth` that reads the objects of many images faster at once than one after another.

    Attributes:
        read: indices -> their objects, in order.
    """

    read: Callable[[Sequence[int]], Iterator[Instances]]

    def __call__(self, index: int) -> Instances:
        """The objects of one image."""
        (truth,) = self.read([index])
        return truth


@dataclass(frozen=True)
class Dataset:
    """Images with their objects. Opening one reads no image and no mask.

    Readers make these; whatever they hold must be picklable (module-level functions, `functools.partial`), for loading
    in processes.

    Attributes:
        path: what was opened.
        format: the format's name, as `--format` takes it.
        classes: names of the classes; labels are indices into it.
        names: one for each image, unique, relative to the image folder without suffix; outputs carry it.
        files: each image's file, or None for images that lie in no file (generated, or results without their images).
        read_image: index -> H W C array, dtype as in the file.
        read_truth: index -> its objects; a `Together` where many are read faster at once.
        image_ids: the source's own id of each image, where it has such (COCO).
        class_ids: the source's own id of each class, where it has such.
        read_size: index -> height and width, where the source says them without reading any mask.
        read_outlines: index -> for each object the rings of `x y` points that the source draws it with, uncut and in
            the order of its objects; none for an object that is not drawn so. Only where the source has polygons.
        threshold: of findings: the score from which on they count where a decision is needed, where the source says it.
        read_boxes: as `read_truth`, but objects have no masks where the source gives their boxes and areas. Only where
            that is quicker.
        truth_files: for each image the files that its objects come from, some of which may not be there; None where
            they come from no file (generated), or nobody learns from them (findings).
    """

    path: Path
    format: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    files: tuple[Path | None, ...]
    read_image: Callable[[int], ndarray]
    read_truth: Callable[[int], Instances]
    chosen: tuple[int, ...] | None = None
    image_ids: tuple[int | str, ...] | None = None
    class_ids: tuple[int, ...] | None = None
    read_size: Callable[[int], Size] | None = None
    read_outlines: Callable[[int], list[list[ndarray]]] | None = None
    threshold: float | None = None
    read_boxes: Callable[[int], Instances] | None = None
    truth_files: tuple[tuple[Path, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def _place(self, index: int) -> int:
        return index if self.chosen is None else self.chosen[index]

    def image(self, index: int) -> ndarray:
        """The image, H W C.

        Raises:
            InputError: the file cannot be read, or there is none.
        """
        return self.read_image(self._place(index))

    def truth(self, index: int) -> Instances:
        """The image's objects.

        Raises:
            InputError: the annotation is missing, damaged, or does not fit its image.
        """
        return self.read_truth(self._place(index))

    def truths(self, indices: Sequence[int]) -> Iterator[Instances]:
        """The objects of several images, in order; read some at a time.

        Raises:
            InputError: as `truth`.
        """
        places = [self._place(index) for index in indices]
        return self.read_truth.read(places) if isinstance(self.read_truth, Together) else map(self.read_truth, places)

    def size(self, index: int) -> Size:
        """Height and width that the image's annotation says."""
        return self.truth(index).size if self.read_size is None else self.read_size(self._place(index))

    def outlines(self, index: int) -> list[list[ndarray]]:
        """For each object the rings, K 2 each, that the source draws it with; no objects where it has no polygons."""
        return [] if self.read_outlines is None else self.read_outlines(self._place(index))

    def __getitem__(self, index: int) -> Sample:
        """Image and objects, checked against each other."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        image, truth = self.image(index), self.truth(index)
        if image.shape[:2] != truth.size:
            found, wanted = (f"{height} x {width}" for height, width in (truth.size, image.shape[:2]))
            name = self.files[index] or self.names[index]
            raise InputError(f"{name}: the image is {wanted}, but its annotation is {found} pixels.")
        return Sample(self.names[index], image, truth)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def subset(self, indices: Sequence[int]) -> "Dataset":
        """Some of the images, in the given order."""
        return replace(
            self,
            names=tuple(self.names[i] for i in indices),
            files=tuple(self.files[i] for i in indices),
            chosen=tuple(self._place(i) for i in indices),
            image_ids=None if self.image_ids is None else tuple(self.image_ids[i] for i in indices),
            truth_files=None if self.truth_files is None else tuple(self.truth_files[i] for i in indices),
        )

    def boxes_only(self) -> "Dataset":
        """The same images; no mask is read or drawn for boxes and areas that the source gives. Masks go unchecked."""
        return self if self.read_boxes is None else replace(self, read_truth=self.read_boxes)

    def split(self, share: float, seed: int = 0) -> tuple["Dataset", "Dataset"]:
        """Cut off a share for validation: (the rest, the share), the same images whatever the order of files.

        Each part has at least one image.

        Raises:
            InputError: the share is not between 0 and 1, or there are fewer than two images.
        """
        if not 0 < share < 1 or len(self) < 2:
            raise InputError(
                f"{self.path}: cannot set aside a share of {share} of {len(self)} images: give a share between 0 and 1."
            )
        ranked = sorted(range(len(self)), key=lambda i: hashlib.sha256(f"{seed}/{self.names[i]}".encode()).digest())
        count = min(max(1, round(share * len(self))), len(self) - 1)
        return self.subset(sorted(ranked[count:])), self.subset(sorted(ranked[:count]))

    def fingerprint(self) -> str:
        """A short hash: says whether a model was trained on this very set, wherever its files lie.

        It is of classes, names, sizes of the images' files, and contents of the annotations' files (hashed by 100,000
        in seconds), as they are when it is asked for first.

        Raises:
            InputError: an annotation's file cannot be read.
        """
        return self._fingerprint

    # Once: a training asks at every validation, and must not take for its own what was corrected meanwhile.
    @cached_property
    def _fingerprint(self) -> str:
        truth_files = self.truth_files or ((),) * len(self)
        # One file may hold the objects of all images.
        digests = {file: digest(file) for file in {file for of_image in truth_files for file in of_image}}
        facts = [self.format, *self.classes]
        for name, file, of_image in zip(self.names, self.files, truth_files, strict=True):
            facts += [name, str(file.stat().st_size) if file is not None and file.exists() else ""]
            facts += [digests[one] for one in of_image]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    def channels(self) -> int:
        """Channels of the first image."""
        return int(np.atleast_3d(self.image(0)).shape[2])
