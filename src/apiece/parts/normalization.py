"""From pixel values to network input."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from apiece.errors import InputError


@dataclass(frozen=True)
class Normalization:
    """From pixel values to network input, per channel.

    Attributes:
        low, high: percentiles of the image's own values that become 0 and 1. Lower values become 0, higher ones stay
            above 1.
        power: exponent after that; a root shows the faint borders of bright objects.
        mean, std: fixed figures for each channel, in units of the file's values, instead of percentiles where given.
    """

    low: float = 1.0
    high: float = 99.8
    power: float = 0.5
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __call__(self, image: ndarray) -> Float[ndarray, "C H W"]:
        """Normalize a whole image H W C. An even channel becomes zero."""
        channels = np.moveaxis(image, 2, 0).astype(np.float32)
        if not np.isfinite(channels).all():
            finite = channels[np.isfinite(channels)]
            channels = np.nan_to_num(channels, posinf=finite.max(initial=0), neginf=finite.min(initial=0))
        if self.mean is not None and self.std is not None:
            shift, scale = (np.asarray(figures, np.float32).reshape(-1, 1, 1) for figures in (self.mean, self.std))
            return (channels - shift) / scale
        if not channels.size:
            return channels
        shift, top = np.percentile(_thinned(channels), (self.low, self.high), axis=1).astype(np.float32)[
            :, :, None, None
        ]
        channels -= shift
        channels /= np.where(top > shift, top - shift, 1)
        np.maximum(channels, 0, out=channels)
        return channels if self.power == 1 else np.power(channels, np.float32(self.power), out=channels)


@dataclass(frozen=True)
class Preparation:
    """From an image of any number type to network input: its channels, normalized, float32.

    It is done to whole images, before cropping, because a crop does not know the image's percentiles.
    """

    channels: int
    normalization: Normalization

    def __call__(self, image: ndarray) -> Float[ndarray, "C H W"]:
        """Prepare an image H W or H W C. One channel is repeated and alpha dropped to fit the channels.

        Raises:
            InputError: the channels do not fit.
        """
        return self.normalization(fit_channels(image, self.channels))


def _thinned(channels: Float[ndarray, "C H W"], pixels: int = 1 << 20) -> Float[ndarray, "C P"]:
    """At most about a million evenly spread pixels: enough for percentiles."""
    flat = channels.reshape(len(channels), -1)
    return flat[:, :: max(1, flat.shape[1] // pixels)]


def fit_channels(image: ndarray, channels: int) -> ndarray:
    """An image H W or H W C with the channels that a model takes: grey is repeated, or taken from equal
    colors, and alpha dropped.

    Raises:
        InputError: it cannot be made to fit.
    """
    image = image[:, :, None] if image.ndim == 2 else image
    found = image.shape[2]
    if found == channels:
        return image
    if found == 2 and channels in (1, 3) or found == 4 and channels == 3:
        return fit_channels(image[:, :, : found - 1], channels)
    if found == 1:
        return np.repeat(image, channels, 2)
    if channels == 1 and found in (3, 4) and (image[:, :, :1] == image[:, :, 1:3]).all():
        # Grey saved as RGB.
        return image[:, :, :1]
    raise InputError(f"the image has {found} channels, but the model was trained on {channels}.")
