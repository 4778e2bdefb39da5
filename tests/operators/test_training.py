"""TrainModelOperator against a real MLflow: one version for the same inputs, wherever the first try was killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound
from airflow_mlops.exceptions import MlflowUnavailable, TrainingFailed
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators import training
from airflow_mlops.operators.training import TrainModelOperator

if TYPE_CHECKING:
    from tests.kit.tasks import TaskRunner

FITS: list[int] = []


def fit(X: pd.DataFrame, y: pd.Series, C: float = 1.0) -> Any:
    return make_pipeline(SimpleImputer(), LogisticRegression(C=C)).fit(X, y)


def rounded(X: pd.DataFrame) -> pd.DataFrame:
    """The project's own preparation: it has to travel inside the model."""
    return X.round(1)


def fit_with_own_preparation(X: pd.DataFrame, y: pd.Series) -> Any:
    return make_pipeline(FunctionTransformer(rounded), LogisticRegression()).fit(X, y)


@pytest.fixture(autouse=True)
def _count(monkeypatch: pytest.MonkeyPatch) -> None:
    FITS.clear()
    original = training.fit

    def counted(rows: Any, config: Any) -> Any:
        FITS.append(len(rows.X))
        return original(rows, config)

    monkeypatch.setattr(training, "fit", counted)


@pytest.fixture
def flights(tmp_path: Path) -> str:
    rows = 60
    frame = pd.DataFrame(
        {
            "day": [f"2013-01-{1 + i // 2:02}" for i in range(rows)],
            "hour": [float(i % 24) for i in range(rows)],
            "wind": [None if i % 10 == 0 else i / 7 for i in range(rows)],
            "late": [None if i % 20 == 19 else bool(i % 24 > 12) for i in range(rows)],
        }
    )
    path = tmp_path / "flights.parquet"
    frame.to_parquet(path)
    return str(path)


def task(rows: Any, **changes: Any) -> TrainModelOperator:
    arguments = {
        "task_id": "train",
        "model_name": "delays",
        "train": fit,
        "data": rows,
        "target": "late",
        "features": ["hour", "wind"],
        "time_column": "day",
        **changes,
    }
    return TrainModelOperator(**arguments)


def test_a_training_becomes_a_whole_run_and_a_challenger(
    mlflow_server: Any, run_task: TaskRunner, flights: str
) -> None:
    result = run_task(task(flights, model_name="whole", train_params={"C": 0.5}, tags={"team": "ops"}))
    assert result["created"] and result["version"] == "1" and result["data"]["rows"] == 60
    assert result["metrics"]["rows"] == 57 and result["metrics"]["unlabelled_rows"] == 3
    assert result["data_until"] == "2013-01-30"
    hook = MlflowHook()
    version = hook.by_alias("whole", "challenger")
    assert version is not None and version.version == "1"
    assert version.tag("training_key") == result["training_key"] and version.tag("positive") == "True"
    assert version.tag("data_digest") == result["data"]["digest"] and version.tags["team"] == "ops"
    assert len(version.model_digest) == 64

    run = hook.get_conn().get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["C"] == "0.5" and run.data.params["train"] == "fit"
    assert run.inputs.dataset_inputs[0].dataset.digest == result["data"]["digest"]
    assert json.loads(run.inputs.dataset_inputs[0].dataset.profile) == {"num_rows": 60}
    assert run.outputs.model_outputs[0].model_id == version.source.removeprefix("models:/")
    assert run.data.tags["mlflow.source.git.commit"] and run.data.tags["team"] == "ops"

    profile = hook.load_profile(version)
    assert profile is not None and set(profile.columns) == {"hour", "wind", "late"} and profile.rows == 60
    found = hook.history("whole", kinds=["training"])
    assert [r.outcome for r in found] == ["trained"] and found[0].body["model"]["digest"] == version.model_digest  # type: ignore[index,call-overload]


