"""Sets of one annotation file an image: the files in a folder and its parts, and the image of each."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from apiece.data.images import IMAGE_SUFFIXES
from apiece.errors import InputError

PARTS = ("train", "training", "val", "valid", "validation", "trainval", "test", "testing")
"""Folders of these names, digits after them or not, are parts of a set; so are those with a list of classes."""
HOLDERS = ("annotations", "labels", "json", "geojson")
"""Folders that hold the annotation files while images lie in images/."""


class AnnotationFile(NamedTuple):
    """A file with the objects of one image; `name` is its path in the set's part, without suffix."""

    name: str
    path: Path


class AnnotationSet(NamedTuple):
    """The files of a set or of one part of it.

    Attributes:
        files: of the part, sorted by name.
        others: those of the other parts: their classes are the part's too.
        class_file: where the classes are listed; None if nowhere.
    """

    files: list[AnnotationFile]
    others: list[Path]
    class_file: Path | None


def first_file(path: Path, pattern: str, is_ours: Callable[[Path], bool]) -> Path | None:
    """An annotation file at `path`, or in the folder or up to two folders deeper, where a few are looked into."""
    if path.is_file():
        return path if is_ours(path) else None
    for depth in ("", "*/", "*/*/"):
        files = sorted(file for file in path.glob(depth + pattern) if not file.name.startswith("."))
        if found := next(filter(is_ours, files[:20]), None):
            return found
    return None


def find(
    path: Path, split: str | None, pattern: str, is_ours: Callable[[Path], bool], class_file: str
) -> AnnotationSet:
    """The annotation files of a set, or of its part `split`.

    Args:
        pattern: of the files' names.
        is_ours: is this file of the format? Others of the pattern are no part of the set.
        class_file: name of the file that lists the classes.

    Raises:
        InputError: nothing there, no such part, or two files of one name.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    if path.is_file():
        chosen_part(path, [""], split)
        return AnnotationSet([AnnotationFile(path.stem, path)], [], _first([path.with_name(class_file)]))
    parts = files_of_parts(path, pattern, is_ours, class_file)
    if not parts:
        raise InputError(f"{path}: no such files here: looked for {pattern}.")
    part = chosen_part(path, sorted(parts), split)
    found: dict[str, AnnotationFile] = {}
    for file in parts[part]:
        other = found.setdefault(file.name, file)
        if other is not file:
            raise InputError(
                f"{other.path} and {file.path} have one name, so their results would too: rename one of them."
            )
    others = [file.path for name, files in parts.items() if name != part for file in files]
    listed = _first([path / part / class_file, path / class_file])
    return AnnotationSet([found[name] for name in sorted(found)], others, listed)


def files_of_parts(
    path: Path, pattern: str, is_ours: Callable[[Path], bool], class_file: str
) -> dict[str, list[AnnotationFile]]:
    """The annotation files in a folder by the part they are of; what lies in no part has the empty name."""
    parts: dict[str, list[AnnotationFile]] = {}
    for file in sorted(path.rglob(pattern)):
        if not file.name.startswith(".") and file.name != class_file and is_ours(file):
            part, folders = _part(path, file.relative_to(path).parts[:-1], class_file)
            parts.setdefault(part, []).append(AnnotationFile("/".join([*folders, file.stem]), file))
    return parts


def part_names(path: Path, pattern: str, is_ours: Callable[[Path], bool], class_file: str) -> list[str]:
    """The names of a set's parts, where there are several."""
    parts = files_of_parts(path, pattern, is_ours, class_file) if path.is_dir() else {}
    return sorted(filter(None, parts)) if len(parts) > 1 else []


def chosen_part(path: Path, parts: Sequence[str], split: str | None) -> str:
    """The part that is meant; what lies in no part has the empty name.

    Raises:
        InputError: there is no such part, or one must be chosen.
    """
    if split is None and len(parts) == 1:
        return parts[0]
    if split is not None and split in parts:
        return split
    named = [part for part in parts if part]
    if not named:
        raise InputError(f"{path}: a set without parts has no part {split!r}: leave --split away.")
    which = "choose one" if split is None else f"there is no {split!r}, choose another"
    raise InputError(f"{path}: a set of the parts {', '.join(named)}: {which} (--split {named[0]}).")


def _part(path: Path, folders: Sequence[str], class_file: str) -> tuple[str, Sequence[str]]:
    """The part that folders lead into, and the folders that are left as names: x/y of train/annotations/x/y."""
    part = ""
    while folders:
        first = folders[0]
        is_part = first.lower().rstrip("0123456789") in PARTS or (path / first / class_file).is_file()
        if is_part and not part:
            part = first
        elif first.lower() not in HOLDERS:
            break
        folders = folders[1:]
    return part, folders


def _first(files: Sequence[Path]) -> Path | None:
    return next(filter(Path.is_file, files), None)


class Pictures:
    """Images found by the names of annotation files; each folder is listed once."""

    def __init__(self):
        self._folders: dict[Path, dict[str, Path]] = {}

    def of(self, file: Path, said: str = "") -> Path | None:
        """The image of an annotation file: the path that it says, else one of its name beside it or in images/."""
        said = said.replace("\\", "/")
        if said and (file.parent / said).is_file():
            return file.parent / said
        last = said.rsplit("/", 1)[-1]
        for folder in _image_folders(file):
            if last and (folder / last).is_file():
                return folder / last
            if found := self._stems(folder).get(file.stem):
                return found
        return None

    def _stems(self, folder: Path) -> dict[str, Path]:
        if folder not in self._folders:
            there = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
            images = [file for file in there if file.suffix.lower() in IMAGE_SUFFIXES]
            # Some tools call the annotations of a.png a.png.geojson.
            self._folders[folder] = {file.name: file for file in images} | {file.stem: file for file in images}
        return self._folders[folder]


def _image_folders(file: Path) -> Iterator[Path]:
    """Beside a file; in images/ there; and where images/ stands in place of the last folder of annotations."""
    yield file.parent
    yield file.parent / "images"
    parts = file.parent.parts
    for place in range(len(parts) - 1, -1, -1):
        if parts[place].lower() in HOLDERS:
            yield Path(*parts[:place], "images", *parts[place + 1 :])
            yield Path(*parts[:place], *parts[place + 1 :])
            return
    yield file.parent.parent / "images"
