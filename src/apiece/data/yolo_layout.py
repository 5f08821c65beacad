"""Where the images and label files of a YOLO set lie: data.yaml, or folders alone."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from apiece.data.annotation_files import chosen_part
from apiece.data.images import IMAGE_SUFFIXES, image_names
from apiece.data.yolo_yaml import CLASSES_FILE, class_file, from_yaml, is_yaml, read_lines, yaml_file
from apiece.errors import InputError

LOOKED_FOR = "YOLO data.yaml, or label files *.txt beside images or in labels/"
MOST_CLASSES = 100_000


class Layout(NamedTuple):
    """The files of a set or of one part of it.

    Attributes:
        classes: their names; None where nothing names them.
        images: each image's file, all there.
        labels: its label file, which may be missing: no objects.
    """

    classes: tuple[str, ...] | None
    names: tuple[str, ...]
    images: tuple[Path, ...]
    labels: tuple[Path, ...]


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is a YOLO segmentation set, in words; None if it is not."""
    if path.is_file():
        return "a YOLO data.yaml" if is_yaml(path) else None
    if not path.is_dir():
        return None
    if file := yaml_file(path):
        return f"YOLO's {file.name}"
    parts = _folders(path)
    named = sorted(name for name in parts if name)
    if named:
        return f"YOLO label files in the parts {', '.join(named)}"
    if not parts:
        return None
    return "YOLO label files *.txt in labels/" if parts[""] != path else "YOLO label files *.txt beside images"


def parts(path: Path) -> list[str]:
    """The names of a set's parts, where there are several."""
    file = path if path.is_file() else yaml_file(path)
    found = _folders(path) if file is None else from_yaml(file)[2]
    return [part for part in found if part] if len(found) > 1 else []


def find(path: Path, split: str | None) -> Layout:
    """The files of a set, or of its part `split`.

    Raises:
        InputError: no such layout or part, a broken data.yaml, an image that is listed but missing, a label file
            without an image.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    file = path if path.is_file() else yaml_file(path)
    if file is None:
        root, classes, parts = path, class_file(path), {name: [folder] for name, folder in _folders(path).items()}
    else:
        root, classes, parts = from_yaml(file)
    if not parts:
        raise InputError(f"{path}: no YOLO set here: looked for {LOOKED_FOR}.")
    part = chosen_part(path, list(parts), split)
    if file is None and part and yaml_file(path / part):
        return find(path / part, None)
    sources = parts[part]
    images = [image for source in sources for image in _images(source, root)]
    names, files = [name for name, _ in images], [file for _, file in images]
    if not files:
        raise InputError(f"{sources[0]}: no images here: looked for {', '.join(IMAGE_SUFFIXES)}.")
    labels = [label_path(file, root) for file in files]
    if not sources[0].is_file():
        _refuse_orphans(files, labels)
    unique = tuple(names) if len(set(names)) == len(names) else image_names(files)
    return Layout(classes, unique, tuple(files), tuple(labels))


def label_path(image: Path, root: Path) -> Path:
    """The label file of an image: labels/ for the last images/ on its way below `root`, else beside it."""
    parts = list(image.parts)
    first = len(root.parts) if image.is_relative_to(root) else 0
    places = [place for place in range(first, len(parts) - 1) if parts[place] == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts[:-1]) / f"{image.stem}.txt"


# --- folders ------------------------------------------------------------------------------------------------------


def _folders(path: Path) -> dict[str, Path]:
    """The image folders of each part of a set without data.yaml; its name is empty where there are no parts."""
    inside = sorted(child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    found = {part: path / part / "images" for part in inside if _is_set(path / part)}
    divided = sorted((path / "images").glob("*/")) if (path / "images").is_dir() else []
    found |= {images.name: images for images in divided if _has_labels(path / "labels" / images.name)}
    if not found and (path / "images").is_dir() and _has_labels(path / "labels"):
        found[""] = path / "images"
    if not found and _has_labels(path) and next(_pictures(path), None):
        found[""] = path
    return found


def _is_set(folder: Path) -> bool:
    """Has a part's folder images/ and label files, or a data.yaml of its own?"""
    return (folder / "images").is_dir() and (yaml_file(folder) is not None or _has_labels(folder / "labels"))


def _has_labels(folder: Path) -> bool:
    """Do text files in a folder hold YOLO's lines? A few are looked into, down to the first line of one."""
    if not folder.is_dir():
        return False
    files = (file for file in folder.glob("*.txt") if file.name != CLASSES_FILE and not file.name.startswith("."))
    return any(_is_outline(file) for file in islice(files, 50))


def _is_outline(file: Path) -> bool:
    """Is the first line of a text file an outline in YOLO's manner?"""
    try:
        with file.open("rb") as text:
            words = next((line.split() for line in text.read(1 << 16).splitlines() if line.strip()), [])
        values = [float(word) for word in words[:7]]
    except (OSError, ValueError):
        return False
    return len(values) == 7 and values[0] == int(values[0]) and all(0 <= value <= 1 for value in values[1:])


def _pictures(folder: Path) -> Iterator[Path]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    return (file for file in files if not file.name.startswith(".") and file.is_file())


def _images(source: Path, root: Path) -> list[tuple[str, Path]]:
    """Name and file of each image in a folder and the folders in it, or in a list of paths, one a line."""
    if source.is_dir():
        flat = label_path(source / "x", root).parent == source
        files = sorted(file for file in _pictures(source) if not flat or file.parent == source)
        return [(file.relative_to(source).with_name(file.stem).as_posix(), file) for file in files]
    found = []
    for number, line in enumerate(read_lines(source), start=1):
        if not line.strip():
            continue
        places = [folder / line.strip().replace("\\", "/") for folder in (source.parent, root)]
        place = next(filter(Path.is_file, places), None)
        if place is None:
            raise InputError(f"{source}: line {number}: the image {line.strip()[:100]} is not there.")
        found.append((place.stem, place))
    return found


def _refuse_orphans(images: Sequence[Path], labels: Sequence[Path]) -> None:
    """Every label file needs an image; beside images other text files may lie."""
    known = set(labels)
    beside = {image.parent for image in images}
    for folder in sorted({label.parent for label in labels}):
        if not folder.is_dir():
            continue
        for file in sorted(folder.glob("*.txt")):
            if file not in known and file.name != CLASSES_FILE and not file.name.startswith("."):
                if folder not in beside or _is_outline(file):
                    raise InputError(f"{file}: there is no image for this label file: add it, or move the file away.")
