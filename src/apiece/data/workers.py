"""Workers: processes that do one job after another and give the results back in order."""

import gc
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from traceback import format_exc
from typing import Any

from apiece.errors import InputError


class Workers:
    """Processes that call `work`.

    They end when they are closed and when this process ends, however it does. Ctrl-C and SIGTERM are left to
    this process.

    Args:
        work: called with each job's arguments; copied into every process, results are pickled.
        number: how many processes.
        start_method: "fork", "spawn" or "forkserver"; None = the system's.
    """

    def __init__(self, work: Callable[..., Any], number: int, start_method: str | None = None):
        context: Any = multiprocessing.get_context(start_method)
        self.connections: list[Connection] = []
        self.processes: list[BaseProcess] = []
        for _ in range(number):
            ours, theirs = context.Pipe()
            self.connections.append(ours)
            # A forked process closes its copies of our ends: else nobody would see that this process is gone.
            inherited = self.connections if context.get_start_method() == "fork" else []
            process = context.Process(target=_serve, args=(work, theirs, list(inherited)), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)

    def results(self, jobs: Iterable[tuple[int, tuple]], ahead: int) -> Iterator[Any]:
        """Results of jobs, in their order.

        Args:
            jobs: each a number that says which worker does it (modulo their count), and the arguments.
            ahead: how many are given out before the first result is waited for.

        Raises:
            InputError: raised by the work in the other process, or a process was killed.
            RuntimeError: the work failed otherwise; says where.
        """
        waiting: deque[int] = deque()
        for number, arguments in jobs:
            worker = number % len(self.processes)
            self._talk(worker, lambda connection, job=arguments: connection.send(job))
            waiting.append(worker)
            if len(waiting) >= ahead:
                yield self._result(waiting.popleft())
        while waiting:
            yield self._result(waiting.popleft())

    def _result(self, worker: int) -> Any:
        result = self._talk(worker, lambda connection: connection.recv())
        if isinstance(result, Exception):
            raise result
        return result

    def _talk(self, worker: int, talk: Callable[[Connection], Any]) -> Any:
        try:
            return talk(self.connections[worker])
        except (EOFError, OSError) as error:
            self.processes[worker].join(1)
            raise InputError(
                f"a loading process ended with status {self.processes[worker].exitcode}, perhaps for want of memory: "
                "use fewer workers or a smaller cache."
            ) from error

    def close(self) -> None:
        """End the processes at once; what they were doing is lost."""
        for process in self.processes:
            process.kill()
        for process, connection in zip(self.processes, self.connections, strict=True):
            process.join()
            connection.close()


def _serve(work: Callable[..., Any], connection: Connection, inherited: list[Connection]) -> None:
    """What a worker does until the other end is closed."""
    for other in inherited:
        other.close()
    # What a forked process only has from its parent stays shared: looking for garbage would write to all of it.
    gc.freeze()
    # What is sent to all processes at once is for the parent, which may have something to finish with our help.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    try:
        while True:
            connection.send(_attempt(work, connection.recv()))
    except (EOFError, OSError):
        return


def _attempt(work: Callable[..., Any], arguments: tuple) -> Any:
    """The result, or the error as a value."""
    try:
        return work(*arguments)
    except InputError as error:
        return error
    except Exception:
        return RuntimeError(f"a loading process failed:\n{format_exc()}")
