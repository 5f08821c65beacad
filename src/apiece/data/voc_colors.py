"""Colors as numbers, as PASCAL VOC has them: its palette, and the classes' colors in `labelmap.txt`.

    # label:color_rgb:parts:actions
    background:0,0,0::
    date:128,0,0::

The file is as CVAT and Datumaro write it: without it the classes are VOC's own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from numpy import ndarray

from apiece.data.images import read_image
from apiece.errors import InputError
from apiece.files import replacing, write_text

CLASSES = tuple(
    """aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep
    sofa train tvmonitor""".split()
)
LABEL_MAP, BACKGROUND = "labelmap.txt", "background"
VOID = 255
"""The number of pixels without a say: VOC has them along outlines and on what is too difficult."""


def palette() -> UInt8[ndarray, "256 3"]:
    """VOC's color of each number: its bits 0, 3, 6 are red's highest in turn, 1, 4, 7 green's, 2, 5 blue's."""
    numbers, colors = np.arange(256), np.zeros((256, 3), np.uint8)
    for place in range(3):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> (3 * place + channel) & 1) << (7 - place)).astype(np.uint8)
    return colors


def code(red: int, green: int, blue: int) -> int:
    """A color as one number."""
    return red << 16 | green << 8 | blue


PALETTE = {code(*color): number for number, color in enumerate(palette().tolist())}
"""The number of each color of VOC's palette."""
VALUES = {str(value): value for value in range(256)}
BLACK, RIM = code(0, 0, 0), code(224, 224, 192)
"""The colors of background and void."""


def read_numbers(path: Path, colors: Mapping[int, int] = PALETTE) -> Integer[ndarray, "H W"]:
    """The numbers of an image, 0 to 255: as they stand in a palette or grey image, or by its colors.

    Args:
        colors: the number of each color; if it is not VOC's palette, palette images are read by their colors too.

    Raises:
        InputError: the file cannot be read, or has a color or number that means nothing.
    """
    image = read_image(path, indices=colors is PALETTE)
    if image.shape[2] < 3:
        if image.dtype.kind not in "ui" or image.max(initial=0) > VOID:
            raise InputError(f"{path}: PASCAL VOC's images of segments hold numbers to 255: save it with 8 bits.")
        return image[:, :, 0].astype(np.uint8)
    red, green, blue = np.moveaxis(image[:, :, :3].astype(np.int32), 2, 0)
    found, place = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    unknown = [one for one in found.tolist() if one not in colors]
    if unknown:
        color = (unknown[0] >> 16, unknown[0] >> 8 & 255, unknown[0] & 255)
        raise InputError(f"{path}: the color {color} is neither in VOC's palette nor in {LABEL_MAP}: add its class.")
    return np.array([colors[one] for one in found.tolist()], np.uint8)[place.reshape(image.shape[:2])]


def write_numbers(numbers: UInt8[ndarray, "H W"], path: Path) -> None:
    """Write numbers as a PNG image with VOC's palette."""
    from PIL import Image

    image = Image.fromarray(numbers)
    image.putpalette(palette().ravel().tolist())
    with replacing(path) as temporary:
        image.save(temporary)


def read_label_map(root: Path) -> tuple[tuple[str, ...], Mapping[int, int]]:
    """Classes, and the number of each color: VOC's own where there is no `labelmap.txt`.

    Raises:
        InputError: a line that is not understood, a class or color that comes twice, more classes than numbers.
    """
    path = root / LABEL_MAP
    if not path.is_file():
        return CLASSES, PALETTE
    classes: list[str] = []
    colors = {BLACK: 0, RIM: VOID}
    for place, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, color, _, _ = line.rsplit(":", 3)
            red, green, blue = (VALUES[part.strip()] for part in color.split(","))
        except (ValueError, KeyError) as error:
            raise InputError(f"{path}: line {place} is not 'label:red,green,blue:parts:actions': {line!r}.") from error
        own = code(red, green, blue)
        if own == BLACK:
            continue
        if name in classes or own in colors:
            raise InputError(f"{path}: line {place}: the class {name} or its color has come before.")
        classes.append(name)
        colors[own] = len(classes)
    if not 0 < len(classes) < VOID:
        raise InputError(f"{path}: {len(classes)} classes, but there can be 1 to {VOID - 1}.")
    return tuple(classes), colors


def write_label_map(classes: Sequence[str], root: Path) -> None:
    """Write `labelmap.txt`, unless the classes are VOC's own.

    Raises:
        InputError: more classes than numbers.
    """
    if tuple(classes) == CLASSES:
        return
    if len(classes) >= VOID:
        raise InputError(f"{root}: {len(classes)} classes, but PASCAL VOC's 8 bits hold {VOID - 1}.")
    rows = zip((BACKGROUND, *classes), palette().tolist(), strict=False)
    lines = [f"{name}:{red},{green},{blue}::\n" for name, (red, green, blue) in rows]
    write_text(root / LABEL_MAP, "# label:color_rgb:parts:actions\n" + "".join(lines))
