"""A model in a process of its own: what it may take, and how it ends."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_mlops.operators import _child
from airflow_mlops.operators._child import ChildFailed, Limits, in_child

FAST = Limits(memory_mb=300, seconds=20)


def writes(folder: Path, argument: Any) -> None:
    (folder / "answer").write_text(f"{argument} from {os.getpid()}")


def raises(folder: Path, argument: Any) -> None:
    raise RuntimeError("no")


def leaves(folder: Path, argument: Any) -> None:
    os._exit(3)


def crashes(folder: Path, argument: Any) -> None:
    ctypes.string_at(0)


def leaks(folder: Path, argument: Any) -> None:
    kept = []
    while True:
        kept.append(np.ones(10_000_000))


def hangs(folder: Path, argument: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(3600)


def leaves_one_behind(folder: Path, argument: Any) -> None:
    pid = os.fork()
    if not pid:
        hangs(folder, argument)
    (folder / "answer").write_text(str(pid))


def says_what_is_open(folder: Path, argument: int) -> None:
    null = Path(os.devnull).stat().st_rdev
    (folder / "answer").write_text("closed" if os.fstat(argument).st_rdev == null else "open")
    print("a word")


FORKS = """
import sys
from pathlib import Path
from tests.operators import test_child
try:
    test_child.in_child(getattr(test_child, sys.argv[1]), None, Path(sys.argv[2]), test_child.FAST, method="fork")
except test_child.ChildFailed as failed:
    print(failed)
"""

ASKS = """
import sys, threading
from airflow_mlops.operators._child import forkable
said, over = [forkable()], threading.Event()
thread = threading.Thread(target=over.wait)
thread.start()
said.append(forkable())
over.set()
thread.join()
said.append(forkable())
sys.modules["torch"] = sys
print([*said, forkable()])
"""


def in_a_task(script: str, *arguments: str) -> str:
    """What a script prints in a process as new as a task's: the tests' own has threads and handlers of many others."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def predicts(folder: Path, model: Any) -> None:
    (folder / "answer").write_text(str(model.predict(np.zeros((2000, 4))).sum()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_its_answer_is_a_file(tmp_path: Path, method: str) -> None:
    assert in_child(writes, "hello", tmp_path, FAST, method=method) == method
    said, _, pid = (tmp_path / "answer").read_text().partition(" from ")
    assert said == "hello" and int(pid) != os.getpid()


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (raises, "exit code 1"),
        (leaves, "exit code 3"),
        (crashes, "killed by SIGSEGV"),
        (leaks, "more than the 300 MB"),
    ],
)
def test_whatever_it_does_ends_there(tmp_path: Path, work: Callable[..., None], said: str) -> None:
    assert said in in_a_task(FORKS, work.__name__, str(tmp_path))


@pytest.mark.parametrize(("work", "said"), [(crashes, "killed by SIGSEGV"), (leaks, "more than the 300 MB")])
def test_a_new_interpreter_is_held_to_the_same(tmp_path: Path, work: Callable[..., None], said: str) -> None:
    with pytest.raises(ChildFailed, match=said):
        in_child(work, None, tmp_path, FAST, method="spawn")


def test_what_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="still running after 0"):
        in_child(hangs, None, tmp_path, Limits(seconds=0.2), method="fork")
    assert not _child._running


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    in_child(leaves_one_behind, None, tmp_path, FAST, method="fork")
    try:
        fd = os.pidfd_open(int((tmp_path / "answer").read_text()))
    except ProcessLookupError:
        return
    assert select.select([fd], [], [], 20)[0], "it still runs"
    os.close(fd)


def test_nothing_of_the_task_is_open_in_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    in_child(says_what_is_open, writing, tmp_path, FAST, method="fork")
    assert (tmp_path / "answer").read_text() == "closed"
    os.write(writing, b"still ours")
    assert os.read(reading, 100) == b"still ours"
    assert "a word" in (tmp_path / "output.txt").read_text()
    assert "a word" not in capfd.readouterr().out
    os.close(reading)
    os.close(writing)


def test_a_fork_after_openmp_computes(tmp_path: Path) -> None:
    """The pool of threads that this process has does not exist in the child."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 4))
    model = HistGradientBoostingClassifier(max_iter=5).fit(X, X[:, 0] > 0)
    expected = model.predict(np.zeros((2000, 4))).sum()
    in_child(predicts, model, tmp_path, Limits(seconds=60), method="fork")
    assert (tmp_path / "answer").read_text() == str(expected)


def test_where_a_fork_could_wait_for_ever_a_new_interpreter_starts() -> None:
    assert in_a_task(ASKS) == "[True, False, True, False]", "alone, beside a thread, alone again, beside torch"


def test_the_children_of_a_killed_task_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = _child._ends

    def kill_meanwhile(pid: int, seconds: float) -> bool:
        assert pid in _child._running
        _child.stop()
        return ends(pid, seconds)

    monkeypatch.setattr(_child, "_ends", kill_meanwhile)
    with pytest.raises(ChildFailed, match="SIGKILL"):
        in_child(hangs, None, tmp_path, FAST, method="fork")
    assert not _child._running
