"""A model with a history: two trainings that were judged and promoted, a rejected one, and a rollback, in MLflow."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.gates import BeatsChampion, GatePolicy, Value
from airflow_mlops.exceptions import GateRejected

MODEL = "late flights"
HOLDOUT_LOST = 5


def fit(X: pd.DataFrame, y: pd.Series) -> LogisticRegression:
    return LogisticRegression().fit(X, y)


@dataclasses.dataclass
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


def airflow(*arguments: str) -> Said:
    """``airflow <arguments>`` in this process: Airflow's own parser, with every provider's commands."""
    from airflow.cli import cli_parser

    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            args = cli_parser.get_parser().parse_args(list(arguments))
            args.func(args)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    return Said(code, out.getvalue(), err.getvalue())


def mlops(*arguments: str) -> Said:
    """``airflow mlops <arguments>``."""
    return airflow("mlops", *arguments)


def rows(path: Path, month: int, count: int = 300, turned: bool = False) -> str:
    """A month of flights that are late in the evening, or, turned round, in the morning."""
    hours = [i % 24 for i in range(count)]
    late = [(h + i % 3 > 12) != turned for i, h in enumerate(hours)]
    frame = pd.DataFrame(
        {
            "month": [month] * count,
            "hour": [float(h) for h in hours],
            "wind": [i % 7 / 2 for i in range(count)],
            "late": [None if i < HOLDOUT_LOST else v for i, v in enumerate(late)],
        }
    )
    target = path / f"2013-{month:02}.parquet"
    frame.to_parquet(target)
    return str(target)


@dataclasses.dataclass
class Story:
    """What was done: the folder of the data, and results by task and month."""

    folder: Path
    results: dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """January is promoted, February is better and promoted, March is worse and rejected, in April January is back."""
    from airflow_mlops.operators.evaluation import EvaluateModelOperator
    from airflow_mlops.operators.gates import GateOperator
    from airflow_mlops.operators.promotion import PromoteModelOperator, RollbackModelOperator
    from airflow_mlops.operators.training import TrainModelOperator
    from tests.conftest import _template_folder
    from tests.kit.mlflow import template_database
    from tests.kit.tasks import TaskRunner

    folder = tmp_path_factory.mktemp("story")
    (folder / "mlflow.db").write_bytes(template_database(_template_folder(tmp_path_factory)).read_bytes())
    policy = GatePolicy(
        checks=[Value("roc_auc", lower=0.6), BeatsChampion("roc_auc", min_absolute=-0.2)],
        on_missing_champion="value_only",
    )
    results: dict[tuple[str, int], dict[str, Any]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AIRFLOW_CONN_MLFLOW_DEFAULT", raising=False)
        patch.setenv("AIRFLOW__MLOPS__TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("AIRFLOW__MLOPS__ARTIFACT_LOCATION", str(folder / "artifacts"))
        run = TaskRunner()

        def do(month: int, name: str, operator: Any) -> dict[str, Any]:
            when = dt.datetime(2013, month, 28, tzinfo=dt.UTC)
            with contextlib.suppress(GateRejected):
                run(operator, logical_date=when, run_id=f"scheduled__2013-{month:02}")
            assert run.last is not None
            results[name, month] = run.last.xcoms["return_value"]
            return results[name, month]

        holdout = rows(folder, 12)
        for month in (1, 2, 3):
            data = rows(folder, month, count=300 + month, turned=month == 3)
            trained = do(
                month,
                "train",
                TrainModelOperator(
                    task_id="train",
                    model_name=MODEL,
                    train=fit,
                    data=DatasetRef(uri=data).where(("hour", ">=", 1)),
                    target="late",
                    features=["hour", "wind"],
                    data_until=f"2013-{month:02}-28",
                    code_version="c0ffee",
                ),
            )
            judged = do(
                month,
                "evaluate",
                EvaluateModelOperator(
                    task_id="evaluate",
                    model_name=MODEL,
                    candidate=trained,
                    data=holdout,
                    target="late",
                    replicates=50,
                ),
            )
            decision = do(month, "gate", GateOperator(task_id="gate", evaluation=judged, policy=policy))
            if month < 3:
                promote = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=decision)
                do(month, "promote", promote)
        back = RollbackModelOperator(task_id="back", model_name=MODEL, reason="complaints from the tower", pin=False)
        do(4, "rollback", back)
        yield Story(folder, results)
