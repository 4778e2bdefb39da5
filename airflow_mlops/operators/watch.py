"""The first partitions of a new champion: :class:`WatchChampionOperator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.bases.skipmixin import SkipMixin
from airflow.sdk.exceptions import AirflowFailException

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.outside import KINDS as MOVES
from airflow_mlops.core.records import CHAMPION, Record
from airflow_mlops.core.results import JSON, Decision
from airflow_mlops.core.watch import ROLL_BACK, WatchPolicy, decide_watch
from airflow_mlops.operators._context import is_backfill, publish, run_of, time_of
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook

ON_HOLD = ("skip", "return")


class WatchChampionOperator(BaseOperator, SkipMixin):
    """Decide, from the checks that the ledger has of a new champion, whether it stays or goes back.

    Put it behind the checks of each partition, and a rollback behind it::

        watch = WatchChampionOperator(task_id="watch", model_name="churn", policy={"partitions": 3})
        back = "{{ ti.xcom_pull('watch')"
        watch >> RollbackModelOperator(
            task_id="roll_back", model_name="churn",
            from_version=back + ".evidence.version }}", reason=back + ".reasons | join('; ') }}",
        )

    ``from_version`` keeps a champion that has followed meanwhile from being rolled back for its predecessor. Figures
    that nobody knows make the watch longer; they never end it.

    Returns the :class:`~airflow_mlops.core.results.Decision` as a dict: ``roll_back``, ``extend``, ``settled`` or
    ``not_watched``; recorded in MLflow.

    :param model_name: the registered model. (templated)
    :param policy: a :class:`~airflow_mlops.core.watch.WatchPolicy` or its dict: for how many partitions, which guards.
        (templated)
    :param on_hold: what happens where the champion stays: ``skip`` what is downstream, or ``return``. (templated)
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = ("model_name", "policy", "on_hold", "mlflow_conn_id")
    ui_color = "#dcebf7"
    operator_extra_links = LINKS
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        model_name: str,
        policy: WatchPolicy | Mapping[str, Any] | str | None = None,
        on_hold: str = "skip",
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.policy = policy
        self.on_hold = on_hold
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Gather, decide, record, publish."""
        try:
            if self.on_hold not in ON_HOLD:
                raise UnknownName("on_hold", self.on_hold, ON_HOLD)
            policy = WatchPolicy.of(self.policy)  # type: ignore[arg-type]
        except UsageError as error:
            raise AirflowFailException(str(error)) from error
        model, replay = self.model_name, is_backfill(context)
        champion = self.hook.by_alias(model, CHAMPION)
        kinds = sorted({*MOVES, *(g.kind for g in policy.guards)})
        records = self.hook.history(model, kinds=kinds, limit=1000)
        decision = decide_watch(model, champion, records, policy, dag_run=run_of(context))
        subject = champion.version if champion else ""
        record = self.hook.record(
            Record.of_decision(decision, subject=subject, at=time_of(context), backfill=replay), dag_run=run_of(context)
        )
        stored = Decision.from_dict(record.body)
        for reason in stored.reasons:
            self.log.info("%s: %s: %s", model, stored.decision, reason)
        result = publish(context, stored.to_dict())
        # A replay writes history and triggers nothing, whatever it comes to.
        if (stored.decision != ROLL_BACK or replay) and self.on_hold == "skip":
            tasks = context["task"].get_direct_relatives(upstream=False)
            self.skip(ti=context["ti"], tasks=[t for t in tasks if not t.is_teardown])
        return result
