"""The leader of a session of processes: starts them, stays, and ends all of them.

    python dev/keeper.py PLAN.json [FD ...]

The plan says what to run: ``{"logs": folder, "before": {name: argv}, "components": {name: argv}}``, and ``"patience"``:
seconds between asking a process to end and killing it. What is ``before`` runs at once and has to succeed; then the
components run until one of them dies, a signal asks for the end, or the pipe on standard input is closed because
whoever held it is gone. The end is the end of every process in the session, also of those that put themselves into a
process group of their own, as Airflow's tasks do. File descriptors that are named are handed on to every process: as
long as a lock on one is held, something of the session lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path


def keep(plan: Path, hold: tuple[int, ...] = ()) -> int:
    """Run the plan; 0 when it was asked to end, 1 when something died."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, frame: asked.append(n))
    wanted = json.loads(plan.read_text())
    logs = Path(wanted["logs"])
    try:
        before = {name: _start(argv, logs / f"{name}.log", hold) for name, argv in wanted["before"].items()}
        failed = [name for name, process in before.items() if process.wait() and not asked]
        if failed:
            print(f"failed: {', '.join(failed)}", flush=True)
            return 1
        children = {name: _start(argv, logs / f"{name}.log", hold) for name, argv in wanted["components"].items()}
        os.set_blocking(0, False)
        while not asked and _has_user():
            if dead := {name: code for name, c in children.items() if (code := c.poll()) is not None}:
                print(f"ended: {dead}", flush=True)
                return 1
            time.sleep(0.2)
        return 0
    finally:
        end_session(os.getsid(0), wanted.get("patience", 10))


def _start(argv: list[str], log: Path, hold: tuple[int, ...]) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, pass_fds=hold)


def _has_user() -> bool:
    """Whether whoever holds the other end of the pipe still lives; always, when there is no pipe."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return True
    try:
        return bool(os.read(0, 1))
    except BlockingIOError:
        return True


def members(session: int) -> list[int]:
    """The processes of a session; zombies and the caller left out."""
    found = []
    for pid, state in _processes():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid != os.getpid() and not state.startswith("Z") and os.getsid(pid) == session:
                found.append(pid)
    return found


def _processes() -> Iterable[tuple[int, str]]:
    if Path("/proc/self/stat").exists():
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    yield int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()[0]
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True)
        for line in listed.stdout.splitlines():
            pid, state = line.split()[:2]
            yield int(pid), state


def end_session(session: int, patience: float = 10) -> None:
    """Ask every process of a session to end; kill what has not after ``patience`` seconds."""
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + wait
        told: set[int] = set()
        while left := members(session):
            for pid in set(left) - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= set(left)
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]), tuple(map(int, sys.argv[2:]))))
