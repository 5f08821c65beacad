import io
import json
import sys
import time
from pathlib import Path

import pytest
import torch

from apiece import progress as progress_module
from apiece.errors import CallError, InputError
from apiece.progress import Line, Progress, clock, say, track


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def train(progress: Progress, steps: range) -> None:
    with progress:
        for step in steps:
            progress.update(step, {"instance": torch.tensor(2.0 * step, requires_grad=True), "seed": 1.0}, lr=0.5)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_log_has_a_line_for_each_window_with_the_means_of_its_losses(tmp_path):
    train(Progress(steps=3, out=tmp_path, interval=0), range(1, 4))
    records = log_of(tmp_path)
    assert [record["step"] for record in records] == [1, 2, 3]
    assert [record["losses"] for record in records] == [{"instance": 2.0 * step, "seed": 1.0} for step in (1, 2, 3)]
    assert all(record["lr"] == 0.5 for record in records)


def test_a_run_shorter_than_a_window_is_logged_when_it_ends_with_the_means_over_all_its_steps(tmp_path):
    train(Progress(steps=4, out=tmp_path, interval=1000), range(1, 5))
    (record,) = log_of(tmp_path)
    assert record["step"] == 4
    assert record["losses"]["instance"] == pytest.approx((2 + 4 + 6 + 8) / 4)


def test_accumulated_losses_hold_no_graph():
    progress = Progress(steps=2, quiet=True)
    with progress:
        progress.update(1, {"loss": torch.ones((), requires_grad=True) * 2})
        assert not progress._sums["loss"].requires_grad


def test_resuming_takes_later_lines_and_a_cut_one_out_of_the_log_and_appends(tmp_path):
    train(Progress(steps=9, out=tmp_path, interval=0), range(1, 6))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "sec')
    train(Progress(steps=9, out=tmp_path, start=3, elapsed=100.0, interval=0), range(4, 6))
    records = log_of(tmp_path)
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5]
    assert records[2]["seconds"] < 100 <= records[3]["seconds"]


def test_a_new_run_in_an_old_folder_begins_an_empty_log(tmp_path):
    train(Progress(steps=9, out=tmp_path, interval=0), range(1, 6))
    train(Progress(steps=9, out=tmp_path, interval=0), range(1, 2))
    assert [record["step"] for record in log_of(tmp_path)] == [1]


def test_reports_are_logged_and_figures_that_are_not_finite_are_null(tmp_path):
    with Progress(steps=2, out=tmp_path, quiet=True) as progress:
        progress.report(2, {"accuracy": torch.tensor(0.75), "AP50": float("nan"), "per class": {"cell": [1, 2.5]}})
    (record,) = log_of(tmp_path)
    assert record["figures"] == {"accuracy": 0.75, "AP50": None, "per class": {"cell": [1, 2.5]}}


def test_the_best_first_figure_stays_in_sight_and_survives_resuming(tmp_path, capsys):
    with Progress(steps=9, out=tmp_path) as progress:
        progress.report(1, {"accuracy": 0.5})
        progress.report(2, {"accuracy": 0.25})
        progress.report(3, {"accuracy": float("nan")})
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "step 1: accuracy 0.5 (best so far)"
    assert second == "step 2: accuracy 0.25"
    assert third == "step 3: accuracy nan"
    with Progress(steps=9, out=tmp_path, start=3, interval=0) as progress:
        progress.report(4, {"accuracy": 0.375})
        progress.update(5, {"loss": 1.0})
    assert "step 4: accuracy 0.375\n" in (shown := capsys.readouterr().err)
    assert "best accuracy 0.5 at step 1" in shown


def test_where_there_is_no_terminal_lines_are_plain_and_rare_and_standard_output_stays_empty(tmp_path, capsys):
    train(Progress(steps=50, out=tmp_path, interval=0), range(1, 51))
    say("done")
    output = capsys.readouterr()
    assert output.out == ""
    assert "\x1b" not in output.err and "\r" not in output.err
    first, done = output.err.splitlines()
    assert first.startswith("step 1/50  ") and "loss 3 = instance 2 + seed 1" in first and "lr 0.5" in first
    assert done == "done"


