"""How MLflow is read: in as many searches for two thousand models as for two, and old answers at once."""

from __future__ import annotations

import threading

import pytest

from airflow_mlops.core.records import TAG
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.pages.cards import CARD_KINDS
from airflow_mlops.plugin.models_reading import Reader, Snapshot
from tests.kit import ledger


class Counting(Reader):
    """A reader that counts what MLflow is asked."""

    calls: list[str]

    def __init__(self, hook, calls):
        super().__init__(hook)
        self.calls = calls

    def __getattribute__(self, name):
        if name in ("models", "experiments", "entries", "ledger", "record"):
            object.__getattribute__(self, "calls").append(name)
        return object.__getattribute__(self, name)


def test_a_first_reading_is_one_search_a_kind_and_the_next_is_one(store):
    calls = []
    snapshot = Snapshot(lambda: Counting(store, calls), fresh=0)
    assert {c.name for c in snapshot.view(patience=60).cards} >= {"flights_delay", "untouched"}
    assert sorted(calls) == sorted(["models", "experiments", *["entries"] * len(CARD_KINDS)])
    calls.clear()
    _wait(snapshot)
    assert sorted(calls) == ["entries", "experiments", "models"]


def test_a_later_reading_finds_what_was_written_since(store):
    snapshot = Snapshot(lambda: Reader(store), fresh=0)
    assert snapshot.card("untouched", patience=60).decision is None
    record = ledger.decision_of(ledger.evaluation_of("untouched", auc=0.5))
    store.record(ledger.Record.of_decision(record, subject="4", at="2013-07-01"))
    _wait(snapshot)
    assert snapshot.card("untouched").gate.outcome == "reject"


def test_while_it_is_read_again_the_old_answer_is_given_at_once(store):
    gate = threading.Event()
    gate.set()

    def slow():
        assert gate.wait(60)
        return Reader(store)

    snapshot = Snapshot(slow, fresh=0)
    first = snapshot.view(patience=60)
    gate.clear()
    again = snapshot.view(patience=60)  # a reading is under way and can not end
    assert [c.name for c in again.cards] == [c.name for c in first.cards]
    gate.set()
    _wait(snapshot)


def test_models_are_shown_while_their_records_are_still_read(store):
    gate = threading.Event()

    class Slow(Reader):
        def entries(self, *args, **more):
            assert gate.wait(60)
            return super().entries(*args, **more)

    snapshot = Snapshot(lambda: Slow(store))
    snapshot.view(patience=0)
    with snapshot._lock:
        assert snapshot._done.wait_for(lambda: snapshot._cards, timeout=60)
    view = snapshot.view(patience=0)
    assert view.partial and "flights_delay" in {c.name for c in view.cards}
    assert view.cards[0].gate is None and "gate" in view.cards[0].cut
    gate.set()
    whole = snapshot.view(patience=60)
    assert not whole.partial and any(c.gate for c in whole.cards)


def test_when_nothing_was_read_yet_the_page_says_so():
    gate = threading.Event()

    def never():
        gate.wait(60)
        raise MlflowUnavailable("mlflow_default", "gone")

    snapshot = Snapshot(never)
    view = snapshot.view(patience=0)
    assert (view.cards, view.age, view.trouble) == ((), None, "")
    gate.set()


def test_trouble_is_told_and_the_last_answer_kept(store):
    ways = iter([lambda: Reader(store)])

    def connect():
        make = next(ways, None)
        if make is None:
            raise MlflowUnavailable("mlflow_default", "nobody answers")
        return make()

    snapshot = Snapshot(connect, fresh=0)
    assert snapshot.view(patience=60).cards
    _wait(snapshot)
    view = snapshot.view(patience=60)
    assert "nobody answers" in view.trouble and view.cards


def test_a_reading_looks_at_records_of_models_only(store):
    other = store.client.create_experiment("unrelated")
    store.client.create_run(other, tags={f"{TAG}kind": "gate", f"{TAG}model": "flights_delay"})
    snapshot = Snapshot(lambda: Reader(store))
    assert snapshot.card("flights_delay", patience=60).gate.outcome == "require_approval"


def test_a_body_that_is_too_long_for_a_tag_is_read_from_its_file(store):
    reader = Reader(store)
    drift = next(e for e in reader.ledger("flights_delay") if e.kind == "drift")
    run = store.client.get_run(drift.run_id)
    assert f"{TAG}body" not in run.data.tags  # seventeen checks
    ((entry, body),) = reader.bodies([drift])
    assert entry == drift and len(body["checks"]) > 10


@pytest.mark.parametrize("name", ["no-such-model", "with 'single' quotes", ""])
def test_names_that_nobody_has_find_nothing(name, store):
    assert Reader(store).ledger(name) == [] if name else True


def _wait(snapshot):
    """Until a reading that began after now has ended."""
    snapshot.view(patience=0)
    with snapshot._lock:
        assert snapshot._done.wait_for(lambda: not snapshot._reading, timeout=60)
