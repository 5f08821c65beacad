"""A process of its own: it ends alone, by force or by itself, and stops when it is asked to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apiece.errors import InputError
from apiece.trials.separate import run_apart


def test_it_does_what_it_is_told_elsewhere(tmp_path):
    run_apart(exec, f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))")
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def test_how_it_ended_by_force_is_said_in_a_sentence():
    with pytest.raises(InputError, match="ended by SIGKILL, most likely since the machine has too little memory"):
        run_apart(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(InputError, match="ended with status 7"):
        run_apart(exec, "import os; os._exit(7)")


def test_what_it_prints_is_no_result(capfd):
    run_apart(print, "words")
    assert capfd.readouterr() == ("", "words\n")


def begun(folder: Path, code: str) -> tuple[subprocess.Popen, int]:
    """A process that runs `code` in one of its own, and the latter's number."""
    code = f"import os, time; open({str(folder / 'new')!r}, 'w').write(str(os.getpid()))\n" + (
        f"os.rename({str(folder / 'new')!r}, {str(folder / 'pid')!r})\n{code}"
    )
    outer = f"from apiece.trials.separate import run_apart; run_apart(exec, {code!r})"
    process = subprocess.Popen([sys.executable, "-c", outer], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (folder / "pid").exists())
    return process, int((folder / "pid").read_text())


def wait_for(there) -> None:
    end = time.monotonic() + 30
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{number}/stat")
    # Nobody may be there to take notice of the end.
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_ctrl_c_lets_it_finish_what_it_must(tmp_path):
    saving = f"""
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.2)
    open({str(tmp_path / "saved")!r}, "w").close()
    raise
"""
    process, number = begun(tmp_path, saving)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    assert (tmp_path / "saved").exists() and gone(number)


def test_it_ends_when_the_one_that_began_it_is_gone(tmp_path):
    process, number = begun(tmp_path, "time.sleep(60)")
    process.kill()
    process.communicate(timeout=30)
    wait_for(lambda: gone(number))
