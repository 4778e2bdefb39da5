"""ApproveModelOperator: what is asked, what an answer counts for, and what it never counts for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import TaskAwaitingInput

from airflow_mlops.core.approval import FIELD
from airflow_mlops.core.evaluation import Contender, Evaluation, Figure
from airflow_mlops.exceptions import ApprovalRefused, PromotionRefused
from airflow_mlops.hooks.mlflow import MlflowHook
from airflow_mlops.operators.approval import ApproveModelOperator
from airflow_mlops.operators.gates import GateOperator
from airflow_mlops.operators.promotion import PromoteModelOperator
from airflow_mlops.pages.cards import card_of, entry_of
from tests.kit.tasks import TaskRunner
from tests.operators.promotions import aliases, make_version, set_status

MODEL = "late"
ASKS = {"checks": [{"value": {"metric": "roc_auc", "lower": 0.6}}], "on_missing_champion": "require_approval"}
PASSES = {"checks": [{"value": {"metric": "roc_auc", "lower": 0.6}}]}
NOON = dt.datetime(2013, 5, 2, 12, tzinfo=dt.UTC)


@pytest.fixture
def hook(mlflow_local: Path) -> MlflowHook:
    return MlflowHook()


class World:
    """A model with judged versions, and a person at the form."""

    def __init__(self, hook: MlflowHook, run_task: TaskRunner) -> None:
        self.hook = hook
        self.run_task = run_task

    def judged(self, policy: Any = ASKS, *, auc: float = 0.7) -> dict[str, Any]:
        version = make_version(self.hook, MODEL)
        evaluation = Evaluation(
            model_name=MODEL,
            candidate=Contender(version=version, model_digest=f"digest-of-{version}", data_until="2013-05"),
            champion=Contender(state="missing"),
            metrics=(Figure(metric="roc_auc", direction="higher", candidate=auc),),
            rows=1000,
            data={"uri": "holdout.parquet", "digest": "e" * 32},
        )
        result: dict[str, Any] = self.run_task(
            GateOperator(
                task_id="gate",
                evaluation=evaluation.to_dict(),
                policy=policy,
                on_reject="skip",
                unrecorded="accept",
            )
        )
        return result

    def ask(self, gate: Any, **options: Any) -> TaskAwaitingInput:
        with pytest.raises(TaskAwaitingInput) as waiting:
            self.run_task(approve(gate, **options))
        return waiting.value

    def answer(self, gate: Any, waiting: TaskAwaitingInput, event: dict[str, Any], **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.run_task.resume(approve(gate, **options), waiting, event)
        return result

    def form(self) -> Any:
        [form] = self.run_task.supervisor.forms.values()
        return form


@pytest.fixture
def world(hook: MlflowHook, run_task: TaskRunner) -> World:
    return World(hook, run_task)


def approve(gate: Any, task_id: str = "approve", **options: Any) -> ApproveModelOperator:
    with DAG("loop", schedule=None):
        task = ApproveModelOperator(task_id=task_id, model_name=MODEL, gate=gate, **options)
        task >> BaseOperator(task_id="after")
    return task


def said(option: str = "Approve", by: str = "ada", reason: str = "", **more: Any) -> dict[str, Any]:
    """What Airflow resumes a task with."""
    user = {"id": by, "name": by.title()} if by else None
    answer = {"chosen_options": [option], "params_input": {FIELD: reason}, "responded_at": NOON, "timedout": False}
    return {**answer, "responded_by_user": user, **more}


def test_the_form_shows_the_verdict_and_pins_what_it_is_about(world: World) -> None:
    gate = world.judged()
    waiting = world.ask(gate, assigned_users=["ada", {"id": "7", "name": "Bob"}])
    form = world.form()
    assert (form.subject, form.options, form.defaults) == (
        "Approve late version 1?",
        ["Approve", "Reject"],
        ["Reject"],
    )
    for shown in ("digest-of-1", "0.7", "roc\\_auc", "there is no champion", waiting.kwargs["shown"]["gate"]):
        assert shown in form.body
    assert [(u.id, u.name) for u in form.assigned_users] == [("ada", "ada"), ("7", "Bob")]
    assert list(form.params) == [FIELD]
    assert waiting.timeout == dt.timedelta(days=7)


def test_an_approval_is_recorded_on_the_version_and_lets_it_through(world: World) -> None:
    gate = world.judged()
    result = world.answer(gate, world.ask(gate), said(reason="figures look right"))
    assert (result["decision"], result["decided_by"], result["reasons"]) == ("approved", "ada", ["figures look right"])
    assert result["evidence"]["answered_at"] == NOON.isoformat()
    [record] = world.hook.history(MODEL, kinds=["approval"])
    assert (record.outcome, record.subject, record.body) == ("approved", "1", result)
    version = world.hook.version(MODEL, "1")
    assert version is not None and version.tag("approval_outcome") == "approved"
    assert version.tag(f"approval.{record.key}") == f"approved by ada at {NOON.isoformat()}: figures look right"

    promote = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate, approval=result)
    promoted = world.run_task(promote)
    assert promoted["decision"] == "promoted" and promoted["decided_by"] == "ada"
    assert promoted["evidence"]["approvals"] == [record.key]
    assert aliases(world.hook, MODEL) == {"champion": "1"}


@pytest.mark.parametrize(
    ("event", "decided_by"),
    [
        (said("Reject", reason="too few rows"), "ada"),
        (said("Reject", by="", timedout=True), "timeout"),
        (said("Approve", timedout=True), "timeout"),
        (said("Approve", by=""), "timeout"),
        (said(chosen_options=[]), "ada"),
        (said(chosen_options=["Approve", "Reject"]), "ada"),
        ({"error": "no answer", "error_type": "timeout"}, "timeout"),
    ],
)
def test_anything_but_a_persons_clear_yes_is_a_rejection(world: World, event: dict[str, Any], decided_by: str) -> None:
    gate = world.judged()
    result = world.answer(gate, world.ask(gate), event)
    assert (result["decision"], result["decided_by"]) == ("rejected", decided_by)
    assert world.run_task.last is not None and world.run_task.last.skipped == ["after"]
    with pytest.raises(PromotionRefused, match="not_approved"):
        world.run_task(PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate, approval=result))


def test_a_rejection_can_fail_the_task(world: World) -> None:
    gate = world.judged()
    with pytest.raises(ApprovalRefused, match="rejected by ada: no"):
        world.answer(gate, world.ask(gate), said("Reject", reason="no"), on_reject="fail")
    assert world.run_task.last is not None
    assert world.run_task.last.xcoms["return_value"]["decision"] == "rejected"


def test_a_cleared_task_never_shows_an_older_candidate(world: World) -> None:
    first, second = world.judged(), world.judged(auc=0.8)
    world.ask(first)
    with pytest.raises(ApprovalRefused, match=r"'Approve late version 1\?'.*differs in subject, body"):
        world.run_task(approve(second))


def test_a_form_with_other_approvers_is_not_taken_over(world: World) -> None:
    gate = world.judged()
    world.ask(gate, assigned_users=["ada"])
    with pytest.raises(ApprovalRefused, match="assigned users"):
        world.run_task(approve(gate, assigned_users=["bob"]))


def test_an_answer_to_another_candidate_counts_for_nothing(world: World) -> None:
    """The gate ran again while the form was waiting."""
    first, second = world.judged(), world.judged(auc=0.8)
    waiting = world.ask(first)
    with pytest.raises(ApprovalRefused, match="not what was shown any more: version, model_digest, gate, text"):
        world.answer(second, waiting, said())
    assert world.hook.history(MODEL, kinds=["approval"]) == []


def test_an_answer_without_a_pin_counts_for_nothing(world: World) -> None:
    gate = world.judged()
    waiting = world.ask(gate)
    waiting.kwargs = {}
    with pytest.raises(ApprovalRefused, match="not what was shown"):
        world.answer(gate, waiting, said())


@pytest.mark.parametrize(
    ("spoil", "code"),
    [("files", "digest_differs"), ("pin", "pinned"), ("gone", "version_deleted"), ("unready", "not_ready")],
)
def test_a_version_that_changed_behind_the_form_is_refused(
    world: World, mlflow_local: Path, spoil: str, code: str
) -> None:
    gate = world.judged()
    waiting = world.ask(gate)
    if spoil == "gone":
        world.hook.get_conn().delete_model_version(MODEL, "1")
    elif spoil == "unready":
        set_status(mlflow_local, MODEL, "1", "PENDING_REGISTRATION")
    else:
        world.hook.tag_version(MODEL, "1", {"model_digest": "other"} if spoil == "files" else {"pinned": "bad"})
    with pytest.raises(ApprovalRefused, match=code):
        world.answer(gate, waiting, said())
    with pytest.raises(ApprovalRefused, match=code):
        world.run_task(approve(gate, task_id="another"))


def test_a_gate_decision_that_no_gate_made_is_not_asked_about(world: World) -> None:
    gate = world.judged()
    with pytest.raises(ApprovalRefused, match="no_gate"):
        world.run_task(approve({**gate, "inputs": {"evaluation": "made up"}}))
    with pytest.raises(ApprovalRefused, match="no_gate"):
        world.run_task(approve(None))
    with pytest.raises(ApprovalRefused, match="gate_differs"):
        world.run_task(approve({**gate, "decision": "pass"}))
    assert world.run_task.supervisor.forms == {}


def test_nobody_can_approve_what_the_gate_rejected(world: World) -> None:
    with pytest.raises(ApprovalRefused, match="gate_rejected"):
        world.run_task(approve(world.judged(auc=0.5)))


def pending(world: World) -> str | None:
    """The version that the Models page shows as waiting."""
    experiment = world.hook.experiment_id(MODEL)
    runs = world.hook.get_conn().search_runs([experiment])
    found = [entry_of(r.info.run_id, r.data.tags, r.data.metrics, r.info.start_time) for r in runs]
    waits = card_of(MODEL, {}, [e for e in found if e is not None]).pending
    return waits.subject if waits else None


def test_a_pass_needs_no_person_unless_the_author_says_so(world: World) -> None:
    gate = world.judged(PASSES)
    result = world.run_task(approve(gate))
    assert (result["decision"], result["decided_by"]) == ("approved", "policy")
    assert world.run_task.supervisor.forms == {}
    assert pending(world) is None
    waiting = world.ask(gate, on_pass="ask")
    assert pending(world) == "1"
    asked = world.hook.history(MODEL, kinds=["approval"])[0]
    assert asked.outcome == "asked"
    unanswered = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate, approval=asked.body)
    with pytest.raises(PromotionRefused, match="not_approved"):
        world.run_task(unanswered)
    world.ask(gate, on_pass="ask")
    assert [r.outcome for r in world.hook.history(MODEL, kinds=["approval"])].count("asked") == 1
    world.answer(gate, waiting, said(), on_pass="ask")
    assert pending(world) is None


def test_a_typing_error_is_final(world: World) -> None:
    with pytest.raises(ApprovalRefused, match=r"on_pass 'aks': did you mean 'ask'"):
        world.run_task(approve(world.judged(), on_pass="aks"))
    with pytest.raises(ApprovalRefused, match="on_reject 'sikp'"):
        world.run_task(approve(world.judged(), on_reject="sikp"))
    with pytest.raises(ApprovalRefused, match="an assigned user is"):
        world.run_task(approve(world.judged(), assigned_users=[""]))


def test_two_approvers_are_two_people(world: World) -> None:
    gate = world.judged()
    answers = []
    for task_id, by in (("first", "ada"), ("second", "ada"), ("third", "bob")):
        answers.append(world.answer(gate, world.ask(gate, task_id=task_id), said(by=by), task_id=task_id))
    assert len(world.hook.history(MODEL, kinds=["approval"])) == 3
    twice = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate, approval=answers[:2])
    with pytest.raises(PromotionRefused, match="ada has approved twice; 2 people"):
        world.run_task(twice)
    missing = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate, approval=[answers[0], None])
    with pytest.raises(PromotionRefused, match="not_approved"):
        world.run_task(missing)
    both = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate, approval=[answers[0], answers[2]])
    assert world.run_task(both)["decided_by"] == "ada and bob"


def test_a_retried_answer_is_one_record_and_a_second_answer_another(world: World) -> None:
    gate = world.judged()
    waiting = world.ask(gate)
    once = world.answer(gate, waiting, said("Reject"))
    assert world.answer(gate, waiting, said("Reject")) == once
    later = world.answer(gate, world.ask(gate), said(responded_at=NOON + dt.timedelta(hours=1)))
    assert later["decision"] == "approved"
    assert [r.outcome for r in world.hook.history(MODEL, kinds=["approval"])] == ["approved", "rejected"]


def test_an_approval_that_no_task_made_promotes_nothing(world: World) -> None:
    gate = world.judged()
    real = world.answer(gate, world.ask(gate), said("Reject"))
    forged = {**real, "decision": "approved"}
    with pytest.raises(PromotionRefused, match=r"not_approved.*no such record"):
        world.run_task(PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate, approval=forged))


def test_an_approval_that_was_asked_for_and_is_not_there_stops_even_a_pass(world: World) -> None:
    gate = world.judged(PASSES)
    with DAG("loop", schedule=None):
        asked = ApproveModelOperator(task_id="approve", model_name=MODEL, gate=gate)
        promote = PromoteModelOperator(task_id="promote", model_name=MODEL, gate=gate, approval=asked.output)
    with pytest.raises(PromotionRefused, match="not_approved"):
        world.run_task(promote)
    nobody = PromoteModelOperator(task_id="promote_mapped", model_name=MODEL, gate=gate, approval=[])
    with pytest.raises(PromotionRefused, match="not_approved"):
        world.run_task(nobody)
