"""``make test`` runs every test file, in one of its runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dev.run_tests import TESTS, groups


def test_every_test_file_is_in_one_run() -> None:
    paths = [Path(p) for run in groups().values() for p in run]
    for file in TESTS.rglob("test_*.py"):
        assert len([p for p in paths if file.is_relative_to(p)]) == 1, file


def test_a_failure_in_either_run_fails(tmp_path: Path) -> None:
    (tmp_path / "test_good.py").write_text("def test_good(): pass\n")
    (tmp_path / "test_bad.py").write_text("def test_bad(): assert not 'red'\n")
    code = (
        "import sys; sys.path.insert(0, 'dev'); import run_tests\n"
        "run_tests.groups = lambda: {name: [f'{sys.argv[1]}/test_{name}.py'] for name in ('bad', 'good')}\n"
        "sys.exit(run_tests.main(['-q', '-c', '/dev/null', '-p', 'no:cacheprovider']))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=TESTS.parent)
    assert done.returncode == 1, done.stderr
    assert "    bad | " in done.stdout and "   good | " in done.stdout
    *_, failure, bad, good, seconds = done.stdout.splitlines()
    assert failure.startswith("FAILED ") and "test_bad.py::test_bad" in failure
    assert (bad[:13], good[:14], seconds[:7]) == ("bad: 1 failed", "good: 1 passed", "tests: ")
