"""How images of any number type, and lines of text, become 8-bit pictures."""

from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8
from numpy import ndarray

PERCENTILES = (0.5, 99.8)
"""Of the image's values: shown black and white. Few pixels are bright where objects are few."""
GOOD = 128
"""The span of 8-bit values from which on an image needs no stretching."""


def viewable(image: Num[ndarray, "H W *C"] | Bool[ndarray, "H W *C"]) -> Callable[[ndarray], UInt8[ndarray, "h W 3"]]:
    """How to view rows of an image of any number type in 8 bits: percentiles of the whole image become black and white.

    One channel is grey, two are green and magenta, of more the first three are red, green and blue. Colors of 8-bit
    images are stretched alike, all others each by itself; an 8-bit image of good contrast stays as it is.
    """
    image = image[:, :, None] if image.ndim == 2 else image
    channels = min(image.shape[2], 3)
    # A quarter of a million pixels, evenly spread, are enough for percentiles.
    every = max(1, int((image.shape[0] * image.shape[1] / 2**18) ** 0.5))
    sample = image[::every, ::every, :channels].reshape(-1, channels).astype(np.float64)
    # A second channel of one value throughout is an alpha channel.
    if channels == 2 and sample.size and np.ptp(sample[:, 1]) == 0:
        channels, sample = 1, sample[:, :1]
    if image.dtype == np.uint8 and channels == 3:
        tones = [_tone(*_limits(sample, image.dtype), image.dtype)] * 3
    else:
        tones = [_tone(*_limits(values, image.dtype), image.dtype) for values in sample.T]
    order = {1: (0, 0, 0), 2: (1, 0, 1), 3: (0, 1, 2)}[channels]

    def view(rows: ndarray) -> UInt8[ndarray, "h W 3"]:
        rows = rows[:, :, None] if rows.ndim == 2 else rows
        shown = [tone(rows[:, :, channel]) for channel, tone in enumerate(tones)]
        return np.stack([shown[channel] for channel in order], 2)

    return view


def _limits(values: Float[ndarray, "*S"], kind: np.dtype) -> tuple[float, float]:
    """The values that are shown black and white."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, PERCENTILES).tolist() if finite.size else (0.0, 1.0)
    return (0.0, 255.0) if kind == np.uint8 and (high - low >= GOOD or high == low) else (low, high)


def _tone(low: float, high: float, kind: np.dtype) -> Callable[[ndarray], UInt8[ndarray, "h W"]]:
    """Values to 0..255 so that `low` becomes 0 and `high` 255."""
    scale = 255 / (high - low) if high > low else 0.0

    def exact(values: ndarray) -> ndarray:
        stretched = (values.astype(np.float64) - low) * scale
        return (np.nan_to_num(stretched, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255) + 0.5).astype(np.uint8)

    if kind.kind == "u" and kind.itemsize <= 2:
        return exact(np.arange(256**kind.itemsize)).take
    return exact


@cache
def written(text: str) -> Float[ndarray, "h w"]:
    """A line of text in Pillow's own font, with a margin: 1 where there is ink."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default()
    left, _, right, _ = font.getbbox(text)
    line = Image.new("L", (max(1, int(right - left)) + 6, 15))
    ImageDraw.Draw(line).text((3 - left, 1), text, fill=255, font=font)
    return np.asarray(line, np.float32) / 255
