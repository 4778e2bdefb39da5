"""Rows as DataFrames: the same types whether they are read at once or in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow_mlops.engines.duck import Source, explained

if TYPE_CHECKING:
    import pandas as pd

BATCH = 100_000


def frame(source: Source) -> pd.DataFrame:
    """All rows. Integers with nulls are floats with NaN, as pandas has it; booleans with nulls are objects."""
    import pyarrow as pa

    select, objects = _select(source)
    with explained(source.label):
        table: pa.Table = source.reader(select, BATCH).read_all()
    return _pandas(table, objects)


def frames(source: Source, rows: int) -> Iterator[pd.DataFrame]:
    """The rows of :func:`frame`, at most ``rows`` at a time; a batch has as many as there are, up to that."""
    import pyarrow as pa

    select, objects = _select(source)
    held: list[pa.RecordBatch] = []
    count = 0
    with explained(source.label):
        reader = source.reader(select, rows)
        for batch in reader:
            while count + batch.num_rows >= rows:
                part = batch.slice(0, rows - count)
                yield _pandas(pa.Table.from_batches([*held, part]), objects)
                batch = batch.slice(part.num_rows)
                held, count = [], 0
            if batch.num_rows:
                held.append(batch)
                count += batch.num_rows
        if held:
            yield _pandas(pa.Table.from_batches(held), objects)


def _select(source: Source) -> tuple[str, list[str]]:
    """The columns as they are to be fetched, and those that become objects because they have nulls.

    Nulls are counted over all rows first, so that a batch without nulls has the types of one with.
    """
    mixed = [c for c in source.columns if c.type in ("int", "bool")]
    nulls: set[str] = set()
    if mixed:
        (counts,) = source.fetch("count(*), " + ", ".join(f"count({c.sql})" for c in mixed))
        nulls = {c.name for c, n in zip(mixed, counts[1:], strict=True) if n < counts[0]}
    parts = []
    for c in source.columns:
        wide = c.type == "int" and c.name in nulls
        if wide or c.type == "decimal":
            parts.append(f"{c.number} AS {c.sql}")
        elif c.duck_type.startswith("ENUM") or c.duck_type == "UUID":
            parts.append(f"CAST({c.sql} AS VARCHAR) AS {c.sql}")
        else:
            parts.append(c.sql)
    return ", ".join(parts), [c.name for c in mixed if c.type == "bool" and c.name in nulls]


def _pandas(table: object, objects: list[str]) -> pd.DataFrame:
    result: pd.DataFrame = table.to_pandas(date_as_object=False)  # type: ignore[attr-defined]
    for name in objects:
        result[name] = result[name].astype(object)
    return result
