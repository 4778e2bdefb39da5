"""Train again, or not: :class:`DecideRetrainingOperator`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DatasetNotFound, EmptyDataset, MlopsError, UsageError
from airflow_mlops.core.ledger import KINDS, facts_of
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import JSON, Decision
from airflow_mlops.core.retraining import (
    ALERT,
    RETRAIN,
    RetrainingFacts,
    RetrainingPolicy,
    decide,
    yields_to,
)
from airflow_mlops.operators._context import data_of, is_backfill, publish, run_of, time_of
from airflow_mlops.operators._monitoring import MonitoringOperator, chosen, plain_policy, policy_of
from airflow_mlops.operators.training import TrainModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


MOST_RECORDS = 500
"""Records of each kind that a decision looks at, the newest first."""


class DecideRetrainingOperator(MonitoringOperator):
    """Decide once, from the model's ledger, whether to train again; say why, and what would have to change.

    Reads the drift and performance checks, gates and decisions of the model, applies the policy, and records one
    decision: ``retrain``, ``keep`` or ``alert``. Of several that decide the same training at once, one says
    ``retrain``; a retry repeats what its first try said. A backfill records what it would have said and triggers
    nothing.

    Where an event of another decision to retrain started the run, that decision is honoured and not taken again: put
    the asset into this operator's ``outlets`` there, and into the schedule of the DAG that trains.

    What follows downstream runs only on ``retrain``: with ``on_keep="skip"`` the task ends skipped otherwise, its
    result in XCom, and downstream follows by trigger rules. ``outlets`` get their event on ``retrain`` only, either
    way.

    Returns the :class:`~airflow_mlops.core.results.Decision` as a dict with ``"record"`` beside it.

    :param model_name: the registered model. (templated)
    :param policy: a :class:`~airflow_mlops.core.retraining.RetrainingPolicy`, its dict, or the path of a YAML file.
        (templated)
    :param reason: why a person asks for a training, as in ``"{{ params.reason }}"``; empty: nobody does. (templated)
    :param scheduled: whether a scheduled run of this DAG is itself a reason.
    :param data: what would be trained on; makes two decisions about the same rows one, and nothing to train on a
        reason not to. (templated)
    :param labelled_until: newest data that has labels, comparable as text with a training's ``data_until``. (templated)
    :param new_partitions: since the last training; ``None``: counted in the ledger. (templated)
    :param new_rows: likewise. (templated)
    :param configuration: digest of the code and parameters that would be trained with, that of a
        :class:`~airflow_mlops.core.training.TrainingConfig`; empty: of ``training_task``. (templated)
    :param training_task: id of the ``TrainModelOperator`` of this DAG that would train: where its code, target,
        features or parameters are others than the champion's, that is a reason.
    :param at: ISO time it is decided for; empty: the time the run is about. (templated)
    :param alias: of the champion. (templated)
    :param subject: what the decision is called in the ledger; empty: the run's partition key. (templated)
    :param on_keep: ``skip`` or ``return`` when the answer is not ``retrain``.
    :param on_alert: notifiers, or functions of the context, that are called when the answer is ``alert``.
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = (
        "model_name",
        "policy",
        "reason",
        "data",
        "labelled_until",
        "new_partitions",
        "new_rows",
        "configuration",
        "at",
        "alias",
        "subject",
        "mlflow_conn_id",
    )

    def __init__(
        self,
        *,
        model_name: str,
        policy: Any = None,
        reason: str = "",
        scheduled: bool = False,
        data: Any = None,
        labelled_until: str = "",
        new_partitions: int | str | None = None,
        new_rows: int | str | None = None,
        configuration: str = "",
        training_task: str = "",
        at: str = "",
        alias: str = "champion",
        subject: str = "",
        on_keep: str = "skip",
        on_alert: Sequence[Callable[[Any], Any]] = (),
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.policy = plain_policy(policy)
        self.reason = reason
        self.scheduled = scheduled
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.labelled_until = labelled_until
        self.new_partitions = new_partitions
        self.new_rows = new_rows
        self.configuration = configuration
        self.training_task = training_task
        self.at = at
        self.alias = alias
        self.subject = subject
        self.on_keep = on_keep
        self.on_alert = on_alert
        self.mlflow_conn_id = mlflow_conn_id

    def execute(self, context: Context) -> dict[str, JSON]:
        """Gather, decide, record, publish; end skipped, if that was asked for."""
        chosen("on_keep", self.on_keep, ("skip", "return"))
        policy = policy_of(RetrainingPolicy, self.policy)
        at = self.at or time_of(context)
        if not at:
            raise UsageError("it is not known what time this is decided for; give at")
        history = self._history(at)
        mine = _earlier_try(history, run_of(context)) or _asked_for(context, history)
        if mine is not None:
            decision, record = Decision.from_dict(mine.body), mine
        else:
            facts = self._facts(context, history, at)
            decision, record = self._settled(context, decide(facts, policy), facts)
        for reason in decision.reasons:
            self.log.info("%s: %s: %s", self.model_name, decision.decision, reason)
        stored: dict[str, JSON] = {"run_id": record.run_id, "key": record.key, "link": self.hook.link(record)}
        result = publish(context, {**decision.to_dict(), "record": stored})
        if decision.decision == RETRAIN:
            for outlet in self.outlets:
                if isinstance(outlet, Asset):
                    context["outlet_events"][outlet].extra.update({"model": self.model_name, "decision": record.key})
            return result
        self.outlets = []  # Airflow emits for what is left here when the task succeeds: an event would start a training
        if decision.decision == ALERT:
            self.log.warning("%s needs a person: %s", self.model_name, decision.reasons[0])
            for notify in self.on_alert:
                notify(context)
        if self.on_keep == "skip":
            raise AirflowSkipException(f"{decision.decision}: {decision.reasons[0]}")
        return result

    def _history(self, at: str) -> list[Record]:
        """What facts are gathered from, each kind by itself.

        Partitions that are scored every hour must not push the last training or the last rejection out of sight, nor
        must decisions to keep.
        """
        found: list[Record] = []
        for kind in KINDS:
            moves = kind in ("retraining", "gate")  # later ones count, too: a clock that went back is seen by them
            outcome = RETRAIN if kind == "retraining" else ""
            until = "" if moves else at
            found += self.hook.history(self.model_name, kinds=(kind,), limit=MOST_RECORDS, outcome=outcome, until=until)
        return found

    def _facts(self, context: Context, history: Sequence[Record], at: str) -> RetrainingFacts:
        run_type = getattr(context.get("dag_run"), "run_type", "") or ""
        trigger = str(getattr(run_type, "value", run_type)) or "manual"
        if self.scheduled and trigger == "scheduled":
            trigger = "retraining_schedule"
        data, rows = self._data()
        return facts_of(
            self.model_name,
            at=at,
            history=history,
            versions=self.hook.versions(self.model_name),
            champion=self.hook.by_alias(self.model_name, self.alias),
            trigger=trigger,
            person=_text(self.reason),
            labelled_until=_text(self.labelled_until),
            data=data,
            rows=rows,
            new_partitions=_count("new_partitions", self.new_partitions),
            new_rows=_count("new_rows", self.new_rows),
            configuration=_text(self.configuration) or self._configuration(context),
            backfill=is_backfill(context),
        )

    def _configuration(self, context: Context) -> str:
        """Digest of what the training task would train with, rendered as it would be; empty where that is not known."""
        if not self.training_task:
            return ""
        task: Any = self.dag.get_task(self.training_task)
        if not isinstance(task, TrainModelOperator):
            raise UsageError(f"training_task {self.training_task!r} is a {type(task).__name__}, no TrainModelOperator")
        task = copy.copy(task)
        try:
            for name in ("target", "features", "train_params", "time_column"):
                if value := getattr(task, name):  # Airflow leaves what is empty as it is, too
                    setattr(task, name, task.render_template(value, context, self.dag.get_template_env()))
            return task.configuration().digest
        except (MlopsError, ValueError, TypeError, KeyError, AttributeError, jinja2.TemplateError) as error:
            # A parameter that comes from a task which has not run yet, for one: not a reason to stop here.
            self.log.warning("the configuration of %r is not known before it runs: %s", self.training_task, error)
            return ""

    def _data(self) -> tuple[str, int | None]:
        """Digest and number of the rows; no rows where nothing is there yet."""
        if not self.data:
            return "", None
        from airflow_mlops.engines import engine_for

        ref = data_of(self.data)
        try:
            ref = ref if ref.resolved else engine_for(ref).resolve(ref)
        except (DatasetNotFound, EmptyDataset):
            return "", 0
        return ref.digest, ref.rows

    def _settled(self, context: Context, decision: Decision, facts: RetrainingFacts) -> tuple[Decision, Record]:
        """The decision as the ledger has it: whoever was first with a training has it."""
        who = run_of(context)
        decision = _by(decision, who)
        record = self._recorded(context, decision, facts)
        if decision.decision != RETRAIN:
            return decision, record
        # Read again: of two that were written at the same moment, everybody sees the same one as the first.
        first = self.hook.first_begun(record)
        other = Decision.from_dict(first.body)
        if _same_task(other.dag_run, who):
            return other, first
        decision = yields_to(decision, other)
        return decision, self._recorded(context, decision, facts)

    def _recorded(self, context: Context, decision: Decision, facts: RetrainingFacts) -> Record:
        subject = self.subject or str(run_of(context).get("partition_key") or "")
        record = Record.of_decision(decision, subject=subject, at=facts.at, backfill=facts.backfill)
        return self.hook.record(record, dag_run=run_of(context))


def _earlier_try(history: Sequence[Record], who: Mapping[str, JSON]) -> Record | None:
    """What this task instance decided before it was killed: now its own training would look like another's."""
    for record in history:
        if record.kind == "retraining" and record.outcome == RETRAIN:
            dag_run = record.body.get("dag_run")
            if isinstance(dag_run, Mapping) and dag_run and _same_task(dag_run, who):
                return record
    return None


def _asked_for(context: Context, history: Sequence[Record]) -> Record | None:
    """The decision to retrain whose event started this run, if one did; of several, the newest."""
    events = context.get("triggering_asset_events") or {}
    keys = {event.extra.get("decision") for found in events.values() for event in found}
    return next((r for r in history if r.kind == "retraining" and r.outcome == RETRAIN and r.key in keys), None)


def _by(decision: Decision, who: Mapping[str, JSON]) -> Decision:
    return Decision.from_dict({**decision.to_dict(), "dag_run": who})


def _same_task(one: Mapping[str, JSON], other: Mapping[str, JSON]) -> bool:
    """Whether two tries of one task instance; a retry repeats its decision and its event."""
    return all(one.get(k) == other.get(k) for k in ("dag_id", "run_id", "task_id", "map_index"))


def _text(value: Any) -> str:
    """A rendered text; a parameter that nobody gave renders as ``None``."""
    return "" if value is None or str(value) == "None" else str(value).strip()


def _count(name: str, value: Any) -> int | None:
    text = _text(value)
    if not text:
        return None
    if not text.isdigit():
        raise UsageError(f"{name} is a whole number, got {value!r}")
    return int(text)
