"""What the package costs over the bare work: ``make bench-overhead``.

Each operator runs in a process of its own, as a task does, and so does the same work written as a plain script:
seconds (imports included, as in a task), requests to MLflow (counted where they leave the process), and heavy
libraries that only the operator loaded. Sides alternate, the best of the repetitions counts. At the end the fixed
cost of a task of this package beside an empty one, under the real scheduler.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
sys.path[0] = str(REPO)  # in place of this folder, whose profile.py is not the standard library's

from dev.bench._cases import CASES, World, write_files  # noqa: E402
from dev.bench._print import Figures  # noqa: E402

HEAVY = ("mlflow", "sklearn", "pandas", "numpy", "scipy", "great_expectations", "duckdb", "ibis", "pyarrow", "boto3")
ENGINE = {"duckdb", "numpy", "pyarrow"}
"""Read and count the rows of every operator; a third of a second."""
ALLOWED = {
    "": (1.0, 12),
    "train": (2.5, 12),  # content digest, reference profile, model digest, a second look for a version that is there
    "promote": (3.0, 50),  # write-once claims and a second look at every step: a kill between any two is finished later
}
"""Case -> seconds and requests that an operator may add for keys, records and checks."""
SIDES = ("bare", "operator")


def one(case: str, side: str, folder: Path, uri: str, repetition: int) -> dict[str, Any]:
    """One side of one case, in this process."""
    state = folder / f"{side}-{repetition}.json"
    results = json.loads(state.read_text()) if state.exists() else {}
    world = World(folder, uri, f"{side}{repetition}", results)
    operator, bare = CASES[case]
    if side == "operator":
        from tests.kit.tasks import TaskRunner

        run = TaskRunner()
        task = operator(world)  # importing the operator is the DAG file's cost, not the task's
    requests = _counted()
    before = set(sys.modules)
    began = time.perf_counter()
    result = run(task) if side == "operator" else bare(world)
    seconds = time.perf_counter() - began
    if side == "operator":
        state.write_text(json.dumps({**results, case: result}))
    loaded = set(sys.modules) - before
    return {
        "seconds": seconds,
        "requests": len(requests),
        "modules": len(loaded),
        "heavy": sorted(set(HEAVY) & loaded),
    }


def _counted() -> list[str]:
    """Every HTTP request of this process from now on."""
    from urllib3.connection import HTTPConnection

    seen: list[str] = []
    send = HTTPConnection.request

    def request(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        seen.append(f"{method} {url}")
        return send(self, method, url, *args, **kwargs)

    HTTPConnection.request = request  # type: ignore[method-assign]
    return seen


def in_a_process(case: str, side: str, folder: Path, uri: str, repetition: int, env: dict[str, str]) -> dict[str, Any]:
    """The same in a fresh interpreter.

    :raises RuntimeError: with the end of its output, when it failed.
    """
    command = [sys.executable, __file__, "--one", case, side, str(folder), uri, str(repetition)]
    place = folder / side
    place.mkdir(exist_ok=True)
    done = subprocess.run(command, env={**os.environ, **env}, cwd=place, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case} ({side}) failed:\n{(done.stdout + done.stderr)[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def operators(figures: Figures, repetitions: int, rows: int, cases: Sequence[str]) -> None:
    """Every case, both sides."""
    from tests.kit.mlflow import QUIET_MLFLOW, running_server

    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        write_files(folder, rows)
        with running_server(folder / "mlflow") as server:
            connection = json.dumps({"conn_type": "mlflow", "host": server.uri})
            env = {"AIRFLOW_HOME": str(folder), "AIRFLOW_CONN_MLFLOW_DEFAULT": connection, **QUIET_MLFLOW}
            for case in cases:
                seen: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
                for repetition in range(repetitions):
                    for side in SIDES:
                        seen[side].append(in_a_process(case, side, folder, server.uri, repetition, env))
                report(figures, case, *(min(seen[side], key=lambda r: float(r["seconds"])) for side in SIDES))
            left = [p.name for p in (folder / "operator").iterdir()]
            figures.at_most(f"files left where a task ran {' '.join(left)}".strip(), len(left), 0)


def report(figures: Figures, case: str, bare: dict[str, Any], operator: dict[str, Any]) -> None:
    """The lines of one case."""
    figures.note(
        f"{case}: bare {bare['seconds']:.2f} s, {bare['requests']} requests, {bare['modules']} modules; "
        f"operator {operator['seconds']:.2f} s, {operator['requests']} requests, {operator['modules']} modules"
    )
    seconds, requests = ALLOWED.get(case, ALLOWED[""])
    figures.at_most(f"{case} added", operator["seconds"] - bare["seconds"], seconds, "s")
    figures.at_most(f"{case} added requests", operator["requests"] - bare["requests"], requests)
    extra = sorted(set(operator["heavy"]) - set(bare["heavy"]) - ENGINE)
    figures.at_most(f"{case} heavy libraries on top {' '.join(extra)}".strip(), len(extra), 0)


_DAG = """
from airflow.sdk import DAG, chain, task
from airflow_mlops.operators.profile import ProfileDataOperator
from airflow_mlops.operators.retraining import DecideRetrainingOperator

with DAG("overhead", schedule=None):
    kinds = {
        "empty": lambda i: task(task_id=f"empty{i}")(lambda: None)(),
        "engine": lambda i: ProfileDataOperator(task_id=f"engine{i}", data="DATA"),
        "mlflow": lambda i: DecideRetrainingOperator(
            task_id=f"mlflow{i}", model_name=f"model{i}", reason="asked", on_keep="return"),
    }
    chain(*(make(i) for i in range(6) for make in kinds.values()))
"""


def scheduled(figures: Figures) -> None:
    """The fixed cost of a task under the real scheduler: the package's cheapest tasks beside an empty one."""
    from statistics import median

    from dev.stack import Stack

    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        write_files(folder, 1_000)
        (folder / "dags").mkdir()
        (folder / "dags" / "overhead.py").write_text(_DAG.replace("DATA", str(folder / "month.parquet")))
        with Stack(folder / "stack", folder / "dags", say=figures.note) as stack:
            stack.wait_dags("overhead")
            run = stack.trigger("overhead")["dag_run_id"]
            state = stack.wait_run("overhead", run)["state"]
            tasks = stack.tasks_of("overhead", run)
        if state != "success":
            raise RuntimeError(f"the run ended {state}: {[(t['task_id'], t['state']) for t in tasks]}")
        seconds = {
            kind: median(t["duration"] for t in tasks if t["task_id"].startswith(kind) and t["task_id"][-1] != "0")
            for kind in ("empty", "engine", "mlflow")
        }
    figures.note(", ".join(f"{kind} task {value:.2f} s" for kind, value in seconds.items()))
    figures.at_most("scheduled engine task over an empty one", seconds["engine"] - seconds["empty"], 0.5, "s")
    figures.at_most("scheduled MLflow task over an empty one", seconds["mlflow"] - seconds["empty"], 1.5, "s")


def main() -> int:
    """All figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--one", nargs=5, metavar=("CASE", "SIDE", "FOLDER", "URI", "REPETITION"))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=CASES, help="these cases, and no scheduler; some need earlier ones"
    )
    chosen = parser.parse_args()
    if chosen.one:
        case, side, folder, uri, repetition = chosen.one
        print(json.dumps(one(case, side, Path(folder), uri, int(repetition))))
        return 0
    figures = Figures()
    operators(figures, chosen.repetitions, chosen.rows, chosen.only or list(CASES))
    if not chosen.only:
        scheduled(figures)
    return figures.exit_code


if __name__ == "__main__":
    sys.exit(main())
