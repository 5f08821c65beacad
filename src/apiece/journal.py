"""What a training leaves on disk while it runs: `log.jsonl` and, if asked for, TensorBoard's files."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsFloat

from apiece.errors import CallError, InputError
from apiece.files import write_text


class Journal:
    """One JSON object a line in `folder/log.jsonl`, each on disk before the next step. What is not finite is null.

    Args:
        folder: where to write; None keeps nothing.
        start: the step that is continued from: lines beyond it, and one that was cut off, are taken out.
        tensorboard: write TensorBoard's files too.

    Raises:
        CallError: TensorBoard is asked for without a folder, or is not installed.
        InputError: the log cannot be read or written.
    """

    def __init__(self, folder: Path | None, start: int = 0, tensorboard: bool = False) -> None:
        self._board = _board(folder, start) if tensorboard else None
        self.path = folder / "log.jsonl" if folder is not None else None
        self.kept = _kept_records(self.path, start) if self.path is not None else []
        self._file = None

    def __enter__(self) -> "Journal":
        if self.path is not None:
            write_text(self.path, "".join(json.dumps(record) + "\n" for record in self.kept))
            self._file = self.path.open("ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            InputError: it cannot be written.
        """
        if self._file is None:
            return
        try:
            self._file.write((json.dumps(plain(record)) + "\n").encode())
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror or error}.") from error

    def draw(self, scalars: Mapping[str, Any], step: int) -> None:
        """Add points to TensorBoard's curves; what is not a number has none."""
        for name, value in scalars.items():
            if self._board is not None and isinstance(value, SupportsFloat):
                self._board.add_scalar(name, float(value), step)


def plain(value: Any) -> Any:
    """What JSON can hold: numbers of any library as Python's, paths as text, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if value is None or isinstance(value, str | int):
        return value
    if not isinstance(value, SupportsFloat):
        return str(value)
    number = float(value)
    return number if math.isfinite(number) else None


def _kept_records(path: Path, start: int) -> list[dict[str, Any]]:
    if start <= 0 or not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}; move it away to begin a new log.") from error
    records = [record for record in map(_parsed, lines) if record is not None]
    return [record for record in records if record["step"] <= start]


def _parsed(line: str) -> dict[str, Any] | None:
    """A line of the log, or None for one that was cut off when the job was killed."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def _board(folder: Path | None, start: int) -> Any:
    if folder is None:
        raise CallError("TensorBoard's files need a folder: give --out.")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise CallError("TensorBoard is not installed: `pip install apiece[tensorboard]`, or leave it out.") from error
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)
