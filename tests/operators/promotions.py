"""What the tests of promotion share: versions and gate decisions in a real MLflow, and a task that can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_mlops.core.records import Record
from airflow_mlops.core.results import Decision


def make_version(hook: Any, model: str, *, until: str = "2013-05", digest: str = "") -> str:
    """A READY version with a run and the tags of a training; its number."""
    hook.ensure_model(model)
    client = hook.get_conn()
    run = client.create_run(hook.experiment_id(model)).info
    client.set_terminated(run.run_id)
    made = client.create_model_version(model, source=f"{run.artifact_uri}/model", run_id=run.run_id)
    number = str(made.version)
    tags = {"model_digest": digest or f"digest-of-{number}", "data_until": until}
    hook.tag_version(model, number, {k: v for k, v in tags.items() if v})
    return number


def set_status(folder: Path, model: str, version: str, status: str | None) -> None:
    """What MLflow says of a version, in its database: stores that copy files say PENDING_REGISTRATION meanwhile."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        where = "update model_versions set status = ? where name = ? and version = ?"
        assert database.execute(where, (status, model, int(version))).rowcount == 1


def make_gate(
    hook: Any, model: str, version: str, champion: str | None, decision: str = "pass", digest: str = ""
) -> dict[str, Any]:
    """A gate's decision as it is in XCom and in the ledger."""
    made = Decision(
        kind="gate",
        model=model,
        decision=decision,
        reasons=("every check passed" if decision == "pass" else "roc_auc fell",),
        evidence={
            "candidate": {"version": version, "model_digest": digest or f"digest-of-{version}"},
            "champion": {"version": champion},
        },
        inputs={"evaluation": f"{version} against {champion}", "policy": "p"},
    )
    hook.record(Record.of_decision(made, subject=version))
    return made.to_dict()


def aliases(hook: Any, model: str) -> dict[str, str]:
    """Alias -> version."""
    found = {a: hook.by_alias(model, a) for a in ("champion", "previous_champion")}
    return {alias: version.version for alias, version in found.items() if version}


def runs_of(hook: Any, model: str, kind: str, outcome: str) -> list[Any]:
    """Every MLflow run that counts as such a record: also two of the same key. None of its kind is left open."""
    where = f"tags.`mlops.kind` = '{kind}' and tags.`mlops.outcome` = '{outcome}'"
    found = list(hook.get_conn().search_runs([hook.experiment_id(model)], where))
    assert not [r.info.run_id for r in found if r.info.status == "RUNNING"], "a record was left open"
    return [r for r in found if r.info.status == "FINISHED"]


def killed_after(step: str) -> Any:
    """A step hook that ends this process with SIGKILL when ``step`` is done."""

    def kill(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def task_process(
    env: Mapping[str, str], kind: str, arguments: Mapping[str, Any], die_after: str, start: Any, results: Any
) -> None:
    """One task in a process of its own: waits for ``start``, runs the operator, and tells how it ended.

    :param die_after: the step after which it is killed; empty: none.
    """
    os.environ.update(env)
    from unittest import mock

    from airflow_mlops.operators import promotion
    from tests.kit.tasks import TaskRunner

    operators = {"promote": promotion.PromoteModelOperator, "rollback": promotion.RollbackModelOperator}
    act = getattr(promotion, kind)

    def with_step(*args: Any, **kwargs: Any) -> Any:
        return act(*args, **kwargs, step=killed_after(die_after))

    operator = operators[kind](task_id=kind, **arguments)
    operator.hook.client  # connected before the start, so that the processes meet in the protocol  # noqa: B018
    if start is not None:
        start.wait()
    with mock.patch.object(promotion, kind, with_step):
        try:
            result = TaskRunner()(operator)
            results.put((arguments, result["decision"], None))
        except Exception as error:
            results.put((arguments, type(error).__name__, str(error)))
