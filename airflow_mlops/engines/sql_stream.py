"""Rows of a table through any ``DbApiHook``, into DuckDB: for databases that are not known to count for themselves.

The columns and the filters are the database's work; the SQL is written by SQLGlot in its dialect, values are bound.
The rows are fetched in batches into DuckDB's temporary storage, which spills to disk, and counted there by the same
code as files. A table has no order: rows are read sorted by all their columns, and counted as they come.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, DatasetNotFound, MlopsError, SourceUnavailable, UsageError
from airflow_mlops.engines.duck import Source, connection, narrowed, need, quoted
from airflow_mlops.engines.headers import unambiguous
from airflow_mlops.engines.sql_query import reading
from airflow_mlops.engines.sql_source import FETCH, parts_of, said, unreachable

_DIALECTS = {"postgresql": "postgres", "mssql": "tsql", "mariadb": "mysql", "default": ""}
"""Airflow's names of dialects that SQLGlot calls otherwise."""


@contextlib.contextmanager
def streamed(hook: Any, ref: DatasetRef, *, memory: str, threads: int) -> Iterator[Source]:
    """The rows of a table as a relation of DuckDB."""
    with connection(memory, threads) as con:
        _load(con, hook, ref)
        with_order = DatasetRef(uri="rows", columns=ref.columns, name=ref.label)
        ordered = narrowed(con, "(SELECT * FROM raw ORDER BY ALL)", with_order)
        yield dataclasses.replace(narrowed(con, "raw", with_order), ordered=ordered.relation)


def _load(con: Any, hook: Any, ref: DatasetRef) -> None:
    """The rows into DuckDB's table ``raw``."""
    about = f"{ref.label}: connection {ref.conn_id!r}"
    what = f"table {ref.table!r}" if ref.table else "what the query names"
    try:
        with contextlib.closing(hook.get_conn()) as db, contextlib.closing(db.cursor()) as cursor:
            try:
                cursor.execute(_statement(hook, ref, ["*"], empty=True)[0])
            except Exception as error:
                if unreachable(error):
                    raise
                raise DatasetNotFound(f"{about} can't read {what}: {said(error)}") from error
            have = [str(d[0]) for d in cursor.description]
            unambiguous(ref.label, have)
            wanted = list(ref.columns) or have
            need(ref.label, have, [*wanted, *(f[0] for f in ref.filters)])
            sql, values = _statement(hook, ref, wanted)
            cursor.execute(sql, tuple(values)) if values else cursor.execute(sql)
            _fetch(con, cursor, wanted, ref)
    except MlopsError:
        raise
    except Exception as error:
        if unreachable(error):
            raise SourceUnavailable(f"{about}: the database did not answer: {said(error)}. Try again") from error
        raise DataError(f"{about} failed while reading: {said(error)}") from error


def _statement(hook: Any, ref: DatasetRef, columns: Sequence[str], *, empty: bool = False) -> tuple[str, list[Any]]:
    """A SELECT in the hook's dialect and the values it has bound.

    >>> class Hook: dialect_name, placeholder = "mysql", "%s"
    >>> _statement(Hook(), DatasetRef(table="a`b", conn_id="x", filters=[("50%", ">", 1)]), ["50%"])
    ('SELECT `50%%` FROM `a``b` WHERE `50%%` > %s', [1])
    """
    from sqlglot import exp
    from sqlglot.dialects import DIALECTS

    name = str(getattr(hook, "dialect_name", "") or "")
    known = {d.lower() for d in DIALECTS}
    dialect = _DIALECTS.get(name, name if name in known else "")
    values: list[Any] = []
    bound = bool(ref.filters) and not empty and any(f[1] not in ("is null", "is not null") for f in ref.filters)
    doubled = bound and "%" in hook.placeholder

    def named(text: str) -> exp.Identifier:
        if "\x00" in text:
            raise UsageError(f"a name can't contain a null character: {text!r}")
        return exp.to_identifier(text.replace("%", "%%") if doubled else text, quoted=True)

    parts = parts_of(ref.table) if ref.table else []
    if len(parts) > 3:
        raise UsageError(f"table {ref.table!r} has {len(parts)} parts; expected at most database.schema.name")
    places = ("this", "db", "catalog")
    table: Any = exp.Table(**{place: named(part) for place, part in zip(places, reversed(parts), strict=False)})
    if ref.query:
        table = exp.Subquery(this=_asked(ref, dialect, doubled), alias=exp.TableAlias(this=named("asked")))
    listed = [exp.Star() if c == "*" and empty else exp.Column(this=named(c)) for c in columns]
    select = exp.select(*listed).from_(table)
    if empty:
        return select.where(exp.EQ(this=exp.Literal.number(1), expression=exp.Literal.number(0))).sql(dialect), []
    for filter_ in ref.filters:
        select = select.where(_condition(exp.Column(this=named(filter_[0])), filter_, hook.placeholder, values))
    return select.sql(dialect), values


