"""Values that are written once: what decides between two promotions at the same time.

A parameter of an MLflow run can be created and never changed, and the store's primary key decides who was first. The
values that belong to a champion are parameters of the run that trained it; those of a model
without a champion belong to the run of its oldest version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.records import TAG, ModelVersion
from airflow_mlops.hooks._base import HookBase, quoted
from airflow_mlops.hooks._registry import Registry, version_of

if TYPE_CHECKING:
    from mlflow.entities import Run

PREFIX = f"{TAG}succession."


class Claims(Registry, HookBase):
    """Writing and reading what is written once."""

    def written(self, model: str, origin: str) -> Mapping[str, str]:
        """The write-once values beside the version ``origin``; with an empty ``origin``, beside no champion.

        :return: name -> value; empty where nothing was written.
        """
        version, run = self._seat(model, origin)
        if run is not None:
            return {k: v for k, v in run.data.params.items() if k.startswith(PREFIX)}
        return {k: v for k, v in version.tags.items() if k.startswith(PREFIX)} if version else {}

    def write_once(self, model: str, origin: str, key: str, value: str) -> str:
        """Write ``value`` unless ``key`` has one.

        :return: what ``key`` has now: ``value``, or what somebody else wrote first.
        :raises UsageError: when the model has no version to keep it beside.
        """
        version, run = self._seat(model, origin)
        if run is not None:
            try:
                with self.translating():
                    self.client.log_param(run.info.run_id, key, value)
                return value
            except UsageError:
                stored = self.written(model, origin).get(key)
                if stored is None:
                    raise
                return stored
        if version is None:
            raise UsageError(f"{model!r} has no version beside which {key!r} could be written")
        if key not in version.tags:  # without a run there is no value that is written once: the nearest thing
            self.tag_version(model, version.version, {key: value})
        return self.written(model, origin)[key]

    def retract(self, run_id: str) -> None:
        """Take a record out of the ledger, because another of the same key counts; MLflow keeps it as deleted."""
        with self.absent_is_none():
            self.client.delete_run(run_id)

    def _seat(self, model: str, origin: str) -> tuple[ModelVersion | None, Run | None]:
        """The version beside which values are kept, and its run where it has one that can be written."""
        version = self.version(model, origin) if origin else self._oldest(model)
        if version is None or not version.run_id:
            return version, None
        with self.absent_is_none():
            run = self.client.get_run(version.run_id)
            if run.info.lifecycle_stage == "active":
                return version, run
        return version, None

    def _oldest(self, model: str) -> ModelVersion | None:
        with self.translating():
            page = self.client.search_model_versions(
                f"name = {quoted(model)}", max_results=1, order_by=["version_number ASC"]
            )
        return version_of(page[0]) if page else None  # as found: its aliases are not asked for
