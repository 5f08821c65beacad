"""Ctrl-C and SIGTERM as a wish that a loop grants at its next safe place."""

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Interruption:
    """While it is entered, a first signal is only remembered; a second one stops at once.

    Args:
        fabric: where several devices train together all of them must agree.
    """

    def __init__(self, fabric: "Fabric | None" = None):
        self.fabric = fabric
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def wanted(self) -> bool:
        """Was this job, on any device, asked to stop?"""
        if self.fabric is None or self.fabric.world_size == 1:
            return self._asked
        import torch

        votes = self.fabric.all_reduce(torch.tensor(float(self._asked), device=self.fabric.device), reduce_op="sum")
        return bool(votes > 0)  # pyright: ignore[reportOperatorIssue]