def test_on_a_terminal_one_line_changes_in_place_and_standard_output_stays_empty(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with Progress(steps=2, interval=0) as progress:
        progress.update(1, {"loss": 1.5})
        say("a word")
        progress.update(2, {"loss": 0.5})
    assert "step 1/2" in terminal.getvalue() and "step 2/2" in terminal.getvalue()
    assert "\x1b[2K" in terminal.getvalue(), "the line is erased before it is written again"
    assert "a word" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_quiet_run_shows_nothing_but_keeps_its_log(tmp_path, capsys):
    progress = Progress(steps=2, out=tmp_path, quiet=True, interval=0)
    train(progress, range(1, 3))
    assert list(track([1, 2], quiet=True)) == [1, 2]
    assert capsys.readouterr() == ("", "")
    assert len(log_of(tmp_path)) == 2


def test_time_left_follows_the_budget_that_ends_first(capsys):
    with Progress(seconds=3725, elapsed=125, interval=0) as progress:
        progress.update(1, {"loss": 1.0})
    assert "1:00:00 left" in capsys.readouterr().err
    with Progress(steps=1, seconds=3725, interval=0) as progress:
        progress.update(1, {"loss": 1.0})
    assert "0:00 left" in capsys.readouterr().err


def test_track_gives_every_item_once_and_shows_rate_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "PLAIN_SECONDS", 0.0)
    assert list(track((n * n for n in range(3)), total=3, label="images")) == [0, 1, 4]
    output = capsys.readouterr()
    assert output.err.startswith("images 3/3  ") and output.err.rstrip().endswith("0:00 left")
    assert output.out == ""


def test_a_short_job_without_a_terminal_is_tracked_in_silence(capsys):
    assert list(track([1, 2, 3])) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_an_urgent_line_is_printed_however_short_ago_the_last_was(capsys):
    with Line() as line:
        line.show("one")
        line.show("two")
        line.show("three", urgent=True)
    assert capsys.readouterr().err == "one\nthree\n"


@pytest.mark.parametrize(("seconds", "shown"), [(-3, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_the_clock(seconds, shown):
    assert clock(seconds) == shown


def test_tensorboard_without_a_folder_or_not_installed_is_a_wrong_call(tmp_path, monkeypatch):
    with pytest.raises(CallError, match="--out"):
        Progress(steps=1, tensorboard=True)
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(CallError, match=r"pip install apiece\[tensorboard\]"):
        Progress(steps=1, out=tmp_path, tensorboard=True)


def test_tensorboard_gets_losses_rate_and_figures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Progress(steps=2, out=tmp_path, tensorboard=True, quiet=True, interval=0) as progress:
        progress.update(1, {"seed": 0.25}, lr=0.5)
        progress.report(1, {"accuracy": 0.75})
    events = EventAccumulator(str(tmp_path)).Reload()
    values = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert values == {"loss/seed": [(1, 0.25)], "lr": [(1, 0.5)], "validation/accuracy": [(1, 0.75)]}


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "run").write_text("a file, not a folder")
    with pytest.raises(InputError, match="log.jsonl: cannot be written"), Progress(steps=1, out=tmp_path / "run"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_sentence_that_names_the_log(tmp_path):
    progress = Progress(steps=1, out=tmp_path, quiet=True, interval=0)
    with pytest.raises(InputError, match="cannot be written: No space left on device"), progress:
        progress._journal._file.close()
        progress._journal._file = Path("/dev/full").open("ab", buffering=0)
        progress.update(1, {"loss": 1.0})


def test_a_step_costs_little():
    losses = {name: torch.tensor(1.0) for name in ("instance", "seed", "smoothness")}
    with Progress(steps=2000, quiet=True) as progress:
        begun = time.perf_counter()
        for step in range(1, 2001):
            progress.update(step, losses)
        spent = (time.perf_counter() - begun) / 2000
    assert spent < 0.01 * 0.05, "one percent of a step of 50 ms"
