"""The content digest: which rows these are, whatever their order and however they are split into files.

Every row becomes one text (see :func:`encoded`), with the schema in front of it; the digest is the sum of the MD5
of all rows modulo 2**128, as 32 hex digits. A sum does not know an order, and the digest of two datasets together is
the sum of their digests (:func:`airflow_mlops.core.profile.add_digests`). It tells changed data from unchanged
data; it is no defence against a person who builds a collision on purpose.

Engines agree where the types agree. Two things they can't agree on: a DataFrame has no null in a float column apart
from NaN, so that a NaN of a file becomes a null there; and an integer column with nulls is a float column in a
DataFrame. No rows at all have the digest zero.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import md5

from airflow_mlops.engines.duck import Column, Source

_LOW = 2**64 - 1


def content(source: Source) -> tuple[str, int]:
    """The digest of all rows, and how many there are."""
    row = f"md5_number(concat({_schema(source.columns)}, {', '.join(encoded(c) for c in source.columns)}))"
    # A lateral join would first hold all rows, to tell which are alike.
    ((rows, low, high),) = source.run(
        f"SELECT count(*), sum((h & {_LOW}::UHUGEINT)::UBIGINT), sum((h >> 64)::UBIGINT) "
        f"FROM (SELECT {row} AS h FROM {source.relation} AS data) AS hashes"
    )
    total = (int(low or 0) + (int(high or 0) << 64)) % 2**128
    return f"{total:032x}", int(rows)


def encoded(column: Column) -> str:
    """SQL that gives a value as text; unambiguous when texts of a row are joined.

    Null is ``~``. Numbers, dates and booleans end with ``|``; everything else is led by its length in bytes.
    Floats are the shortest text that reads back the same, -0 is 0; timestamps are microseconds since 1970 (UTC if
    they carry a zone), with nanoseconds behind a point where there are any.
    """
    sql, kind = column.sql, column.type
    if kind == "float":
        text = f"CAST({sql} AS DOUBLE) + 0.0"
    elif kind == "datetime":
        text = _microseconds(column)
    elif kind == "decimal":
        text = f"regexp_replace(CAST({sql} AS VARCHAR), '\\.?0+$', '')" if _scale(column) else sql
    elif kind in ("int", "bool", "date"):
        text = sql
    else:
        value = f"hex({sql})" if column.duck_type == "BLOB" else f"CAST({sql} AS VARCHAR)"
        return f"CASE WHEN {sql} IS NULL THEN '~' ELSE concat(strlen({value}), ':', {value}) END"
    return f"coalesce(CAST({text} AS VARCHAR) || '|', '~')"


def _microseconds(column: Column) -> str:
    if column.zoned:
        return f"epoch_us({column.sql})"
    if column.duck_type == "TIMESTAMP_NS":
        ns = f"epoch_ns({column.sql})"
        rest = f"CASE WHEN {ns} % 1000 = 0 THEN '' ELSE '.' || (((({ns}) % 1000) + 1000) % 1000) END"
        return f"CAST(epoch_us({column.instant}) AS VARCHAR) || {rest}"
    return f"epoch_us({column.instant})"


def _scale(column: Column) -> bool:
    return not column.duck_type.rstrip(")").endswith(",0")


def _schema(columns: Sequence[Column]) -> str:
    """A literal of 32 hex digits for the ordered names and types: the same values in other columns are other rows."""
    text = json.dumps([[c.name, c.type] for c in columns], ensure_ascii=True)
    return f"'{md5(text.encode(), usedforsecurity=False).hexdigest()}'"
