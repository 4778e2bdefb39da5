"""The rows of the result come from the ledger's records and from the prepared data, and from nowhere else."""

from __future__ import annotations

from typing import Any

from airflow_mlops.core.records import Record
from dev.demo_rows import rows_of

MODEL = "flights_late"


def report(kind: str, month: str, outcome: str, **body: Any) -> Record:
    return Record(kind=kind, model=MODEL, key="", outcome=outcome, body=body, subject=month, at=f"{month}-01")


def decision(kind: str, month: str, outcome: str, subject: str = "", **body: Any) -> Record:
    body = {"dag_run": {"partition_key": month}, "reasons": ["because"], **body}
    return Record(kind=kind, model=MODEL, key="", outcome=outcome, body=body, subject=subject, at=f"{month}-01")


def figures(**bases: float) -> dict[str, Any]:
    return {"details": {b: {"roc_auc": {"value": v}} for b, v in bases.items()}}


HISTORY = [  # oldest first, as it happened
    decision("retraining", "2013-02", "retrain", reasons=["there is no champion yet"]),
    decision("gate", "2013-02", "pass", subject="1", evidence={"candidate": {"version": "1"}}),
    decision("promotion", "2013-02", "promoted", subject="1"),
    report("validation", "2013-03", "failed", checks=[{"severity": "critical", "status": "failed"}]),
    report("validation", "2013-03", "passed", checks=[{"severity": "warning", "status": "failed"}]),
    report("drift", "2013-03", "failed", details={"share_drifted": 0.5}),
    report("performance", "2013-03", "passed", **figures(estimated=0.66)),
    decision("retraining", "2013-03", "retrain", reasons=["drift: 2 of 3"]),
    decision("retraining", "2013-03", "keep", reasons=["the same training was already decided"]),
    decision("gate", "2013-03", "reject", subject="2", evidence={"candidate": {"version": "2"}}),
    report("performance", "2013-03", "failed", **figures(realised=0.61)),
    report("drift", "2013-04", "insufficient_data", details={}),
]


def rows() -> list[Any]:
    counts = {"2013-02": (100, 0.25), "2013-03": (120, None)}
    return rows_of(["2013-01", "2013-02", "2013-03", "2013-04"], HISTORY[::-1], counts)


def test_a_month_without_records_is_empty() -> None:
    january = rows()[0]
    assert (january.decision, january.candidate, january.champion, january.estimated) == ("", "", "", None)


def test_the_first_champion_reigns_from_its_promotion_on() -> None:
    assert [r.champion for r in rows()] == ["", "1", "1", "1"]


def test_estimate_and_later_truth_stand_side_by_side() -> None:
    march = rows()[2]
    assert (march.estimated, march.realised) == (0.66, 0.61)
    assert (march.rows, march.late) == (120, None)


def test_the_decision_that_set_off_the_training_is_shown_not_its_echo() -> None:
    march = rows()[2]
    assert (march.decision, march.reason) == ("retrain", "drift: 2 of 3")
    assert (march.candidate, march.gate) == ("2", "reject")


def test_validation_says_what_failed_first_and_what_warned() -> None:
    assert rows()[2].validation == "failed, then passed, 1 warning"


def test_what_could_not_be_known_is_said_so() -> None:
    assert (rows()[3].drift, rows()[3].drift_share) == ("insufficient data", None)
