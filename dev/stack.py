"""A whole Airflow on this machine: scheduler, triggerer, dag-processor and api-server, in one folder.

    python dev/stack.py up      start it and leave it running (harmless when it runs); prints address, user, password
    python dev/stack.py status  say whether it runs
    python dev/stack.py down    stop all of it

In Python::

    with Stack(root=Path(".stack/demo"), dags=Path("dags")) as stack:
        run = stack.trigger("flights_train", conf={"month": "2013-04"})
        assert stack.wait_run("flights_train", run["dag_run_id"])["state"] == "success"

Everything it writes is under ``root``: Airflow's home with its SQLite database, logs, MLflow's database. One small
process, the keeper, leads a session of its own in which all components run, and ends when its user does; see
``dev/keeper.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

REPO = Path(__file__).resolve().parent.parent
if str(REPO) not in sys.path:
    sys.path.insert(0, str(REPO))

from dev.client import Client, StackError, request  # noqa: E402
from dev.keeper import end_session  # noqa: E402

COMPONENTS: dict[str, list[str]] = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
_MLFLOW_TABLES = """
import sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore("sqlite:///" + sys.argv[1], sys.argv[1].replace("mlflow.db", "artifacts"))
"""
PRELOAD = "mlflow,mlflow.sklearn,sklearn.pipeline,sklearn.ensemble,pandas,pyarrow.parquet,duckdb"


class Stack(Client):
    """One local Airflow.

    :param root: the folder it lives in; made when missing, kept when it stops.
    :param dags: the DAGs folder.
    :param env: further environment of every component, for example connections.
    :param tasks: tasks that run at once. SQLite stalls when many do.
    :param mlflow_server: run ``mlflow server`` as well, on the same SQLite file, and point ``mlflow_default`` at it;
        otherwise tasks open the file themselves, which is faster to start.
    :param say: called with a line of text when something happens.
    """

    def __init__(
        self,
        root: Path = REPO / ".stack",
        dags: Path = REPO / "dags",
        env: Mapping[str, str] | None = None,
        *,
        tasks: int = 3,
        mlflow_server: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.root = Path(root).resolve()
        self.dags = Path(dags).resolve()
        self.env = dict(env or {})
        self.tasks = tasks
        self.mlflow_url = f"http://127.0.0.1:{free_port()}" if mlflow_server else ""
        self.say = say
        super().__init__(user="admin")
        self._keeper: subprocess.Popen[bytes] | None = None

    # Life ----------------------------------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        """AIRFLOW_HOME."""
        return self.root / "airflow"

    @property
    def logs(self) -> Path:
        """The components' own logs; those of tasks are in ``home / "logs"``."""
        return self.root / "logs"

    @property
    def state(self) -> dict[str, Any]:
        """What a running stack wrote about itself; empty when none runs here.

        Whether one runs is told by a lock that all its processes hold: a process id alone could be somebody else's now.
        """
        with contextlib.suppress(OSError, ValueError), self._lock() as free:
            if not free:
                state: dict[str, Any] = json.loads((self.root / "stack.json").read_text())
                return state
        return {}

    def start(self, *, attached: bool = True, patience: float = 300) -> Self:
        """Start all components and wait until Airflow says that each of them is healthy.

        :param attached: stop when this process ends; otherwise it is left running.
        :param patience: seconds until a start that is not healthy counts as failed.
        :raises StackError: with the end of the log that explains it.
        """
        if state := self.state:
            self._adopt(state)
            self.say(f"already running at {self.url}")
            return self
        began = time.monotonic()
        for folder in (self.home, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        self.password = self._remembered_password()
        self.url = f"http://127.0.0.1:{free_port()}"
        env = self.environment()
        self._write_shell_environment(env)
        command = [sys.executable, str(REPO / "dev" / "keeper.py"), str(self._write_plan())]
        with (self.logs / "keeper.log").open("wb") as log, self._lock() as lock:
            if not lock:
                raise StackError(f"another one is being started or stopped in {self.root}")
            self._keeper = subprocess.Popen(
                [*command, str(lock.fileno())],
                pass_fds=[lock.fileno()],
                env={**os.environ, **env},
                stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.root,
                start_new_session=True,
            )
        state = {n: getattr(self, n) for n in ("url", "mlflow_url", "user", "password")}
        state["session"] = self._keeper.pid
        (self.root / "stack.json").write_text(json.dumps(state))
        (self.root / "stack.json").chmod(0o600)
        try:
            self._wait_healthy(began + patience)
        except BaseException:
            self.stop()
            raise
        self.say(f"Airflow is up after {time.monotonic() - began:.0f} s at {self.url}")
        return self

    def stop(self, *, patience: float = 15) -> None:
        """Stop every process of the session; harmless when nothing runs."""
        session = self._keeper.pid if self._keeper is not None else self.state.get("session")
        if session:
            end_session(session, patience)
        if self._keeper is not None:
            if self._keeper.stdin:
                self._keeper.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(timeout=patience)
            self._keeper = None
        (self.root / "stack.json").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """The environment of every component; ``env`` has the last word."""
        bin_folder = str(Path(sys.executable).parent)
        port = urllib.parse.urlsplit(self.url).port
        settings: dict[str, dict[str, object]] = {
            "CORE": {
                "EXECUTOR": "airflow_mlops.executors.PreloadedLocalExecutor",
                "PARALLELISM": self.tasks,
                "MAX_ACTIVE_TASKS_PER_DAG": self.tasks,
                "DAGS_FOLDER": self.dags,
                "LOAD_EXAMPLES": False,
                "DAGS_ARE_PAUSED_AT_CREATION": False,
                "EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
                "SIMPLE_AUTH_MANAGER_USERS": f"{self.user}:admin",
                "SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": self._passwords,
                "FERNET_KEY": "",
            },
            "DATABASE": {"SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}"},
            "API": {
                "HOST": "127.0.0.1",
                "PORT": port,
                "BASE_URL": self.url,
                "WORKERS": 1,
                "SECRET_KEY": self._secret("api"),
                "LOG_FETCH_TIMEOUT_SEC": 2,
            },
            "API_AUTH": {"JWT_SECRET": self._secret("jwt")},
            # A busy machine answers late; a task must not be lost for it.
            "WORKERS": {"EXECUTION_API_TIMEOUT": 60},
            "SCHEDULER": {
                "SCHEDULER_IDLE_SLEEP_TIME": 0.1,
                "TASK_INSTANCE_HEARTBEAT_SEC": 10,
                "USE_JOB_SCHEDULE": True,
                "CATCHUP_BY_DEFAULT": False,
            },
            "DAG_PROCESSOR": {
                "MIN_FILE_PROCESS_INTERVAL": 20,
                "REFRESH_INTERVAL": 20,
                "PARSING_PROCESSES": 1,
                "PRINT_STATS_INTERVAL": 300,
            },
            "LOGGING": {"BASE_LOG_FOLDER": self.home / "logs"},
            "MLOPS": {"PRELOAD_MODULES": PRELOAD},
        }
        server = {"conn_type": "mlflow", "host": self.mlflow_url}
        env = {f"AIRFLOW__{s}__{k}": str(v) for s, options in settings.items() for k, v in options.items()}
        return {
            "AIRFLOW_HOME": str(self.home),
            "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH", "")])),
            "PYTHONUNBUFFERED": "1",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            # Idle OpenMP threads sleep: spinning ones make a training 10 times slower when tasks share the cores.
            "OMP_WAIT_POLICY": "passive",
            "GIT_PYTHON_REFRESH": "quiet",
            **({"AIRFLOW_CONN_MLFLOW_DEFAULT": json.dumps(server)} if self.mlflow_url else {}),
            **env,
            **self.env,
        }

    # Parts ---------------------------------------------------------------------------------------------------

    def look_alive(self) -> None:
        """Raise when a component has died."""
        if self._keeper is not None and self._keeper.poll() is not None:
            raise StackError(f"Airflow has died: {self._tail()}")

    def _wait_healthy(self, deadline: float) -> None:
        seen: set[str] = set()

        def healthy() -> bool:
            with contextlib.suppress(StackError, OSError):
                answer = request(f"{self.url}/api/v2/monitor/health", "GET")
                up = {n for n, part in answer.items() if part.get("status") == "healthy"}
                for name in sorted(up - seen):
                    self.say(f"{name.replace('_', '-')} is healthy")
                seen.update(up)
                return {"metadatabase", "scheduler", "triggerer", "dag_processor"} <= up
            return False

        if not self.until(healthy, deadline - time.monotonic()):
            raise StackError(f"not healthy in time (healthy: {sorted(seen)}): {self._tail()}")

    def _tail(self) -> str:
        parts = []
        for log in sorted(self.logs.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            if worst := [x for x in lines if "rror" in x or "Traceback" in x][-5:] or lines[-3:]:
                parts.append(f"\n{log.name}:\n  " + "\n  ".join(worst))
        return "".join(parts)

    @property
    def _passwords(self) -> Path:
        return self.home / "simple_auth_manager_passwords.json.generated"

    def _remembered_password(self) -> str:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads(self._passwords.read_text())[self.user])
        password = secrets.token_urlsafe(9)
        self._passwords.write_text(json.dumps({self.user: password}))
        self._passwords.chmod(0o600)
        return password

    def _secret(self, name: str) -> str:
        path = self.home / f".{name}-secret"
        if not path.exists():
            path.write_text(secrets.token_hex(32))
            path.chmod(0o600)
        return path.read_text()

    @contextlib.contextmanager
    def _lock(self) -> Iterator[IO[bytes] | None]:
        """The lock that says whether something runs here; ``None`` when somebody has it."""
        with (self.root / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield file  # closing it lets go, unless a process was given it meanwhile

    def _write_shell_environment(self, env: Mapping[str, str]) -> None:
        """``source .stack/environment`` makes the ``airflow`` command talk to this stack."""
        path = self.root / "environment"
        path.write_text("".join(f"export {k}={shlex.quote(v)}\n" for k, v in sorted(env.items())))
        path.chmod(0o600)

    def _write_plan(self) -> Path:
        python = [sys.executable, "-m"]
        store = self.home / "mlops" / "mlflow.db"
        store.parent.mkdir(exist_ok=True)
        before = {"migrate": [*python, "airflow", "db", "migrate"]}
        if not store.exists():  # its tables take seconds to make, and the first task should not pay for them
            before["mlflow-migrate"] = [sys.executable, "-c", _MLFLOW_TABLES, str(store)]
        components = {name: [*python, "airflow", *rest] for name, rest in COMPONENTS.items()}
        if self.mlflow_url:
            port = str(urllib.parse.urlsplit(self.mlflow_url).port)
            server = [*python, "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
            server += ["--backend-store-uri", f"sqlite:///{store}", "--serve-artifacts"]
            components["mlflow"] = [*server, "--artifacts-destination", str(store.parent / "artifacts")]
        path = self.root / "plan.json"
        plan = {"logs": str(self.logs), "before": before, "components": components}
        path.write_text(json.dumps(plan, indent=1))
        return path

    def _adopt(self, state: Mapping[str, Any]) -> None:
        for name in ("url", "mlflow_url", "user", "password"):
            setattr(self, name, state[name])


# Small things ----------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def main(arguments: list[str] | None = None) -> int:
    """The commands."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument("root", nargs="?", type=Path, default=REPO / ".stack")
    chosen = parser.parse_args(arguments)
    stack = Stack(chosen.root, mlflow_server=True, say=lambda line: print(f"==> {line}", flush=True))
    if chosen.command == "up":
        stack.start(attached=False)
        print(f"\n    Airflow  {stack.url}   user {stack.user}   password {stack.password}")
        print(f"    MLflow   {stack.mlflow_url}\n\nmake down stops it.")
    elif chosen.command == "down":
        running = bool(stack.state)
        stack.stop()
        print("==> stopped" if running else "==> nothing was running")
    else:
        print(f"running at {stack.state['url']}" if stack.state else "not running")
        return 0 if stack.state else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
