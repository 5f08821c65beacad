"""How large an image is, from the head of its file."""

from pathlib import Path
from typing import Any

from apiece.data.coco_json import is_side
from apiece.data.deep_png import header
from apiece.data.images import read_image
from apiece.data.pillow import MOST_PIXELS, ORIENTATION
from apiece.masks import Size


def image_size(path: Path) -> Size:
    """Height and width of an image as `read_image` gives it, EXIF rotation applied; its pixels are not decoded.

    Raises:
        InputError: the file is missing, damaged or no image.
    """
    try:
        size = _from_head(path)
    # A foreign parser meets damaged bytes: what is wrong with the file, reading it says in a sentence.
    except Exception:
        size = None
    # What cannot be is found out when it is read; reading refuses it with a sentence.
    if size is None or not all(map(is_side, size)) or size[0] * size[1] > MOST_PIXELS:
        return read_image(path).shape[:2]
    return size


def _from_head(path: Path) -> Size | None:
    """None where the head alone does not say it."""
    with path.open("rb") as file:
        head = file.read(32)
        if facts := header(head):
            return facts[:2]
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tif_size(path)
        return _pillow_size(file, head)


def _tif_size(path: Path) -> Size | None:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series: Any = file.series[0]
        # Q and I: the file does not say what its pages are, which is found out when they are read.
        if len(file.series) > 1 or not {"Y", "X"} <= set(series.axes) or set(series.axes) & set("QI"):
            return None
        return series.shape[series.axes.index("Y")], series.shape[series.axes.index("X")]


def _pillow_size(file: Any, head: bytes) -> Size | None:
    from PIL import BmpImagePlugin, JpegImagePlugin, WebPImagePlugin

    plugins: dict[bytes, Any] = {
        b"\xff\xd8": JpegImagePlugin.JpegImageFile,
        b"BM": BmpImagePlugin.BmpImageFile,
        b"RI": WebPImagePlugin.WebPImageFile,
    }
    if head[:2] not in plugins:
        return None
    file.seek(0)
    picture = plugins[head[:2]](file)
    turned = head[:2] != b"BM" and picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    return (picture.width, picture.height) if turned else (picture.height, picture.width)
