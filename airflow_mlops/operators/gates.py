"""The gate between a candidate and production: :class:`GateOperator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.bases.branch import BranchMixIn

from airflow_mlops.core.errors import MlopsError, UnknownName, UsageError
from airflow_mlops.core.evaluation import Evaluation
from airflow_mlops.core.gates import REJECT, GatePolicy, judge, verdict_markdown
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import JSON, Decision
from airflow_mlops.exceptions import GateRejected
from airflow_mlops.operators._context import is_backfill, publish, run_of, time_of
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook

ON_REJECT = ("fail", "branch", "skip")

UNRECORDED = ("refuse", "accept")


class GateOperator(BaseOperator, BranchMixIn):
    """Judge an evaluation by a policy. What is not known is never a pass.

    The decision is recorded in MLflow with its reasons, evidence and a page that a person can read; the version is
    tagged with it; it is in XCom before the task fails. The same evaluation and policy a second time find the first
    decision.

    Returns the :class:`~airflow_mlops.core.results.Decision` as a dict: ``pass``, ``reject`` or ``require_approval``.
    The last is no rejection: the task succeeds and goes the way of a pass, where an approval has to follow, without
    which nothing is promoted.

    :param evaluation: the XCom of an ``EvaluateModelOperator``. (templated)
    :param policy: a :class:`~airflow_mlops.core.gates.GatePolicy`, its dict, or the path of a YAML file. (templated)
    :param model_name: where given, an evaluation of another model is refused. (templated)
    :param on_reject: ``fail`` the task; ``branch`` to one of two ways; ``skip`` what is downstream.
    :param pass_task_ids: where to go on a pass, with ``branch``.
    :param reject_task_ids: where to go on a rejection, with ``branch``; empty: nowhere.
    :param unrecorded: an evaluation that no ``EvaluateModelOperator`` recorded: ``refuse`` it, because nothing tells
        it from one that somebody wrote into XCom; or ``accept`` what a task of your own evaluated, which the decision
        then says. One that has a record is compared with it all the same.
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises GateRejected: not retried: a rejection with ``fail``, or a policy or evaluation that can't be judged by,
        such as one that differs from its record in MLflow.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = ("evaluation", "policy", "model_name", "mlflow_conn_id")
    ui_color = "#fbe8c8"
    operator_extra_links = LINKS
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        evaluation: Any,
        policy: GatePolicy | Mapping[str, Any] | str | Path,
        model_name: str = "",
        on_reject: str = "fail",
        pass_task_ids: str | Sequence[str] = (),
        reject_task_ids: str | Sequence[str] = (),
        unrecorded: str = "refuse",
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.evaluation = evaluation
        self.policy = policy
        self.model_name = model_name
        self.on_reject = on_reject
        self.pass_task_ids = pass_task_ids
        self.reject_task_ids = reject_task_ids
        self.unrecorded = unrecorded
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Judge, record, tag, publish; then fail, branch or skip."""
        try:
            decision, page = self._judged(context)
        except MlopsError as error:
            report = {"decision": REJECT, "error": {"type": type(error).__name__, "message": str(error)}}
            raise GateRejected(f"the gate can't judge: {error}", publish(context, report)) from error
        result = publish(context, decision.to_dict())
        self.log.info("\n%s", page)
        rejected = decision.decision == REJECT
        if rejected and self.on_reject == "fail":
            why = "\n".join(f"  {reason}" for reason in decision.reasons[:10])
            more = len(decision.reasons) - 10
            rest = f"\n  ... and {more} more, see the record {decision.key} in MLflow" if more > 0 else ""
            version = result["evidence"]["candidate"]["version"]  # type: ignore[index,call-overload]
            raise GateRejected(f"{decision.model} version {version} was rejected:\n{why}{rest}", result)
        if self.on_reject == "branch":
            self.do_branch(context, _ids(self.reject_task_ids if rejected else self.pass_task_ids))
        elif rejected:
            self.skip_all_except(context["ti"], None)
        return result

    def _judged(self, context: Context) -> tuple[Decision, str]:
        if self.on_reject not in ON_REJECT:
            raise UnknownName("on_reject", self.on_reject, ON_REJECT)
        if self.unrecorded not in UNRECORDED:
            raise UnknownName("unrecorded", self.unrecorded, UNRECORDED)
        if self.on_reject == "branch" and not self.pass_task_ids:
            raise UsageError("on_reject='branch' needs pass_task_ids")
        from airflow_mlops.pages import verdict_page

        policy = GatePolicy.of(self.policy)
        evaluation = Evaluation.from_dict(self.evaluation)
        if self.model_name and evaluation.model_name != self.model_name:
            raise UsageError(f"this is an evaluation of {evaluation.model_name!r}, not of {self.model_name!r}")
        stands = self._as_recorded(evaluation)
        judged = judge(evaluation, policy, recorded=stands, dag_run=run_of(context))
        page = verdict_markdown(judged)
        candidate = evaluation.candidate.version
        record = self.hook.record(
            Record.of_decision(judged, subject=candidate, at=time_of(context), backfill=is_backfill(context)),
            artifacts={"verdict.md": page, "verdict.html": verdict_page(judged.to_dict())},
            dag_run=run_of(context),
        )
        stored = Decision.from_dict(record.body)
        if stored.decision != judged.decision:
            if stored.decision != REJECT:
                # Rules or a function of the author changed since: what they would not let through now stays out.
                raise UsageError(
                    f"the record {stored.key} of these inputs says {stored.decision!r}, judged now it is "
                    f"{judged.decision!r}: evaluate again, with another seed or newer rows"
                )
            self.log.warning("the record of these inputs says %r: that stands", stored.decision)
            page = verdict_markdown(stored)
        if candidate and not is_backfill(context):
            tags = {"gate": stored.key, "gate_outcome": stored.decision}
            self.hook.tag_version(evaluation.model_name, candidate, tags)
        return stored, page

    def _as_recorded(self, evaluation: Evaluation) -> bool:
        """Whether what came through XCom is what an evaluation wrote into the ledger, to the last figure.

        :raises UsageError: when it is not, but for what no ``EvaluateModelOperator`` made, where that is accepted.
        """
        key = str(evaluation.record.get("key") or "")
        if not key and not evaluation.config and self.unrecorded == "accept":
            self.log.warning("this evaluation has no record in the ledger: unrecorded='accept' takes it at its word")
            return False
        record = self.hook.find_record(evaluation.model_name, "evaluation", key) if key else None
        if record is None:
            said = f"no evaluation {key!r} of {evaluation.model_name!r}: run it again"
            if not key and not evaluation.config:
                said = (
                    "no record of this evaluation, which no EvaluateModelOperator made; if a task of your own did, "
                    "say unrecorded='accept'"
                )
            raise UsageError(f"the ledger has {said}")
        if Evaluation.from_dict(record.body).digest != evaluation.digest:
            raise UsageError(
                f"this is not the evaluation {key!r} as it was recorded (run {record.run_id}): something changed it "
                "on its way; run the evaluation again"
            )
        return True


def _ids(value: str | Sequence[str]) -> list[str] | None:
    return [value] if isinstance(value, str) and value else list(value) or None
