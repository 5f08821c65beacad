"""What a long job shows: one line on standard error, never on standard output, which is for results."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsFloat, TypeVar

from apiece.journal import Journal

PLAIN_SECONDS = 10.0
"""Where standard error is not a terminal, a line is printed at most this often."""

Item = TypeVar("Item")


def say(message: str) -> None:
    """One line on standard error, above a live line if there is one."""
    print(message, file=sys.stderr, flush=True)


def track(items: Iterable[Item], total: int | None = None, label: str = "", quiet: bool = False) -> Iterator[Item]:
    """The same items, with rate and time left shown while they pass.

    Args:
        items: what is worked on, one after another.
        total: how many there are, where `items` cannot say it.
        label: what is being done, in front of the line.
        quiet: show nothing.
    """
    total = total if total is not None else getattr(items, "__len__", lambda: None)()
    begun = shown = time.monotonic()
    with Line(quiet, first_after=PLAIN_SECONDS) as line:
        for count, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - shown >= 0.2 or count == total:
                line.show(_passing(label, count, total, now - begun))
                shown = now


def _passing(label: str, count: int, total: int | None, seconds: float) -> str:
    rate = count / max(seconds, 1e-9)
    counted = f"{count}" if total is None else f"{count}/{total}"
    left = "" if total is None else f"{clock((total - count) / rate)} left"
    return "  ".join(part for part in (f"{label} {counted}".strip(), f"{rate:.3g}/s", left) if part)


class Progress:
    """Shows and keeps how a training goes. Losses stay on their device and are read once in `interval`.

    In `out/log.jsonl` each line is one object: every `interval` seconds `step`, `seconds`, `lr` and `losses` (the means
    since the line before), and at each report `step`, `seconds` and `figures`.

    Args:
        steps: the budget in steps, if it is one.
        seconds: the budget in seconds, if it is one.
        out: folder of the log; None keeps none.
        start: the step that is continued from; later lines of an old log are taken out.
        elapsed: seconds that were spent up to `start`.
        quiet: show nothing (of a training on several devices, all ranks but the first are quiet and have no `out`).
        tensorboard: write TensorBoard's files into `out` too.
        interval: seconds between two lines of the log.

    Raises:
        CallError: TensorBoard is asked for without a folder, or is not installed.
        InputError: the log cannot be read or written.
    """

    def __init__(
        self,
        steps: int | None = None,
        seconds: float | None = None,
        *,
        out: Path | None = None,
        start: int = 0,
        elapsed: float = 0.0,
        quiet: bool = False,
        tensorboard: bool = False,
        interval: float = 2.0,
    ) -> None:
        self.steps, self.seconds, self.start, self.elapsed, self.interval = steps, seconds, start, elapsed, interval
        self._journal = Journal(out, start, tensorboard)
        self._line = Line(quiet)
        self._step, self._lr = start, None
        self._best: tuple[float, str] | None = None
        self._sums: dict[str, Any] = {}
        self._counted = 0
        for record in self._journal.kept:
            self._is_best(record["step"], record.get("figures", {}))

    def __enter__(self) -> "Progress":
        self._journal.__enter__()
        self._line.__enter__()
        self._begun = self._window = self._updated = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._counted:
                self._close_window(urgent=True)
        finally:
            self._line.__exit__(kind, error, trace)
            self._journal.__exit__(kind, error, trace)

    def update(self, step: int, losses: Mapping[str, SupportsFloat], lr: float | None = None) -> None:
        """Take note of a step that was done.

        Args:
            step: its number, from 1.
            losses: named scalars, numbers or tensors of any device; their sum is what is minimized.
            lr: the learning rate.

        Raises:
            InputError: the log cannot be written.
        """
        self._step, self._lr = step, lr
        for name, value in losses.items():
            detach = getattr(value, "detach", None)
            self._sums[name] = self._sums.get(name, 0.0) + (value if detach is None else detach())
        self._counted += 1
        self._updated = time.monotonic()
        if self._updated - self._window >= self.interval:
            self._close_window()

    def report(self, step: int, figures: Mapping[str, Any]) -> None:
        """Show and keep validation figures. The best value of the first one stays in sight; higher is better.

        Raises:
            InputError: the log cannot be written.
        """
        best = " (best so far)" if self._is_best(step, figures) else ""
        shown = [f"{name} {_short(value)}" for name, value in figures.items() if isinstance(value, SupportsFloat)]
        self._line.say(f"step {step}: {', '.join(shown)}{best}")
        self._journal.write({"step": step, "seconds": self._seconds(), "figures": figures})
        self._journal.draw({f"validation/{name}": value for name, value in figures.items()}, step)
        # Validation is not the pace of the steps.
        now = time.monotonic()
        self._window += now - self._updated
        self._updated = now

    def _is_best(self, step: int, figures: Mapping[str, Any]) -> bool:
        name, value = next(iter(figures.items()), ("", None))
        # False for NaN too.
        if not isinstance(value, SupportsFloat) or not float(value) > (self._best[0] if self._best else float("-inf")):
            return False
        self._best = float(value), f"best {name} {_short(value)} at step {step}"
        return True

    def _seconds(self) -> float:
        return round(self.elapsed + time.monotonic() - self._begun, 3)

    def _close_window(self, urgent: bool = False) -> None:
        """Read the losses' means since the last time: the one place where a device is waited for."""
        means = {name: float(total) / self._counted for name, total in self._sums.items()}
        now = time.monotonic()
        rate = self._counted / max(now - self._window, 1e-9)
        self._sums, self._counted, self._window = {}, 0, now
        self._line.show(self._text(rate, means), urgent)
        self._journal.write({"step": self._step, "seconds": self._seconds(), "lr": self._lr, "losses": means})
        self._journal.draw({f"loss/{name}": mean for name, mean in means.items()} | {"lr": self._lr}, self._step)

    def _text(self, rate: float, means: dict[str, float]) -> str:
        step = f"step {self._step}" if self.steps is None else f"step {self._step}/{self.steps}"
        terms = " + ".join(f"{name} {_short(mean)}" for name, mean in means.items())
        loss = f"loss {_short(sum(means.values()))}" + (f" = {terms}" if len(means) > 1 else "")
        lr = "" if self._lr is None else f"lr {self._lr:.2g}"
        best = "" if self._best is None else self._best[1]
        return "  ".join(part for part in (step, f"{rate:.3g} steps/s", self._left(), loss, lr, best) if part)

    def _left(self) -> str:
        """Time left at the pace of the whole run, validation included; of two budgets the one that ends first."""
        spent = time.monotonic() - self._begun
        left = [] if self.seconds is None else [self.seconds - self.elapsed - spent]
        if self.steps is not None and self._step > self.start:
            left.append((self.steps - self._step) * spent / (self._step - self.start))
        return f"{clock(min(left))} left" if left else ""


class Line:
    """One line on standard error that changes: in place on a terminal, else printed anew at most every ten seconds.

    Args:
        quiet: show nothing.
        first_after: seconds before the first printed line where there is no terminal.
    """

    def __init__(self, quiet: bool = False, first_after: float = 0.0) -> None:
        self.quiet = quiet
        self._live: Any = None
        self._next = time.monotonic() + first_after

    def __enter__(self) -> "Line":
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            if not console.is_dumb_terminal:
                self._live = Live(console=console, auto_refresh=False, redirect_stdout=False)
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, text: str, urgent: bool = False) -> None:
        """Change the line. An urgent one is printed where there is no terminal, however short ago the last was."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif urgent or time.monotonic() >= self._next:
            self.say(text)
            self._next = time.monotonic() + PLAIN_SECONDS

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            say(text)


def clock(seconds: float) -> str:
    """Seconds as `M:SS` or `H:MM:SS`."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def _short(value: SupportsFloat) -> str:
    return str(value) if isinstance(value, int) else f"{float(value):.4g}"
