"""RecordAliasMovesOperator against a real MLflow."""

from __future__ import annotations

from pathlib import Path

from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.promotion import PromoteModelOperator
from airflow_mlops.operators.registry import RecordAliasMovesOperator
from tests.kit.tasks import TaskRunner
from tests.operators.promotions import make_gate, make_version


def test_a_move_by_hand_is_entered_once(mlflow_local: Path, run_task: TaskRunner) -> None:
    hook, model = MlflowHook(), "late"
    first, second = make_version(hook, model), make_version(hook, model, until="2013-06")
    look = RecordAliasMovesOperator(task_id="look", model_name=model)
    assert run_task(look) == {"model_name": model, "moved": False, "decision": None}

    run_task(PromoteModelOperator(task_id="promote", model_name=model, gate=make_gate(hook, model, first, None)))
    assert run_task(look)["moved"] is False
    hook.set_alias(model, "champion", second)
    seen = run_task(look)
    assert seen["moved"] is True
    assert (seen["decision"]["evidence"]["replaces"], seen["decision"]["evidence"]["version"]) == (first, second)
    assert seen["decision"]["decided_by"] == "outside"
    assert run_task(look)["moved"] is False
    outcomes = [r.outcome for r in hook.history(model, kinds=["promotion"])]
    assert sorted(outcomes) == ["moved_outside", "promoted"]
