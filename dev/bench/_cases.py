"""What ``overhead.py`` measures: each operator, and the same work as a script would do it with the libraries alone.

Both sides of a case read the same files and talk to the same MLflow server. A bare side keeps no promise of its
operator's: no digest, no key, no record that is found again, no check of what it was given; it is the floor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

TARGET = "late"
NUMBERS = [f"x{i}" for i in range(8)]
FEATURES = [*NUMBERS, "carrier"]


@dataclasses.dataclass
class World:
    """Where a side finds its input, and what earlier cases returned.

    :param folder: with ``train.parquet``, ``holdout.parquet``, ``month.parquet``, ``labels.parquet``.
    :param uri: the MLflow server.
    :param model: the registered model of this repetition and side.
    :param results: case -> what its operator returned in this repetition.
    """

    folder: Path
    uri: str
    model: str
    results: dict[str, Any]

    def path(self, name: str) -> str:
        """A file in the folder."""
        return str(self.folder / name)

    @property
    def output(self) -> str:
        """Where this side puts its predictions."""
        return self.path(f"scores-{self.model}.parquet")


def estimator() -> Any:
    """The pipeline that both sides fit."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (StandardScaler(), NUMBERS), (OneHotEncoder(handle_unknown="ignore"), ["carrier"])
    )
    return make_pipeline(columns, LogisticRegression(max_iter=200))


def fit(X: Any, y: Any) -> Any:
    """The training function of the operator's side."""
    return estimator().fit(X, y)


REQUIREMENTS = ["scikit-learn", "pandas"]
SUITE = {
    "name": "flights",
    "expectations": [
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
        *({"type": "expect_column_values_to_not_be_null", "kwargs": {"column": c}} for c in FEATURES),
        *(
            {"type": "expect_column_values_to_be_between", "kwargs": {"column": c, "min_value": -50, "max_value": 50}}
            for c in NUMBERS
        ),
    ],
}


