"""Common ground of the tests: an Airflow home of their own, a real MLflow, and a way to run one task.

The environment is set before anything of Airflow is imported, and only this file and ``tests/kit`` know how.

``run_task(operator, ...)``
    executes one operator with the Task SDK's own code (real context, real rendering, real XCom and state stores; an
    in-memory supervisor on the other side, see ``tests/kit/supervisor.py``) and returns what ``execute`` returned.

    - An operator without a DAG gets one. Operators of one DAG see one another's results: run the upstream first, or
      give ``xcoms={"train": {...}}`` (task id -> its return value). ``XComArg`` and Jinja both work.
    - ``partition_key=``, ``logical_date=`` (None: a run an asset triggered), ``data_interval=``, ``run_type=``
      ("manual", "scheduled", "backfill", "asset_triggered"), ``run_id=``, ``params=``, ``conf=``, ``try_number=``,
      ``events=[{"uri", "extra", ...}]`` (triggering asset events), ``context={...}`` (last word over any key).
    - Failures, skips and deferrals come out as the exceptions they are: ``pytest.raises(TaskDeferred)``, then
      ``run_task.resume(operator, error.value, event)`` continues in a fresh copy, as another process would.
      A branch returns normally; ``run_task.last.skipped`` has the skipped task ids.
    - ``run_task.last``: context, rendered task, ``xcoms`` (also of a task that raised), ``outlet_events``.
    - A value in XCom or in a state store that is not plain JSON, or has a NaN, fails the test.

``mlflow_server``  (session) a real server process; ``.uri``; the connection ``mlflow_default`` points at it.
``mlflow_local``   the embedded default without a server: SQLite and artifacts in the test's own folder; the folder.
``airflow_db``     (session) Airflow's metadata database, migrated; for ``dag.test()`` and the like.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

ROOT = Path(__file__).parent.parent
_HOME = tempfile.TemporaryDirectory(prefix="airflow-mlops-tests-")

for _name in [n for n in os.environ if n.startswith(("AIRFLOW_", "MLFLOW_"))]:
    del os.environ[_name]
os.environ.update(
    {
        "AIRFLOW_HOME": _HOME.name,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",
    }
)

if TYPE_CHECKING:
    from tests.kit.mlflow import MlflowServer
    from tests.kit.tasks import TaskRunner


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """The folder that Airflow takes for its home while the tests run."""
    return Path(_HOME.name)


@pytest.fixture
def run_task() -> TaskRunner:
    """Execute one operator as a worker would; see the top of this file."""
    from tests.kit.tasks import TaskRunner

    return TaskRunner()


@pytest.fixture(scope="session")
def _mlflow_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    from tests.kit.mlflow import running_server

    with running_server(tmp_path_factory.mktemp("mlflow-server")) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_server(_mlflow_process: MlflowServer) -> Iterator[MlflowServer]:
    """A real MLflow server, and the connection ``mlflow_default`` that points at it."""
    with pytest.MonkeyPatch.context() as patch:
        connection = {"conn_type": "mlflow", "host": _mlflow_process.uri}
        patch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(connection))
        yield _mlflow_process


@pytest.fixture
def mlflow_local(tmp_path: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The embedded default in a folder of the test's own: no connection, no server; the folder is returned."""
    import shutil

    from tests.kit.mlflow import template_database

    folder = tmp_path / "mlops"
    folder.mkdir()
    shutil.copy(template_database(_template_folder(tmp_path_factory)), folder / "mlflow.db")
    monkeypatch.delenv("AIRFLOW_CONN_MLFLOW_DEFAULT", raising=False)
    monkeypatch.setenv("AIRFLOW__MLOPS__TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_LOCATION", str(folder / "artifacts"))
    return folder


def _template_folder(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "mlflow-template"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def airflow_db(airflow_home: Path) -> Path:
    """Airflow's metadata database in the tests' home, migrated once."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], capture_output=True, text=True, env=os.environ.copy()
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return airflow_home / "airflow.db"
