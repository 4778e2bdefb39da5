"""PromoteModelOperator and RollbackModelOperator against a real MLflow."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, AssetAlias
from airflow.sdk.api.datamodels._generated import AssetResponse
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import AssetEventResponse, AssetEventsResult

from airflow_mlops.assets import model_asset
from airflow_mlops.exceptions import MlflowUnavailable, PromotionRefused
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.promotion import PromoteModelOperator, RollbackModelOperator
from tests.kit.tasks import START, TaskRunner
from tests.operators.promotions import aliases, make_gate, make_version, runs_of, set_status, task_process

NUMBER = itertools.count()


class Events:
    """The events that Airflow would have written, and its answer to a task that asks for them."""

    def __init__(self, run_task: TaskRunner) -> None:
        self.run_task = run_task
        self.written: list[AssetEventResponse] = []
        run_task.supervisor._on_GetAssetEventByAsset = self.answer  # type: ignore[attr-defined, method-assign]

    def answer(self, msg: Any) -> AssetEventsResult:
        found = [e for e in self.written if (e.asset.name, e.asset.uri) == (msg.name, msg.uri)]
        return AssetEventsResult(asset_events=found if msg.ascending else found[::-1])

    def succeed(self) -> None:
        """What the API server does when the latest task reports its success."""
        last = self.run_task.last
        assert last is not None
        profiles = list(task_runner._build_asset_profiles(last.task.outlets))
        sent = list(task_runner._serialize_outlet_events(last.context["outlet_events"]))
        for profile in profiles:
            if profile.type == "AssetAlias":
                found = [(e["dest_asset_key"], e["extra"]) for e in sent if e.get("source_alias_name") == profile.name]
            else:
                key = {"name": profile.name, "uri": profile.uri}
                mine = [e for e in sent if e["dest_asset_key"] == key and "source_alias_name" not in e]
                found = [(key, e["extra"]) for e in mine] or [(key, None)]
            for key, extra in found:
                asset = AssetResponse(name=key["name"], uri=key["uri"], group="mlmodel")
                event = AssetEventResponse(
                    id=len(self.written), timestamp=START, extra=extra, asset=asset, created_dagruns=[]
                )
                self.written.append(event)


@pytest.fixture
def events(run_task: TaskRunner) -> Events:
    return Events(run_task)


@pytest.fixture
def model() -> str:
    return f"delay {next(NUMBER)}"


@pytest.fixture
def hook(mlflow_local: Path) -> MlflowHook:
    return MlflowHook()


def with_champion(hook: MlflowHook, model: str, *, until: str = "2013-04") -> str:
    version = make_version(hook, model, until=until)
    hook.set_alias(model, "champion", version)
    return version


def test_a_gated_version_becomes_champion_is_recorded_and_told(
    hook: MlflowHook, model: str, run_task: TaskRunner, events: Events
) -> None:
    old, new = with_champion(hook, model), make_version(hook, model)
    operator = PromoteModelOperator(task_id="promote", model_name=model, gate=make_gate(hook, model, new, old))
    result = run_task(operator)
    events.succeed()
    assert result["decision"] == "promoted" and result["evidence"]["replaces"] == old
    assert result["dag_run"]["task_id"] == "promote"
    assert aliases(hook, model) == {"champion": new, "previous_champion": old}
    record, outside = hook.history(model, kinds=["promotion"])
    assert (record.outcome, record.subject, record.body) == ("promoted", new, result)
    assert (outside.outcome, outside.subject) == ("moved_outside", old), (
        "set by hand, and entered before it was replaced"
    )
    (event,) = events.written
    assert event.asset.uri == model_asset(model).uri
    assert event.extra == {
        "kind": "promotion",
        "version": new,
        "model_digest": f"digest-of-{new}",
        "replaces": old,
        "decision": record.key,
    }


def test_the_first_version_needs_no_champion(hook: MlflowHook, model: str, run_task: TaskRunner) -> None:
    first = make_version(hook, model, until="")
    gate = make_gate(hook, model, first, None)
    run_task(PromoteModelOperator(task_id="promote", model_name=model, gate=gate))
    assert aliases(hook, model) == {"champion": first}


def test_a_task_that_is_cleared_after_it_promoted_emits_no_second_event(
    hook: MlflowHook, model: str, run_task: TaskRunner, events: Events
) -> None:
    old, new = with_champion(hook, model), make_version(hook, model)
    gate = make_gate(hook, model, new, old)
    again = [PromoteModelOperator(task_id="promote", model_name=model, gate=gate) for _ in range(3)]
    first = run_task(again[0])
    events.succeed()
    second = run_task(again[1], try_number=2)
    events.succeed()
    assert second == first and len(events.written) == 1
    next_one = make_version(hook, model)
    run_task(PromoteModelOperator(task_id="next", model_name=model, gate=make_gate(hook, model, next_one, new)))
    events.succeed()
    late = run_task(again[2], try_number=3)
    events.succeed()
    assert late["decision"] == "superseded" and len(events.written) == 2
    assert aliases(hook, model) == {"champion": next_one, "previous_champion": new}
    assert len(runs_of(hook, model, "promotion", "promoted")) == 2


def test_without_a_look_at_the_events_a_cleared_task_would_emit_again(
    hook: MlflowHook, model: str, run_task: TaskRunner, events: Events
) -> None:
    """That :class:`Events` does what Airflow does: an outlet that is left in place is an event."""
    old, new = with_champion(hook, model), make_version(hook, model)
    gate = make_gate(hook, model, new, old)
    for number in (1, 2):
        run_task(PromoteModelOperator(task_id="promote", model_name=model, gate=gate), try_number=number)
        events.succeed()
        events.written[-1].extra = {}  # the key is gone: nobody can tell
    assert len(events.written) == 2


def test_a_model_that_is_named_at_run_time_is_told_through_an_alias(
    hook: MlflowHook, model: str, run_task: TaskRunner, events: Events
) -> None:
    old, new = with_champion(hook, model), make_version(hook, model)
    gate = make_gate(hook, model, new, old)
    for number in (1, 2):
        operator = PromoteModelOperator(task_id="promote", model_name="{{ params.model }}", gate=gate)
        assert operator.outlets == [AssetAlias("mlmodel")]
        run_task(operator, params={"model": model}, try_number=number)
        events.succeed()
    assert [e.asset.uri for e in events.written] == [model_asset(model).uri]


def test_the_outlets_of_the_author_stay(model: str) -> None:
    mine = model_asset("other")
    with DAG("d", schedule=None):
        assert PromoteModelOperator(task_id="a", model_name="m", gate={}, outlets=[mine]).outlets == [
            mine,
            model_asset("m"),
        ]
        assert PromoteModelOperator(task_id="b", model_name="m", gate={}, outlets=model_asset("m")).outlets == [
            model_asset("m")
        ]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ("nothing", "no_gate"),
        ("made up", "no_gate"),
        ("other rows", "no_gate"),
        ("another policy", "no_gate"),
        ("reject", "gate_rejected"),
        ("require_approval", "not_approved"),
        ("digest", "digest_differs"),
        ("deleted", "version_deleted"),
        ("pinned", "pinned"),
        ("PENDING_REGISTRATION", "not_ready"),
        ("FAILED_REGISTRATION", "not_ready"),
        (None, "not_ready"),
        ("moved", "champion_moved"),
        ("older", "older_data"),
        ("unknown age", "older_data"),
    ],
)
def test_a_refusal_is_published_recorded_and_changes_nothing(
    hook: MlflowHook, mlflow_local: Path, model: str, run_task: TaskRunner, spoil: str | None, code: str
) -> None:
    old = with_champion(hook, model, until={"older": "2014", "unknown age": ""}.get(str(spoil), "2013-04"))
    new = make_version(hook, model)
    verdict = spoil if spoil in ("reject", "require_approval") else "pass"
    gate: Any = make_gate(hook, model, new, old, verdict, digest="other" if spoil == "digest" else "")
    if spoil == "nothing":
        gate = None
    elif spoil == "made up":
        gate = {**gate, "inputs": {"evaluation": "mine"}}
    elif spoil in ("other rows", "another policy"):
        name = "evaluation" if spoil == "other rows" else "policy"
        gate = {**gate, "inputs": {**gate["inputs"], name: "one that was never judged"}}
    elif spoil == "deleted":
        hook.get_conn().delete_model_version(model, new)
    elif spoil == "pinned":
        hook.tag_version(model, new, {"pinned": "AUC fell"})
    elif code == "not_ready":
        set_status(mlflow_local, model, new, spoil)
    elif spoil == "moved":
        old = with_champion(hook, model)
    with pytest.raises(PromotionRefused, match=code) as error:
        run_task(PromoteModelOperator(task_id="promote", model_name=model, gate=gate))
    assert aliases(hook, model) == {"champion": old}
    assert run_task.last is not None
    published = run_task.last.xcoms["return_value"]
    assert published["decision"] == "refused" and published == error.value.report
    (record,) = hook.history(model, kinds=["promotion"])
    assert record.outcome == "refused" and record.body["evidence"]["codes"] == [code]  # type: ignore[index,call-overload]


def test_older_data_passes_with_allow_older_also_when_it_is_rendered(
    hook: MlflowHook, model: str, run_task: TaskRunner
) -> None:
    old, new = with_champion(hook, model, until="2014"), make_version(hook, model)
    gate = make_gate(hook, model, new, old)
    operator = PromoteModelOperator(task_id="promote", model_name=model, gate=gate, allow_older="{{ params.allow }}")
    assert run_task(operator, params={"allow": True})["evidence"]["allow_older"] is True
    for wrong in ({"allow_older": "perhaps"}, {"model_name": "{{ params.nothing }}"}, {"model_name": "{{ 'a/b' }}"}):
        arguments = {"model_name": model, "gate": gate, **wrong}
        with pytest.raises(PromotionRefused):
            run_task(PromoteModelOperator(task_id="p2", **arguments), params={"nothing": ""})


def test_a_rollback_goes_back_once_pins_and_tells(
    hook: MlflowHook, model: str, run_task: TaskRunner, events: Events
) -> None:
    old, new = with_champion(hook, model), make_version(hook, model)
    run_task(PromoteModelOperator(task_id="promote", model_name=model, gate=make_gate(hook, model, new, old)))
    events.succeed()
    for number in (1, 2):
        operator = RollbackModelOperator(task_id="back", model_name=model, reason="AUC fell to {{ params.auc }}")
        result = run_task(operator, params={"auc": 0.51}, try_number=number)
        events.succeed()
        assert result["decision"] == "rolled_back" and result["evidence"]["version"] == old
        assert aliases(hook, model) == {"champion": old}
    left = hook.version(model, new)
    assert left is not None and "AUC fell to 0.51" in left.tag("pinned")
    assert len(runs_of(hook, model, "rollback", "rolled_back")) == 1
    assert [e.extra["kind"] for e in events.written if e.extra] == ["promotion", "rollback"]
    with pytest.raises(PromotionRefused, match="pinned"):
        fresh = make_gate(hook, model, new, old, digest=f"digest-of-{new}")
        fresh["inputs"] = {"evaluation": "again"}
        from airflow_mlops.core.records import Record
        from airflow_mlops.core.results import Decision

        hook.record(Record.of_decision(Decision.from_dict(fresh)))
        run_task(PromoteModelOperator(task_id="again", model_name=model, gate=fresh))


@pytest.mark.parametrize(
    ("to_version", "code"), [("", "no_previous"), ("99", "version_deleted"), ("x", "version_deleted")]
)
def test_a_rollback_to_nowhere_is_refused(
    hook: MlflowHook, model: str, run_task: TaskRunner, to_version: str, code: str
) -> None:
    only = with_champion(hook, model)
    with pytest.raises(PromotionRefused, match=code):
        run_task(RollbackModelOperator(task_id="back", model_name=model, reason="why", to_version=to_version))
    assert aliases(hook, model) == {"champion": only}
    found = hook.version(model, only)
    assert found is not None and not found.tag("pinned")


def test_a_rollback_to_a_version_that_is_not_ready_is_refused(
    hook: MlflowHook, mlflow_local: Path, model: str, run_task: TaskRunner
) -> None:
    first, second = with_champion(hook, model), with_champion(hook, model)
    set_status(mlflow_local, model, first, "FAILED_REGISTRATION")
    with pytest.raises(PromotionRefused, match=f"{model}/{first} is FAILED_REGISTRATION"):
        run_task(RollbackModelOperator(task_id="back", model_name=model, reason="why", to_version=first))
    assert aliases(hook, model) == {"champion": second}


def test_a_rollback_of_a_model_without_a_champion_is_refused(
    hook: MlflowHook, model: str, run_task: TaskRunner
) -> None:
    with pytest.raises(PromotionRefused, match="no_champion"):
        run_task(RollbackModelOperator(task_id="back", model_name=model, reason="why"))


def test_a_version_without_a_run_keeps_its_claims_in_tags(hook: MlflowHook, model: str, run_task: TaskRunner) -> None:
    hook.ensure_model(model)
    made = hook.get_conn().create_model_version(model, source="/elsewhere/model")
    hook.tag_version(model, made.version, {"data_until": "2013-01"})
    hook.set_alias(model, "champion", made.version)
    new = make_version(hook, model)
    gate = make_gate(hook, model, new, str(made.version))
    run_task(PromoteModelOperator(task_id="promote", model_name=model, gate=gate))
    assert aliases(hook, model) == {"champion": new, "previous_champion": str(made.version)}


def test_a_write_once_value_keeps_its_first_writer(hook: MlflowHook, model: str) -> None:
    version = make_version(hook, model)
    name = f"mlops.succession.{version}.0"
    assert hook.write_once(model, version, name, "k1 2") == "k1 2"
    assert hook.write_once(model, version, name, "k2 3") == "k1 2"
    assert hook.write_once(model, version, name, "k1 2") == "k1 2"
    assert hook.written(model, version) == {name: "k1 2"}
    assert hook.written(model, "") == {name: "k1 2"}, "the oldest version keeps what belongs to no champion"


def test_an_mlflow_that_does_not_answer_is_retried_and_no_secret_is_told(
    model: str, run_task: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {
        "conn_type": "mlflow",
        "host": "http://127.0.0.1:9",
        "login": "ada",
        "password": "s3cr3t-w0rd",
        "extra": {"timeout": 1, "max_retries": 0},
    }
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(connection))
    with pytest.raises(MlflowUnavailable, match="mlflow_default") as error:
        run_task(RollbackModelOperator(task_id="back", model_name=model, reason="why"))
    assert "s3cr3t-w0rd" not in str(error.value)


# Processes that are killed, and processes at once -----------------------------------------------------------------

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["mlflow", "mlflow.tracking", "tests.kit.tasks", "airflow_mlops.hooks.mlflow", "airflow_mlops.operators.promotion"]
)


@pytest.fixture
def served(mlflow_server: Any) -> MlflowHook:
    return MlflowHook()


def begin(kind: str, arguments: dict[str, Any], die_after: str, start: Any, results: Any) -> Any:
    env = {k: v for k, v in os.environ.items() if k.startswith(("AIRFLOW", "MLFLOW"))}
    process = PROCESSES.Process(target=task_process, args=(env, kind, arguments, die_after, start, results))
    process.start()
    return process


@pytest.mark.parametrize("step", ["intent", "claim", "champion", "previous", "record", "close", "seal"])
def test_a_promotion_that_is_killed_after_any_step_is_finished_by_its_retry(
    served: MlflowHook, model: str, run_task: TaskRunner, events: Events, step: str
) -> None:
    old, new = with_champion(served, model), make_version(served, model)
    gate = make_gate(served, model, new, old)
    arguments = {"model_name": model, "gate": gate}
    results = PROCESSES.SimpleQueue()
    process = begin("promote", arguments, step, None, results)
    process.join(120)
    assert process.exitcode == -9 and results.empty()
    assert aliases(served, model)["champion"] == (old if step in ("intent", "claim") else new)
    result = run_task(PromoteModelOperator(task_id="promote", **arguments), try_number=2)
    events.succeed()
    assert result["decision"] == "promoted"
    assert aliases(served, model) == {"champion": new, "previous_champion": old}
    assert len(runs_of(served, model, "promotion", "promoted")) == 1
    assert [e.extra["version"] for e in events.written if e.extra] == [new]


@pytest.mark.parametrize("step", ["intent", "claim", "pin", "champion", "previous", "record", "close", "seal"])
def test_a_rollback_that_is_killed_after_any_step_is_finished_by_its_retry(
    served: MlflowHook, model: str, run_task: TaskRunner, events: Events, step: str
) -> None:
    older, old = with_champion(served, model), make_version(served, model)
    run_task(PromoteModelOperator(task_id="p", model_name=model, gate=make_gate(served, model, old, older)))
    events.succeed()
    arguments = {"model_name": model, "reason": "AUC fell"}
    results = PROCESSES.SimpleQueue()
    process = begin("rollback", arguments, step, None, results)
    process.join(120)
    assert process.exitcode == -9
    run_task(RollbackModelOperator(task_id="rollback", **arguments), try_number=2)
    events.succeed()
    assert aliases(served, model) == {"champion": older}
    assert len(runs_of(served, model, "rollback", "rolled_back")) == 1
    assert [e.extra["kind"] for e in events.written if e.extra] == ["promotion", "rollback"]


@pytest.mark.parametrize("champion", [True, False])
def test_of_promotions_at_the_same_moment_one_wins(served: MlflowHook, model: str, champion: bool) -> None:
    old = with_champion(served, model) if champion else None
    versions = [make_version(served, model) for _ in range(2)]
    start, results = PROCESSES.Barrier(3), PROCESSES.SimpleQueue()
    started = []
    for version in versions:
        arguments = {"model_name": model, "gate": make_gate(served, model, version, old)}
        started.append(begin("promote", arguments, "", start, results))
    rejected = make_version(served, model)
    bad = {"model_name": model, "gate": make_gate(served, model, rejected, old, "reject")}
    started.append(begin("promote", bad, "", start, results))
    ended = {}
    for _ in started:
        arguments, decision, message = results.get()
        ended[arguments["gate"]["evidence"]["candidate"]["version"]] = (decision, message)
    for process in started:
        process.join(60)
    assert sorted(d for d, _ in ended.values()) == ["PromotionRefused"] * 2 + ["promoted"], str(ended)
    (winner,) = [v for v, (decision, _) in ended.items() if decision == "promoted"]
    (loser,) = [v for v in versions if v != winner]
    assert ended[loser][0] == "PromotionRefused" and "champion_moved" in ended[loser][1]
    assert "gate_rejected" in ended[rejected][1]
    assert aliases(served, model) == {"champion": winner, **({"previous_champion": old} if old else {})}
    (record,) = runs_of(served, model, "promotion", "promoted")
    assert record.data.tags["mlops.subject"] == winner
    assert len(runs_of(served, model, "promotion", "refused")) == 2