def _asked(ref: DatasetRef, dialect: str, doubled: bool) -> Any:
    """The query of a reference; where the driver takes ``%`` for a value's place, those of its texts are doubled."""
    from sqlglot import exp

    tree = reading(ref, dialect)
    for node in list(tree.walk()) if doubled else []:
        if isinstance(node, exp.Mod):
            raise UsageError(f"{ref.label}: this driver takes % for a value; say mod(a, b), or filter in the query")
        if isinstance(node, exp.Literal | exp.Identifier) and "%" in str(node.this):
            node.set("this", node.this.replace("%", "%%"))
    return tree


def _condition(column: Any, filter_: tuple[str, str, Any], mark: str, values: list[Any]) -> Any:
    from sqlglot import exp

    _, operator, value = filter_
    if operator in ("is null", "is not null"):
        null = exp.Is(this=column, expression=exp.Null())
        return null if operator == "is null" else exp.Not(this=null)
    if operator in ("in", "not in"):
        values.extend(value)
        inside = exp.In(this=column, expressions=[exp.var(mark) for _ in value])
        return inside if operator == "in" else exp.Not(this=inside)
    values.append(value)
    kinds = {"=": exp.EQ, "!=": exp.NEQ, "<": exp.LT, "<=": exp.LTE, ">": exp.GT, ">=": exp.GTE}
    return kinds[operator](this=column, expression=exp.var(mark))


def _fetch(con: Any, cursor: Any, columns: Sequence[str], ref: DatasetRef) -> None:
    """Batches of the cursor, each into DuckDB before the next one is fetched; types are of all batches together.

    A batch that widens a type (a first number after nothing but nulls, a fraction after whole numbers) begins a table
    of its own; there are as many as there were such batches.
    """
    import pyarrow as pa

    schema: Any = None
    kept: list[set[str]] = []  # of each table, the columns that have had nulls only
    while rows := cursor.fetchmany(FETCH):
        arrays = []
        for name, values in zip(columns, zip(*rows, strict=True), strict=True):
            try:
                arrays.append(pa.array([_value(v) for v in values]))
            except (pa.ArrowException, TypeError, ValueError) as error:
                raise DataError(
                    f"{ref.label}: column {name!r} mixes types ({error}); cast it in a view and read that"
                ) from error
        batch = pa.table(arrays, names=list(columns))
        try:
            seen = batch.schema if schema is None else schema
            wider = pa.unify_schemas([seen, batch.schema], promote_options="permissive")
            batch = batch.cast(wider)
        except pa.ArrowException as error:
            raise DataError(f"{ref.label}: a column mixes types between rows ({error}); cast it in a view") from error
        schema = _append(con, batch, kept, new=schema is None or wider != schema)
    if schema is None:
        _append(con, pa.table({c: pa.array([], pa.string()) for c in columns}), kept, new=True)
    _together(con, columns, kept)


def _append(con: Any, batch: Any, kept: list[set[str]], *, new: bool) -> Any:
    """A batch into the last table, or into a new one."""
    import pyarrow as pa

    if new:
        kept.append({f.name for f in batch.schema if pa.types.is_null(f.type)})
    table = quoted(f"fetched {len(kept)}")
    con.register("fetched", batch)
    con.execute(f"CREATE TEMP TABLE {table} AS FROM fetched" if new else f"INSERT INTO {table} FROM fetched")
    con.unregister("fetched")
    return batch.schema


def _together(con: Any, columns: Sequence[str], kept: Sequence[set[str]]) -> None:
    """All tables as one, of the last one's types, which are the widest."""
    types = {row[0]: row[1] for row in con.execute(f"DESCRIBE {quoted(f'fetched {len(kept)}')}").fetchall()}
    parts = []
    for number, empty in enumerate(kept, 1):
        values = (f"CAST({'NULL' if c in empty else quoted(c)} AS {types[c]}) AS {quoted(c)}" for c in columns)
        parts.append(f"SELECT {', '.join(values)} FROM {quoted(f'fetched {number}')}")
    con.execute(f"CREATE TEMP VIEW raw AS {' UNION ALL '.join(parts)}")


def _value(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
