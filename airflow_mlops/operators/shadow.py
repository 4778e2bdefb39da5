"""A challenger beside the champion on live rows: :class:`ShadowScoreOperator`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.bases.skipmixin import SkipMixin
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import (
    DatasetNotFound,
    EmptyDataset,
    MlopsError,
    ModelError,
    SchemaMismatch,
    UnknownName,
    UsageError,
)
from airflow_mlops.core.records import CHALLENGER, CHAMPION, ModelVersion, Record
from airflow_mlops.core.results import JSON, Decision, digest
from airflow_mlops.core.shadow import COMPARED, ERROR, PROMOTE, ShadowPolicy, decide_shadow
from airflow_mlops.exceptions import ScoringFailed
from airflow_mlops.operators._context import data_of, is_backfill, publish, run_of, time_of
from airflow_mlops.operators._lineage import TellsLineage
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.core.scoring import ScoringModel
    from airflow_mlops.hooks.mlflow import MlflowHook

ON_WAIT = ("skip", "return")


class _ChallengerFailed(Exception):
    """The challenger could not be loaded, or could not score the rows."""


@contextlib.contextmanager
def _asking(who: str) -> Iterator[None]:
    """What goes wrong with the challenger is part of the comparison; what goes wrong with the champion is not."""
    try:
        yield
    except (ModelError, SchemaMismatch) as error:
        if who == "challenger":
            raise _ChallengerFailed(str(error)) from error
        raise


class ShadowScoreOperator(TellsLineage, BaseOperator, SkipMixin):
    """Score the same rows with challenger and champion, and record how they differ; nothing is published or promoted.

    Each partition leaves a record: agreement, difference of scores, latency of both (batch by batch, in turn), and
    where rows have their label the paired difference of losses. Run again when labels have come, it adds them. With a
    policy it then decides, by a test that may look after every partition, whether the challenger has shown enough
    (:mod:`airflow_mlops.core.shadow`). A challenger that can't score the rows is a recorded error and no failed
    task; a champion that can't is one.

    Returns ``{"model_name", "champion", "challenger", "data", "outcome": "compared" or "error", "metrics",
    "difference", "error", "decision": a Decision as a dict, or null}``. It is skipped where there is no champion, no
    challenger, or both are one version.

    :param model_name: the registered model. (templated)
    :param data: the rows, as for ``ScoreBatchOperator``. (templated)
    :param target: the column with the label, where there is one; null where it is not known yet. (templated)
    :param challenger: the version; empty: the one that the alias ``challenger`` names. (templated)
    :param policy: a :class:`~airflow_mlops.core.shadow.ShadowPolicy` or its dict; ``None``: nothing is decided.
        (templated)
    :param on_wait: what happens where the decision is not ``promote``: ``skip`` what is downstream, or ``return``.
        Without a policy always the latter.
    :param batch_rows: rows that are scored at once.
    :param mlflow_conn_id: the MLflow connection. (templated)
    :raises ScoringFailed: not retried: the champion can't score these rows, or an argument is wrong.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = ("model_name", "data", "target", "challenger", "policy", "mlflow_conn_id")
    ui_color = "#ece4f2"
    operator_extra_links = LINKS
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        model_name: str,
        data: Any,
        target: str = "",
        challenger: str = "",
        policy: ShadowPolicy | Mapping[str, Any] | str | None = None,
        on_wait: str = "return",
        batch_rows: int = 10_000,
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.target = target
        self.challenger = challenger
        self.policy = policy
        self.on_wait = on_wait
        self.batch_rows = batch_rows
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Score both, compare, record; then decide, where a policy says how."""
        about: dict[str, Any] = {"model_name": self.model_name, "outcome": ERROR}
        try:
            policy = None if self.policy is None else ShadowPolicy.of(self.policy)  # type: ignore[arg-type]
            if self.on_wait not in ON_WAIT:
                raise UnknownName("on_wait", self.on_wait, ON_WAIT)
            champion, challenger = self._pair()
            record = self._compared(context, champion, challenger)
        except DatasetNotFound:
            raise
        except MlopsError as error:
            published = publish(context, {**about, "error": f"{type(error).__name__}: {error}"})
            raise ScoringFailed(f"no shadow of {self.model_name!r}: {error}", published) from error
        decision = self._decided(context, champion, challenger, policy) if policy else None
        result = {
            **record.body,
            "outcome": record.outcome,
            "metrics": record.metrics,
            "decision": decision.to_dict() if decision else None,
        }
        published = publish(context, result)
        replay = is_backfill(context)
        if decision is not None and (decision.decision != PROMOTE or replay) and self.on_wait == "skip":
            tasks = context["task"].get_direct_relatives(upstream=False)
            self.skip(ti=context["ti"], tasks=[t for t in tasks if not t.is_teardown])
        return published

    def _pair(self) -> tuple[ModelVersion, ModelVersion]:
        named = str(self.challenger or "")
        champion = self.hook.by_alias(self.model_name, CHAMPION)
        find = self.hook.version(self.model_name, named) if named else self.hook.by_alias(self.model_name, CHALLENGER)
        if named and find is None:
            raise UsageError(f"{self.model_name!r} has no version {named!r} to compare")
        if champion is None or find is None or champion.version == find.version:
            raise AirflowSkipException(f"{self.model_name!r} has no challenger beside a champion")
        return champion, find

    def _compared(self, context: Context, champion: ModelVersion, challenger: ModelVersion) -> Record:
        from airflow_mlops.engines import engine_for, verify

        data = data_of(self.data)
        if data.resolved:
            verify(data)
        else:
            data = engine_for(data).resolve(data)
        if not data.rows:
            raise EmptyDataset(f"{data.label} has no rows to score")
        pair = [[v.version, v.model_digest] for v in (champion, challenger)]
        key = digest("shadow", self.model_name, pair, data.digest, self.target)
        found = self.hook.find_record(self.model_name, "shadow", key)
        if found is not None:
            self.log.info("%s and %s were compared on these rows before", champion.label, challenger.label)
            return found
        body: dict[str, JSON] = {
            "model_name": self.model_name,
            "champion": champion.version,
            "challenger": challenger.version,
            "data": data.to_dict(),
            "difference": None,
            "error": None,
            "details": {"version": champion.version},
        }
        metrics: dict[str, float] = {"rows": float(data.rows)}
        try:
            metrics |= self._scored(data, {"champion": champion, "challenger": challenger}, body)
            outcome = COMPARED
        except _ChallengerFailed as error:
            # Not under the key of its inputs: what could not be loaded today may be there tomorrow.
            key, outcome = digest(key, str(error)), ERROR
            body["error"] = str(error)[:1000]
            self.log.warning("the challenger can't score: %s", error)
        record = Record(
            kind="shadow",
            model=self.model_name,
            key=key,
            outcome=outcome,
            subject=challenger.version,
            at=time_of(context),
            body=body,
            metrics=metrics,
            backfill=is_backfill(context),
        )
        return self.hook.record(record, dag_run=run_of(context))

    def _scored(
        self, data: DatasetRef, versions: Mapping[str, ModelVersion], body: dict[str, JSON]
    ) -> dict[str, float]:
        import time

        import pandas as pd

        from airflow_mlops.core.scoring import not_finite, predict, require_scorable
        from airflow_mlops.core.shadow_rows import compare, latency, paired
        from airflow_mlops.engines import engine_for

        models: dict[str, ScoringModel] = {}
        for who, version in versions.items():
            with _asking(who):
                models[who] = self.hook.load_scoring_model(version)
                require_scorable(models[who], list(data.schema), (), data.label)
        if self.target and self.target not in data.schema:
            raise UsageError(f"{data.label} has no column {self.target!r} with labels")
        features = [name for model in models.values() for name in model.features]
        columns = dict.fromkeys([*features, *([self.target] if self.target else [])])
        said: dict[str, list[pd.DataFrame]] = {who: [] for who in models}
        took: dict[str, list[float]] = {who: [] for who in models}
        labels = []
        for number, batch in enumerate(engine_for(data).batches(data.select(*columns), self.batch_rows)):
            # In turn, so that neither always finds the rows in the processor's cache.
            for who in sorted(models, reverse=bool(number % 2)):
                began = time.perf_counter()
                with _asking(who):
                    said[who].append(predict(models[who], batch))
                took[who].append((time.perf_counter() - began) * 1e6 / max(1, len(batch)))
            labels.append(batch[self.target] if self.target else pd.Series([None] * len(batch)))
        whole = {who: pd.concat(frames, ignore_index=True) for who, frames in said.items()}
        for who, predictions in whole.items():
            with _asking(who):
                if bad := not_finite(predictions):
                    raise ModelError(f"{models[who].label} has no finite prediction for {bad} rows")
        kinds = {str(model.described.get("problem") or "") for model in models.values()}
        positives = [model.described.get("positive") for model in models.values()]
        body["difference"] = paired(
            whole["champion"],
            whole["challenger"],
            pd.concat(labels, ignore_index=True),
            regression="regression" in kinds,
            positive=positives[0] if positives[0] == positives[1] else None,
        )
        times = {f"{who}_latency_{q}": ms for who, each in took.items() for q, ms in latency(each).items()}
        return {**compare(whole["champion"], whole["challenger"]), **times}

    def _decided(
        self, context: Context, champion: ModelVersion, challenger: ModelVersion, policy: ShadowPolicy
    ) -> Decision:
        records = self.hook.history(self.model_name, kinds=["shadow"], limit=1000)
        decision = decide_shadow(
            self.model_name, champion.version, challenger.version, records, policy, dag_run=run_of(context)
        )
        record = Record.of_decision(
            decision, subject=challenger.version, at=time_of(context), backfill=is_backfill(context)
        )
        stored = Decision.from_dict(self.hook.record(record, dag_run=run_of(context)).body)
        for reason in stored.reasons:
            self.log.info("%s: %s: %s", challenger.label, stored.decision, reason)
        return stored
