"""What the executor imports, its workers have."""

from __future__ import annotations

import os
import subprocess
import sys

from airflow_mlops.executors import preload


def test_modules_are_imported_once_and_missing_ones_are_left_out(caplog):
    assert preload(("json", "no_such_module", "wave")) == ["json", "wave"]
    assert "no_such_module" in caplog.text
    assert "wave" in sys.modules


def test_a_module_that_starts_threads_is_reported(tmp_path, monkeypatch, caplog):
    (tmp_path / "threaded.py").write_text(
        "import threading\n"
        "stop = threading.Event()\n"
        "thread = threading.Thread(target=stop.wait, daemon=True)\n"
        "thread.start()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert preload(("threaded",)) == ["threaded"]
    assert "starts threads" in caplog.text
    sys.modules["threaded"].stop.set()
    sys.modules["threaded"].thread.join()


def test_workers_inherit_what_the_configuration_names(tmp_path):
    """The executor is started for real; a worker of it says what it has."""
    script = """
import multiprocessing, os, sys
multiprocessing.set_start_method("fork")
from airflow.executors import local_executor
from airflow_mlops.executors import PreloadedLocalExecutor

reader, writer = os.pipe()
def worker(**kwargs):
    os.write(writer, b"inherited" if "wave" in sys.modules else b"missing")
local_executor._run_worker = worker
executor = PreloadedLocalExecutor(parallelism=1)
assert "wave" not in sys.modules
executor.start()
print(os.read(reader, 100).decode())
for process in executor.workers.values():
    process.join()
"""
    env = {**os.environ, "AIRFLOW__MLOPS__PRELOAD_MODULES": "wave"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert done.stdout.splitlines()[-1:] == ["inherited"], done.stderr[-2000:]
