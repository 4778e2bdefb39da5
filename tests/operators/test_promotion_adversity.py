"""What people and programs do to MLflow behind a promotion's back: nothing ungated gets through, nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.core.champion import promote
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.promotion import PromotionRequest
from airflow_mlops.core.records import Record
from airflow_mlops.core.versions import reigns
from airflow_mlops.exceptions import PromotionRefused
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.promotion import PromoteModelOperator, RollbackModelOperator
from airflow_mlops.operators.registry import RecordAliasMovesOperator
from tests.kit.tasks import TaskRunner
from tests.operators.promotions import aliases, make_gate, make_version, runs_of, set_status

MODEL = "churn"


@pytest.fixture
def hook(mlflow_local: Path) -> MlflowHook:
    return MlflowHook()


def promoted(hook: MlflowHook, run_task: TaskRunner, champion: str | None, *, run_id: str = "r") -> str:
    """A version that is made the champion."""
    version = make_version(hook, MODEL)
    task(hook, run_task, version, champion, run_id=run_id)
    return version


def judged(hook: MlflowHook, run_task: TaskRunner) -> tuple[str, str, dict[str, Any]]:
    """A champion, a version after it, and the gate's decision for that one."""
    first = promoted(hook, run_task, None)
    second = make_version(hook, MODEL)
    return first, second, make_gate(hook, MODEL, second, first)


def task(hook: MlflowHook, run_task: TaskRunner, version: str, champion: str | None, **options: Any) -> Any:
    gate = make_gate(hook, MODEL, version, champion)
    return run_task(PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate), **options)


def moves(hook: MlflowHook, model: str = MODEL) -> list[tuple[str, Any, Any]]:
    """The moves that the ledger has: how, from, to."""
    records = [r for r in hook.history(model, kinds=["promotion", "rollback"]) if r.outcome != "refused"]
    bodies: list[tuple[str, Any]] = [(r.outcome, r.body["evidence"]) for r in records]
    return sorted(((o, e["replaces"], e["version"]) for o, e in bodies), key=str)


def test_a_deleted_ledger_stops_a_promotion_and_restored_it_goes_on(hook: MlflowHook, run_task: TaskRunner) -> None:
    first, second, gate = judged(hook, run_task)
    experiment = hook.experiment_id(MODEL)
    hook.get_conn().delete_experiment(experiment)
    operator = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate)
    with pytest.raises(UsageError, match="is deleted: restore it there first"):
        run_task(operator)
    assert aliases(hook, MODEL) == {"champion": first}
    hook.get_conn().restore_experiment(experiment)
    assert run_task(PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate))["decision"] == "promoted"
    assert moves(hook) == [("promoted", first, second), ("promoted", None, first)]


def test_a_ledger_that_is_deleted_between_claim_and_record_is_finished_after_its_return(
    hook: MlflowHook, run_task: TaskRunner
) -> None:
    first, second, gate = judged(hook, run_task)
    experiment = hook.experiment_id(MODEL)

    def delete(step: str) -> None:
        if step == "claim":
            hook.get_conn().delete_experiment(experiment)

    with pytest.raises(UsageError):
        promote(MlflowHook(), PromotionRequest.of(MODEL, gate), step=delete)
    hook.get_conn().restore_experiment(experiment)
    assert run_task(PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate))["decision"] == "promoted"
    assert aliases(hook, MODEL) == {"champion": second, "previous_champion": first}
    assert moves(hook) == [("promoted", first, second), ("promoted", None, first)]


def test_a_renamed_model_is_refused_by_its_old_name_and_goes_on_under_the_new(
    hook: MlflowHook, run_task: TaskRunner
) -> None:
    first, second, gate = judged(hook, run_task)
    hook.get_conn().rename_registered_model(MODEL, "churn eu")
    with pytest.raises(PromotionRefused, match="version_deleted"):
        run_task(PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate))
    with pytest.raises(PromotionRefused, match="other_model"):
        run_task(PromoteModelOperator(task_id="promote", model_name="churn eu", gate=gate))
    again = make_gate(hook, "churn eu", second, first)
    run_task(PromoteModelOperator(task_id="promote", model_name="churn eu", gate=again))
    assert moves(hook) == [("promoted", None, first)], "the history under the old name stays"
    assert moves(hook, "churn eu") == [("moved_outside", None, first), ("promoted", first, second)]


def test_an_alias_that_was_taken_away_is_entered_and_the_next_promotion_says_so(
    hook: MlflowHook, run_task: TaskRunner
) -> None:
    first = promoted(hook, run_task, None)
    second = make_version(hook, MODEL)
    hook.delete_alias(MODEL, "champion")
    with pytest.raises(PromotionRefused, match="champion is now missing"):
        task(hook, run_task, second, first)
    with pytest.raises(PromotionRefused, match="no_champion"):
        run_task(RollbackModelOperator(task_id="back", model_name=MODEL, reason="AUC fell"))
    task(hook, run_task, second, None)
    assert moves(hook) == [("moved_outside", first, None), ("promoted", None, first), ("promoted", None, second)]
    assert aliases(hook, MODEL)["champion"] == second


def test_a_champion_set_by_hand_is_entered_by_the_promotion_that_replaces_it(
    hook: MlflowHook, run_task: TaskRunner
) -> None:
    """Nobody had to look meanwhile: the ledger has no hole where the version was champion."""
    first = promoted(hook, run_task, None)
    ungated = make_version(hook, MODEL)
    hook.set_alias(MODEL, "champion", ungated)
    third = promoted(hook, run_task, ungated)
    assert moves(hook) == [
        ("moved_outside", first, ungated),
        ("promoted", ungated, third),
        ("promoted", None, first),
    ]
    assert [r.version for r in reigns(hook.history(MODEL))][-1] == third


