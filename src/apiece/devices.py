"""Devices: where to compute, and how exactly."""

import torch


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
