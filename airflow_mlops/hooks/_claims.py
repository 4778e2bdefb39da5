"""Values that are written once: what decides between two promotions at the same time.

A parameter of an MLflow run can be created and never changed, and the store's primary key decides who was first. The
values that belong to a champion are parameters of the run that trained it; those of a model
without a champion belong to the run of its oldest version.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.records import TAG, ModelVersion, Record
from airflow_mlops.hooks._base import NotFound, quoted
from airflow_mlops.hooks._records import Records
from airflow_mlops.hooks._registry import Registry, version_of

PREFIX = f"{TAG}succession."


class Claims(Records, Registry):
    """Writing and reading what is written once, and records that do not count before their claim is closed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seats: dict[tuple[str, str], tuple[str, str]] = {}

    def written(self, model: str, origin: str) -> Mapping[str, str]:
        """The write-once values beside the version ``origin``; with an empty ``origin``, beside no champion.

        :return: name -> value; empty where nothing was written.
        """
        run_id, version = self._seat(model, origin)
        with self.absent_is_none():
            run = self.client.get_run(run_id) if run_id else None
            found = dict(run.data.params) if run is not None else {}
            if run is None or run.info.lifecycle_stage != "active":  # what was written since it was deleted is in tags
                found = {**self._tags(model, version), **found}
            return {k: v for k, v in found.items() if k.startswith(PREFIX)}
        return {k: v for k, v in self._tags(model, version).items() if k.startswith(PREFIX)}

    def write_once(self, model: str, origin: str, key: str, value: str) -> str:
        """Write ``value`` unless ``key`` has one.

        :return: what ``key`` has now: ``value``, or what somebody else wrote first.
        :raises UsageError: when the model has no version to keep it beside.
        """
        run_id, version = self._seat(model, origin)
        if run_id:
            try:
                self.put(lambda: self.client.log_param(run_id, key, value))
                return value
            except (UsageError, NotFound):  # there is a value, or the run is deleted and takes none
                pass
        stored = self.written(model, origin).get(key)
        if stored is not None:
            return stored
        if not version:
            raise UsageError(f"{model!r} has no version beside which {key!r} could be written")
        # Without a run there is no value that is written once: the nearest thing.
        self.tag_version(model, version, {key: value})
        return self.written(model, origin)[key]

    def draft(self, record: Record) -> Record:
        """Write a record that does not count yet: a run that nothing finds. One that counts already is returned.

        :raises MlflowUnavailable: retry; what was begun is closed as ``KILLED`` by :meth:`seal`.
        """
        stored = self.find_record(record.model, record.kind, record.key)
        return stored or self.begin_record(record)

    def seal(self, record: Record) -> None:
        """Let the draft with the ``run_id`` of ``record`` count; others of its key are closed as ``KILLED``."""
        with contextlib.suppress(UsageError), self.absent_is_none():  # somebody deleted it
            self.put(lambda: self.client.set_terminated(record.run_id, "FINISHED"))
        self.bury(record.model, record.kind, record.key)

    def retract(self, run_id: str) -> None:
        """Take a draft away, because another one of its key counts; MLflow keeps it as deleted."""
        with self.absent_is_none():
            self.client.delete_run(run_id)

    def _seat(self, model: str, origin: str) -> tuple[str, str]:
        """The run in which values are kept, empty where the version has none, and the version, empty for none."""
        if (model, origin) not in self._seats:
            version = self.version(model, origin) if origin else self._oldest(model)
            if version is None or not origin:  # the oldest may be another one tomorrow
                return (version.run_id, version.version) if version else ("", "")
            self._seats[model, origin] = (version.run_id, version.version)  # a version keeps its run
        return self._seats[model, origin]

    def _tags(self, model: str, version: str) -> Mapping[str, str]:
        found = self.version(model, version) if version else None
        return found.tags if found else {}

    def _oldest(self, model: str) -> ModelVersion | None:
        with self.translating():
            page = self.client.search_model_versions(
                f"name = {quoted(model)}", max_results=1, order_by=["version_number ASC"]
            )
        return version_of(page[0]) if page else None  # as found: its aliases are not asked for
