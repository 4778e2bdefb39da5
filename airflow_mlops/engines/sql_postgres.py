"""PostgreSQL counts for itself.

The digest is the file engines' for the same rows. Where the types can't agree: ``json``, arrays, ranges and other
types of its own are the text that PostgreSQL writes; ``char(n)`` is without its padding; a ``numeric`` NaN, dates
before the year 1 and the sign of a NaN have no counterpart.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from hashlib import md5
from itertools import count
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import DataError, DatasetNotFound, MlopsError, SourceUnavailable, UsageError
from airflow_mlops.engines.duck import Column, quoted
from airflow_mlops.engines.sql_patterns import postgres_pattern
from airflow_mlops.engines.sql_source import ASKED, said, unreachable
from airflow_mlops.engines.sql_translate import group_by_all, translated

if TYPE_CHECKING:
    from airflow_mlops.engines.sql_source import Session, SqlSource

OLDEST = 13_00_00
"""The first server version that has everything asked for here."""

LONGEST = 63
"""Bytes of a name; a longer one PostgreSQL cuts off, and would read another table."""

_TYPES = {
    16: "BOOLEAN",
    17: "BLOB",
    19: "VARCHAR",
    20: "BIGINT",
    21: "SMALLINT",
    23: "INTEGER",
    25: "VARCHAR",
    26: "BIGINT",
    700: "FLOAT",
    701: "DOUBLE",
    1042: "VARCHAR",
    1043: "VARCHAR",
    1082: "DATE",
    1114: "TIMESTAMP",
    1184: "TIMESTAMP WITH TIME ZONE",
    1700: "DECIMAL(38,9)",
    2950: "UUID",
}
"""Object identifiers of PostgreSQL's types: the types that DuckDB has for them. Enums are looked up."""


