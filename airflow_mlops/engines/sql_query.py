"""Queries as sources: one statement that reads, or none at all."""

from __future__ import annotations

from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError


def reading(ref: DatasetRef, dialect: str) -> Any:
    """The query of a reference as SQLGlot's tree.

    :param dialect: as SQLGlot calls it.
    :raises UsageError: for more than one statement, one that can't be read, or one that writes or locks.

    >>> reading(DatasetRef(query="select 1 as a", conn_id="x"), "postgres").sql()
    'SELECT 1 AS a'
    >>> reading(DatasetRef(query="select 1; drop table flights", conn_id="x"), "postgres")
    Traceback (most recent call last):
    ...
    airflow_mlops.core.errors.UsageError: query 'select 1; drop table flights' is 2 statements; a source is one SELECT
    """
    import sqlglot
    from sqlglot import exp

    try:
        found = [
            t for t in sqlglot.parse(ref.query, read=dialect) if t is not None and not isinstance(t, exp.Semicolon)
        ]
    except sqlglot.ParseError as error:
        first = str(error).splitlines()[0][:200]
        raise UsageError(f"{ref.label} can't be read as {dialect or 'SQL'}: {first}") from None
    if len(found) != 1:
        raise UsageError(f"{ref.label} is {len(found)} statements; a source is one SELECT")
    tree: Any = found[0]
    writing = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Into, exp.Lock, exp.Command)
    if not isinstance(tree, exp.Query) or tree.find(*writing) is not None:
        raise UsageError(f"{ref.label} is no SELECT that only reads; a source can't write or lock")
    return tree