def test_the_model_is_an_ordinary_mlflow_model(mlflow_server: Any, run_task: TaskRunner, flights: str) -> None:
    import mlflow

    result = run_task(task(flights, model_name="ordinary"))
    frame = pd.read_parquet(flights)[["hour", "wind"]]
    hook = MlflowHook()
    version = hook.version("ordinary", result["version"])
    assert version is not None
    ours = hook.load_model(version).predict(frame)
    with hook.model_files(version) as folder:
        generic = mlflow.pyfunc.load_model(str(folder))
        assert (generic.predict(frame) == ours).all()
        assert [c.name for c in generic.metadata.signature.inputs] == ["hour", "wind"]
        needed = (folder / "requirements.txt").read_text().splitlines()
        assert any(line.startswith("scikit-learn==") for line in needed) and any(
            n.startswith("mlflow==") for n in needed
        )
        assert generic.metadata.metadata["mlops"]["classes"] == [False, True]
        assert (folder / "input_example.json").is_file()


def test_the_same_inputs_again_fit_nothing(mlflow_server: Any, run_task: TaskRunner, flights: str) -> None:
    first = run_task(task(flights, model_name="again"))
    again = run_task(task(flights, model_name="again"), run_id="another")
    assert FITS == [57]
    assert again == {**first, "created": False}
    other = run_task(task(flights, model_name="again", train_params={"C": 0.1}))
    assert other["version"] == "2" and len(FITS) == 2
    third = run_task(task(flights, model_name="again"))
    assert third["version"] == "1"
    challenger = MlflowHook().by_alias("again", "challenger")
    assert challenger is not None and challenger.version == "2", "an old training that is repeated challenges nobody"


class Killed(BaseException):
    """What a SIGKILL looks like from inside: nothing after it runs."""


