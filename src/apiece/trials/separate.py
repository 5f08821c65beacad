"""Work in a process of its own: its memory is its own, and how it ends does not end this one."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from apiece.errors import InputError


def run_apart(work: Callable[[Any], None], argument: Any) -> None:
    """Call `work(argument)` in a fresh process, and wait. What it prints goes to standard error.

    Ctrl-C and SIGTERM reach this process alone, which asks the other one to stop (SIGTERM, so that a training can save
    its state) and waits for it; a second time it is killed. The process ends itself where this one is gone.

    Args:
        work: a module's function. What it raises is its own to note down: here only an ending by force is seen.

    Raises:
        InputError: the process was killed.
        KeyboardInterrupt: this process was interrupted; the other one has ended.
    """
    command = [sys.executable, "-c", "from apiece.trials.separate import serve; serve()"]
    # A session of its own: the terminal's Ctrl-C would reach it too, and a second signal stops a training at once.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, start_new_session=True)
    try:
        if process.stdin is not None:
            try:
                process.stdin.write(pickle.dumps(sys.path) + pickle.dumps((work, argument)))
                process.stdin.flush()
            except BrokenPipeError:
                pass
        status = process.wait()
    except KeyboardInterrupt:
        _stop(process)
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise InputError(_ending(status))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to stop, and wait; a second interruption kills it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait()
    except KeyboardInterrupt:
        process.kill()
        process.wait()


def _ending(status: int) -> str:
    if status > 0:
        return f"its process ended with status {status}."
    name = signal.Signals(-status).name
    why = ", most likely since the machine has too little memory" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{why}."


def serve() -> None:
    """What the other process does: reads from standard input what to call, and calls it."""
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)
    status = 0
    try:
        sys.path[:] = pickle.load(sys.stdin.buffer)
        work, argument = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        work(argument)
    except KeyboardInterrupt:
        status = 130
    sys.stdout.flush()
    sys.stderr.flush()
    if status:
        # A thread that waits for the other process's end would be waited for.
        os._exit(status)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Standard input ends when the process that began this one is gone."""
    while os.read(0, 1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
