"""Devices: where to compute, and how exactly."""

import logging

import torch
from lightning_fabric import Fabric

from apiece.errors import CallError


def best_device() -> str:
    """A GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def best_precision(precision: str, accelerator: str) -> str:
    """A precision as Lightning Fabric names it; "auto" is bfloat16 where the device computes it faster than float32."""
    if precision != "auto":
        return precision
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16-mixed" if any(getattr(torch.cpu, check, bool)() for check in checks) else "32-true"


def make_fabric(accelerator: str, devices: int | str, precision: str) -> Fabric:
    """Lightning Fabric, ready: devices and precision for a loop that stays ours.

    Raises:
        CallError: devices that are not there, or a precision that does not exist.
    """
    # What it tells of precision and devices is not what a user asked for.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    chosen = best_precision(precision, accelerator)
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=chosen)  # pyright: ignore[reportArgumentType]
        fabric.launch()
    except (ValueError, TypeError, RuntimeError) as error:
        asked = f"accelerator {accelerator}, devices {devices}, precision {precision}"
        raise CallError(f"cannot compute with {asked}: {str(error).strip().splitlines()[0]}") from error
    return fabric