@pytest.mark.parametrize(
    ("step", "fits"),
    [("log_model", 2), ("write", 2), ("register", 1), ("find_version", 1), ("challenge", 1), ("set_alias", 1)],
)
def test_killed_between_two_steps_and_retried(
    mlflow_server: Any, run_task: TaskRunner, flights: str, monkeypatch: pytest.MonkeyPatch, step: str, fits: int
) -> None:
    name = f"killed-{step}"
    original = getattr(MlflowHook, step)
    calls: list[int] = []

    def kill(self: MlflowHook, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if step == "find_version" and len(calls) < 3:  # the third look is after the version was created
            return original(self, *args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MlflowHook, step, kill)
        with pytest.raises(Killed):
            run_task(task(flights, model_name=name))
    result = run_task(task(flights, model_name=name), try_number=2)
    hook = MlflowHook()
    assert [v.version for v in hook.versions(name)] == ["1"] == [result["version"]]
    assert hook.versions(name)[0].aliases == ("challenger",)
    assert hook.versions(name)[0].run_id == result["run_id"]
    assert len(FITS) == fits
    experiment = hook.experiment_id(name)
    assert list(hook.get_conn().search_runs([experiment], "attributes.status = 'RUNNING'")) == []
    assert len(hook.history(name, kinds=["training"])) == 1


def test_an_error_while_logging_leaves_no_open_run_and_no_version(
    mlflow_local: Path, run_task: TaskRunner, flights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(self: MlflowHook, *args: Any) -> None:
        raise MlflowUnavailable("mlflow_default", "gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowHook, "write", unavailable)
        with pytest.raises(MlflowUnavailable):
            run_task(task(flights))
    hook = MlflowHook()
    assert hook.versions("delays") == [] and hook.history("delays") == []
    runs = hook.get_conn().search_runs([hook.experiment_id("delays")])
    assert [r.info.status for r in runs] == ["FAILED"]
    assert run_task(task(flights))["version"] == "1"


def test_a_long_record_comes_back_whole(mlflow_local: Path, run_task: TaskRunner, flights: str) -> None:
    many = {f"x{i:03}_{'w' * 40}": float(i) for i in range(100)}
    wide = flights.replace("flights", "wide")
    pd.read_parquet(flights).assign(**many).to_parquet(wide)
    result = run_task(task(wide, features=["hour", "wind", *many]))
    found = MlflowHook().find_record_by_run(result["run_id"])
    assert found is not None and len(json.dumps(found.body)) > 5000
    assert found.body["training_key"] == result["training_key"]


def test_the_projects_own_code_travels_inside(
    mlflow_local: Path, run_task: TaskRunner, flights: str, tmp_path: Path
) -> None:
    import os
    import subprocess
    import sys

    complete = tmp_path / "complete.parquet"
    pd.read_parquet(flights).dropna().to_parquet(complete)
    result = run_task(task(str(complete), train=fit_with_own_preparation))
    hook = MlflowHook()
    version = hook.version("delays", result["version"])
    assert version is not None
    with hook.model_files(version) as folder:
        elsewhere = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys, cloudpickle, pandas as pd; m = cloudpickle.load(open(sys.argv[1], 'rb')); "
                "print(len(m.predict(pd.DataFrame({'hour': [1.0], 'wind': [2.0]}))))",
                str(next(folder.glob("model.pkl"))),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        )
    assert elsewhere.stdout.strip() == "1", elsewhere.stderr[-2000:]


def test_a_search_never_looks_ahead(mlflow_local: Path, run_task: TaskRunner, flights: str) -> None:
    result = run_task(
        task(
            flights,
            train=make_pipeline(SimpleImputer(), LogisticRegression()),
            param_grid={"logisticregression__C": [0.1, 1.0]},
            scoring="roc_auc",
            folds=3,
        )
    )
    assert result["metrics"]["cv_candidates"] == 2 and 0 <= result["metrics"]["cv_score_mean"] <= 1


def test_regression(mlflow_local: Path, run_task: TaskRunner, flights: str) -> None:
    result = run_task(task(_typed(flights), train=Ridge(), target="hour", features=["late_"], problem="regression"))
    assert result["created"]


def _typed(flights: str) -> str:
    frame = pd.read_parquet(flights)
    path = flights.replace("flights", "typed")
    frame.assign(late_=frame["late"].fillna(False).astype(float)).to_parquet(path)
    return path


def broken(flights: str, **columns: Any) -> str:
    path = flights.replace("flights", "broken")
    pd.read_parquet(flights).assign(**columns).to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({"late": None}, {}, "all 60 labels"),
        ({"late": True}, {}, "at least two classes"),
        ({"wind": float("inf")}, {}, "infinite values in 'wind' \\(57\\)"),
        ({}, {"features": ["hour", "winds"]}, "no column 'winds' \\(nearest: 'wind'\\)"),
        ({}, {"target": "lates"}, "no column 'lates'"),
        ({}, {"train": LogisticRegression()}, "put an imputer into the pipeline"),
        ({}, {"train": lambda X, y: None}, "has no predict"),
        ({}, {"train": lambda X, y: LogisticRegression()}, "not fitted"),
        ({}, {"train": lambda X, y: 1 / 0}, "ZeroDivisionError"),
        ({}, {"features": ["hour", "late"]}, "told the answer"),
        ({}, {"problem": "clustering"}, "unknown problem"),
        ({}, {"positive_label": "late"}, "is no label"),
        ({}, {"param_grid": {"C": [1]}}, "param_grid needs an estimator"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_the_reason(
    mlflow_local: Path,
    run_task: TaskRunner,
    flights: str,
    columns: dict[str, Any],
    changes: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(TrainingFailed, match=message) as caught:
        run_task(task(broken(flights, **columns), **changes))
    assert run_task.last is not None
    published = run_task.last.xcoms["return_value"]
    assert published["version"] is None and published == caught.value.report
    hook = MlflowHook()
    assert hook.versions("delays") == []
    assert {r.outcome for r in hook.history("delays")} <= {"failed"}


def test_no_rows_and_no_file(mlflow_local: Path, run_task: TaskRunner, flights: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound):
        run_task(task(str(tmp_path / "absent.parquet")))
    with pytest.raises(TrainingFailed, match=r"no rows|empty|zero rows|0 rows"):
        run_task(task(DatasetRef(uri=flights, filters=[("hour", ">", 99)])))


def test_rows_that_changed_since_they_were_validated_are_refused(
    mlflow_local: Path, run_task: TaskRunner, flights: str
) -> None:
    first = run_task(task(flights))
    pd.read_parquet(flights).head(50).to_parquet(flights)
    with pytest.raises(TrainingFailed, match="changed since it was resolved upstream"):
        run_task(task(first["data"]))
