"""Instances on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

if TYPE_CHECKING:
    import torch


class InstanceTensors(NamedTuple):
    """What a loss needs of an image's objects.

    Attributes:
        layers: L H W, int64; object i is where some layer equals i + 1.
        labels: N, int64.
        ignore: N, bool.
        boxes: N 4, float32.
    """

    layers: torch.Tensor
    labels: torch.Tensor
    ignore: torch.Tensor
    boxes: torch.Tensor

    @classmethod
    def of(
        cls,
        layers: Integer[ndarray, "L H W"],
        labels: Integer[ndarray, " N"],
        ignore: Bool[ndarray, " N"],
        boxes: Float[ndarray, "N 4"],
        device: torch.device | str,
    ) -> InstanceTensors:
        """Copies of the arrays on a device."""
        import torch

        return cls(
            torch.as_tensor(layers.astype(np.int64), device=device),
            torch.tensor(labels, device=device),
            torch.tensor(ignore, device=device),
            torch.tensor(boxes, dtype=torch.float32, device=device),
        )
