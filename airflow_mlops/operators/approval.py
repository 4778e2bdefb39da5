"""A person between the gate and the champion: :class:`ApproveModelOperator`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.bases.skipmixin import SkipMixin
from airflow.sdk.exceptions import TaskAwaitingInput

from airflow_mlops.core import approval
from airflow_mlops.core.approval import Answer, Question
from airflow_mlops.core.errors import MlopsError, UnknownName, UsageError
from airflow_mlops.core.gates import PASS
from airflow_mlops.core.promotion import PromotionRequest
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import JSON, Decision, digest
from airflow_mlops.exceptions import ApprovalRefused
from airflow_mlops.operators._context import is_backfill, publish, run_of, time_of
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook

ON_REJECT = ("skip", "fail")


class ApproveModelOperator(HITLOperator, SkipMixin):
    """Ask a person, in Airflow's own UI, whether a version that the gate judged may become the champion.

    The form shows the gate's verdict as it is in the ledger, with version and digest; it waits without a worker and
    without a triggerer. When the answer is there, all that was shown is compared with what there is now: an answer to
    an older form approves nothing. Airflow keeps the text of a form when its task is cleared, so a cleared task whose
    candidate has changed meanwhile is refused instead of showing the old one; start a new run of the DAG for it.

    Who, when and why is recorded in MLflow and on the version. The result goes to ``PromoteModelOperator``'s
    ``approval``; two approvers are two of these tasks, and both results go there as a list. Give it ``retries``: when
    MLflow fails between the answer and its record the next try asks again, and so it does when an answer comes within
    the first seconds, which Airflow 3.3.2 can take for a task that was lost.

    Returns the :class:`~airflow_mlops.core.results.Decision` as a dict: ``approved`` or ``rejected``.

    :param model_name: the registered model. (templated)
    :param gate: the gate's decision: the XCom of a ``GateOperator``. What the gate rejected nobody can approve.
        (templated)
    :param assigned_users: who may answer: ids, or ``{"id", "name"}``; empty: everybody with the right to. (templated)
    :param response_timeout: how long to wait for an answer; after that it is ``rejected``. ``None``: for ever.
        ``execution_timeout`` is something else: it limits the seconds before and after the waiting.
    :param on_pass: what a gate's ``pass`` means: ``approve`` without asking, or ``ask`` all the same. (templated)
    :param on_reject: ``skip`` what is downstream, or ``fail`` the task. (templated)
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises ApprovalRefused: not retried: nothing that could be approved, or it is not what was shown any more.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = (
        "model_name",
        "gate",
        "assigned_users",
        "on_pass",
        "on_reject",
        "mlflow_conn_id",
    )
    ui_color = "#e3dcf5"
    operator_extra_links = LINKS
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        model_name: str,
        gate: Mapping[str, Any] | str | None,
        assigned_users: Any = (),
        response_timeout: dt.timedelta | None = dt.timedelta(days=7),
        on_pass: str = "approve",
        on_reject: str = "skip",
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        # Airflow gives the execution limit to the waiting when no other is given; here they are two things.
        limit = kwargs.pop("execution_timeout", None)
        why = Param("", type=["string", "null"], title="Why", description="Kept with the decision.")
        super().__init__(
            subject=f"Approve a version of {model_name}?",
            options=[approval.APPROVE, approval.REJECTION],
            defaults=approval.REJECTION,
            response_timeout=response_timeout,
            assigned_users=assigned_users,
            params={**(kwargs.pop("params", None) or {}), approval.FIELD: why},
            **kwargs,
        )
        self.execution_timeout = limit
        self.model_name = model_name
        self.gate = gate
        self.on_pass = on_pass
        self.on_reject = on_reject
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Look at the gate's decision; then ask, approve by policy, or refuse."""
        try:
            if self.on_reject not in ON_REJECT:
                raise UnknownName("on_reject", self.on_reject, ON_REJECT)
            asked, users = self._question(context), self._users()
            step = approval.what_to_do(self.on_pass, self._request().gate)
        except MlopsError as error:
            self._refuse(context, str(error), error)
        if step == "approve":
            return self._end(context, approval.by_policy(asked, dag_run=run_of(context)))
        self.subject, self.body = asked.subject, asked.body
        self._show(context, users)
        if (gate := self._request().gate) is not None and gate.decision == PASS:
            # A gate that wants a person says so in its own record; one that passed does not.
            attempt = int(getattr(context["ti"], "try_number", 1) or 1)
            asking = approval.asking(asked, task=_task(context), attempt=attempt, dag_run=run_of(context))
            self.hook.record(
                Record.of_decision(asking, subject=asked.version, at=time_of(context), backfill=is_backfill(context)),
                dag_run=run_of(context),
            )
        for notify in self.notifiers:
            notify(context)
        raise TaskAwaitingInput(
            method_name="execute_complete", kwargs={"shown": asked.identity}, timeout=self.response_timeout
        )

    def execute_complete(
        self, context: Context, event: dict[str, Any], shown: dict[str, Any] | None = None
    ) -> dict[str, JSON]:
        """Take the answer, if what was shown is still what there is."""
        try:
            asked = self._question(context)
            changed = approval.differing(shown or {}, asked)
            if changed:
                self._refuse(context, f"not what was shown any more: {', '.join(changed)}; nothing is approved")
            decision = approval.by_answer(
                asked,
                Answer.of(event),
                task=_task(context),
                assigned=[user["id"] for user in self._users()],
                dag_run=run_of(context),
            )
        except MlopsError as error:
            self._refuse(context, str(error), error)
        return self._end(context, decision)

    def _request(self) -> PromotionRequest:
        return PromotionRequest.of(self.model_name, self.gate)

    def _question(self, context: Context) -> Question:
        """What there is to approve now, from the ledger and the registry."""
        request = self._request()
        key = request.gate.key if request.gate else ""
        record = self.hook.find_record(request.model, "gate", key) if key else None
        recorded = Decision.from_dict(record.body) if record else None
        found = self.hook.version(request.model, request.version) if request.version.isdigit() else None
        refusals = approval.standing(request, recorded, found)
        if refusals:
            self._refuse(context, "\n".join(f"  {r.code}: {r.message}" for r in refusals))
        # The ledger's, not the task's: what is shown is what was recorded.
        return approval.question(PromotionRequest.of(request.model, recorded))

    def _show(self, context: Context, users: Sequence[Mapping[str, str]]) -> None:
        """Write the form, and see whether it is what stands there: Airflow keeps the one of an earlier try."""
        from airflow.sdk.api.datamodels._generated import HITLUser
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload

        wanted = CreateHITLDetailPayload(
            ti_id=context["ti"].id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            defaults=self.defaults,
            multiple=False,
            params=self.serialized_params,
            assigned_users=[HITLUser(**user) for user in users],
        )
        stands: Any = task_runner.SUPERVISOR_COMMS.send(msg=wanted)
        names = ("subject", "body", "options", "defaults")
        changed = [n for n in names if getattr(stands, n, None) != getattr(wanted, n)]
        if {u.id for u in getattr(stands, "assigned_users", None) or ()} != {u["id"] for u in users}:
            changed.append("assigned users")
        if changed:
            headline = getattr(stands, "subject", "")
            self._refuse(
                context,
                f"the form of this task stands since an earlier try ({headline!r}) and differs in "
                f"{', '.join(changed)} from what there is to approve now; Airflow can't change it. "
                "Start a new run of the DAG",
            )

    def _users(self) -> list[dict[str, str]]:
        given = self.assigned_users or ()
        users = [given] if isinstance(given, str | Mapping) else list(given)
        found = []
        for user in users:
            known = dict(user) if isinstance(user, Mapping) else {"id": str(user), "name": str(user)}
            if not known.get("id"):
                raise UsageError(f"an assigned user is an id or {{'id', 'name'}}, got {user!r}")
            found.append({"id": str(known["id"]), "name": str(known.get("name") or known["id"])})
        return found

    def _end(self, context: Context, decision: Decision) -> dict[str, JSON]:
        record = self.hook.record(
            Record.of_decision(
                decision,
                subject=str(decision.evidence["version"]),
                at=time_of(context),
                backfill=is_backfill(context),
            ),
            dag_run=run_of(context),
        )
        stored = Decision.from_dict(record.body)
        self.hook.tag_version(stored.model, str(stored.evidence["version"]), approval.stamp(stored))
        result = publish(context, stored.to_dict())
        self.log.info("%s by %s: %s", stored.decision, stored.decided_by, stored.reasons[0])
        if stored.decision != approval.APPROVED:
            if self.on_reject == "fail":
                why = f"{stored.decision} by {stored.decided_by}: {stored.reasons[0]}"
                raise ApprovalRefused(f"{stored.model} version {stored.evidence['version']} was {why}", result)
            self.skip(ti=context["ti"], tasks=self._downstream(context))
        return result

    def _downstream(self, context: Context) -> Iterator[Any]:
        yield from (t for t in context["task"].get_direct_relatives(upstream=False) if not t.is_teardown)

    def _refuse(self, context: Context, why: str, error: Exception | None = None) -> NoReturn:
        about = {"kind": "approval", "model": str(self.model_name), "decision": "refused", "why": why}
        report = publish(context, about)
        raise ApprovalRefused(f"nothing of {self.model_name!r} can be approved:\n{why}", report) from error


def _task(context: Context) -> str:
    return digest({k: run_of(context).get(k) for k in ("dag_id", "run_id", "task_id", "map_index")})
