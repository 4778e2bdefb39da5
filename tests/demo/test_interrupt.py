"""Ctrl-C in the middle of the demo leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from dev.keeper import members
from dev.stack import Stack

REPO = Path(__file__).resolve().parents[2]


def test_an_interrupted_demo_stops_everything(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "MLFLOW"))}
    command = [sys.executable, str(REPO / "dev" / "demo.py"), "--root", str(tmp_path / "demo"), "--months", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as demo:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:
            said.append(line)
            if "Airflow is up" in line:
                break
        state = Stack(root=tmp_path / "demo").state
        assert state, said
        assert members(state["session"]), "it runs"
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
        assert demo.wait() == 130, rest
    assert "everything is stopped" in rest
    assert members(state["session"]) == []
    assert Stack(root=tmp_path / "demo").state == {}
