"""EvaluateModelOperator against MLflow's embedded default and a real server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound
from airflow_mlops.core.evaluation import Evaluation
from airflow_mlops.core.gates import GatePolicy, Value, judge
from airflow_mlops.core.metrics import metric
from airflow_mlops.engines import engine_for
from airflow_mlops.exceptions import EvaluationFailed, GateRejected, MlflowUnavailable
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.evaluation import EvaluateModelOperator
from airflow_mlops.operators.gates import GateOperator
from airflow_mlops.operators.training import TrainModelOperator


def frame(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.normal(size=n)
    late = (x + 0.5 * z + rng.normal(size=n) > 0.8).astype(int)
    return pd.DataFrame({"x": x, "z": z, "carrier": rng.choice(["AA", "UA"], n), "late": late})


def fit(X: pd.DataFrame, y: Any, C: float = 1.0) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C).fit(X, y)


def write(folder: Path, name: str, rows: pd.DataFrame) -> DatasetRef:
    path = folder / f"{name}.parquet"
    rows.to_parquet(path)
    ref = DatasetRef(uri=str(path))
    return engine_for(ref).resolve(ref)


@pytest.fixture
def holdout(tmp_path: Path) -> DatasetRef:
    return write(tmp_path, "holdout", frame(400, 2))


@pytest.fixture
def train(tmp_path: Path, mlflow_local: Path, run_task: Any) -> Iterator[Callable[..., dict[str, Any]]]:
    """Train a version of ``flights``; with ``features`` to make a weaker one."""
    data = write(tmp_path, "train", frame(400, 1))

    def make(**options: Any) -> dict[str, Any]:
        options = {"features": ["x", "z"], "train": fit, "requirements": ["scikit-learn"], **options}
        return run_task(
            TrainModelOperator(
                task_id="train", model_name="flights", data=data, target="late", data_until="2013-04", **options
            )
        )

    yield make


def evaluate(run_task: Any, candidate: Any, data: Any, **options: Any) -> dict[str, Any]:
    options = {"metrics": ["roc_auc", "log_loss"], "replicates": 200, **options}
    return run_task(
        EvaluateModelOperator(
            task_id="evaluate", model_name="flights", candidate=candidate, data=data, target="late", **options
        )
    )


def test_candidate_and_champion_on_the_same_rows(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    hook = MlflowHook()
    champion = train(features=["x"])
    hook.set_alias("flights", "champion", champion["version"])
    candidate = train()
    result = evaluate(run_task, candidate, holdout, slices=["carrier"], latency_calls=5)
    evaluation = Evaluation.from_dict(result)
    assert evaluation.candidate.version == candidate["version"]
    assert evaluation.candidate.model_digest == candidate["model_digest"]
    assert evaluation.candidate.data_until == "2013-04"
    assert (evaluation.champion.state, evaluation.champion.version) == ("scored", champion["version"])
    assert (evaluation.rows, evaluation.dropped, evaluation.data_digest) == (400, 0, holdout.digest)
    auc = evaluation.figure("roc_auc")
    assert auc.candidate > auc.champion > auc.baseline == 0.5
    assert auc.bound(0.9) is not None
    assert {(s.by, s.value) for s in evaluation.slices} == {("carrier", "AA"), ("carrier", "UA")}
    assert set(evaluation.candidate.details["signature"]["inputs"]) == {"x", "z"}
    assert evaluation.candidate.details["latency_ms"]["p95"] > 0
    assert evaluation.candidate.details["size_bytes"] > 0

    from sklearn.metrics import roc_auc_score

    rows = engine_for(holdout).read(holdout)
    model = hook.load_model(hook.version("flights", candidate["version"]))
    expected = roc_auc_score(rows["late"], model.predict_proba(rows[["x", "z"]])[:, 1])
    assert auc.candidate == pytest.approx(expected, abs=1e-12)

    record = hook.find_record("flights", "evaluation", result["record"]["key"])
    assert record.run_id == result["record"]["run_id"]
    assert record.metrics["roc_auc"] == auc.candidate
    run = hook.get_conn().get_run(candidate["run_id"])
    assert run.data.metrics["holdout_roc_auc"] == auc.candidate
    profile = hook.load_profile(hook.version("flights", candidate["version"]), "predictions")
    assert profile.rows == 400 and set(profile.columns) == {"prediction", "score"}
    assert hook.read_json(candidate["run_id"], "calibration.json")["rows"] == 400


def test_the_same_inputs_again_find_the_record_and_score_nothing(
    train: Any, holdout: DatasetRef, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_mlops.operators import _evaluating as module

    loaded: list[Any] = []
    original = module.ask

    def ask(hook: Any, version: Any, *args: Any, **options: Any) -> Any:
        loaded.append(version)
        return original(hook, version, *args, **options)

    monkeypatch.setattr(module, "ask", ask)
    candidate = train()
    first = evaluate(run_task, candidate, holdout)
    assert len(loaded) == 2
    again = evaluate(run_task, candidate["version"], holdout)
    assert len(loaded) == 2
    assert again == first
    other = evaluate(run_task, candidate, holdout, seed=1)
    assert len(loaded) == 4
    assert other["record"] != first["record"]


def test_without_a_champion(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    evaluation = Evaluation.from_dict(evaluate(run_task, train(), holdout))
    assert evaluation.champion.state == "missing"
    assert evaluation.figure("roc_auc").champion is None


def broken(hook: MlflowHook, trained: dict[str, Any]) -> None:
    """The registered files are no longer what they were."""
    version = hook.version("flights", trained["version"])
    uri = hook.get_conn().get_model_version_download_uri("flights", version.version)
    [pickled] = [p for p in Path(uri.removeprefix("file://")).rglob("model.*") if p.suffix in (".pkl", ".skops")]
    pickled.write_bytes(b"not a model")


def test_a_champion_that_can_not_be_loaded_is_an_error(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    hook = MlflowHook()
    champion = train(features=["x"])
    hook.set_alias("flights", "champion", champion["version"])
    broken(hook, champion)
    evaluation = Evaluation.from_dict(evaluate(run_task, train(), holdout))
    assert (evaluation.champion.state, evaluation.champion.version) == ("error", champion["version"])
    assert "digest" in evaluation.champion.error
    assert evaluation.figure("roc_auc").candidate is not None


def test_a_candidate_that_can_not_be_loaded_is_recorded_as_one(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    candidate = train()
    broken(MlflowHook(), candidate)
    result = evaluate(run_task, candidate, holdout)
    assert result["candidate"]["state"] == "error"
    assert result["metrics"][0]["candidate"] is None
    assert MlflowHook().find_record_by_run(result["record"]["run_id"]).outcome == "error"


def test_a_model_that_lacks_a_column_is_an_error_of_the_model(train: Any, tmp_path: Path, run_task: Any) -> None:
    holdout = write(tmp_path, "narrow", frame(300, 3).drop(columns="z"))
    hook = MlflowHook()
    champion = train()
    hook.set_alias("flights", "champion", champion["version"])
    result = evaluate(run_task, train(features=["x"]), holdout)
    assert result["champion"]["state"] == "error"
    assert "'z'" in result["champion"]["error"]
    assert result["candidate"]["state"] == "scored"


def test_an_error_is_tried_again(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    """What could not be loaded may be there tomorrow: it is no result that these inputs always have."""
    hook = MlflowHook()
    candidate = train()
    version = hook.version("flights", candidate["version"])
    folder = Path(hook.get_conn().get_model_version_download_uri("flights", version.version).removeprefix("file://"))
    folder.rename(folder.with_name("elsewhere"))
    assert evaluate(run_task, candidate, holdout)["candidate"]["state"] == "error"
    folder.with_name("elsewhere").rename(folder)
    assert evaluate(run_task, candidate, holdout)["candidate"]["state"] == "scored"


def test_a_users_metric(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    def missed(y, output):
        return float(((y == 1) & (output == 0)).sum())

    candidate = train()
    result = evaluate(run_task, candidate, holdout, metrics=["roc_auc", metric(missed, higher_is_better=False)])
    assert result["metrics"][1]["direction"] == "lower"
    assert result["metrics"][1]["candidate"] > 0


def test_regression(tmp_path: Path, train: Any, run_task: Any) -> None:
    from sklearn.linear_model import LinearRegression

    rows = frame(300, 4).assign(late=lambda f: f["x"] * 2 + f["z"])
    data = write(tmp_path, "numbers", rows.drop(columns="carrier"))
    trained = run_task(
        TrainModelOperator(
            task_id="train",
            model_name="flights",
            train=LinearRegression(),
            data=data,
            target="late",
            problem="regression",
            requirements=["scikit-learn"],
        )
    )
    result = evaluate(run_task, trained, data, metrics=["rmse", "r2"])
    assert result["task"] == "regression"
    assert result["metrics"][0]["candidate"] < 1e-6 < result["metrics"][0]["baseline"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.iloc[:0], "no rows"),
        (lambda f: f.assign(late=1), "one class"),
        (lambda f: f.assign(late=None).astype({"late": "float"}), "all 400 labels in 'late' are missing"),
        (lambda f: f.rename(columns={"late": "delayed"}), "no column 'late'"),
    ],
)
def test_rows_that_can_judge_nothing(
    train: Any, tmp_path: Path, run_task: Any, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    change(frame(400, 2)).to_parquet(tmp_path / "bad.parquet")
    candidate = train()
    with pytest.raises(EvaluationFailed) as failed:
        evaluate(run_task, candidate, str(tmp_path / "bad.parquet"))
    assert said in str(failed.value)
    assert isinstance(failed.value, AirflowFailException)
    assert said in run_task.last.xcoms["return_value"]["error"]["message"]


def test_rows_without_a_label_are_dropped_and_counted(train: Any, tmp_path: Path, run_task: Any) -> None:
    rows = frame(400, 2).astype({"late": "float"})
    rows.loc[:49, "late"] = np.nan
    rows.to_parquet(tmp_path / "some.parquet")
    result = evaluate(run_task, train(), str(tmp_path / "some.parquet"))
    assert (result["rows"], result["dropped"]) == (350, 50)


def test_rows_that_changed_since_they_were_resolved(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    frame(400, 99).to_parquet(holdout.uri)
    candidate = train()
    with pytest.raises(EvaluationFailed, match="changed since it was resolved"):
        evaluate(run_task, candidate, holdout)


def test_misuse(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    candidate = train()
    for options, said in [
        ({"metrics": ["roc_acu"]}, "did you mean 'roc_auc'"),
        ({"metrics": ["roc_auc", "rmse"]}, "can't be of one task"),
        ({"slices": ["carier"]}, "no column 'carier'"),
        ({"slices": "carrier"}, "slices must be a list"),
        ({"baseline": "priro"}, "did you mean 'prior'"),
        ({"positive_label": 7}, "none of the labels"),
    ]:
        with pytest.raises(EvaluationFailed, match=said):
            evaluate(run_task, candidate, holdout, **options)
    for wrong, said in [
        ("99", "no version '99'"),
        ("", "candidate must be"),
        (None, "candidate must be"),
        ({**candidate, "model_name": "churn"}, "a version of 'churn'"),
    ]:
        with pytest.raises(EvaluationFailed, match=said):
            evaluate(run_task, wrong, holdout)
    with pytest.raises(DatasetNotFound):
        evaluate(run_task, candidate, "/nowhere/at/all.parquet")


def test_mlflow_that_does_not_answer_is_retryable(
    holdout: DatasetRef, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", "mlflow://user:hidden-word@127.0.0.1:9")
    with pytest.raises(MlflowUnavailable, match="mlflow_default") as failed:
        evaluate(run_task, "1", holdout)
    assert "hidden-word" not in str(failed.value)
    assert not isinstance(failed.value, AirflowFailException)


class Spiteful:
    """A model that does harm when it is asked."""

    def __init__(self, harm: str):
        self.harm = harm
        self.classes_ = [0, 1]

    def predict(self, X: pd.DataFrame) -> Any:
        if len(X) > 50:  # it behaved while it was logged
            if self.harm == "exit":
                os._exit(7)
            if self.harm == "memory":
                return np.ones((len(X), 10**9))
            signal.pause()
        return np.zeros(len(X), dtype=int)


@pytest.mark.parametrize(
    ("who", "harm", "said"),
    [
        ("candidate", "exit", "exit code 7"),
        ("candidate", "memory", "2000 MB of memory"),
        ("candidate", "hang", "still running after"),
        ("champion", "exit", "exit code 7"),
    ],
)
def test_a_model_that_takes_its_process_down_is_a_verdict_on_it(
    train: Any, holdout: DatasetRef, run_task: Any, who: str, harm: str, said: str
) -> None:
    good, bad = train(), train(train=lambda X, y: Spiteful(harm))
    hook = MlflowHook()
    candidate, champion = (bad, good) if who == "candidate" else (good, bad)
    hook.set_alias("flights", "champion", champion["version"])
    options = {"memory_limit_mb": 2000, "time_limit_seconds": 20 if harm == "hang" else 120}
    evaluation = Evaluation.from_dict(evaluate(run_task, candidate, holdout, **options))
    states = {"candidate": evaluation.candidate, "champion": evaluation.champion}
    assert said in states[who].error
    assert [w for w, c in states.items() if not c.scored] == [who]
    figure = evaluation.figure("roc_auc")
    assert getattr(figure, who) is None
    assert judge(evaluation, GatePolicy(checks=[Value("roc_auc", lower=0.0)])).decision == "reject"


def test_a_model_is_never_told_the_label(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    told = train(features=["x"])
    result = evaluate(run_task, told, holdout, metrics=["accuracy"], features=["x", "late"])
    evaluation = Evaluation.from_dict(result)
    assert "takes the label 'late' itself" in evaluation.candidate.error
    assert judge(evaluation, GatePolicy(checks=[Value("accuracy", lower=0.0)])).decision == "reject"


def test_the_gate_takes_an_evaluation_as_it_was_recorded(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    result = evaluate(run_task, train(), holdout, slices=["carrier"])
    policy = GatePolicy(checks=[Value("roc_auc", lower=0.5)])
    assert run_task(GateOperator(task_id="gate", evaluation=result, policy=policy))["decision"] == "pass"
    result["metrics"][0]["candidate"] += 1e-6
    with pytest.raises(GateRejected, match="as it was recorded"):
        run_task(GateOperator(task_id="gate", evaluation=result, policy=policy))


def test_what_else_is_found_out(train: Any, holdout: DatasetRef, tmp_path: Path, run_task: Any) -> None:
    rows = frame(400, 2).assign(day=pd.date_range("2013-05-01", periods=400, freq="h"))
    rows.iloc[:100, :4] = frame(400, 1).iloc[:100]  # rows that taught the candidate
    data, candidate = write(tmp_path, "part", rows), train()
    options = {
        "baseline": ["prior", "linear"],
        "slices": ["carrier", {"column": "x", "bins": [0]}, {"name": "east", "where": [["z", ">", 1]]}],
        "training_data": candidate,
        "time_column": "day",
        "metrics": ["roc_auc", "ece", "accuracy"],
    }
    evaluation = Evaluation.from_dict(evaluate(run_task, candidate, data, **options))
    assert evaluation.candidate.details["parity"] == {"rows": 100, "differing": 0, "max_difference": 0.0}
    assert [f["name"] for f in evaluation.importances["features"]] == ["x", "z"]
    assert evaluation.leakage["duplicates"] == {"rows": 400, "share": 0.25, "training": candidate["data"]["digest"]}
    assert evaluation.leakage["repeated"] == {"rows": 400, "share": 0.0}
    assert evaluation.leakage["time"]["begins"].startswith("2013-05-01")
    assert set(evaluation.leakage["features"]["scores"]) == {"x", "z"}
    auc, accuracy = evaluation.figure("roc_auc"), evaluation.figure("accuracy")
    assert auc.baseline == 0.5 and auc.baselines["linear"] > 0.7
    assert (auc.known_interval["method"], accuracy.known_interval["method"]) == ("delong", "clopper_pearson")
    assert auc.interval()[0] < auc.candidate < auc.interval()[1]
    assert {(s.by, s.value) for s in evaluation.slices} >= {("x", "<= 0"), ("x", "> 0"), ("east", "yes")}
    assert all(set(s.counts) == {"positives", "selected", "true_positives"} for s in evaluation.slices)
    policy = {
        "checks": [
            "prediction_parity",
            {"no_leakage": {"time_order": True}},
            {"beats_baseline": {"metric": "roc_auc"}},
            {"calibration": {"upper": 0.2, "confidence": 0.9}},
            {"fairness": {"metric": "selection_rate", "by": "carrier", "max_difference": 0.5}},
        ]
    }
    decision = judge(evaluation, GatePolicy.of(policy))
    assert decision.decision == "pass", decision.reasons
    policy["checks"].append({"no_leakage": {"max_duplicates": 0.01}})
    assert "among the training rows" in judge(evaluation, GatePolicy.of(policy)).reasons[0]


class Forgetful:
    """A model whose answers depend on what else it is asked at the same time."""

    classes_ = (0, 1)

    def predict(self, X: pd.DataFrame) -> Any:
        return (np.arange(len(X)) > len(X) / 2).astype(int)


def test_a_model_that_needs_all_rows_at_once_has_no_parity(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    result = evaluate(
        run_task, train(train=lambda X, y: Forgetful()), holdout, metrics=["accuracy"], parity_rows=20, seed=5
    )
    assert result["candidate"]["details"]["parity"]["differing"] > 0
    decision = judge(Evaluation.from_dict(result), GatePolicy.of({"checks": ["prediction_parity"]}))
    assert "labels differ" in decision.reasons[0]


def test_any_flavour_through_pyfunc(mlflow_local: Path, holdout: DatasetRef, tmp_path: Path, run_task: Any) -> None:
    import mlflow

    class Generic(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return 1 / (1 + np.exp(-2 * model_input["x"].to_numpy(dtype=float)))

    hook = MlflowHook()
    files = tmp_path / "generic"
    example = frame(10, 1)[["x"]]
    signature = mlflow.models.infer_signature(example, np.array([0.5]))
    mlflow.pyfunc.save_model(files, python_model=Generic(), signature=signature, pip_requirements=[])
    client = hook.get_conn()
    client.create_registered_model("flights")
    version = client.create_model_version("flights", files.as_uri())
    evaluation = Evaluation.from_dict(evaluate(run_task, str(version.version), holdout))
    assert evaluation.candidate.scored, evaluation.candidate.error
    figure = evaluation.figure("roc_auc")
    rows = frame(400, 2)
    from sklearn.metrics import roc_auc_score

    assert figure.candidate == pytest.approx(roc_auc_score(rows["late"], rows["x"]))
    assert evaluation.figure("log_loss").candidate is not None
    assert [f["name"] for f in evaluation.importances["features"]] == ["x"]
