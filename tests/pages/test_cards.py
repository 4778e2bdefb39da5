"""What a card says of a model: the newest, the gravest, and whose move it is."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.pages.cards import SORTS, VERDICTS, Card, Entry, card_of, entry_of, select
from airflow_mlops.pages.models import Links, Listing, models_page
from tests.kit import ledger
from tests.pages.markup import Page


def entry(kind, outcome, at, subject="4", **more):
    return Entry(
        kind=kind, outcome=outcome, at=at, subject=subject, model="late", run_id=f"{kind}{at}{outcome}", **more
    )


def asked(task, outcome="asked"):
    return dataclasses.replace(entry("approval", outcome, "2013-05"), dag_id="d", dag_run_id="r", task_id=task)


def answer(task):
    return asked(task, "approved")


def card(*entries, **aliases):
    return card_of("late", aliases or {"champion": "3"}, entries)


def test_the_newest_by_the_time_it_is_about_counts_not_by_when_it_was_written():
    found = card(
        entry("gate", "pass", "2013-05", started=1), entry("gate", "reject", "2013-04", started=9), champion="4"
    )
    assert found.gate.outcome == "pass"


def test_a_replay_of_history_decides_nothing_and_draws_the_curve():
    found = card(
        entry("drift", "failed", "2013-06", backfill=True),
        entry("performance", "passed", "2013-06", backfill=True, metrics={"realised_roc_auc": 0.7}),
    )
    assert found.drift is None and found.decision is None
    assert (found.metric, found.values) == ("roc_auc", (0.7,))


def test_features_and_predictions_of_one_partition_are_one_verdict_the_gravest():
    found = card(
        entry("drift", "passed", "2013-06", "2013-06", started=2),
        entry("drift", "failed", "2013-06", "2013-06", started=1),
        entry("drift", "failed", "2013-05", "2013-05"),
    )
    assert found.drift.outcome == "failed"
    assert card(entry("drift", "passed", "2013-06"), entry("drift", "failed", "2013-05")).drift.outcome == "passed"


def test_a_newer_estimate_does_not_hide_a_realised_failure():
    found = card(
        entry("performance", "passed", "2013-06", "2013-06", metrics={"estimated_roc_auc": 0.7}),
        entry("performance", "failed", "2013-05", "2013-05", metrics={"realised_roc_auc": 0.5}),
    )
    assert found.performance.outcome == "failed"


@pytest.mark.parametrize(
    ("entries", "waits"),
    [
        ([entry("gate", "require_approval", "2013-05")], True),
        ([entry("gate", "require_approval", "2013-05"), entry("approval", "approve", "2013-05")], False),
        ([entry("gate", "require_approval", "2013-05"), entry("promotion", "promoted", "2013-06")], False),
        ([entry("gate", "require_approval", "2013-05"), entry("rollback", "rolled_back", "2013-06", "1")], False),
        ([entry("gate", "require_approval", "2013-05"), entry("gate", "pass", "2013-06", "5")], False),
        ([entry("gate", "require_approval", "2013-05"), entry("promotion", "promoted", "2013-04", "3")], True),
        ([entry("gate", "pass", "2013-05")], False),
        ([entry("gate", "pass", "2013-05"), asked("first")], True),
        ([entry("gate", "pass", "2013-05"), asked("first"), answer("first")], False),
        ([entry("gate", "pass", "2013-05"), asked("first"), asked("second"), answer("first")], True),
        ([entry("gate", "pass", "2013-05"), asked("first"), entry("promotion", "promoted", "2013-05")], False),
        ([entry("gate", "reject", "2013-06"), entry("gate", "pass", "2013-05"), asked("first")], False),
        ([entry("gate", "require_approval", "2013-05"), asked("first")], True),
    ],
)
def test_an_approval_is_pending_until_somebody_decided(entries, waits):
    for order in itertools.permutations(entries):
        assert (card(*order).pending is not None) == waits


def test_health_is_unknown_unless_it_is_known():
    assert card().health == "unknown"
    assert card(entry("drift", "insufficient_data", "2013-05")).health == "unknown"
    assert card(entry("drift", "passed", "2013-05")).health == "passed"
    assert card(entry("drift", "passed", "2013-05"), entry("performance", "error", "2013-05")).health == "unknown"
    assert card(entry("drift", "failed", "2013-05"), entry("performance", "error", "2013-05")).health == "failed"


def test_since_is_when_this_version_became_champion():
    moves = [entry("promotion", "promoted", "2013-04", "3"), entry("promotion", "promoted", "2013-05", "4")]
    assert card(*moves, champion="3").since == "2013-04"
    assert card(entry("promotion", "refused", "2013-06", "3"), *moves, champion="3").since == "2013-04"
    assert card(*moves, challenger="5").since == ""


def test_a_run_that_is_no_record_is_no_entry():
    assert entry_of("r", {"mlflow.user": "ann"}, {}, 0) is None


def test_every_record_of_a_year_becomes_an_entry_with_its_reason():
    from airflow_mlops.hooks._records import record_tags

    for record, run in ledger.year("late", months=3):
        found = entry_of("r", record_tags(record, run), record.metrics, 5)
        assert (found.kind, found.outcome, found.subject) == (record.kind, record.outcome, record.subject)
        assert found.dag_id == run["dag_id"] and found.dag_run_id == run["run_id"]
        if record.kind in ("gate", "retraining", "rollback"):
            assert found.reason == record.body["reasons"][0][:240]


CARDS = st.builds(
    Card,
    name=st.text("abc ", min_size=1, max_size=4),
    champion=st.sampled_from(["", "1"]),
    since=st.sampled_from(["", "2013-05", "2013-06-01T00:00:00+00:00"]),
    gate=st.none() | st.builds(entry, st.just("gate"), st.sampled_from(["pass", "reject"]), st.just("2013-05")),
    drift=st.none() | st.builds(entry, st.just("drift"), st.sampled_from(["passed", "failed", "error"]), st.just("")),
)


@given(
    cards=st.lists(CARDS, max_size=12),
    verdict=st.sampled_from(["", *VERDICTS]),
    sort=st.sampled_from([*SORTS, *(f"-{s}" for s in SORTS), "x"]),
    per=st.integers(1, 5),
)
def test_pages_together_are_the_whole_each_model_once(cards, verdict, sort, per):
    first = select(cards, verdict=verdict, sort=sort, per=per)
    pages = [select(cards, verdict=verdict, sort=sort, per=per, page=p + 1).cards for p in range(first.pages)]
    together = [c for page in pages for c in page]
    assert len(together) == first.found and first.of == len(cards)
    assert sorted(map(repr, together)) == sorted(repr(c) for c in cards if not verdict or VERDICTS[verdict][1](c))
    if verdict:
        assert first.counts[verdict] == first.found


def test_the_page_before_anything_was_read_asks_again_by_itself():
    page = models_page(select([]), Listing(), now=0.0)
    assert 'http-equiv="refresh"' in page and "being read" in page
    page = models_page(select([]), Listing(age=3.0), now=0.0)
    assert "no registered model" in page and 'http-equiv="refresh"' not in page


def test_addresses_are_encoded():
    links = Links(airflow="/airflow", mlops="/airflow/mlops")
    found = entry("gate", "pass", "2013", dag_id="a/b", dag_run_id="manual__2013-01-01T00:00:00+00:00", task_id="x y")
    assert links.dag_run(found) == "/airflow/dags/a%2Fb/runs/manual__2013-01-01T00%3A00%3A00%2B00%3A00/tasks/x%20y"
    assert links.model("a&b=c d") == "/airflow/mlops/model?name=a%26b%3Dc+d"
    page = models_page(select([Card(name=ledger.NASTY)]), Listing(search=ledger.NASTY, age=1.0), now=0.0, links=links)
    assert "script" not in Page(page).tags