class Postgres:
    """See :class:`airflow_mlops.engines.sql_source.Leaf`."""

    name = "postgresql"
    dialect = "postgres"
    asked: Any

    def __init__(self) -> None:
        self._cursors = count()
        self.asked = None

    def cursor(self, connection: Any) -> Any:
        """A plain cursor, whatever kind the connection is set to hand out."""
        driver = type(connection).__module__.partition(".")[0]
        if driver == "psycopg":
            from psycopg.rows import tuple_row

            return connection.cursor(row_factory=tuple_row)
        if driver == "psycopg2":
            extensions = importlib.import_module("psycopg2.extensions")
            return connection.cursor(cursor_factory=extensions.cursor)
        return connection.cursor()

    def begin(self, session: Session) -> str:
        """One snapshot that can't write; texts of dates and floats as the digest has them."""
        session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        (found,) = session.query(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), "
            "set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true), "
            "set_config('extra_float_digits', '1', true), set_config('standard_conforming_strings', 'on', true), "
            # Compiling expressions as long as ours takes the server longer than evaluating them.
            "set_config('jit', 'off', true)"
        )
        if int(found[0]) < OLDEST:
            return f"server version {found[0]} is older than {OLDEST}"
        if found[1] == "SQL_ASCII":
            return "its texts have no encoding"
        session.run("SAVEPOINT before_a_query")
        return ""

    def recover(self, session: Session) -> None:
        """Back to the snapshot."""
        session.cursor.execute("ROLLBACK TO SAVEPOINT before_a_query")

    def columns(self, session: Session, table: Sequence[str]) -> tuple[Column, ...]:
        """From the description of a query without rows; one more query for types that are no built-in ones."""
        if any(len(p.encode()) > LONGEST for p in table):
            raise UsageError(f"{session.label}: PostgreSQL has no names of more than {LONGEST} bytes")
        where = ".".join(map(quoted, table))
        empty = translated(f"SELECT * FROM {where} LIMIT 0", {}, self.dialect, self.rule)
        with session.explained():
            session.cursor.execute(empty)
            described = [(str(d[0]), int(d[1])) for d in session.cursor.description]
        others = sorted({code for _, code in described if code not in _TYPES})
        names = dict(_TYPES)
        if others:
            asked = "SELECT oid::BIGINT, typtype::VARCHAR, typname::VARCHAR FROM pg_type WHERE oid::BIGINT IN"
            listed = ", ".join(map(str, others))
            rows = session.query(translated(f"{asked} ({listed})", {}, self.dialect, self.rule))
            names |= {int(oid): "ENUM" if kind == "e" else f"PG_{name.upper()}" for oid, kind, name in rows}
        return tuple(Column(name, names.get(code, "PG_UNKNOWN")) for name, code in described)

    def rule(self, node: Any) -> Any:
        """What PostgreSQL calls otherwise."""
        from sqlglot import exp

        if isinstance(node, exp.Select):
            group_by_all(node)
        elif isinstance(node, exp.Table) and node.name == ASKED and self.asked is not None:
            return exp.Subquery(this=self.asked.copy(), alias=exp.TableAlias(this=exp.to_identifier("asked")))
        elif isinstance(node, exp.Cast) and node.to.is_type("int128"):
            return exp.cast(node.this, "bigint" if _fits(node.this) else "numeric", dialect="postgres")
        elif isinstance(node, exp.IsNan):
            return exp.EQ(this=node.this, expression=_double("NaN"))
        elif isinstance(node, exp.RegexpLike) and isinstance(node.expression, exp.Cast):
            text = node.expression.this
            text.replace(exp.Literal.string(self.pattern(text.name) or ""))
        elif isinstance(node, exp.LT | exp.LTE | exp.GT | exp.GTE | exp.Min | exp.Max | exp.Ordered) and _text(
            node.this
        ):
            node.set("this", _by_bytes(node.this))
        elif isinstance(node, exp.JSONObject):
            pairs = [part for pair in node.expressions for part in (pair.this, pair.expression)]
            return _as_text(exp.Anonymous(this="JSON_BUILD_OBJECT", expressions=pairs))
        elif isinstance(node, exp.Anonymous):
            return _function(node)
        return node

    def pattern(self, pattern: str) -> str | None:
        """See :func:`airflow_mlops.engines.sql_patterns.postgres_pattern`."""
        return postgres_pattern(pattern)

    def digest(self, source: SqlSource) -> tuple[str, int]:
        """Sixteen sums of bytes: the MD5 of a row is a number whose least byte comes first."""
        text = json.dumps([[c.name, c.type] for c in source.columns], ensure_ascii=True)
        schema = md5(text.encode(), usedforsecurity=False).hexdigest()
        texts = f"unnest([{', '.join(encoded(c) for c in source.columns)}]) AS one(t)"
        written = f"CASE WHEN left(one.t, 1) = '#' THEN {_FLOAT} ELSE substr(one.t, 2) END"
        row = f"'{schema}' || array_to_string(ARRAY(SELECT {written} FROM {texts}), '')"  # unnest keeps the order
        sums = ", ".join(f"sum(get_byte(h, {i}))" for i in range(16))
        # OFFSET keeps the planner from working the digest out sixteen times.
        hashed = f"(SELECT md5_bytes({row}) AS h FROM {source.relation} AS data OFFSET 0)"
        ((rows, *bytes_),) = source.run(f"SELECT count(*), {sums} FROM {hashed} AS rows")
        total = sum(int(b or 0) << (8 * i) for i, b in enumerate(bytes_)) % 2**128
        return f"{total:032x}", int(rows)

    def stream(self, session: Session, sql: str, rows: int) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
        """A cursor on the server, closed when the reading ends."""
        name = f"rows_{next(self._cursors)}"
        session.run(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}")
        while True:
            with session.explained():
                session.cursor.execute(f"FETCH FORWARD {int(rows)} FROM {name}")
                described, fetched = session.cursor.description, session.cursor.fetchall()
            yield described, fetched
            if len(fetched) < rows:
                session.run(f"CLOSE {name}")
                return

    def arrow(self, code: Any) -> Any:
        """The type that DuckDB would hand out."""
        import pyarrow as pa

        return {
            "BOOLEAN": pa.bool_(),
            "SMALLINT": pa.int16(),
            "INTEGER": pa.int32(),
            "BIGINT": pa.int64(),
            "FLOAT": pa.float32(),
            "DOUBLE": pa.float64(),
            "DATE": pa.date32(),
            "TIMESTAMP": pa.timestamp("us"),
            "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"),
            "BLOB": pa.binary(),
        }.get(_TYPES.get(int(code), ""), pa.string())

    def problem(self, error: Exception, about: str) -> MlopsError:
        """By the standard's code of the error, not by its text."""
        state = str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")
        if unreachable(error):
            return SourceUnavailable(f"{about}: the database did not answer: {said(error)}. Try again")
        if state in ("42P01", "3F000"):
            return DatasetNotFound(f"{about}: can't read table: {said(error)}")
        if state == "42501":
            return DataError(f"{about}: not allowed: {said(error)}. Grant SELECT to the connection's user")
        return DataError(f"{about}: {said(error)}")


def encoded(column: Column) -> str:
    """SQL that gives a value as :func:`airflow_mlops.engines.digests.encoded` does, behind ``=``.

    A float is behind ``#``, as PostgreSQL writes it: how it is to be written is said once for all columns.
    """
    sql, kind = column.sql, column.type
    if kind == "float":
        return f"coalesce('#' || CAST(CAST({sql} AS DOUBLE) + CAST(0 AS DOUBLE) AS VARCHAR), '=~')"
    if kind == "datetime":
        text = f"CAST(epoch_us({sql}) AS VARCHAR)"
    elif kind == "decimal":
        text = f"CAST(trim_scale({sql}) AS VARCHAR)"
    elif kind in ("int", "bool", "date"):
        text = f"CAST({sql} AS VARCHAR)"
    else:
        value = f"upper_hex({sql})" if column.duck_type == "BLOB" else f"CAST({sql} AS VARCHAR)"
        return f"coalesce('=' || CAST(bytes_in({value}) AS VARCHAR) || ':' || {value}, '=~')"
    return f"coalesce('=' || {text} || '|', '=~')"


