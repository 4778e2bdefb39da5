"""A model runs in a process of its own: what leaks, hangs or crashes there is a verdict on it, not a dead worker.

The child is forked where that is safe, because the models' libraries are loaded already; else a new interpreter is
started (seconds). Forking copies one thread only: with other Python threads alive, or with a library loaded that keeps
threads of its own for computing, a lock that nobody will ever release may be copied too. What scikit-learn needs is
safe: its OpenMP pool is not used with one thread, which is what the child is held to.

The child gets a session of its own, so that everything it starts can be stopped with it; no open file or socket of the
task; an address space that may grow by so much; and a time limit on the clock. Answers come back as files of numbers
and JSON, never as pickles. Only what the task itself hands down to a new interpreter is one.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import importlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUT_OF_MEMORY = 71
"""Exit code of a child that met a MemoryError."""

THREADED = (*("catboost", "grpc", "jax", "lightgbm", "onnxruntime", "paddle", "ray", "tensorflow", "torch", "xgboost"),)
"""Libraries with threads of their own: once one is loaded here, a forked child could wait for them for ever."""

IDLE = "Mlflow"
"""How MLflow names the threads of the pools that it downloads with; between downloads they hold nothing."""

METHODS = ("auto", "fork", "spawn")

_running: set[int] = set()


class ChildFailed(Exception):
    """The child came to no answer; the message says how it ended."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a model may take.

    :param memory_mb: MiB of address space beyond what the task has; 0: as much as there is.
    :param seconds: on the clock; 0: no limit.
    """

    memory_mb: int = 4096
    seconds: float = 600.0


def in_child(
    work: Callable[[Path, Any], None], argument: Any, folder: Path, limits: Limits, *, method: str = "auto"
) -> str:
    """Run ``work(folder, argument)`` in a child process; its answers are the files it leaves in the folder.

    :param work: a function of a module.
    :param argument: given to it; pickled for a new interpreter.
    :param folder: an empty folder; ``output.txt`` in it gets what the child prints.
    :param limits: what it may take.
    :param method: of :data:`METHODS`.
    :returns: how it was started, ``fork`` or ``spawn``.
    :raises ChildFailed: when it ended in any way but returning.
    """
    if method == "auto":
        method = "fork" if forkable() else "spawn"
    pid = (_fork if method == "fork" else _spawn)(work, argument, folder, limits)
    _running.add(pid)
    try:
        late = not _ends(pid, limits.seconds)
    finally:
        _kill(pid)  # itself, if it still runs, and whatever it left behind
        status = os.waitpid(pid, 0)[1]
        _running.discard(pid)
    code = os.waitstatus_to_exitcode(status)
    if late:
        raise ChildFailed(f"it was still running after {limits.seconds:g} s and was stopped")
    if code == OUT_OF_MEMORY:
        raise ChildFailed(f"it needs more than the {limits.memory_mb} MB of memory it may take")
    if code < 0:
        raise ChildFailed(f"it was killed by {signal.Signals(-code).name}")
    if code:
        raise ChildFailed(f"it ended the process with exit code {code}")
    return method


def forkable() -> bool:
    """Whether a fork of this process can compute."""
    busy = [t for t in threading.enumerate() if not t.name.startswith(IDLE)]
    alone = busy == [threading.main_thread()] and threading.current_thread() is busy[0]
    return sys.platform == "linux" and alone and not any(name in sys.modules for name in THREADED)


def stop() -> None:
    """End every child that runs now: the task is being killed."""
    for pid in tuple(_running):
        _kill(pid)


def _fork(work: Callable[[Path, Any], None], argument: Any, folder: Path, limits: Limits) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        gc.freeze()  # nothing of the parent is finalised here
        os.setsid()
        # The task's own handlers are not the model's: one that reports a crash can wait for ever for a thread.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE):
            signal.signal(number, signal.SIG_DFL)
        _silence(folder)
        with contextlib.suppress(ImportError):
            importlib.import_module("threadpoolctl").threadpool_limits(1)
        code = _work(work, argument, folder, limits)
    finally:
        os._exit(code)


def _spawn(work: Callable[[Path, Any], None], argument: Any, folder: Path, limits: Limits) -> int:
    with (folder / "job.pickle").open("wb") as file:
        pickle.dump((work, argument, limits), file)
    with (folder / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "airflow_mlops.operators._child", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        ).pid


def _work(work: Callable[[Path, Any], None], argument: Any, folder: Path, limits: Limits) -> int:
    """Under the limits, in the child: the exit code."""
    try:
        _confine(limits)
        work(folder, argument)
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    finally:
        with contextlib.suppress(Exception):  # the process ends without the usual farewell
            sys.stdout.flush()
            sys.stderr.flush()
    return 0


def _confine(limits: Limits) -> None:
    import resource

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it does not outlive a task that is killed
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    if limits.memory_mb and statm.exists():
        has = int(statm.read_text().split()[0]) * resource.getpagesize()
        most = has + limits.memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _silence(folder: Path) -> None:
    """Print into a file, and have nothing of the task open: neither its logs nor its line to the supervisor."""
    nothing = os.open(os.devnull, os.O_RDWR)
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, instead in ((0, nothing), (1, output), (2, output)):
        os.dup2(instead, fd)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names of descriptors, not paths
        fd = int(name)
        if fd > 2 and fd not in (nothing, output):
            # Replaced, not closed: a number that is free could become a file of the model, and be closed by its owner.
            with contextlib.suppress(OSError):
                os.fstat(fd)
                os.dup2(nothing, fd)


def _ends(pid: int, seconds: float) -> bool:
    """Whether the child ends in time; it is not reaped, so that its process group can still be named."""
    if hasattr(os, "pidfd_open"):
        fd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            return bool(poll.poll(seconds * 1000 if seconds else None))
        finally:
            os.close(fd)
    until = time.monotonic() + seconds if seconds else float("inf")
    while time.monotonic() < until:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        time.sleep(0.02)
    return False


def _kill(pid: int) -> None:
    for end in (os.killpg, os.kill):  # before its setsid there is no group of that name
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(pid, signal.SIGKILL)


def main(folder: Path) -> int:
    """The entry of a new interpreter."""
    with (folder / "job.pickle").open("rb") as file:
        work, argument, limits = pickle.load(file)
    return _work(work, argument, folder, limits)


if __name__ == "__main__":
    os._exit(main(Path(sys.argv[1])))
