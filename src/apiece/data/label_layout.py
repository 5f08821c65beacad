"""Where the images and label images of a set lie: the layouts that `label_images` reads."""

import os
from collections.abc import Iterable
from pathlib import Path

from apiece.data.images import IMAGE_SUFFIXES, folder_images, image_names
from apiece.errors import InputError

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".bmp")
MASK_FOLDERS = ("masks", "labels")
LAYOUTS = "folders images/ and masks/ (or labels/), or files *_rgb.* and *_label.*"


def recognize(path: Path) -> str | None:
    """What is seen at `path` if it is a set of label images, in words; None if it is not."""
    if not path.is_dir():
        return None
    pair = _folders(path)
    if pair:
        return f"folders {pair[0].name}/ and {pair[1].name}/"
    if _is_flat(path):
        return "files *_rgb.* and *_label.*"
    splits = split_names(path)
    return f"label images in the parts {', '.join(splits)}" if splits else None


def split_names(path: Path) -> list[str]:
    """The parts (train, val, ...) of a set of label images, sorted; empty if it has none."""
    children = (child for child in path.iterdir() if child.is_dir() and not _is_one_image(child))
    names = {child.name for child in children if _folders(child) or _is_flat(child)}
    for masks in MASK_FOLDERS:
        if (path / masks).is_dir() and (path / "images").is_dir():
            parts = {child.name for child in (path / "images").iterdir() if child.is_dir() and _has_image(child)}
            names |= {name for name in parts if _has_image(path / masks / name)}
    return sorted(names)


def parts(path: Path) -> list[str]:
    """The names of a folder's parts; empty where it is one set."""
    one = not path.is_dir() or _folders(path) is not None or _is_flat(path)
    return [] if one else split_names(path)


def matched(path: Path, split: str | None) -> tuple[Path, dict[str, Path], dict[str, Path]]:
    """The folder of a set or of one of its parts, and its images and label images by name.

    Raises:
        InputError: no such layout or part, an image without label image or the other way round, two files of one name.
    """
    folder = path if split is None else path / split
    inside = None if split is None else _split_inside(path, split)
    pair = inside or _folders(folder)
    if pair is not None:
        return (path if inside else folder, *_matched(*pair))
    if _is_flat(folder):
        return (folder, *_matched_flat(folder))
    splits = split_names(path) if path.is_dir() else []
    if splits:
        which = "choose one" if split is None else f"there is no {split!r}, choose another"
        raise InputError(f"{path}: a set of the parts {', '.join(splits)}: {which} (--split {splits[0]}).")
    raise InputError(f"{folder}: no label images here: looked for {LAYOUTS}.")


def label_files(path: Path, names: Iterable[str] | None = None) -> dict[str, Path]:
    """The label images in a folder by name (without `_label` where all have it); of several suffixes the first.

    Args:
        names: the images wanted, those missing are left out; by default all.
    """
    if names is None:
        files = [file for file in folder_images(path) if file.suffix.lower() in LABEL_SUFFIXES]
        # Where there are TIFF files the others are pictures of the result.
        tifs = [file for file in files if file.suffix.lower() in (".tif", ".tiff")]
        names = [file.stem for file in tifs or files if not file.stem.endswith("_overlay")]
    found: dict[str, Path] = {}
    for name in dict.fromkeys(names):
        places = (path / f"{name}{suffix}" for suffix in LABEL_SUFFIXES)
        place = next(filter(Path.is_file, places), None)
        if place is not None:
            found[name] = place
    if all(name.endswith("_label") for name in found):
        return {name.removesuffix("_label"): place for name, place in found.items()}
    return found


def _has_image(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(suffixes) and not entry.name.startswith(".") for entry in entries)


def _is_one_image(path: Path) -> bool:
    """Is this no part but one image, with its name in images/ and a mask for each object (see `binary_masks`)?"""
    return any((path / "images" / f"{path.name}{suffix}").is_file() for suffix in IMAGE_SUFFIXES)


def _folders(path: Path) -> tuple[Path, Path] | None:
    """The folders of images and of label images in `path`."""
    pairs = [(path / "images", path / name) for name in MASK_FOLDERS]
    return next((pair for pair in pairs if _has_image(pair[0]) and _has_image(pair[1], LABEL_SUFFIXES)), None)


def _split_inside(path: Path, split: str) -> tuple[Path, Path] | None:
    """The folders of a part where it lies inside them: images/train and masks/train."""
    pairs = [(path / "images" / split, path / name / split) for name in MASK_FOLDERS]
    return next((pair for pair in pairs if _has_image(pair[0]) and _has_image(pair[1], LABEL_SUFFIXES)), None)


def _is_flat(path: Path) -> bool:
    ends = (tuple(f"_{kind}{suffix}" for suffix in IMAGE_SUFFIXES) for kind in ("rgb", "label"))
    return all(_has_image(path, end) for end in ends)


def _matched(images: Path, masks: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and label images by name."""
    files = folder_images(images)
    labels = [file for file in folder_images(masks) if file.suffix.lower() in LABEL_SUFFIXES]
    pictures = dict(zip(image_names(files), files, strict=True))
    return _checked(pictures, dict(zip(image_names(labels), labels, strict=True)), masks)


def _matched_flat(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images `*_rgb.*` and label images `*_label.*` by name."""
    files = folder_images(folder)
    pictures = [file for file in files if file.stem.endswith("_rgb")]
    labels = [file for file in files if file.stem.endswith("_label")]
    images = dict(zip((name.removesuffix("_rgb") for name in image_names(pictures)), pictures, strict=True))
    masks = dict(zip((name.removesuffix("_label") for name in image_names(labels)), labels, strict=True))
    return _checked(images, masks, folder)


def _checked(images: dict[str, Path], masks: dict[str, Path], folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    lacking = [name for name in images if name not in masks]
    if lacking:
        more = f" (and {len(lacking) - 1} more images have none)" if len(lacking) > 1 else ""
        raise InputError(
            f"{images[lacking[0]]}: its label image is missing: looked for {lacking[0]} in {folder}{more}."
        )
    spare = [name for name in masks if name not in images]
    if spare:
        more = f" (and {len(spare) - 1} more)" if len(spare) > 1 else ""
        raise InputError(
            f"{masks[spare[0]]}: there is no image for this label image{more}: add it, or move the label image away."
        )
    return images, masks
