"""Nothing of a stack is left behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dev.keeper import end_session, members
from dev.stack import Stack

KEEPER = Path(__file__).parents[2] / "dev" / "keeper.py"
# Says that it is there, puts itself into a group of its own as a task does, and stays.
STAYS = "import os, sys, signal; os.setpgid(0, 0); open(sys.argv[1], 'w').write(str(os.getpid())); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAYS
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]])"


class Kept:
    """A keeper with components that each say in a named pipe that they are up."""

    def __init__(self, folder: Path, **components: list[str]) -> None:
        self.pipes = {name: folder / f"{name}.pipe" for name in components}
        for pipe in self.pipes.values():
            os.mkfifo(pipe)
        plan = {
            "logs": str(folder),
            "before": {"first": [sys.executable, "-c", "pass"]},
            "components": {n: [sys.executable, "-c", *argv, str(self.pipes[n])] for n, argv in components.items()},
            "patience": 0.5,
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        self.process = subprocess.Popen(
            [sys.executable, str(KEEPER), str(folder / "plan.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pids = {name: int(pipe.read_text()) for name, pipe in self.pipes.items()}  # blocks until it is written


@pytest.fixture
def kept(tmp_path):
    started: list[Kept] = []

    def start(**components):
        started.append(Kept(tmp_path, **components))
        return started[-1]

    yield start
    for k in started:
        end_session(k.process.pid, 0.1)
        k.process.wait(timeout=30)
        k.process.stdin.close()
        k.process.stdout.close()


def test_a_signal_ends_everything_with_success(kept):
    k = kept(a=[STAYS], b=[PARENT, STAYS])
    assert set(k.pids.values()) <= set(members(k.process.pid))
    k.process.send_signal(signal.SIGTERM)
    assert k.process.wait(timeout=30) == 0
    assert members(k.process.pid) == []


def test_the_death_of_the_user_ends_everything(kept):
    k = kept(a=[STAYS], b=[PARENT, STAYS])
    k.process.stdin.close()  # what the kernel does when the process that holds it is killed
    assert k.process.wait(timeout=30) == 0
    assert members(k.process.pid) == []


def test_the_death_of_a_component_ends_everything_with_failure(kept):
    k = kept(a=[STAYS], b=[STAYS])
    os.kill(k.pids["a"], signal.SIGKILL)
    assert k.process.wait(timeout=30) == 1
    assert b"'a': -9" in k.process.stdout.read()
    assert members(k.process.pid) == []


def test_who_does_not_listen_is_killed(kept):
    k = kept(a=[STUBBORN])
    k.process.send_signal(signal.SIGTERM)
    assert k.process.wait(timeout=30) == 0
    assert members(k.process.pid) == []


def test_nothing_starts_when_the_preparation_fails(tmp_path):
    plan = {
        "logs": str(tmp_path),
        "before": {"first": [sys.executable, "-c", "raise SystemExit(3)"]},
        "components": {"a": [sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"]},
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = subprocess.run(
        [sys.executable, str(KEEPER), str(tmp_path / "plan.json")], capture_output=True, start_new_session=True
    )
    assert (done.returncode, done.stdout) == (1, b"failed: first\n")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_a_dead_stack_left_stops_nobody_else(tmp_path):
    """Its process id may be another session's by now; here it is that of this very test."""
    (tmp_path / "stack.json").write_text(json.dumps({"session": os.getsid(0), "url": "http://127.0.0.1:9"}))
    stack = Stack(tmp_path)
    assert stack.state == {}
    stack.stop()
    assert not (tmp_path / "stack.json").exists()
