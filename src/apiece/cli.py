"""The command: what was asked for is run, and what goes wrong is said in one sentence."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from apiece.commands import RUN
from apiece.errors import CallError, InputError, Interrupted, TrainingError
from apiece.options import COMMANDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 the job failed, 2 the call was wrong, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with _terminated_as_interrupted():
            status = _run(words)
            sys.stdout.flush()
            return status
    except (Exception, KeyboardInterrupt) as error:
        if debug and not isinstance(error, BrokenPipeError):
            raise
        return _told(error)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("apiece"))
        return 0
    if words[0] not in COMMANDS:
        raise CallError(f"there is no command {words[0]!r}: choose from {', '.join(COMMANDS)}.")
    return RUN[words[0]](words[1:])


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: what is half written is taken away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _told(error: BaseException) -> int:
    """Say in one sentence what went wrong; the exit status."""
    if isinstance(error, OSError) and error.filename is None:
        # Nobody takes what is printed: Python must not try again, and complain, at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        print(f"apiece: {_sentence(error)}", file=sys.stderr)
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, CallError) else 1


def _sentence(error: BaseException) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return message if isinstance(error, Interrupted) else "interrupted."
    if isinstance(error, InputError | CallError | TrainingError):
        return message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'standard output'}: {error.strerror[0].lower()}{error.strerror[1:]}."
    if isinstance(error, MemoryError) or "out of memory" in message or "can't allocate memory" in message:
        return f"not enough memory ({message or 'no more is left'}): smaller images, crops or batches need less."
    return f"{type(error).__name__}: {message} (this is a fault in apiece; --debug shows where.)"


def _help() -> str:
    lines = [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
    return "\n".join([
        "usage: apiece COMMAND ...", "", "Find every object of an image, each with its own mask and class.", "",
        "commands:", *lines, "",
        "apiece COMMAND --help shows its options; --debug shows where an error comes from; --version the version.",
    ])  # fmt: skip
