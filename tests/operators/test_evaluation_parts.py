"""An evaluation of more rows than are held at once, of rows that are kept, explained and told apart by group."""

from __future__ import annotations

import gc
import importlib.util
import sys
import tracemalloc
import weakref
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict
from airflow_mlops.core.evaluation import Evaluation
from airflow_mlops.core.gates import Fairness, GatePolicy, judge
from airflow_mlops.exceptions import EvaluationFailed
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators import _child, _evaluating, _frozen
from airflow_mlops.operators._spool import in_memory, spooled
from tests.operators.test_evaluation import evaluate, frame, holdout, train, write

__all__ = ["holdout", "train"]


def test_parts_give_the_figures_of_the_whole(train: Any, tmp_path: Path, run_task: Any, monkeypatch: Any) -> None:
    rows = frame(700, 5)
    rows.loc[::50, "late"] = None
    rows["late"] = rows["late"].astype("Int64")
    data = write(tmp_path, "some", rows)
    hook = MlflowHook()
    hook.set_alias("flights", "champion", train(features=["x"])["version"])
    candidate = train()
    options = {
        "slices": ["carrier", {"name": "far", "where": [["x", ">", 0]]}],
        "baseline": ["prior", "linear"],
        "training_data": str(tmp_path / "train.parquet"),
        "time_column": "x",
        "importance_repeats": 1,
        "fairness": ["carrier"],
    }
    found = {}
    for size in (100_000, 97):
        # The second one is not allowed to find the record of the first: the size of a part is no input.
        monkeypatch.setattr(MlflowHook, "find_record", lambda self, model, kind, key: None)
        found[size] = evaluate(run_task, candidate, data, batch_rows=size, **options)
    whole, parts = (Evaluation.from_dict(f) for f in found.values())
    assert whole.rows == 686 and whole.dropped == 14
    for one, other in zip(
        [f for e in (whole,) for f in (*e.metrics, *(g for s in e.slices for g in s.metrics))],
        [f for e in (parts,) for f in (*e.metrics, *(g for s in e.slices for g in s.metrics))],
        strict=True,
    ):
        assert (one.metric, one.baseline) == (other.metric, other.baseline)
        assert other.candidate == pytest.approx(one.candidate, abs=1e-12)
        assert other.champion == pytest.approx(one.champion, abs=1e-12)
        assert other.baselines == pytest.approx(one.baselines, abs=1e-9)
        assert other.interval() == pytest.approx(one.interval(), abs=1e-9)
    assert parts.leakage == whole.leakage and parts.fairness == whole.fairness
    assert [s.counts for s in parts.slices] == [s.counts for s in whole.slices]
    assert parts.candidate.details["parity"]["differing"] == 0
    assert parts.config == whole.config


