"""Metrics of rankings, query by query: scikit-learn's, plain definitions, and as an evaluation has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk

from airflow_mlops.core.comparison import evaluate
from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.evaluation import Contender, Evaluation
from airflow_mlops.core.gates import BeatsChampion, GatePolicy, Value, judge
from airflow_mlops.core.metrics import METRICS, metrics_of
from airflow_mlops.core.outputs import Outputs, Truth
from airflow_mlops.core.ranking import list_function, per_query


def lists(seed: int, *, ties: bool, grades: int = 2) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    queries = np.sort(rng.integers(0, 30, 300))
    scores = rng.integers(0, 4, 300).astype(float) if ties else rng.normal(size=300)
    return rng.integers(0, grades, 300), scores, queries


def mean(name: str, y: Any, scores: Any, queries: Any) -> float:
    function = list_function(name)
    assert function is not None
    values, why = per_query(function, y, scores, queries)
    assert why == ""
    return float(np.nanmean(values))


def plain(y: Any, scores: Any, queries: Any, of: Any) -> float:
    """The definition, one query after the other, each as a sorted list; ties in the worst order."""
    found = []
    for q in np.unique(queries):
        ranked = [
            r for s, r in sorted(zip(scores[queries == q], y[queries == q], strict=True), key=lambda p: (-p[0], p[1]))
        ]
        if any(r > 0 for r in ranked):
            found.append(of([r > 0 for r in ranked]))
    return float(np.mean(found))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_ndcg_is_scikit_learns(ties: bool, k: int) -> None:
    y, scores, queries = lists(k, ties=ties, grades=4)
    kept = [queries == q for q in np.unique(queries) if y[queries == q].any()]
    each = [sk.ndcg_score([y[rows]], [scores[rows]], k=k) for rows in kept]
    assert mean(f"ndcg@{k}", y, scores, queries) == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("mrr", lambda r: 1 / (r.index(True) + 1)),
        ("mrr@3", lambda r: 1 / (r.index(True) + 1) if True in r[:3] else 0.0),
        ("map", lambda r: sum(sum(r[: i + 1]) / (i + 1) for i, hit in enumerate(r) if hit) / sum(r)),
        ("map@3", lambda r: sum(sum(r[: i + 1]) / (i + 1) for i, hit in enumerate(r[:3]) if hit) / min(sum(r), 3)),
        ("precision@5", lambda r: sum(r[:5]) / 5),
        ("recall@5", lambda r: sum(r[:5]) / sum(r)),
    ],
)
def test_the_others_are_their_plain_definitions(ties: bool, name: str, of: Any) -> None:
    y, scores, queries = lists(5, ties=ties, grades=3)
    assert mean(name, y, scores, queries) == pytest.approx(plain(y, scores, queries, of), abs=1e-12)


def test_without_ties_map_is_the_mean_of_scikit_learns_average_precision() -> None:
    y, scores, queries = lists(9, ties=False)
    each = [
        sk.average_precision_score(y[queries == q], scores[queries == q])
        for q in np.unique(queries)
        if y[queries == q].any()
    ]
    assert mean("map", y, scores, queries) == pytest.approx(np.mean(each), abs=1e-12)


def test_a_model_that_tells_nothing_apart_gains_nothing_by_the_order_of_the_rows() -> None:
    y, queries = np.array([1, 0, 0, 0]), np.zeros(4, dtype=int)
    for rows in ([0, 1, 2, 3], [3, 2, 1, 0]):
        assert mean("mrr", y[rows], np.zeros(4), queries) == 0.25
        assert mean("precision@1", y[rows], np.zeros(4), queries) == 0.0


def evaluation(**options: Any) -> Evaluation:
    y, scores, queries = lists(11, ties=False)
    truth = Truth(task="binary", y=y, classes=(0, 1), kept=np.ones(300, dtype=bool))
    better = scores + 2.0 * y
    return evaluate(
        **{
            "model_name": "search",
            "truth": truth,
            "metrics": ["roc_auc", "ndcg@5", "mrr"],
            "candidate": Contender(version="2", model_digest="c"),
            "champion": Contender(version="1", model_digest="d"),
            "outputs": {
                "candidate": Outputs(values={"scores": better}),
                "champion": Outputs(values={"scores": scores}),
            },
            "baseline": "prior",
            "slices": {"half": ["a", "b"] * 150},
            "queries": [f"q{q}" for q in queries],
            "replicates": 500,
            "data": {"digest": "e"},
            **options,
        }
    )


def test_an_evaluation_resamples_queries_and_a_gate_judges_by_them() -> None:
    found = evaluation()
    assert [f.metric for f in found.metrics] == ["roc_auc", "ndcg@5", "mrr"]
    ndcg = found.figure("ndcg@5")
    assert ndcg is not None and ndcg.candidate is not None and ndcg.champion is not None
    assert ndcg.candidate > ndcg.champion and ndcg.baseline is not None
    low, high = ndcg.interval() or (1.0, 0.0)
    assert low < ndcg.candidate < high
    # As wide as 30 queries let it be: their standard deviation over the root of their number, within a quarter.
    y, scores, queries = lists(11, ties=False)
    each, _ = per_query(FIVE, y, scores + 2.0 * y, queries)
    each = each[np.isfinite(each)]
    wide = 2 * 1.96 * each.std() / np.sqrt(len(each))
    assert 0.75 * wide < high - low < 1.25 * wide
    assert all(s.metrics[1].candidate is not None for s in found.slices)
    rules = [Value("ndcg@5", lower=0.5), BeatsChampion("mrr", margin=0.0, confidence=0.9)]
    assert judge(found, GatePolicy(checks=rules)).decision == "pass"
    assert judge(found, GatePolicy(checks=[Value("ndcg@5", lower=0.999)])).decision == "reject"
    assert evaluation().digest == found.digest


FIVE = metrics_of(["ndcg@5"])[0].function


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_known_is_no_figure(bad: float) -> None:
    y, scores, queries = lists(1, ties=False)
    said = {"candidate": Outputs(values={"scores": np.append(scores[1:], bad)})}
    figure = evaluation(outputs=said).figure("mrr")
    assert figure is not None and figure.candidate is None
    assert figure.errors["candidate"] == "1 of 300 predictions are NaN or infinite"
    assert per_query(FIVE, y * 0, scores, queries)[1] == "no query has a relevant row"
    assert "not negative" in per_query(FIVE, y - 1.0, scores, queries)[1]


def test_queries_without_a_relevant_row_are_left_out_and_counted() -> None:
    y, _, queries = lists(11, ties=False)
    y = np.where(queries == queries[0], 0, y)
    found = evaluation(truth=Truth(task="binary", y=y, classes=(0, 1), kept=np.ones(300, dtype=bool)))
    figure = found.figure("mrr")
    assert figure is not None and figure.candidate is not None
    assert figure.errors["queries"].endswith("queries have no relevant row")


def test_misuse() -> None:
    with pytest.raises(UsageError, match="ndcg@5 is a mean over queries"):
        evaluation(queries=None)
    with pytest.raises(UsageError, match="1 of 300 rows have no query"):
        evaluation(queries=[None, *["q"] * 299])
    for name in ("ndcg@0", "ndcg@", "ndcg@-1", "roc_auc@5", "ndcg@1.5"):
        with pytest.raises(UnknownName):
            metrics_of([name])
    assert "ndcg" in METRICS and metrics_of(["ndcg", "ndcg@3", "ndcg@3"])[1].name == "ndcg@3"
