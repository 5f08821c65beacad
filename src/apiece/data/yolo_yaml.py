"""YOLO's data.yaml and classes.txt: which classes there are, and where each part's images lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apiece.errors import InputError

CLASSES_FILE = "classes.txt"
LARGEST_YAML = 1 << 20
"""A data.yaml of more bytes is none."""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}): make or copy it again.") from error


def class_file(folder: Path) -> tuple[str, ...] | None:
    """The classes in classes.txt, one a line."""
    file = next(
        (place / CLASSES_FILE for place in (folder, folder / "labels") if (place / CLASSES_FILE).is_file()), None
    )
    return None if file is None else tuple(line.strip() for line in read_lines(file) if line.strip())


def yaml_file(folder: Path) -> Path | None:
    """The folder's data.yaml, whatever it is called."""
    files = sorted(file for suffix in ("yaml", "yml") for file in folder.glob(f"*.{suffix}"))
    return next(filter(is_yaml, files), None)


def is_yaml(path: Path) -> bool:
    """Does a file look like a data.yaml? Its lines are looked at, not parsed."""
    if path.suffix.lower() not in (".yaml", ".yml") or path.stat().st_size > LARGEST_YAML:
        return False
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    keys = {line.partition(b":")[0].strip(b"\"' ") for line in lines if line[:1] not in (b" ", b"-", b"#")}
    return b"names" in keys and bool(keys & {b"train", b"val", b"test"})


def from_yaml(path: Path) -> tuple[Path, tuple[str, ...], dict[str, list[Path]]]:
    """The folder that a data.yaml starts from, its classes, and the folders or lists of images of each part there."""
    content = _read_yaml(path)
    root = path.parent / str(content.get("path") or ".")
    root = root if root.is_dir() else path.parent
    parts = {}
    for name in ("train", "val", "test"):
        entries = content.get(name) or []
        entries = entries if isinstance(entries, list) else [entries]
        if not all(isinstance(entry, str) for entry in entries):
            raise InputError(f"{path}: {name!r} should name a folder or list of images.")
        found = [_place(entry, (root, path.parent)) for entry in entries]
        if entries and None not in found:
            parts[name] = found
    if not parts:
        raise InputError(f"{path}: the images of its train, val and test are not there: looked below {root}.")
    same = len({tuple(sources) for sources in parts.values()}) == 1
    return root, _class_names(path, content.get("names")), dict(list(parts.items())[:1]) if same else parts


def _place(entry: str, roots: Sequence[Path]) -> Path | None:
    """A folder or list that a data.yaml names; some exports write ../ too much."""
    ways = [entry, entry.removeprefix("../")]
    return next((root / way for way in ways for root in roots if (root / way).exists()), None)


def _read_yaml(path: Path) -> dict[str, Any]:
    """The contents of a YAML file, every scalar as the text it is (a class may be called `no`)."""
    import yaml

    try:
        # BaseLoader makes text, lists and dicts, nothing else.
        text = path.read_text(encoding="utf-8-sig")[:LARGEST_YAML]
        content = yaml.load(text, yaml.BaseLoader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        words = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not valid YAML ({words}): make or copy it again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: no data.yaml: it should hold 'names' and 'train', 'val' or 'test'.")
    return content


def _class_names(path: Path, names: Any) -> tuple[str, ...]:
    """The classes, given as a list or numbered from 0."""
    if isinstance(names, dict):
        numbered = {str(number): names.get(str(number)) for number in range(len(names))}
        names = list(numbered.values()) if numbered.keys() == names.keys() else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: 'names' should list the classes, or number them from 0 without a gap.")
    return tuple(names)
