"""All tests in two pytest runs beside each other: most of what a scheduler or a browser takes is waiting.

Every line is printed as it comes, behind the name of its run; each run's closing line is repeated at the end. Further
arguments go to both runs. The exit code is 0 when both ended with 0.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"

WHOLE_SYSTEMS = ("dags", "demo", "faults", "platform", "browser")
"""Folders whose tests run a whole Airflow; everything else is the other run."""


def groups(tests: Path = TESTS) -> dict[str, list[str]]:
    """The two runs and their arguments: every test file is in one of them."""
    systems = [tests / name for name in WHOLE_SYSTEMS if (tests / name).is_dir()]
    rest = [p for p in sorted(tests.iterdir()) if p not in systems and (p.is_dir() or p.name.startswith("test_"))]
    return {
        "systems": [str(p) for p in systems],
        "units": [str(p) for p in rest if p.is_file() or any(p.rglob("test_*.py"))],
    }


CLOSING = re.compile(r"(=+ )?(\d+ (failed|passed|skipped|errors?|warnings?|deselected)|no tests ran)\b.* in [\d.]+s")
"""pytest's last line."""


class Run:
    """One pytest process; its lines are printed as they come.

    :param name: put before each line.
    :param arguments: of pytest.
    """

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self.last = f"{name}: pytest did not come to its end"
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pytest", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            print(f"{self.name:>7} | {line}", end="", flush=True)
            if CLOSING.match(line):  # what is printed after it is of the interpreter's end
                self.last = line.strip()

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
        print(run.last)
    print(f"tests: {time.monotonic() - began:.0f} s")
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