def test_a_rollback_from_a_version_set_by_hand_enters_that_too(hook: MlflowHook, run_task: TaskRunner) -> None:
    first = promoted(hook, run_task, None)
    second = promoted(hook, run_task, first)
    ungated = make_version(hook, MODEL)
    hook.set_alias(MODEL, "champion", ungated)
    run_task(RollbackModelOperator(task_id="back", model_name=MODEL, reason="set by hand", to_version=second))
    assert moves(hook) == [
        ("moved_outside", second, ungated),
        ("promoted", first, second),
        ("promoted", None, first),
        ("rolled_back", ungated, second),
    ]
    assert aliases(hook, MODEL)["champion"] == second


def test_a_record_that_was_deleted_is_not_made_up_again_and_nothing_is_done_twice(
    hook: MlflowHook, run_task: TaskRunner
) -> None:
    first = promoted(hook, run_task, None)
    second = make_version(hook, MODEL)
    before = task(hook, run_task, second, first)
    (record,) = [r for r in runs_of(hook, MODEL, "promotion", "promoted") if r.data.tags["mlops.subject"] == second]
    hook.get_conn().delete_run(record.info.run_id)
    again = task(hook, run_task, second, first, try_number=2)
    assert again == before
    assert aliases(hook, MODEL) == {"champion": second, "previous_champion": first}
    assert len(runs_of(hook, MODEL, "promotion", "promoted")) == 1
    # What the ledger lacks is what anybody could see of a move from outside, and is entered as one.
    assert run_task(RecordAliasMovesOperator(task_id="look", model_name=MODEL))["moved"] is True
    assert moves(hook) == [("moved_outside", first, second), ("promoted", None, first)]


def test_a_gate_whose_record_was_deleted_promotes_nothing(hook: MlflowHook, run_task: TaskRunner) -> None:
    _, second, gate = judged(hook, run_task)
    (record,) = [r for r in runs_of(hook, MODEL, "gate", "pass") if r.data.tags["mlops.subject"] == second]
    hook.get_conn().delete_run(record.info.run_id)
    with pytest.raises(PromotionRefused, match="no_gate"):
        run_task(PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate))


def test_a_champion_whose_training_run_is_deleted_is_succeeded_once(hook: MlflowHook, run_task: TaskRunner) -> None:
    """Its claims were parameters of that run: those stay known, and new ones go to the version's tags."""
    first = promoted(hook, run_task, None)
    second = promoted(hook, run_task, first, run_id="r2")
    run_task(RollbackModelOperator(task_id="back", model_name=MODEL, reason="AUC fell"))
    left = hook.version(MODEL, first)
    assert left is not None
    hook.get_conn().delete_run(left.run_id)
    known = dict(MlflowHook().written(MODEL, first))
    assert f"mlops.succession.{first}.0" in known
    fresh = MlflowHook()
    third = make_version(fresh, MODEL)
    gate = make_gate(fresh, MODEL, third, first)
    for number in (1, 2):
        operator = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate)
        assert run_task(operator, run_id="r3", try_number=number)["decision"] == "promoted"
    assert known.items() < fresh.written(MODEL, first).items()
    assert aliases(fresh, MODEL)["champion"] == third != second
    assert len(runs_of(fresh, MODEL, "promotion", "promoted")) == 3


@pytest.mark.parametrize("step", ["intent", "claim"])
@pytest.mark.parametrize("what", ["deleted", "pinned", "other files", "unready"])
def test_a_version_that_changes_while_it_is_promoted_is_given_up_and_the_next_one_goes_on(
    hook: MlflowHook, mlflow_local: Path, run_task: TaskRunner, step: str, what: str
) -> None:
    first, second, gate = judged(hook, run_task)

    def change(done: str) -> None:
        if done != step:
            return
        if what == "deleted":
            hook.get_conn().delete_model_version(MODEL, second)
        elif what == "pinned":
            hook.tag_version(MODEL, second, {"pinned": "leaks the label"})
        elif what == "unready":
            set_status(mlflow_local, MODEL, second, "FAILED_REGISTRATION")
        else:
            hook.tag_version(MODEL, second, {"model_digest": "other"})

    outcome = promote(MlflowHook(), PromotionRequest.of(MODEL, gate), step=change)
    codes = {"deleted": "version_deleted", "pinned": "pinned", "other files": "digest_differs", "unready": "not_ready"}
    assert outcome.refused and outcome.refusals[0].code in (codes[what], "champion_moved")
    assert aliases(hook, MODEL) == {"champion": first}
    third = make_version(hook, MODEL)
    assert task(hook, run_task, third, first)["decision"] == "promoted"
    assert moves(hook) == [("promoted", first, third), ("promoted", None, first)]


def test_drafts_of_one_record_that_go_away_while_they_are_closed_hold_nothing_up(
    hook: MlflowHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that helped at once: each takes its own draft away, while the other closes what it found open."""
    hook.ensure_model(MODEL)
    record = Record(kind="promotion", model=MODEL, key="k", outcome="promoted")
    mine, other, left = (MlflowHook().draft(record) for _ in range(3))
    assert hook.find_record(MODEL, "promotion", "k") is None, "a draft does not count"
    client = hook.get_conn()
    search = client.search_runs

    def look(*args: Any, **kwargs: Any) -> Any:
        found = search(*args, **kwargs)
        client.delete_run(other.run_id)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(client, "search_runs", look)
        hook.seal(mine)
    found = hook.find_record(MODEL, "promotion", "k")
    assert found is not None and found.run_id == mine.run_id
    assert client.get_run(left.run_id).info.status == "KILLED"
    hook.seal(other)  # by somebody who was held up
    assert [r.info.run_id for r in runs_of(hook, MODEL, "promotion", "promoted")] == [mine.run_id]
