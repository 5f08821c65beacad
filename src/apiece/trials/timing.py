"""Timing: what each part of the work on one image takes, and the most memory that a process held."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

PARTS = ("read", "network", "grouping", "mask", "write")
"""From an image file to a label image: reading, normalization and network, outputs to objects at full size (`decode`),
sure objects to one label map, label map to a file."""


class Stopwatch:
    """Times parts of the work on images, one image after another.

    Args:
        device: where the network computes; work that a GPU has only been given is waited for.
    """

    def __init__(self, device: str = "cpu"):
        self._waits = device.startswith("cuda")
        self._seconds: list[dict[str, float]] = []

    def next_image(self) -> None:
        """What is timed from now on belongs to a further image."""
        self._seconds.append({})

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times the block as a part of the image at hand."""
        begun = time.perf_counter()
        yield
        if self._waits:
            import torch

            torch.cuda.synchronize()
        self._seconds[-1][name] = self._seconds[-1].get(name, 0.0) + time.perf_counter() - begun

    def figures(self) -> dict[str, Any]:
        """Median and 95th percentile of each part and of an image in `total`, in milliseconds; how many `images`."""
        whole = [{**parts, "total": sum(parts.values())} for parts in self._seconds if parts]
        names = [name for name in (*PARTS, "total") if whole and name in whole[0]]
        return {"images": len(whole)} | {
            name: _spread(np.array([1000 * parts[name] for parts in whole if name in parts])) for name in names
        }


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(values)), "p95": float(np.percentile(values, 95))}


def peak_memory() -> int:
    """The most memory, in bytes, that this process ever held; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if status.is_file():
        # What getrusage says on Linux counts the process that began this one, too.
        lines = (line.split() for line in status.read_text().splitlines())
        return next((int(words[1]) * 1024 for words in lines if words and words[0] == "VmHWM:"), 0)
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_device_memory() -> int | None:
    """The most memory, in bytes, that tensors of this process took on a GPU; None where there is none."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def machine() -> dict[str, Any]:
    """What computes here: processor, threads, GPU, versions."""
    import platform
    from importlib.metadata import version

    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor() or platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "apiece": version("apiece"),
    }


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
