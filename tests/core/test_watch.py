"""The watch: crossed sends back, unknown makes it longer, and only what is known to hold ends it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.core.errors import PolicyError, UnknownName
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.watch import Guard, WatchPolicy, decide_watch

CHAMPION = ModelVersion(name="late", version="3")
AUC = {"kind": "performance", "metric": "realised_roc_auc", "lower": 0.6}
FAST = {"kind": "shadow", "metric": "latency_p95", "upper": 50}


def moved(version: str = "3", kind: str = "promotion", outcome: str = "promoted", at: str = "2013-05-01") -> Record:
    body: dict[str, Any] = {"evidence": {"version": version, "replaces": None}, "reasons": ["it fell"]}
    return Record(kind=kind, model="late", key=f"{kind}{version}", outcome=outcome, at=at, body=body)


def check(month: int, outcome: str = "passed", kind: str = "performance", **options: Any) -> Record:
    details = {"version": options.pop("version", "3"), "basis": options.pop("basis", "realised")}
    body = {"details": details, "inputs": {"reference": options.pop("reference", "")}}
    key = f"{kind}{month}{outcome}{details}{options}"
    return Record(kind=kind, model="late", key=key, outcome=outcome, at=f"2013-{month:02}-01", body=body, **options)


def decide(*records: Record, policy: Any = None, champion: ModelVersion | None = CHAMPION) -> str:
    return decide_watch("late", champion, [*records, moved()], WatchPolicy.of(policy)).decision


@pytest.mark.parametrize(
    ("records", "policy", "decision"),
    [
        ([], None, "extend"),
        ([check(5), check(6), check(7)], None, "settled"),
        ([check(5), check(6)], None, "extend"),
        ([check(5), check(6), check(7, "insufficient_data")], None, "extend"),
        ([check(5), check(6), check(7, "error")], None, "extend"),
        ([check(5), check(6, "failed"), check(7)], None, "roll_back"),
        ([check(m) for m in range(5, 12)] + [check(12, "failed")], None, "roll_back"),
        ([check(4, "failed"), check(5), check(6), check(7)], None, "settled"),
        ([check(5, version="2"), check(6, version=""), check(7)], None, "extend"),
        ([check(5), check(6), check(7), check(5, "failed", version="2")], None, "settled"),
        ([check(m, backfill=True) for m in (5, 6, 7)], None, "extend"),
        ([check(5, "failed", backfill=True)], None, "extend"),
        ([check(5, "passed", basis="estimated"), check(5, "failed")], None, "roll_back"),
        ([check(5, "failed", basis="estimated"), check(5), check(6), check(7)], None, "settled"),
        ([check(5, "failed", basis="estimated"), check(5, "insufficient_data")], None, "roll_back"),
        ([check(5, kind="drift", reference="a"), check(5, "failed", kind="drift", reference="b")],
         {"guards": [{"kind": "drift"}]}, "roll_back"),
        ([check(5), check(5, "failed")], None, "extend"),
        ([check(5, metrics={"realised_roc_auc": 0.59})], {"guards": [AUC]}, "roll_back"),
        ([check(5, metrics={"realised_roc_auc": 0.6})], {"guards": [AUC], "partitions": 1}, "settled"),
        ([check(5, metrics={})], {"guards": [AUC], "partitions": 1}, "extend"),
        ([check(5)], {"guards": [{}, FAST], "partitions": 1}, "extend"),
        ([check(5), check(5, kind="shadow", metrics={"latency_p95": 50.1})], {"guards": [{}, FAST]}, "roll_back"),
        ([check(5), check(5, kind="shadow", metrics={"latency_p95": 9})], {"guards": [{}, FAST], "partitions": 1},
         "settled"),
        ([check(5, "failed"), check(6)], {"guards": [{"partitions": 2}]}, "extend"),
        ([check(5, "failed"), check(6, "failed")], {"guards": [{"partitions": 2}]}, "roll_back"),
    ],
)  # fmt: skip
def test_what_is_decided(records: list[Record], policy: Any, decision: str) -> None:
    assert decide(*records, policy=policy) == decision


def test_a_champion_without_a_known_beginning_is_watched_and_never_settled() -> None:
    checks = [check(5), check(6), check(7)]
    assert decide_watch("late", CHAMPION, checks, WatchPolicy()).decision == "extend"
    other = ModelVersion(name="late", version="4")
    assert decide(*[check(m, version="4") for m in (5, 6, 7)], champion=other) == "extend"


def test_who_is_not_watched() -> None:
    assert decide(champion=None) == "not_watched"
    back = moved(kind="rollback", outcome="rolled_back")
    assert decide_watch("late", CHAMPION, [check(5, "failed"), back], WatchPolicy()).decision == "not_watched"


@pytest.mark.parametrize(
    "guard",
    [{"metric": "auc"}, {"lower": 0.6}, {"metric": "auc", "lower": float("nan")}, {"partitions": 0}, {"kind": "gate"}],
)
def test_a_guard_that_guards_nothing_is_refused(guard: dict[str, Any]) -> None:
    with pytest.raises((PolicyError, UnknownName)):
        Guard.of(guard)
    with pytest.raises((PolicyError, UnknownName)):
        WatchPolicy.from_dict({"guards": [guard]})


def test_a_watch_that_watches_nothing_is_refused() -> None:
    for policy in ({"guards": []}, {"partitions": 0}, {"partition": 3}):
        with pytest.raises((PolicyError, UnknownName)):
            WatchPolicy.from_dict(policy)


outcomes = st.sampled_from(["passed", "failed", "error", "insufficient_data"])
ORDER = {"roll_back": 0, "extend": 1, "settled": 2}


@given(st.lists(outcomes, min_size=1, max_size=8), st.data())
def test_knowing_less_never_makes_it_better(months: list[str], data: st.DataObject) -> None:
    records = [check(5 + i, outcome) for i, outcome in enumerate(months)]
    which = data.draw(st.integers(0, len(months) - 1))
    for outcome in ("error", "failed") if months[which] != "failed" else ("failed",):
        worse = [check(5 + i, outcome if i == which else o) for i, o in enumerate(months)]
        assert ORDER[decide(*worse)] <= ORDER[decide(*records)]


@given(st.lists(outcomes, max_size=8))
def test_it_settles_only_on_enough_partitions_that_hold_and_none_that_is_crossed(months: list[str]) -> None:
    decision = decide(*[check(5 + i, outcome) for i, outcome in enumerate(months)])
    assert (decision == "settled") == (months.count("passed") >= 3 and "failed" not in months)
    assert (decision == "roll_back") == ("failed" in months)
