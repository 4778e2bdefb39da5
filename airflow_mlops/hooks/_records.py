"""The ledger: one finished MLflow run for every decision, check and evaluation, found again by its key."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.records import KINDS, TAG, Record
from airflow_mlops.core.results import JSON
from airflow_mlops.core.retraining_rules import time_of
from airflow_mlops.hooks._base import HookBase, quoted
from airflow_mlops.hooks._datasets import dataset_input, judged_data

BODY_TAG_LIMIT = 5000
"""Characters of a body that are kept as a tag, so that one search returns the whole ledger; MLflow allows 8000."""

BODY_FILE = "record.json"

PAGE = 1000

BATCH = 1000
"""Metrics that MLflow takes at once."""


GRACE = 600
"""Seconds within which a record that was begun is expected to be finished."""


class Records(HookBase):
    """Writing and reading :class:`~airflow_mlops.core.records.Record`."""

    def record(
        self,
        record: Record,
        *,
        artifacts: Mapping[str, str | bytes] | None = None,
        dag_run: Mapping[str, JSON] | None = None,
    ) -> Record:
        """Write a record, once: the same model, kind and key a second time returns what is stored.

        Rows that the body names under ``data``, with their digest, become the run's dataset input.

        :param record: without ``at`` it gets the time of writing.
        :param artifacts: path in the run -> content, beside the body's ``record.json``.
        :param dag_run: who wrote it (``_context.run_of``); kept as tags.
        :return: the record as stored, with its ``run_id``.
        :raises MlflowUnavailable: retry; a half-written run is never found and never counted.
        """
        if record.kind not in KINDS:
            raise UnknownName("kind of record", record.kind, KINDS)
        stored = self.find_record(record.model, record.kind, record.key)
        if stored is not None:
            return stored
        begun = self.begin_record(record, artifacts=artifacts, dag_run=dag_run)
        with self.translating(), self.failing(begun.run_id):
            self.client.set_terminated(begun.run_id, "FINISHED")
        return begun

    def begin_record(
        self,
        record: Record,
        *,
        artifacts: Mapping[str, str | bytes] | None = None,
        dag_run: Mapping[str, JSON] | None = None,
    ) -> Record:
        """All of :meth:`record` but the end: the run is complete and open, and nothing that reads the ledger finds it.

        :return: the record with its ``run_id``.
        """
        record = dataclasses.replace(record, at=record.at or dt.datetime.now(dt.UTC).isoformat())
        with self.translating():
            run = self.client.create_run(
                self.experiment_id(record.model),
                tags=record_tags(record, dag_run or {}),
                run_name=f"{record.kind} {record.outcome} {record.subject}".strip(),
            )
            with self.failing(run.info.run_id):
                self.write(run.info.run_id, record, artifacts or {})
                if (data := judged_data(record)) is not None:
                    self.client.log_inputs(run.info.run_id, [dataset_input(data, record.kind)])
        return dataclasses.replace(record, run_id=run.info.run_id)

    def write(self, run_id: str, record: Record, artifacts: Mapping[str, str | bytes]) -> None:
        """Metrics, body and artifacts of a record into a run that is there; what it has already is written over."""
        with self.translating(), tempfile.TemporaryDirectory() as folder:
            if record.metrics:
                from mlflow.entities import Metric

                now = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
                metrics = [Metric(metric_name(k), v, now, 0) for k, v in record.metrics.items()]
                for start in range(0, len(metrics), BATCH):
                    self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])
            for path, content in {BODY_FILE: _json(record.body), **artifacts}.items():
                target = Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.encode() if isinstance(content, str) else content)
            self.client.log_artifacts(run_id, folder)

    @contextlib.contextmanager
    def failing(self, run_id: str) -> Iterator[None]:
        """A run that an error leaves unfinished is marked as failed, where MLflow still answers."""
        try:
            yield
        except Exception:
            with contextlib.suppress(Exception):
                self.client.set_terminated(run_id, "FAILED")
            raise

    def bury(self, model: str, kind: str, key: str) -> None:
        """Runs of this key that a killed try left open are closed as ``KILLED``: for people, nothing reads them."""
        where = (
            f"attributes.status = 'RUNNING' and tags.`{TAG}model` = {quoted(model)} "
            f"and tags.`{TAG}kind` = {quoted(kind)} and tags.`{TAG}key` = {quoted(key)}"
        )
        with self.translating():
            found = list(self.client.search_runs([self.experiment_id(model)], where, max_results=10))
        for run in found:
            with contextlib.suppress(UsageError), self.absent_is_none():  # taken away since, by its own task
                self.client.set_terminated(run.info.run_id, "KILLED")

    def find_record(self, model: str, kind: str, key: str) -> Record | None:
        """The record with that key, or ``None``; of two that were written at once, the older."""
        found = self._search(
            model,
            f"tags.`{TAG}kind` = {quoted(kind)} and tags.`{TAG}key` = {quoted(key)}",
            limit=1,
            order=["attributes.start_time ASC"],
        )
        return found[0] if found else None

    def first_begun(self, record: Record) -> Record:
        """Of records that several tasks wrote at once under one key, the one that was begun first.

        One that is still being written counts too: who began first and ends last would otherwise see itself as the
        first, and be unseen by the others. Begun more than :data:`GRACE` before, it is what a killed task left.

        :param record: one's own, as :meth:`record` returned it.
        """
        same = (
            f"tags.`{TAG}model` = {quoted(record.model)} and tags.`{TAG}kind` = {quoted(record.kind)} "
            f"and tags.`{TAG}key` = {quoted(record.key)} "
            "and attributes.status != 'FAILED' and attributes.status != 'KILLED'"
        )
        with self.translating():
            runs = list(
                self.client.search_runs(
                    [self.experiment_id(record.model)], same, max_results=PAGE, order_by=["attributes.start_time ASC"]
                )
            )
        began = next((r.info.start_time for r in runs if r.info.run_id == record.run_id), 0)
        alive = [r for r in runs if r.info.status == "FINISHED" or began - r.info.start_time <= GRACE * 1000]
        first = min(alive, key=lambda r: (r.info.start_time, r.info.run_id), default=None)
        if first is None or first.info.run_id == record.run_id:
            return record
        told = {name: first.data.tags.get(TAG + name, "") for name in ("dag_id", "run_id", "task_id")}
        body = json.loads(first.data.tags.get(TAG + "body", "null")) or {**record.body, "dag_run": told}
        return dataclasses.replace(record, body=body, run_id=first.info.run_id)

    def find_record_by_run(self, run_id: str) -> Record | None:
        """The record that an MLflow run is, or ``None`` when there is no such run or it is no record."""
        with self.absent_is_none():
            run = self.client.get_run(run_id)
            return self._of_run(run) if f"{TAG}kind" in run.data.tags else None
        return None

    def history(
        self,
        model: str,
        *,
        kinds: Sequence[str] = (),
        limit: int = 200,
        subject: str = "",
        outcome: str = "",
        until: str = "",
    ) -> list[Record]:
        """The newest records of a model, newest first (by ``at``, then by when they were written).

        One search for any number of records. Records that two tasks wrote at once appear once.

        :param kinds: only these; empty: all.
        :param limit: at most so many.
        :param subject: only those that are about it; empty: any.
        :param outcome: only those with it; empty: any.
        :param until: ISO time; only those that are about no later one; empty: any.
        """
        for kind in kinds:
            if kind not in KINDS:
                raise UnknownName("kind of record", kind, KINDS)
        only = f"tags.`{TAG}kind` = {quoted(kinds[0])}" if len(kinds) == 1 else f"tags.`{TAG}kind` LIKE '%'"
        for name, wanted in (("subject", subject), ("outcome", outcome)):
            if wanted:
                only += f" and tags.`{TAG}{name}` = {quoted(wanted)}"
        return self._search(
            model,
            only,
            limit=limit,
            order=[f"tags.`{TAG}at` DESC", "attributes.start_time DESC"],
            kinds=tuple(kinds),
            until=until,
        )

    def _search(
        self, model: str, only: str, *, limit: int, order: list[str], kinds: tuple[str, ...] = (), until: str = ""
    ) -> list[Record]:
        latest = time_of(until) if until else None
        experiment = self.experiment_id(model, create=False)
        if not experiment:
            return []
        where = f"attributes.status = 'FINISHED' and tags.`{TAG}model` = {quoted(model)} and {only}"
        found: dict[tuple[str, str], Record] = {}
        token = None
        with self.translating():
            while len(found) < limit:
                page = self.client.search_runs(
                    [experiment],
                    where,
                    max_results=PAGE if len(kinds) > 1 or until else min(PAGE, limit),
                    order_by=order,
                    page_token=token,
                )
                for run in page:
                    tags = run.data.tags
                    if latest is not None and tags.get(TAG + "at") and time_of(tags[TAG + "at"]) > latest:
                        continue
                    identity = (tags[TAG + "kind"], tags.get(TAG + "key", run.info.run_id))
                    if (not kinds or identity[0] in kinds) and identity not in found and len(found) < limit:
                        found[identity] = self._of_run(run)
                token = page.token
                if not token:
                    break
        return list(found.values())

    def _of_run(self, run: Any) -> Record:
        tags = run.data.tags
        body = tags.get(TAG + "body")
        return Record(
            kind=tags[TAG + "kind"],
            model=tags.get(TAG + "model", ""),
            key=tags.get(TAG + "key", ""),
            outcome=tags.get(TAG + "outcome", ""),
            body=json.loads(body) if body else self.read_json(run.info.run_id, BODY_FILE) or {},
            metrics=run.data.metrics,
            subject=tags.get(TAG + "subject", ""),
            at=tags.get(TAG + "at", ""),
            backfill=tags.get(TAG + "backfill") == "true",
            run_id=run.info.run_id,
        )

    def read_json(self, run_id: str, path: str) -> Any:
        """A JSON artifact of a run, or ``None``; written by the part of the hook that knows artifacts."""
        raise AssertionError("mixed in by Models")


def record_tags(record: Record, dag_run: Mapping[str, JSON]) -> dict[str, str]:
    """The tags of a record's run; the body is among them when it is short enough."""
    tags = {
        "kind": record.kind,
        "model": record.model,
        "key": record.key,
        "outcome": record.outcome,
        "subject": record.subject,
        "at": record.at,
        "backfill": "true" if record.backfill else "false",
        **{name: str(dag_run[name]) for name in ("dag_id", "run_id", "task_id") if dag_run.get(name)},
    }
    body = _json(record.body)
    if len(body) <= BODY_TAG_LIMIT:
        tags["body"] = body
    return {TAG + name: value for name, value in tags.items()}


def metric_name(name: str) -> str:
    """``name`` in the letters that MLflow allows for a metric.

    >>> metric_name("roc_auc[carrier=UA]")
    'roc_auc_carrier_UA_'
    """
    return "".join(c if c.isalnum() or c in "_-. /:" else "_" for c in name)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