def write_files(folder: Path, rows: int) -> None:
    """The input of all cases: two classes, eight numbers, one category; seeded."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(7)
    for name, seed in (("train", 0), ("holdout", 1), ("month", 2)):
        frame = pd.DataFrame(rng.normal(size=(rows, len(NUMBERS))) + 0.01 * seed, columns=NUMBERS)
        frame["carrier"] = rng.choice(["AA", "B6", "DL", "UA", "WN"], size=rows)
        odds = frame["x0"] - 0.5 * frame["x1"] + (frame["carrier"] == "B6")
        frame[TARGET] = (rng.uniform(size=rows) < 1 / (1 + np.exp(-odds))).astype("int64")
        frame["id"] = range(rows)
        frame.to_parquet(folder / f"{name}.parquet", index=False)
        if name == "month":
            frame[["id", TARGET]].to_parquet(folder / "labels.parquet", index=False)
            frame.drop(columns=TARGET).to_parquet(folder / "unlabelled.parquet", index=False)


# The operators' side ---------------------------------------------------------------------------------------------


def validate(w: World) -> Any:
    from airflow_mlops.operators.validation import ValidateDataOperator

    return ValidateDataOperator(task_id="t", data=w.path("month.parquet"), suite=SUITE)


def profile(w: World) -> Any:
    from airflow_mlops.operators.profile import ProfileDataOperator

    return ProfileDataOperator(task_id="t", data=w.path("month.parquet"))


def train(w: World) -> Any:
    from airflow_mlops.operators.training import TrainModelOperator

    return TrainModelOperator(
        task_id="t",
        model_name=w.model,
        train=fit,
        data=w.path("train.parquet"),
        target=TARGET,
        features=FEATURES,
        requirements=REQUIREMENTS,
        code_version="1",
    )


def evaluate(w: World) -> Any:
    from airflow_mlops.operators.evaluation import EvaluateModelOperator

    return EvaluateModelOperator(
        task_id="t",
        model_name=w.model,
        candidate=w.results["train"],
        data=w.path("holdout.parquet"),
        target=TARGET,
        replicates=200,
    )


def gate(w: World) -> Any:
    from airflow_mlops.operators.gates import GateOperator

    policy = {"checks": [{"value": {"metric": "roc_auc", "lower": 0.5}}]}
    return GateOperator(task_id="t", evaluation=w.results["evaluate"], policy=policy)


def promote(w: World) -> Any:
    from airflow_mlops.operators.promotion import PromoteModelOperator

    return PromoteModelOperator(task_id="t", model_name=w.model, gate=w.results["gate"])


def score(w: World) -> Any:
    from airflow_mlops.operators.scoring import ScoreBatchOperator

    return ScoreBatchOperator(
        task_id="t",
        model_name=w.model,
        data=w.path("unlabelled.parquet"),
        destination=w.output,
        columns_to_keep=["id"],
    )


def drift(w: World) -> Any:
    from airflow_mlops.operators.drift import CheckDriftOperator

    return CheckDriftOperator(task_id="t", model_name=w.model, data=w.path("unlabelled.parquet"))


def performance(w: World) -> Any:
    from airflow_mlops.operators.performance import CheckPerformanceOperator

    return CheckPerformanceOperator(
        task_id="t",
        model_name=w.model,
        predictions=w.results["score"]["data"],
        labels=w.path("labels.parquet"),
        key=["id"],
        target=TARGET,
        policy={"bounds": {"roc_auc": {"lower": 0.5}}, "replicates": 200},
    )


def retrain(w: World) -> Any:
    from airflow_mlops.operators.retraining import DecideRetrainingOperator

    return DecideRetrainingOperator(task_id="t", model_name=w.model, on_keep="return")


# The bare side ---------------------------------------------------------------------------------------------------


def _client(w: World) -> Any:
    import mlflow

    mlflow.set_tracking_uri(w.uri)
    mlflow.set_experiment(w.model)
    return mlflow.MlflowClient()


def _note(w: World, kind: str, body: dict[str, Any]) -> None:
    """A run that remembers an outcome, as a script would log it."""
    import mlflow

    _client(w)
    with mlflow.start_run(run_name=kind, tags={"kind": kind}):
        mlflow.log_dict(body, "record.json")


def _load(w: World, alias: str) -> Any:
    import mlflow

    _client(w)
    return mlflow.sklearn.load_model(f"models:/{w.model}@{alias}")


def bare_validate(w: World) -> None:
    import duckdb

    conditions = ["count(*)", *(f"count({c})" for c in FEATURES)]
    conditions += [f"count(*) filter ({c} not between -50 and 50)" for c in NUMBERS]
    duckdb.sql(f"select {', '.join(conditions)} from '{w.path('month.parquet')}'").fetchall()


def bare_profile(w: World) -> None:
    import duckdb

    duckdb.sql(f"summarize select * from '{w.path('month.parquet')}'").fetchall()


def bare_train(w: World) -> None:
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.metrics import log_loss, roc_auc_score

    frame = pd.read_parquet(w.path("train.parquet"))
    X, y = frame[FEATURES], frame[TARGET]
    client = _client(w)
    with mlflow.start_run():
        model = fit(X, y)
        scores = model.predict_proba(X)[:, 1]
        mlflow.log_params({"max_iter": 200})
        mlflow.log_metrics({"roc_auc": roc_auc_score(y, scores), "log_loss": log_loss(y, scores)})
        mlflow.log_input(mlflow.data.from_pandas(frame, name="train", targets=TARGET), context="training")
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(X.head(100), model.predict(X.head(100))),
            input_example=X.head(5),
            pip_requirements=REQUIREMENTS,
            registered_model_name=w.model,
            serialization_format="cloudpickle",
        )
    client.set_registered_model_alias(w.model, "challenger", str(logged.registered_model_version))


def bare_evaluate(w: World) -> None:
    import numpy as np
    import pandas as pd
    from sklearn.dummy import DummyClassifier
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import roc_auc_score

    frame = pd.read_parquet(w.path("holdout.parquet"))
    model = _load(w, "challenger")
    X, labels = frame[FEATURES], frame[TARGET].to_numpy()
    scores = model.predict_proba(X)[:, 1]
    rng = np.random.default_rng(0)
    picks = (rng.integers(len(labels), size=len(labels)) for _ in range(200))
    spread = np.quantile([roc_auc_score(labels[p], scores[p]) for p in picks], [0.025, 0.975])
    some = np.sort(rng.choice(len(labels), 2000, replace=False))
    shuffled = permutation_importance(
        model, X.iloc[some], labels[some], scoring="roc_auc", n_repeats=5, random_state=0
    ).importances_mean
    again = _load(w, "challenger").predict_proba(X.iloc[some[:100]])[:, 1]
    figures = {
        "roc_auc": roc_auc_score(labels, scores),
        "baseline": roc_auc_score(labels, DummyClassifier().fit(X, labels).predict_proba(X)[:, 1]),
        "parity": float(np.abs(again - scores[some[:100]]).max()),
    }
    importances = dict(zip(FEATURES, shuffled.tolist(), strict=True))
    _note(w, "evaluation", {**figures, "interval": spread.tolist(), "importances": importances})


def bare_gate(w: World) -> None:
    _note(w, "gate", {"decision": "pass", "reasons": ["0.5 <= roc_auc"]})


def bare_promote(w: World) -> None:
    client = _client(w)
    version = client.get_model_version_by_alias(w.model, "challenger").version
    client.set_registered_model_alias(w.model, "champion", version)
    assert client.get_model_version_by_alias(w.model, "champion").version == version
    _note(w, "promotion", {"decision": "promoted", "version": str(version)})


def bare_score(w: World) -> None:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    model = _load(w, "champion")
    frame = pd.read_parquet(w.path("unlabelled.parquet"))
    scores = model.predict_proba(frame[FEATURES])[:, 1]
    table = pa.table({"id": frame["id"], "prediction": scores > 0.5, "score": scores})
    pq.write_table(table, w.output)
    _note(w, "scoring", {"rows": len(frame)})


def bare_drift(w: World) -> None:
    import pandas as pd
    from scipy.stats import chisquare, ks_2samp

    before = pd.read_parquet(w.path("train.parquet"), columns=FEATURES)
    now = pd.read_parquet(w.path("unlabelled.parquet"), columns=FEATURES)
    found = {c: float(ks_2samp(before[c], now[c]).pvalue) for c in NUMBERS}
    expected = before["carrier"].value_counts(normalize=True).sort_index() * len(now)
    found["carrier"] = float(chisquare(now["carrier"].value_counts().sort_index(), expected).pvalue)
    _note(w, "drift", found)


def bare_performance(w: World) -> None:
    import numpy as np
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    joined = pd.read_parquet(w.output).merge(pd.read_parquet(w.path("labels.parquet")), on="id")
    labels, scores = joined[TARGET].to_numpy(), joined["score"].to_numpy()
    rng = np.random.default_rng(0)
    picks = (rng.integers(len(labels), size=len(labels)) for _ in range(200))
    spread = np.quantile([roc_auc_score(labels[p], scores[p]) for p in picks], [0.025, 0.975])
    _note(w, "performance", {"roc_auc": roc_auc_score(labels, scores), "interval": spread.tolist()})


def bare_retrain(w: World) -> None:
    client = _client(w)
    experiment = client.get_experiment_by_name(w.model)
    drifted = client.search_runs([experiment.experiment_id], "tags.kind = 'drift'", max_results=10)
    _note(w, "retraining", {"decision": "keep", "checks": len(drifted)})


Side = Callable[[World], Any]
CASES: dict[str, tuple[Side, Side]] = {
    "validate": (validate, bare_validate),
    "profile": (profile, bare_profile),
    "train": (train, bare_train),
    "evaluate": (evaluate, bare_evaluate),
    "gate": (gate, bare_gate),
    "promote": (promote, bare_promote),
    "score": (score, bare_score),
    "drift": (drift, bare_drift),
    "performance": (performance, bare_performance),
    "retrain": (retrain, bare_retrain),
}
"""In the order of the lifecycle: a case finds what the earlier ones of its side left."""