def test_no_more_than_a_part_is_held() -> None:
    """Ten parts of 5,000 rows by 40 columns, 16 MB: the spool holds one, the one before and the columns it keeps."""
    alive: list[weakref.ref[pd.DataFrame]] = []
    most = 0

    def batches() -> Any:
        nonlocal most
        for i in range(10):
            one = pd.DataFrame(np.random.default_rng(i).normal(size=(5_000, 40))).rename(columns=str)
            alive.append(weakref.ref(one))
            gc.collect()
            most = max(most, sum(r() is not None for r in alive))
            yield one
            del one

    tracemalloc.start()
    try:
        with spooled(batches(), ["0"]) as (columns, rows_where):
            rows = rows_where(columns["0"].to_numpy() > 0)
            total = sum(part["1"].sum() for part in rows)
            few = rows.take([0, len(rows) // 2, len(rows) - 1])
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    whole = pd.concat(
        [pd.DataFrame(np.random.default_rng(i).normal(size=(5_000, 40))).rename(columns=str) for i in range(10)]
    )
    whole = whole[whole["0"] > 0].reset_index(drop=True)
    assert most <= 2
    assert peak < 8_000_000 < 16_000_000
    assert total == pytest.approx(whole["1"].sum())
    pd.testing.assert_frame_equal(few, whole.iloc[[0, len(whole) // 2, len(whole) - 1]].reset_index(drop=True))


def test_rows_put_aside_that_a_model_changed_judge_nothing() -> None:
    parts = [pd.DataFrame({"x": [1, 2]}), pd.DataFrame({"x": [3, 4]})]
    with spooled(iter(parts), ["x"]) as (columns, rows_where):
        rows = rows_where(np.ones(len(columns), dtype=bool))
        assert [len(p) for p in rows] == [2, 2]
        path = rows._parts[1][0]
        pd.DataFrame({"x": [9, 9]}).to_pickle(path)
        with pytest.raises(Conflict, match="changed meanwhile"):
            list(rows)


def test_take_of_one_part_and_of_none() -> None:
    rows = in_memory(pd.DataFrame({"x": [1, 2, 3]}))
    assert rows.take([0, 2])["x"].tolist() == [1, 3]
    assert len(rows.take([])) == 0 and list(rows.take([]).columns) == ["x"]


def test_the_rows_are_kept_once_and_read_when_they_are_gone(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    hook = MlflowHook()
    first = evaluate(run_task, train(), holdout)
    assert first["frozen"]["kept"] is True and first["frozen"]["read"] == "source"
    evaluate(run_task, train(features=["x"]), holdout)
    assert len(hook.history("flights", kinds=["evaluation_set"])) == 1
    Path(holdout.uri).unlink()
    again = evaluate(run_task, train(features=["z"]), holdout)
    assert again["frozen"] == {**first["frozen"], "read": "copy"}
    assert again["rows"] == 400 and again["data"]["digest"] == holdout.digest
    page = hook.read_text(again["record"]["run_id"], "evaluation.html")
    assert "read from the copy" in page
    # Others under the same name are not the rows of the reference either.
    frame(400, 77).to_parquet(holdout.uri)
    third = evaluate(run_task, train(features=["x"]), holdout, seed=3)
    assert third["frozen"]["read"] == "copy" and third["data"]["digest"] == holdout.digest


def test_a_kept_copy_that_was_changed_is_refused(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    hook = MlflowHook()
    first = evaluate(run_task, train(), holdout)
    other = Path(holdout.uri).with_name("rows.parquet")
    frame(400, 9).to_parquet(other)
    hook.get_conn().log_artifact(first["frozen"]["run_id"], str(other))
    Path(holdout.uri).unlink()
    with pytest.raises(EvaluationFailed, match="is not what was kept"):
        evaluate(run_task, train(features=["x"]), holdout)


def test_rows_past_the_limit_are_pinned_by_digest_only(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    found = evaluate(run_task, train(), holdout, keep_rows_mb=0)
    assert "kept" not in found["frozen"] and found["frozen"]["why"] == "keep_rows_mb is 0"
    copy = _frozen.Copy(Path(holdout.uri).with_name("copy.parquet"), 1 << 20)
    for seed in range(30):
        copy(pd.DataFrame(np.random.default_rng(seed).normal(size=(20_000, 4))).rename(columns=str))
    assert copy.content() is None and "more than 1 MB" in copy.why and copy.rows == 600_000
    assert not Path(holdout.uri).with_name("copy.parquet").exists()
    mixed = _frozen.Copy(Path(holdout.uri).with_name("copy.parquet"), 1 << 20)
    mixed(pd.DataFrame({"x": [1, "a", object()]}))
    assert mixed.content() is None and "can't be written as Parquet" in mixed.why


def svg(hook: MlflowHook, run_id: str, name: str) -> ElementTree.Element:
    text = hook.read_text(run_id, f"pictures/{name}.svg")
    assert text is not None
    # Self-contained: nothing of it is fetched from anywhere.
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "") and "<script" not in text
    return ElementTree.fromstring(text)


def test_every_figure_interval_and_picture_is_in_mlflow(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    hook = MlflowHook()
    candidate = train()
    found = Evaluation.from_dict(
        evaluate(run_task, candidate, holdout, fairness=["carrier"], explain="shap", explain_rows=20)
    )
    run = hook.get_conn().get_run(found.record["run_id"])
    low, high = found.figure("roc_auc").interval()
    metrics = run.data.metrics
    assert (metrics["roc_auc_lower"], metrics["roc_auc"], metrics["roc_auc_upper"]) == (
        low,
        found.figure("roc_auc").candidate,
        high,
    )
    assert metrics["roc_auc_baseline"] == 0.5 and "roc_auc_champion" not in metrics
    assert metrics["roc_auc/carrier/AA"] == found.slices[0].metrics[0].candidate
    assert metrics["importance/x"] > metrics["importance/z"] > 0
    (right, alarms), (missed, hits) = found.confusion["candidate"]
    assert sum((right, alarms, missed, hits)) == found.rows and found.confusion["classes"] == ["0", "1"]
    names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    assert [metrics[f"confusion/{n}"] for n in names] == [right, alarms, missed, hits]
    ours = hook.get_conn().get_run(candidate["run_id"]).data.metrics
    assert (ours["holdout_roc_auc_lower"], ours["holdout_roc_auc_upper"]) == (low, high)
    for name in ("intervals", "importance", "shap", "shap_rows", "fairness_carrier"):
        told = "".join(svg(hook, run.info.run_id, name).itertext())
        assert ("x" if name != "fairness_carrier" else "AA") in told
    page = hook.read_text(run.info.run_id, "evaluation.html")
    assert "By group" in page and "What the candidate took for what" in page and f"<strong>{hits}</strong>" in page
    assert found.explanations["method"] == "shap" and found.explanations["rows"] == 20
    assert [f["name"] for f in found.explanations["features"]] == ["x", "z"]
    points = hook.read_json(run.info.run_id, "explanations/shap.json")["points"]
    assert {len(v) for v in points.values()} == {20}


def test_an_extra_that_is_not_there_is_said_and_named(
    train: Any, holdout: DatasetRef, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert importlib.util.find_spec("shap") and importlib.util.find_spec("fairlearn")
    monkeypatch.setitem(sys.modules, "shap", None)
    monkeypatch.setitem(sys.modules, "fairlearn", None)
    monkeypatch.setattr(_child, "forkable", lambda: True)  # a new interpreter would find them again
    found = Evaluation.from_dict(evaluate(run_task, train(), holdout, fairness=["carrier"], explain="shap"))
    assert found.explanations["method"] == "permutation" and "airflow-mlops[explain]" in found.explanations["note"]
    assert [f["name"] for f in found.importances["features"]] == ["x", "z"]
    assert found.fairness["with"] == "own counts" and "airflow-mlops[fairness]" in found.fairness["note"]
    page = MlflowHook().read_text(found.record["run_id"], "evaluation.html")
    assert "importances by shuffling stand instead" in page and "airflow-mlops[fairness]" in page
    policy = GatePolicy(checks=[Fairness("selection_rate", by="carrier", max_difference=0.9)])
    assert judge(found, policy).decision == "pass"


def test_an_explanation_that_takes_too_long_costs_nothing_else(train: Any, holdout: DatasetRef, run_task: Any) -> None:
    found = Evaluation.from_dict(evaluate(run_task, train(), holdout, explain="shap", explain_seconds=0.05))
    assert "still running after 0.05 s" in found.explanations["note"]
    assert found.candidate.scored and found.importances["features"]


def test_a_ranking_is_judged_by_query(train: Any, tmp_path: Path, run_task: Any) -> None:
    rows = frame(400, 2).assign(session=np.arange(400) // 8)
    data = write(tmp_path, "sessions", rows)
    candidate = train()
    options = {"metrics": ["ndcg@5", "mrr"], "query_column": "session", "batch_rows": 90, "latency_calls": 0}
    options["importance_rows"] = 165
    found = Evaluation.from_dict(evaluate(run_task, candidate, data, **options))
    hook = MlflowHook()
    scores = hook.load_model(hook.version("flights", candidate["version"])).predict_proba(rows[["x", "z"]])[:, 1]
    late, ranks = rows["late"].to_numpy(), []
    for q in range(50):
        here = slice(8 * q, 8 * q + 8)
        ranked = late[here][np.argsort(-scores[here])]
        ranks += [1 / (1 + ranked.argmax())] if ranked.any() else []
    assert found.figure("mrr").candidate == pytest.approx(np.mean(ranks))
    low, high = found.figure("mrr").interval()
    assert low < np.mean(ranks) < high
    metrics = hook.get_conn().get_run(found.record["run_id"]).data.metrics
    assert metrics["mrr"] == found.figure("mrr").candidate and metrics["ndcg_5_lower"] > 0
    told = {f["name"]: f["mean"] for f in found.importances["features"]}
    assert found.importances["rows"] == 160, "whole sessions of 8, no more than were asked for"
    assert told["x"] > told["z"] > 0
    with pytest.raises(EvaluationFailed, match="say which column tells the query"):
        evaluate(run_task, candidate, data, metrics=["mrr"])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"explain": "lime"}, "unknown explain 'lime'"),
        ({"batch_rows": 0}, "batch_rows must be a whole number of at least 1"),
        ({"keep_rows_mb": -1}, "keep_rows_mb must be"),
        ({"fairness": "carrier"}, "fairness must be a list of columns"),
        ({"fairness": ["nowhere"]}, "no column 'nowhere'"),
    ],
)
def test_what_can_not_be_asked_for(train: Any, holdout: DatasetRef, run_task: Any, option: Any, said: str) -> None:
    with pytest.raises(EvaluationFailed, match=said):
        evaluate(run_task, train(), holdout, **option)
    assert _evaluating.EXPLAIN == ("permutation", "shap")
