"""All tests in three pytest runs beside each other: most of what a scheduler, a browser or a server takes is waiting.

The tests of operators have a process to themselves, as a task has: what the other tests load (Spark's threads, gRPC)
would keep models from being forked. Every line is printed as it comes, behind the name of its run; what failed and each
run's closing line are repeated at the end. Further arguments go to every run. The exit code is 0 when all ended with 0.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"

WHOLE_SYSTEMS = ("dags", "demo", "platform", "browser")
"""Folders whose tests run a whole Airflow; that of the faults goes with the units, so that all end at one time."""

TASKS = ("operators", "docs")
"""Folders whose tests run tasks one by one; everything else is the third run."""


def groups(tests: Path = TESTS) -> dict[str, list[str]]:
    """The runs and their arguments: every test file is in one of them."""
    named = {
        name: [tests / folder for folder in folders if (tests / folder).is_dir()]
        for name, folders in (("systems", WHOLE_SYSTEMS), ("tasks", TASKS))
    }
    taken = [path for paths in named.values() for path in paths]
    rest = [p for p in sorted(tests.iterdir()) if p not in taken and (p.is_dir() or p.name.startswith("test_"))]
    named["units"] = [p for p in rest if p.is_file() or any(p.rglob("test_*.py"))]
    return {name: [str(p) for p in paths] for name, paths in named.items()}


CLOSING = re.compile(r"(=+ )?(\d+ (failed|passed|skipped|errors?|warnings?|deselected)|no tests ran)\b.* in [\d.]+s")
"""pytest's last line."""

FAILED = re.compile(r"(FAILED|ERROR) \S+::")
"""A line of pytest's summary."""

FAREWELL = re.compile(r"nanobind: | - (leaked|\.\.\. skipped) |See https://nanobind")
"""What DuckDB's binding prints at the interpreter's end, of objects that a test module still held."""


class Run:
    """One pytest process; its lines are printed as they come.

    :param name: put before each line.
    :param arguments: of pytest.
    """

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self.last = f"{name}: pytest did not come to its end"
        self.failed: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pytest", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if name != "systems":  # which takes longest, and is waiting for most of it
            os.setpriority(os.PRIO_PROCESS, self.process.pid, 5)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if FAREWELL.match(line):
                continue
            print(f"{self.name:>7} | {line}", end="", flush=True)
            if FAILED.match(line):
                self.failed.append(line.strip())
            if CLOSING.match(line):
                self.last = f"{self.name}: {line.strip()}"

    def ended(self) -> int:
        """Wait for it: its exit code."""
        code = self.process.wait()
        self._reader.join()
        return code


def main(arguments: list[str]) -> int:
    began = time.monotonic()
    runs = [Run(name, [*arguments, *paths]) for name, paths in groups().items()]

    def stop(number: int, frame: object) -> None:
        for run in runs:
            if run.process.poll() is None:
                run.process.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    codes = [run.ended() for run in runs]
    print()
    for run in runs:
        print(*run.failed, run.last, sep="\n")
    print(f"tests: {time.monotonic() - began:.0f} s")
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
