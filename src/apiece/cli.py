"""The command: what was asked for is run, and what goes wrong is said in one sentence."""

import sys
from collections.abc import Sequence

from apiece.commands import RUN
from apiece.errors import CallError, InputError, Interrupted, TrainingError
from apiece.options import COMMANDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 the job failed, 2 the call was wrong, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("apiece"))
        return 0
    try:
        if words[0] not in COMMANDS:
            raise CallError(f"there is no command {words[0]!r}: choose from {', '.join(COMMANDS)}.")
        return RUN[words[0]](words[1:])
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        return _told(error)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def _told(error: BaseException) -> int:
    """Say in one sentence what went wrong; the exit status."""
    message = str(error).strip() or type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        print(f"apiece: {message if isinstance(error, Interrupted) else 'interrupted.'}", file=sys.stderr)
        return 130
    if not isinstance(error, InputError | CallError | TrainingError):
        message = (
            f"{type(error).__name__}: {' '.join(message.split())} (this is a fault in apiece; --debug shows where.)"
        )
    print(f"apiece: {message}", file=sys.stderr)
    return 2 if isinstance(error, CallError) else 1


def _help() -> str:
    lines = [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
    return "\n".join([
        "usage: apiece COMMAND ...", "", "Find every object of an image, each with its own mask and class.", "",
        "commands:", *lines, "",
        "apiece COMMAND --help shows its options; --debug shows where an error comes from; --version the version.",
    ])  # fmt: skip
