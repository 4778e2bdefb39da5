"""Environments of their own for the libraries that a benchmark stands beside: none of them imports beside ours."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(__file__).parent.parent.parent / ".cache" / "peers"


def environment(name: str, needs: Sequence[str]) -> str:
    """The Python of an environment with these packages; made once, and anew when ``needs`` change.

    :raises SystemExit: when they can't be installed, with the installer's last line.
    """
    folder = CACHE / f"{name}-{hashlib.sha256(' '.join(needs).encode()).hexdigest()[:8]}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        uv = str(Path(sys.executable).parent / "uv")
        made = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
        for command in (made, [uv, "pip", "install", "--quiet", "--python", str(python), *needs]):
            ended = subprocess.run(command, capture_output=True, text=True)
            if ended.returncode:
                last = [line for line in ended.stderr.splitlines() if line.strip()][-1:]
                raise SystemExit(f"{name} can't be installed here: {' '.join(last)}")
        done.touch()
    return str(python)
