"""What a task tells OpenLineage: the provider asks an operator for ``get_openlineage_facets_on_complete``.

Airflow's OpenLineage provider is an extra; nobody asks where it is not installed. Nothing of it is imported before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.lineage import ROLES, Told, lineage_of

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_mlops.core.profile import ColumnProfile, Profile

MOST_ASSERTIONS = 200
"""Assertions that an event carries: those that did not succeed first."""

MOST_COLUMNS = 200
"""Columns whose counts an event carries."""


class TellsLineage:
    """For an operator that publishes its result with :func:`~airflow_mlops.operators._context.publish`."""

    _told_result: Mapping[str, Any] | None = None
    _told_profile: Profile | None = None

    def remember_result(self, result: Mapping[str, Any]) -> None:
        """What the task published, for its lineage; also of a task that fails a moment later."""
        self._told_result = result

    def remember_profile(self, profile: Profile | None) -> None:
        """What the task counted of the rows that it read first, where that is no part of its result."""
        self._told_profile = profile

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Inputs and outputs with digests as versions, and what was checked as data quality assertions."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        kind = type(self).__module__.rpartition(".")[2]
        names = {n for roles in ROLES.values() for n in roles.inputs}
        arguments = {n: v for n in names if (v := getattr(self, n, None)) is not None}
        result = self._told_result or {}
        if self._told_profile is not None:
            result = {**result, "profile": self._told_profile}
        inputs, outputs = lineage_of(kind, result, arguments)
        return OperatorLineage(inputs=[_input(t) for t in inputs], outputs=[_output(t) for t in outputs])

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """The same: a verdict that failed the task is what lineage most wants to know."""
        return self.get_openlineage_facets_on_complete(task_instance)


def _input(told: Told) -> Any:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality
    from openlineage.client.facet_v2 import input_statistics_input_dataset as statistics

    facets: dict[str, Any] = {}
    if told.assertions:
        ordered = sorted(told.assertions, key=lambda a: a.success)[:MOST_ASSERTIONS]
        facets["dataQualityAssertions"] = quality.DataQualityAssertionsDatasetFacet(
            assertions=[
                quality.Assertion(
                    assertion=a.name,
                    success=a.success,
                    column=a.column or None,
                    severity=a.severity or None,
                    expected=a.expected or None,
                    actual=a.actual or None,
                )
                for a in ordered
            ]
        )
    if told.profile is not None:
        facets["dataQualityMetrics"] = _metrics(told.profile)
    if told.rows is not None:
        facets["inputStatistics"] = statistics.InputStatisticsInputDatasetFacet(rowCount=told.rows)
    space, name = _named(told)
    return InputDataset(namespace=space, name=name, inputFacets=facets, facets=_facets(told))


def _metrics(profile: Profile) -> Any:
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as metrics

    def of(column: ColumnProfile) -> Any:
        low, high = (x if isinstance(x, int | float) else None for x in (column.minimum, column.maximum))
        return metrics.ColumnMetrics(
            nullCount=column.nulls,
            distinctCount=column.distinct,
            sum=column.mean * column.valid if column.mean is not None else None,
            count=column.valid,
            min=low,
            max=high,
        )

    some = list(profile.columns.items())[:MOST_COLUMNS]
    return metrics.DataQualityMetricsInputDatasetFacet(
        rowCount=profile.rows, columnMetrics={name: of(column) for name, column in some}
    )


def _output(told: Told) -> Any:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    facets: dict[str, Any] = {}
    if told.rows is not None:
        facets["outputStatistics"] = statistics.OutputStatisticsOutputDatasetFacet(rowCount=told.rows)
    space, name = _named(told)
    return OutputDataset(namespace=space, name=name, outputFacets=facets, facets=_facets(told))


def _facets(told: Told) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset as version
    from openlineage.client.facet_v2 import schema_dataset as schema

    facets: dict[str, Any] = {}
    if told.version:
        facets["version"] = version.DatasetVersionDatasetFacet(datasetVersion=told.version)
    if told.schema:
        fields = [schema.SchemaDatasetFacetFields(name=n, type=t) for n, t in told.schema.items()]
        facets["schema"] = schema.SchemaDatasetFacet(fields=fields)
    return facets


def _named(told: Told) -> tuple[str, str]:
    """Namespace and name; a table's come from its hook, as every operator of Airflow's SQL providers has them."""
    ref = told.ref
    if ref is None or ref.uri:
        return told.namespace, str(Path(told.name).absolute()) if told.namespace == "file" else told.name
    if ref.conn_id:
        with contextlib.suppress(Exception):  # a hook without lineage, a database that is away: the name of ours then
            from airflow.sdk import BaseHook

            connection = BaseHook.get_connection(ref.conn_id)
            hook: Any = connection.get_hook()  # type: ignore[no-untyped-call]
            info = hook.get_openlineage_database_info(connection)
            known = "." in ref.table or not ref.table
            schema = "" if known else str(hook.get_openlineage_default_schema() or "")
            parts = [info.database or connection.schema, schema, told.name]
            return f"{info.scheme}://{info.authority}", ".".join(str(p) for p in parts if p)
    return f"airflow://{ref.conn_id or ref.engine}", told.name
