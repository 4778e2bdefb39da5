"""Leaks, importance, parity, simple models and parts of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.core.baselines import linear
from airflow_mlops.core.comparison import evaluate
from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.evaluation import Contender, Evaluation
from airflow_mlops.core.examination import digests_of, importances, parity, single_features
from airflow_mlops.core.gates import Fairness, GatePolicy, judge
from airflow_mlops.core.metrics import METRICS, metrics_of
from airflow_mlops.core.outputs import Outputs, Truth, truth_of
from airflow_mlops.core.slicing import SliceBy
from airflow_mlops.operators._findings import places_of_queries
from airflow_mlops.operators._spool import in_memory


def truth(y: Any, task: str = "classification") -> Truth:
    return truth_of(pd.Series(y), task=task)


def rows(n: int = 1000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "x": x,
            "noise": rng.normal(size=n),
            "carrier": rng.choice(["AA", "UA", "HA"], n),
            "id": [f"flight {i}" for i in range(n)],
            "day": pd.date_range("2013-05-01", periods=n, freq="h"),
            "y": (x + rng.normal(size=n) > 0).astype(int),
        }
    )
    frame["copy"] = frame["y"].map({0: "on time", 1: "late"})
    frame["gap"] = pd.Series(rng.normal(size=n)).where(frame["y"] == 0)  # that it is missing is the label
    frame["far"] = np.where(frame["y"] == 1, rng.choice([-9.0, 9.0], n), 0.0) + frame["noise"]  # not monotone
    return frame


def test_the_label_in_disguise_is_found_in_every_disguise() -> None:
    frame = rows()
    found = single_features(frame.drop(columns="y"), truth(frame["y"]))
    scores = found["scores"]
    assert found["rows"] == 1000
    for disguise in ("copy", "gap", "far"):
        assert scores[disguise] > 0.99, disguise
    assert 0.7 < scores["x"] < 0.9
    for nothing in ("noise", "carrier", "id"):  # an id is unique in each row, and tells nothing of others
        assert scores[nothing] < 0.58, nothing


def test_of_numbers_and_of_more_classes_too() -> None:
    frame = rows()
    number = truth(frame["x"] * 3, "regression")
    scores = single_features(frame[["x", "noise", "carrier"]], number)["scores"]
    assert scores["x"] > 0.97 and scores["noise"] < 0.05 and scores["carrier"] < 0.05
    three = truth(frame["carrier"])
    assert three.task == "multiclass"
    scores = single_features(frame[["carrier", "noise"]], three)["scores"]
    assert scores["carrier"] > 0.99 > 0.6 > scores["noise"]


def test_rows_are_told_by_their_values_and_not_by_their_types() -> None:
    frame = rows(50)[["x", "carrier", "y", "day"]]
    again = frame.sample(frac=1, random_state=1).astype({"y": "float32", "carrier": "category"})
    assert set(digests_of(frame)) == set(digests_of(again)) and len(set(digests_of(frame))) == 50
    assert not set(digests_of(frame)) & set(digests_of(frame.assign(y=1 - frame["y"])))


# ---------------------------------------------------------------- parity


def test_parity_says_how_far_apart() -> None:
    p = np.array([0.1, 0.6, 0.7, 0.2])
    whole = Outputs(values={"labels": (p > 0.5).astype(int), "probabilities": p})
    same = Outputs(values={k: v[[0, 2]] for k, v in whole.values.items()})
    assert parity(whole, same, [0, 2]) == {"rows": 2, "differing": 0, "max_difference": 0.0}
    moved = Outputs(values={"labels": np.array([0, 0]), "probabilities": np.array([0.1, 0.45])})
    found = parity(whole, moved, [0, 2])
    assert found["differing"] == 1 and found["max_difference"] == pytest.approx(0.25)
    lost = Outputs(values={**same.values, "probabilities": np.array([0.1, np.nan])})
    assert parity(whole, lost, [0, 2])["max_difference"] is None
    assert "other kinds" in str(parity(whole, Outputs(values={"labels": np.array([0, 1])}), [0, 2])["error"])
    assert "another shape" in str(parity(whole, same, [0, 1, 2])["error"])


# ---------------------------------------------------------------- importance


def test_importance_is_what_shuffling_loses_whatever_the_direction() -> None:
    y = np.array([0, 1, 0, 1, 1, 0])
    good, bad = np.array([0.1, 0.9, 0.2, 0.8, 0.9, 0.1]), np.full(6, 0.5)

    def says(p: np.ndarray) -> Outputs:
        return Outputs(values={"scores": p, "probabilities": p})

    for name in ("roc_auc", "log_loss"):
        found = importances(
            METRICS[name], y, says(good), {"b": [says(good)] * 2, "a": [says(bad), says(good)]}, repeats=2
        )
        assert [f["name"] for f in found["features"]] == ["a", "b"]
        assert found["features"][0]["mean"] > 0 and found["features"][0]["std"] > 0
        assert found["features"][1] == {"name": "b", "mean": 0.0, "std": 0.0}
    unknown = importances(METRICS["roc_auc"], y, says(good), {"a": [Outputs()]}, repeats=1)
    assert unknown["features"] == [] and unknown["error"]


def test_the_importance_for_a_ranking_is_of_each_query_and_of_whole_ones() -> None:
    """Ten lists of five; of every other one the column tells the relevant row. As one list all would begin alike."""
    queries = np.repeat(np.arange(10), 5)
    y = np.tile([0, 0, 1, 0, 0], 10)
    metric = metrics_of(["mrr"])[0]

    def says(scores: np.ndarray) -> Outputs:
        return Outputs(values={"scores": scores})

    whole = says(y - queries * 10.0)
    without = {"place": [says(np.where(queries % 2, -y, y) - queries * 10.0)], "nothing": [whole]}
    found = importances(metric, y, whole, without, repeats=1, queries=queries)
    assert found["features"] == [
        {"name": "place", "mean": 0.4, "std": 0.0},  # in half of them from the first place of five to the last
        {"name": "nothing", "mean": 0.0, "std": 0.0},
    ]
    numbers = Outputs(values={"labels": whole.values["scores"]})
    assert importances(metric, y, numbers, {}, repeats=1, queries=queries).get("error") is None
    labels = Outputs(values={"labels": y}, missing={"scores": "the model gives no scores"})
    for outputs, of, said in [
        (whole, None, "which query a row belongs to is not known"),
        (labels, queries, "the model gives no scores"),
        (says(np.full(50, np.nan)), queries, "50 of 50 predictions are NaN"),
    ]:
        unknown = importances(metric, y, outputs, {}, repeats=1, queries=of)
        assert said in str(unknown["error"]) and unknown["features"] == []
    assert "no query has a relevant row" in str(importances(metric, y * 0, whole, {}, repeats=1, queries=queries))


@pytest.mark.parametrize("most", [1, 12, 49, 50, 1000])
def test_rows_are_drawn_by_whole_queries(most: int) -> None:
    queries = pd.Series(np.random.default_rng(0).permutation(np.repeat([f"q{i}" for i in range(10)], 5)))
    queries[queries == "q9"] = None
    drawn = places_of_queries(queries, most, seed=1)
    assert list(drawn) == sorted(drawn) and len(drawn) == min(45, max(5, most // 5 * 5))
    assert (queries[list(drawn)].value_counts() == 5).all()
    assert drawn == places_of_queries(queries, most, seed=1)
    assert places_of_queries(queries, 0, seed=1) == places_of_queries(queries[:0], most, seed=1) == ()


# ---------------------------------------------------------------- a linear model


def test_the_linear_model_learns_what_is_linear_and_sees_no_row_it_predicts() -> None:
    frame = rows()
    one = truth(frame["y"])
    metric = METRICS["roc_auc"]
    good = metric.figure(one.y, linear(in_memory(frame), one, features=["x", "carrier", "day"]).values["scores"])[0]
    none = metric.figure(one.y, linear(in_memory(frame), one, features=["noise", "id"]).values["scores"])[0]
    assert good is not None and none is not None
    assert good > 0.78 and abs(none - 0.5) < 0.06
    gaps = frame.assign(x=frame["x"].where(frame["noise"] > -1), carrier=frame["carrier"].where(frame["noise"] > 0))
    assert np.isfinite(linear(in_memory(gaps), one, features=["x", "carrier"]).values["scores"]).all()
    number = truth(frame["x"] * 2 + 1, "regression")
    said = linear(in_memory(frame), number, features=["x"]).values["labels"]
    assert METRICS["r2"].figure(number.y, said)[0] > 0.99
    three = truth(frame["carrier"])
    assert linear(in_memory(frame), three, features=["x", "carrier"]).values["labels"].tolist() == three.y.tolist()
    assert np.array_equal(
        linear(in_memory(frame), one, features=["x"]).values["scores"],
        linear(in_memory(frame), one, features=["x"]).values["scores"],
    )


def test_a_linear_model_of_nothing_is_unknown() -> None:
    frame = rows(20)
    one = truth(frame["y"])
    assert linear(in_memory(frame), one, features=[]).values == {}
    alone = truth([1] + [0] * 19)
    assert "one row" in linear(in_memory(frame), alone, features=["x"]).missing["scores"]


# ---------------------------------------------------------------- parts of the rows


def test_parts_by_bins_and_by_expressions() -> None:
    frame = pd.DataFrame({"d": [100.0, 500.0, 500.1, 2000.0, None], "c": ["AA", "UA", None, "AA", "AA"]})
    bins = SliceBy.of({"column": "d", "bins": [500, 1000]})
    assert bins.name == "d"
    names = ["<= 500", "<= 500", "500 to 1000", "> 1000"]
    assert bins.values(frame).tolist()[:4] == names and bins.values(frame).isna().tolist() == [False] * 4 + [True]
    for where, held in [
        ([["d", ">", 500]], "nnyyn"),
        ([["c", "!=", "AA"]], "nynnn"),
        ([["c", "not in", ["UA"]]], "ynnyy"),
        ([["c", "in", ["UA", "AA"]], ["d", "<=", 500]], "yynnn"),
        ([["c", "is null", None]], "nnynn"),
        ([["d", "is not null", None]], "yyyyn"),
        ([["d", "=", 100]], "ynnnn"),
    ]:
        said = SliceBy.of({"name": "part", "where": where}).values(frame)
        assert "".join(v[0] for v in said) == held, where


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"column": "d", "bins": [2, 1]}, UsageError),
        ({"column": "d", "bins": "12"}, UsageError),
        ({"column": "d", "bin": [1]}, UnknownName),
        ({"bins": [1]}, UsageError),
        ({"where": [["d", ">", 1]]}, UsageError),
        ({"name": "far", "where": [["d", "~", 1]]}, UnknownName),
        ({"column": "d", "name": "far", "where": [["d", ">", 1]]}, UsageError),
        ("", UsageError),
        (7, UsageError),
    ],
)
def test_parts_that_are_none(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        SliceBy.of(value)


def test_what_does_not_compare_is_said() -> None:
    frame = pd.DataFrame({"c": ["AA", "UA"]})
    with pytest.raises(UsageError, match="far"):
        SliceBy.of({"name": "far", "where": [["c", ">", 1]]}).values(frame)
    with pytest.raises(UsageError, match="need numbers"):
        SliceBy.of({"column": "c", "bins": [1]}).values(frame)


# ---------------------------------------------------------------- rates of groups


@given(st.integers(0, 10_000), st.sampled_from(["selection_rate", "true_positive_rate", "false_positive_rate"]))
@settings(max_examples=40, deadline=None)
def test_rates_are_those_of_the_rows(seed: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b", "c"], 300)
    one = truth(rng.integers(0, 2, 300))
    labels = rng.integers(0, 2, 300)
    evaluation = evaluate(
        model_name="flights",
        truth=one,
        metrics=["accuracy"],
        candidate=Contender(version="7"),
        champion=Contender(state="missing"),
        outputs={"candidate": Outputs(values={"labels": labels})},
        slices={"group": group},
        replicates=0,
    )
    of = {"selection_rate": np.ones(300, bool), "true_positive_rate": one.y == 1, "false_positive_rate": one.y == 0}
    plain = {g: float(labels[(group == g) & of[metric]].mean()) for g in "abc"}
    decision = judge(
        Evaluation.from_dict(evaluation.to_dict()),
        GatePolicy(checks=[Fairness(metric, by="group", max_difference=1.0, min_ratio=0.0, min_rows=1)]),
    )
    [check] = [c for c in decision.evidence["report"]["checks"] if c["name"] == "fairness"]
    assert check["details"]["rates"] == pytest.approx(plain)
    assert check["observed"] == pytest.approx(max(plain.values()) - min(plain.values()))
    assert check["details"]["ratio"] == pytest.approx(min(plain.values()) / max(plain.values()))
