"""Images from files, in the file's own number type: 16 bits stay 16 bits. And back."""

import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from apiece.data.deep_png import CHANNELS, header, read_deep_png
from apiece.data.pillow import MOST_PIXELS, read_with_pillow
from apiece.data.tif import WIDEST_PACKING, read_tif, write_tif
from apiece.errors import InputError
from apiece.files import replacing
from apiece.masks import strips
from apiece.png import write_png

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""What counts as an image in a folder; a file is read by its contents, whatever it is called."""
FOREIGN = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89HDF": "an HDF5 file",
    b"GIF8": "a GIF image",
    b"8BPS": "a Photoshop image",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip archive",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}


def read_image(path: str | Path, *, indices: bool = False) -> Shaped[ndarray, "H W C"]:
    """An image as it is meant to be seen: EXIF rotation applied, palettes as colours, one bit as 0 and 255.

    PNG, TIFF, JPEG, BMP and WebP; 8, 16 and 32 bits, floating point; 1 to N channels. Grey comes back as H W 1.

    Args:
        indices: values as they stand in the file: palette numbers and single bits, not turned. For label images.

    Raises:
        InputError: the file is missing, empty, damaged, no image, or of a kind that cannot be read without loss.
    """
    path = Path(path)
    head = _head(path)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return read_tif(path, indices=indices)
    if head.startswith(b"\x89PNG"):
        return _read_png(path, head, indices)
    if head.startswith(b"\xff\xd8\xff") or head.startswith(b"BM") or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return read_with_pillow(path, head, indices=indices)
    found = next((what for start, what in FOREIGN.items() if head.startswith(start)), None)
    found = found or (
        "text" if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head) else "an unknown kind of file"
    )
    raise InputError(f"{path}: this is {found}, not an image: give PNG, TIFF, JPEG, BMP or WebP.")


def _head(path: Path) -> bytes:
    """The first bytes of a file."""
    if path.is_dir():
        raise InputError(f"{path}: this is a folder, not an image file.")
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not head:
        raise InputError(f"{path}: the file is empty: make or copy it again.")
    return head


def _read_png(path: Path, head: bytes, indices: bool) -> Shaped[ndarray, "H W C"]:
    facts = header(head)
    if facts is None:
        raise InputError(f"{path}: the PNG file is cut off: make or copy it again.")
    height, width, depth, color, _ = facts
    pixels, found = height * width, path.stat().st_size
    if not pixels or pixels > MOST_PIXELS:
        raise InputError(f"{path}: an image of {height} x {width} pixels is more than can be read: cut it into pieces.")
    if pixels * depth * CHANNELS.get(color, 1) // 8 > found * WIDEST_PACKING:
        raise InputError(
            f"{path}: the file says {height} x {width} pixels, but is only {found} bytes long: make or copy it again."
        )
    if depth == 16 and color != 0:
        return read_deep_png(path)
    image = read_with_pillow(path, head, indices=indices)
    # Pillow spreads 2 and 4 bits of grey over 0 to 255.
    return image // np.uint8({2: 85, 4: 17}[depth]) if indices and color == 0 and depth in (2, 4) else image


def write_image(image: Shaped[ndarray, "H W C"], path: Path) -> None:
    """Write an image without loss: `.png` for 8 bits and up to four channels or 16 bits and one, `.tif` for anything.

    Raises:
        InputError: the suffix cannot hold the image, or the file cannot be written.
    """
    height, width, channels = image.shape
    if path.suffix.lower() in (".tif", ".tiff"):
        plane = image[:, :, 0] if channels == 1 else image
        write_tif(path, (plane[rows] for rows in strips((height, width))), (height, width), image.dtype, channels)
    elif path.suffix.lower() != ".png" or lossless_suffix(image) != ".png":
        wanted = lossless_suffix(image)
        raise InputError(f"{path}: {image.dtype} with {channels} channels cannot be written here: write {wanted}.")
    elif channels in (1, 3):
        plane = image[:, :, 0] if channels == 1 else image
        write_png(path, (plane[rows] for rows in strips((height, width))), (height, width))
    else:
        from PIL import Image

        with replacing(path) as temporary:
            Image.fromarray(image).save(temporary)


def lossless_suffix(image: Shaped[ndarray, "H W C"]) -> str:
    """`.png` where it holds the image, else `.tif`."""
    fits = image.dtype == np.uint8 and image.shape[2] <= 4 or image.dtype == np.uint16 and image.shape[2] == 1
    return ".png" if fits and 0 not in image.shape else ".tif"


def folder_images(folder: Path) -> list[Path]:
    """The image files in a folder, sorted; hidden ones and those in folders inside it are left out."""
    suffixes = IMAGE_SUFFIXES
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def image_files(inputs: str | Path | Sequence[str | Path]) -> list[Path]:
    """The image files that files, folders (their own images, sorted) and globs name, each once.

    Raises:
        InputError: something named is not there, or a folder or glob holds no image.
    """
    found: dict[Path, None] = {}
    for one in [inputs] if isinstance(inputs, str | Path) else inputs:
        path = Path(one)
        if path.is_dir():
            files = folder_images(path)
            if not files:
                raise InputError(f"{path}: no images in this folder: looked for {', '.join(IMAGE_SUFFIXES)}.")
        elif path.exists():
            files = [path]
        else:
            matches = [Path(match) for match in sorted(glob.glob(str(one), recursive=True))]
            files = [match for match in matches if match.suffix.lower() in IMAGE_SUFFIXES and match.is_file()]
            if not files:
                raise InputError(f"{path}: there is no such file or folder, and no image that matches it.")
        found.update(dict.fromkeys(files))
    return list(found)


def image_names(files: Sequence[Path]) -> tuple[str, ...]:
    """A name for each image's outputs: the file's without suffix, with its folders where two would be the same.

    Raises:
        InputError: two images of one name in one folder.
    """
    names = [path.stem for path in files]
    if len(set(names)) < len(names):
        full = [path.absolute() for path in files]
        shared = next(folder for folder in full[0].parents if all(folder in path.parents for path in full))
        names = [path.relative_to(shared).with_suffix("").as_posix() for path in full]
    first: dict[str, Path] = {}
    for name, path in zip(names, files, strict=True):
        if first.setdefault(name, path) is not path:
            raise InputError(f"{first[name]} and {path} have one name, so their results would too: rename one of them.")
    return tuple(names)
