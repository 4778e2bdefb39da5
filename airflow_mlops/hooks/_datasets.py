"""Datasets as MLflow knows them: inputs of the run that they trained or judged something in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.records import Record


def dataset_input(data: DatasetRef, context: str) -> Any:
    """A reference as MLflow's dataset entity: name, digest, source, schema and rows; nothing is read.

    :param data: a resolved reference.
    :param context: what the rows were for: ``training``, or the kind of the record.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = data.to_dict()
    if "uri" in source:
        source["uri"] = data.location
    schema = json.dumps({"columns": dict(data.schema)})
    return DatasetInput(
        dataset=Dataset(
            name=data.label[:500],
            digest=data.digest[:36],
            source_type="table" if data.table else "query" if data.query else "file",
            source=json.dumps({k: v for k, v in source.items() if k != "schema"})[:65_000],
            schema=schema if len(schema) < 1_000_000 else None,
            profile=json.dumps({"num_rows": data.rows}),
        ),
        tags=[InputTag("mlflow.data.context", context)],
    )


def judged_data(record: Record) -> DatasetRef | None:
    """The rows that a record was made on, where its body names them with their digest."""
    data = record.body.get("data")
    if not isinstance(data, Mapping) or not data.get("digest"):
        return None
    try:
        return DatasetRef.from_dict(data)
    except (UsageError, TypeError):  # a summary of the rows, and not a reference to them
        return None
