"""A whole Airflow on this machine: scheduler, triggerer, dag-processor and api-server, in one folder.

    python dev/stack.py up      start it and leave it running (harmless when it runs); prints address, user, password
    python dev/stack.py status  say whether it runs
    python dev/stack.py down    stop all of it

In Python::

    with Stack(root=Path(".stack/demo"), dags=Path("dags")) as stack:
        run = stack.trigger("flights_train", conf={"month": "2013-04"})
        assert stack.wait_run("flights_train", run["dag_run_id"])["state"] == "success"

Everything it writes is under ``root``: Airflow's home with its SQLite database, logs, MLflow's database. One small
process, the keeper, leads a session of its own in which all components run. A task puts itself into another process
group but stays in the session, so the session is what is stopped: asked first, then killed. When the process that
used a ``Stack`` dies, however it dies, the keeper's standard input ends and it stops everything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REPO = Path(__file__).resolve().parent.parent
COMPONENTS: dict[str, list[str]] = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
FINISHED = ("success", "failed")
PRELOAD = "mlflow,mlflow.sklearn,sklearn.pipeline,sklearn.ensemble,pandas,pyarrow.parquet,duckdb"


class StackError(RuntimeError):
    """The stack did not start, died, or answered with an error."""


class Stack:
    """One local Airflow.

    :param root: the folder it lives in; made when missing, kept when it stops.
    :param dags: the DAGs folder.
    :param env: further environment of every component, for example connections.
    :param tasks: tasks that run at once. SQLite stalls when many do.
    :param say: called with a line of text when something happens.
    """

    def __init__(
        self,
        root: Path = REPO / ".stack",
        dags: Path = REPO / "dags",
        env: Mapping[str, str] | None = None,
        *,
        tasks: int = 3,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.root = Path(root).resolve()
        self.dags = Path(dags).resolve()
        self.env = dict(env or {})
        self.tasks = tasks
        self.say = say
        self.user = "admin"
        self.password = ""
        self.url = ""
        self._keeper: subprocess.Popen[bytes] | None = None
        self._token = ""

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
        """What a running stack wrote about itself; empty when none runs here."""
        with contextlib.suppress(OSError, ValueError):
            state: dict[str, Any] = json.loads((self.root / "stack.json").read_text())
            if members(state["session"]):
                return state
        return {}

    def start(self, *, attached: bool = True, patience: float = 180) -> Self:
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
        command = [sys.executable, str(Path(__file__).resolve()), "keep", str(self.root)]
        with (self.logs / "keeper.log").open("wb") as log:
            self._keeper = subprocess.Popen(
                command,
                env={**os.environ, **env},
                stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.root,
                start_new_session=True,
            )
        state = {"session": self._keeper.pid, "url": self.url, "user": self.user, "password": self.password}
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
        with contextlib.suppress(OSError, ValueError):
            session = int(json.loads((self.root / "stack.json").read_text())["session"])
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
        env = {f"AIRFLOW__{s}__{k}": str(v) for s, options in settings.items() for k, v in options.items()}
        return {
            "AIRFLOW_HOME": str(self.home),
            "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH", "")])),
            "PYTHONUNBUFFERED": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "GIT_PYTHON_REFRESH": "quiet",
            **env,
            **self.env,
        }

    # The REST API --------------------------------------------------------------------------------------------

    def token(self) -> str:
        """A bearer token of the user; fetched once."""
        if not self._token:
            body = {"username": self.user, "password": self.password}
            self._token = str(_request(f"{self.url}/auth/token", "POST", body)["access_token"])
        return self._token

    def api(self, method: str, path: str, json: Any = None, **query: Any) -> Any:
        """Call Airflow's REST API.

        :param method: ``GET``, ``POST``, ``PATCH``, ``DELETE``.
        :param path: below ``/api/v2``, for example ``/dags``.
        :param json: the body.
        :param query: query parameters.
        :return: the answer's JSON, ``None`` where there is none.
        :raises StackError: for an answer that is not a success, with its text.
        """
        url = f"{self.url}/api/v2/{path.lstrip('/')}"
        if query:
            url += "?" + urllib.parse.urlencode(query, doseq=True)
        return _request(url, method, json, self.token())

    def wait_dags(self, *dag_ids: str, patience: float = 120) -> None:
        """Wait until the dag-processor has read these DAGs.

        :raises StackError: when one is missing after ``patience`` seconds; with the import errors.
        """

        def missing() -> set[str]:
            found = self.api("GET", "/dags", limit=200)["dags"]
            return set(dag_ids) - {d["dag_id"] for d in found}

        if not self._until(lambda: not missing(), patience):
            errors = self.api("GET", "/importErrors")["import_errors"]
            raise StackError(f"DAGs not found: {sorted(missing())}; import errors: {errors}")

    def trigger(self, dag_id: str, **body: Any) -> dict[str, Any]:
        """Start a run by hand; ``conf=``, ``logical_date=``, ``dag_run_id=`` and the like go into the body."""
        run: dict[str, Any] = self.api("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, **body})
        return run

    def runs(self, dag_id: str = "~", **query: Any) -> list[dict[str, Any]]:
        """Runs of one DAG, or of all of them, oldest first."""
        answer = self.api("GET", f"/dags/{dag_id}/dagRuns", **{"limit": 500, "order_by": "run_after", **query})
        return list(answer["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        found: dict[str, Any] = self.api("GET", f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}")
        return found

    def tasks_of(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of one run."""
        path = f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}/taskInstances"
        return list(self.api("GET", path, limit=500)["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task returned."""
        path = f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}/taskInstances/{task_id}"
        return self.api("GET", f"{path}/xcomEntries/{key}", deserialize="false", stringify="false")["value"]

    def wait_run(self, dag_id: str, run_id: str, *, patience: float = 600) -> dict[str, Any]:
        """Wait until a run has ended, well or badly, and return it.

        :raises StackError: when it has not after ``patience`` seconds, or Airflow died meanwhile.
        """
        last: dict[str, Any] = {}

        def ended() -> bool:
            last.update(self.run(dag_id, run_id))
            return last["state"] in FINISHED

        if not self._until(ended, patience):
            raise StackError(f"{dag_id} {run_id} is still {last.get('state')} after {patience:.0f} s")
        return last

    # Parts ---------------------------------------------------------------------------------------------------

    def _until(self, done: Callable[[], bool], patience: float, pause: float = 0.2) -> bool:
        deadline = time.monotonic() + patience
        while not done():
            if self._keeper is not None and self._keeper.poll() is not None:
                raise StackError(f"Airflow has died: {self._tail()}")
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
        return True

    def _wait_healthy(self, deadline: float) -> None:
        seen: set[str] = set()

        def healthy() -> bool:
            with contextlib.suppress(StackError, OSError):
                answer = _request(f"{self.url}/api/v2/monitor/health", "GET")
                up = {n for n, part in answer.items() if part.get("status") == "healthy"}
                for name in sorted(up - seen):
                    self.say(f"{name.replace('_', '-')} is healthy")
                seen.update(up)
                return {"metadatabase", "scheduler", "triggerer", "dag_processor"} <= up
            return False

        if not self._until(healthy, deadline - time.monotonic()):
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

    def _write_shell_environment(self, env: Mapping[str, str]) -> None:
        """``source .stack/environment`` makes the ``airflow`` command talk to this stack."""
        path = self.root / "environment"
        path.write_text("".join(f"export {k}={_quoted(v)}\n" for k, v in sorted(env.items())))
        path.chmod(0o600)

    def _adopt(self, state: Mapping[str, Any]) -> None:
        self.url, self.user, self.password = state["url"], state["user"], state["password"]


# The keeper: the leader of the session ---------------------------------------------------------------------------


def keep(root: Path) -> int:
    """Migrate, start the components, and stay until asked to stop or until one of them dies."""
    asked = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, frame: asked.append(n))
    airflow = [sys.executable, "-m", "airflow"]
    with (root / "logs" / "migrate.log").open("wb") as log:
        migrated = subprocess.run(
            [*airflow, "db", "migrate"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False
        )
    if migrated.returncode:
        print("airflow db migrate failed, see migrate.log", flush=True)
        return 1
    children = {}
    for name, arguments in COMPONENTS.items():
        with (root / "logs" / f"{name}.log").open("wb") as log:
            children[name] = subprocess.Popen([*airflow, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    os.set_blocking(0, False)
    while not asked and _has_user():
        dead = [f"{name} ended with {c.poll()}" for name, c in children.items() if c.poll() is not None]
        if dead:
            print("\n".join(dead), flush=True)
            break
        time.sleep(0.2)
    end_session(os.getsid(0), patience=10)
    return 0 if asked else 1


def _has_user() -> bool:
    """Whether the process at the other end of the pipe still lives; always, when there is no pipe."""
    try:
        return bool(os.read(0, 1)) or not _is_pipe()
    except BlockingIOError:
        return True


def _is_pipe() -> bool:
    import stat

    return stat.S_ISFIFO(os.fstat(0).st_mode)


def members(session: int) -> list[int]:
    """The processes of a session, zombies and the caller left out."""
    found = []
    for line in _processes():
        pid, state = line.split()[:2]
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if int(pid) != os.getpid() and not state.startswith("Z") and os.getsid(int(pid)) == session:
                found.append(int(pid))
    return found


def _processes() -> Iterable[str]:
    if Path("/proc/self/stat").exists():
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    yield f"{folder.name} {state}"
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True)
        yield from listed.stdout.splitlines()


def end_session(session: int, patience: float = 15) -> None:
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


# Small things ----------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _request(url: str, method: str, body: Any = None, token: str = "") -> Any:
    request = urllib.request.Request(url, method=method)
    request.add_header("Accept", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, data, timeout=60) as answer:
            text = answer.read()
    except urllib.error.HTTPError as e:
        raise StackError(f"{method} {url}: {e.code} {e.read().decode(errors='replace')[:2000]}") from None
    return json.loads(text) if text else None


def _quoted(value: str) -> str:
    import shlex

    return shlex.quote(value)


def main(arguments: list[str] | None = None) -> int:
    """The commands."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=["up", "down", "status", "keep"])
    parser.add_argument("root", nargs="?", type=Path, default=REPO / ".stack")
    chosen = parser.parse_args(arguments)
    if chosen.command == "keep":
        return keep(chosen.root)
    stack = Stack(chosen.root, say=lambda line: print(f"==> {line}", flush=True))
    if chosen.command == "up":
        stack.start(attached=False)
        print(f"\n    {stack.url}\n    user {stack.user}   password {stack.password}\n\nmake down stops it.")
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