def _float_text() -> str:
    """The shortest digits of ``one.t``, as DuckDB and Python write them: 1.0 for 1, and no exponent below 1e16.

    PostgreSQL writes a digit more where fewer read back the same only by rounding to even; that is seen between
    2**53 and 1e30, where such halves can be written at all.
    """
    text = "substr(one.t, 2)"
    mantissa, exponent = f"split_part({text}, 'e', 1)", f"split_part({text}, 'e', 2)"
    digits = f"replace(trim(leading '-' FROM {mantissa}), '.', '')"
    sign = f"CASE WHEN {text} LIKE '-%' THEN '-' ELSE '' END"
    whole, rest = f"rpad(left({digits}, 16), 16, '0')", f"coalesce(nullif(substr({digits}, 17), ''), '0')"
    kept = f"CAST(trim_scale(round(CAST({mantissa} AS DECIMAL(38, 20)), kept.n)) AS VARCHAR) || 'e' || {exponent}"
    short = (
        f"(SELECT {kept} FROM generate_series(1, 17) AS kept(n) "
        f"WHERE CAST({kept} AS DOUBLE) = CAST({text} AS DOUBLE) ORDER BY kept.n LIMIT 1)"
    )
    return (
        f"CASE WHEN {text} LIKE '%.%' AND {text} NOT LIKE '%e%' THEN {text} "
        f"WHEN {text} = 'NaN' THEN 'nan' WHEN {text} LIKE '%Infinity' THEN {sign} || 'inf' "
        f"WHEN {text} LIKE '%e+15' THEN {sign} || {whole} || '.' || {rest} "
        f"WHEN {text} LIKE '%e+1_' OR {text} LIKE '%e+2_' THEN {short} "
        f"WHEN {text} LIKE '%e%' THEN {text} ELSE {text} || '.0' END || '|'"
    )


_FLOAT = _float_text()


def _function(node: Any) -> Any:
    from sqlglot import exp

    name, values = str(node.this).lower(), node.expressions
    if name == "isfinite":
        value = values[0]
        if isinstance(value, exp.Cast) and value.to.is_type("timestamp", "timestamptz", "timestampntz"):
            return node
        return exp.LT(this=exp.Abs(this=value), expression=_double("Infinity"))
    if name == "epoch_us":
        (value,) = values
        seconds = exp.Extract(this=exp.var("EPOCH"), expression=value.copy())
        micro = exp.cast(exp.Mul(this=seconds, expression=exp.Literal.number(1_000_000)), "bigint")
        return exp.Case().when(exp.Anonymous(this="ISFINITE", expressions=[value]), micro)
    if name == "bin_of":
        value, edges = values
        return _bin(value, [float(e) for e in edges.name.split(",")])
    if name == "to_json":
        return _as_text(exp.Anonymous(this="TO_JSON", expressions=values))
    if name in ("md5_bytes", "bytes_in"):
        raw = exp.Anonymous(this="CONVERT_TO", expressions=[*values, exp.Literal.string("UTF8")])
        if name == "bytes_in":
            return exp.Anonymous(this="OCTET_LENGTH", expressions=[raw])
        md5_ = exp.Anonymous(this="MD5", expressions=[raw])
        return exp.Anonymous(this="DECODE", expressions=[md5_, exp.Literal.string("hex")])
    if name == "upper_hex":
        written = exp.Anonymous(this="ENCODE", expressions=[*values, exp.Literal.string("hex")])
        return exp.Anonymous(this="UPPER", expressions=[written])
    return node


def _bin(value: Any, edges: Sequence[float]) -> Any:
    """How many edges are below a value: all of them without those that are not, found by bisection."""
    from sqlglot import exp

    turned = exp.Literal.string("{" + ",".join(repr(-e) for e in reversed(edges)) + "}")
    array = exp.cast(turned, "double precision[]", dialect="postgres")
    not_below = exp.Anonymous(this="WIDTH_BUCKET", expressions=[exp.Neg(this=exp.paren(value)), array])
    return exp.paren(exp.Sub(this=exp.Literal.number(len(edges)), expression=not_below))


def _fits(node: Any) -> bool:
    from sqlglot import exp

    literal = node.this if isinstance(node, exp.Neg) else node
    return isinstance(literal, exp.Literal) and not literal.is_string and abs(int(literal.this)) < 2**63


def _double(text: str) -> Any:
    from sqlglot import exp

    return exp.cast(exp.Literal.string(text), "double")


def _as_text(node: Any) -> Any:
    from sqlglot import exp

    return exp.cast(node, "text")


def _text(node: Any) -> bool:
    from sqlglot import exp

    return isinstance(node, exp.Cast) and node.to.is_type("text", "varchar")


def _by_bytes(node: Any) -> Any:
    """Texts in the order of their bytes, as everywhere else; a database's own order depends on its locale."""
    from sqlglot import exp

    return exp.Collate(this=exp.paren(node.copy()), expression=exp.to_identifier("C", quoted=True))
