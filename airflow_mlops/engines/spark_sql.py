"""Spark's dialect of the one SQL that counts, and the content digest in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import md5
from typing import Any

from airflow_mlops.core.errors import MlopsError
from airflow_mlops.engines.duck import Column
from airflow_mlops.engines.sql_patterns import java_pattern
from airflow_mlops.engines.sql_source import Session, SqlSource
from airflow_mlops.engines.sql_translate import group_by_all

_ACCURACY = 10_000_000
"""Of ``approx_percentile``: an error below one row as long as there are fewer rows than this."""


class Spark:
    """See :class:`airflow_mlops.engines.sql_source.Leaf`; a session that was made needs no more than its dialect."""

    name = "spark"
    dialect = "spark"
    asked = None

    def cursor(self, connection: Any) -> Any:
        """The session itself."""
        return connection

    def begin(self, session: Session) -> str:
        """Nothing: a view of files or a table is read as it is when a query begins."""
        return ""

    def recover(self, session: Session) -> None:
        """Nothing: a query that failed leaves no transaction."""

    def columns(self, session: Session, table: Sequence[str]) -> tuple[Column, ...]:
        """A view's columns are known before it is asked; see :class:`airflow_mlops.engines.spark.SparkEngine`."""
        return ()

    def digest(self, source: SqlSource) -> tuple[str, int]:
        """See :func:`content`."""
        return content(source)

    def pattern(self, pattern: str) -> str | None:
        """See :func:`airflow_mlops.engines.sql_patterns.java_pattern`."""
        return java_pattern(pattern)

    def stream(self, session: Session, sql: str, rows: int) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
        """Not here: see :meth:`airflow_mlops.engines.spark.SparkSource.reader`."""
        yield from ()

    def arrow(self, code: Any) -> Any:
        """The type as it is."""
        return code

    def problem(self, error: Exception, about: str) -> MlopsError:
        """See :func:`airflow_mlops.engines.spark.problem`."""
        from airflow_mlops.engines.spark import problem

        return problem(error, about)

    def rule(self, node: Any) -> Any:
        """What Spark calls otherwise."""
        from sqlglot import exp

        if isinstance(node, exp.Select):
            group_by_all(node)
            _exploded(node)
        elif isinstance(node, exp.Cast):
            return _cast(node)
        elif isinstance(node, exp.RegexpLike) and isinstance(node.expression, exp.Cast):
            text = node.expression.this
            text.replace(exp.Literal.string(java_pattern(text.name) or ""))
        elif isinstance(node, exp.PercentileDisc | exp.Quantile | exp.ApproxQuantile):
            return _quantiles(node)
        elif isinstance(node, exp.JSONObject):
            pairs = [part for pair in node.expressions for part in (pair.this, pair.expression)]
            return _json(pairs)
        elif isinstance(node, exp.Anonymous):
            return _function(node)
        return node


def _cast(node: Any) -> Any:
    from sqlglot import exp

    if node.to.is_type("int128"):
        return exp.cast(node.this, "decimal(38, 0)")
    if node.to.is_type("timestamp", "timestampntz"):
        return exp.Cast(this=node.this, to=exp.DataType.build("TIMESTAMP_NTZ", dialect="spark"))
    if node.to.is_type("bigint") and isinstance(node.this, exp.Mul):  # rounded, and summed beyond 64 bits
        whole = exp.cast(exp.Anonymous(this="RINT", expressions=[node.this]), "bigint")
        return exp.cast(whole, "decimal(20, 0)")
    return node


def _quantiles(node: Any) -> Any:
    from sqlglot import exp

    shares = node.args.get("quantile") or node.args.get("expression")
    asked = [node.this, shares, exp.Literal.number(_ACCURACY)]
    return exp.Anonymous(this="APPROX_PERCENTILE", expressions=asked)


def _function(node: Any) -> Any:
    from sqlglot import exp, parse_one

    name, values = str(node.this).lower(), node.expressions
    if name == "isfinite":
        (value,) = values
        if isinstance(value, exp.Cast) and value.to.is_type("timestamp", "timestamptz", "timestampntz"):
            return exp.Not(this=exp.Is(this=value, expression=exp.Null()))
        infinite = exp.cast(exp.Literal.string("Infinity"), "double")
        return exp.LT(this=exp.Abs(this=value), expression=infinite)
    if name == "epoch_us":
        (value,) = values
        moment = exp.Cast(this=value, to=exp.DataType.build("TIMESTAMP", dialect="spark"))
        return exp.Anonymous(this="UNIX_MICROS", expressions=[moment])
    if name == "bin_of":
        value, edges = values
        tree: Any = parse_one(_tree([float(e) for e in edges.name.split(",")], 0), read="duckdb")
        for column in list(tree.find_all(exp.Column)):
            column.replace(value.copy())
        return exp.paren(tree)
    if name == "to_json":
        (value,) = values
        text = _json([exp.Literal.string("v"), value])
        length = exp.Sub(this=exp.Length(this=text.copy()), expression=exp.Literal.number(6))
        return exp.Case().when(
            exp.Not(this=exp.Is(this=exp.paren(value.copy()), expression=exp.Null())),
            exp.Anonymous(this="SUBSTR", expressions=[text, exp.Literal.number(6), length]),
        )
    if name == "quantile_disc":
        return exp.Anonymous(this="APPROX_PERCENTILE", expressions=[*values, exp.Literal.number(_ACCURACY)])
    return node


def _tree(edges: Sequence[float], first: int) -> str:
    """How many edges are below ``"the value"``, as nested CASE: six comparisons for fifty bins."""
    if not edges:
        return str(first)
    middle = len(edges) // 2
    left, right = _tree(edges[:middle], first), _tree(edges[middle + 1 :], first + middle + 1)
    return f"CASE WHEN \"the value\" <= CAST('{edges[middle]!r}' AS DOUBLE) THEN {left} ELSE {right} END"


def _json(pairs: Sequence[Any]) -> Any:
    from sqlglot import exp

    struct = exp.Anonymous(this="NAMED_STRUCT", expressions=list(pairs))
    options = exp.Anonymous(
        this="MAP", expressions=[exp.Literal.string("ignoreNullFields"), exp.Literal.string("false")]
    )
    return exp.Anonymous(this="TO_JSON", expressions=[struct, options])


def _exploded(select: Any) -> None:
    """Two arrays side by side, the first of which counts: in Spark one that is exploded with its positions."""
    from sqlglot import exp

    pair = [e for e in select.expressions if isinstance(e, exp.Alias) and isinstance(e.this, exp.Explode | exp.Unnest)]
    if len(pair) != 2:
        return
    inner = pair[1].this
    array = inner.expressions[0] if isinstance(inner, exp.Unnest) else inner.this
    both = exp.Aliases(this=exp.Posexplode(this=array), expressions=[exp.to_identifier("k"), exp.to_identifier("v")])
    select.set("expressions", [both])


def content(source: SqlSource) -> tuple[str, int]:
    """The content digest, as :mod:`airflow_mlops.engines.digests` defines it, and the number of rows.

    MD5's sixteen bytes are a number whose least byte comes first: four sums of four bytes each.
    """
    schema = json.dumps([[c.name, c.type] for c in source.columns], ensure_ascii=True)
    head = md5(schema.encode(), usedforsecurity=False).hexdigest()
    # A column's parts have names of their own, so that a long expression is not written out for each use of it.
    inner, texts = [], []
    for i, column in enumerate(source.columns):
        parts, text = _encoded(column, i)
        inner += parts
        texts.append(text)
    row = f"md5(concat('{head}', {', '.join(texts)}))"
    sums = []
    for word in range(4):
        pairs = ", ".join(f"substr(h, {8 * word + 2 * byte + 1}, 2)" for byte in (3, 2, 1, 0))
        sums.append(f"sum(CAST(conv(concat({pairs}), 16, 10) AS DECIMAL(20, 0)))")
    rows = f"(SELECT {', '.join(inner)} FROM {source.relation} AS data)"
    ((count, *words),) = source.run(
        f"SELECT count(*), {', '.join(sums)} FROM (SELECT {row} AS h FROM {rows} AS parts) AS hashed"
    )
    total = sum(int(w or 0) << (32 * i) for i, w in enumerate(words)) % 2**128
    return f"{total:032x}", int(count)


def _encoded(column: Column, number: int) -> tuple[list[str], str]:
    """What of a column is worked out first, and the text of it; see :func:`airflow_mlops.engines.digests.encoded`."""
    sql, kind, name = column.sql, column.type, f"p{number}"
    if kind == "float":
        value = f"(CAST({sql} AS DOUBLE) + CAST('0' AS DOUBLE))"
        written = f"java_method('{_SHORTEST}', 'toString', coalesce({value}, CAST('0' AS DOUBLE)))"
        return [f"{value} AS x{number}", f"{written} AS {name}"], _float(f"x{number}", name)
    if kind == "datetime":
        text = f"CAST(epoch_us({sql}) AS VARCHAR)"
    elif kind == "decimal" and not column.duck_type.rstrip(")").endswith(",0"):
        text = f"regexp_replace(CAST({sql} AS VARCHAR), '\\.?0+$', '')"
    elif kind in ("int", "bool", "date", "decimal"):
        text = f"CAST({sql} AS VARCHAR)"
    else:
        value = f"hex({sql})" if column.duck_type == "BLOB" else f"CAST({sql} AS VARCHAR)"
        counted = f"coalesce(CAST(octet_length({name}) AS VARCHAR) || ':' || {name}, '~')"
        return [f"{value} AS {name}"], counted
    return [f"{text} AS {name}"], f"coalesce({name} || '|', '~')"


_SHORTEST = "com.fasterxml.jackson.core.io.schubfach.DoubleToDecimal"
"""In every Spark: the shortest digits of a double. Java's own are a digit longer now and then, before Java 19."""


def _float(value: str, text: str) -> str:
    """The digits that Java writes as DuckDB and Python do: no exponent from 1e-4 up to 1e16, and two digits of it."""
    mantissa, exponent = f"split_part({text}, 'E', 1)", f"split_part({text}, 'E', 2)"
    digits = f"replace({exponent}, '-', '')"
    plain = f"regexp_replace(CAST(CAST({text} AS DECIMAL(38, 21)) AS VARCHAR), '(\\.[0-9]+?)0*$', '$1')"
    short = (
        f"regexp_replace({mantissa}, '\\.0$', '') || 'e' || CASE WHEN {exponent} LIKE '-%' THEN '-' ELSE '+' END || "
        f"CASE WHEN length({digits}) < 2 THEN '0' ELSE '' END || {digits}"
    )
    sign = f"CASE WHEN {value} < CAST('0' AS DOUBLE) THEN '-' ELSE '' END"
    tiny = " ".join(f"WHEN {text} IN ('{a}', '-{a}') THEN {sign} || '{b}'" for a, b in _TINY)
    return (
        f"CASE WHEN {value} IS NULL THEN '~' ELSE CASE WHEN isnan({value}) THEN 'nan' "
        f"WHEN {text} LIKE '%Infinity' THEN {sign} || 'inf' {tiny} WHEN {exponent} = '' THEN {text} "
        f"WHEN CAST({exponent} AS INT) BETWEEN -4 AND 15 THEN {plain} ELSE {short} END || '|' END"
    )


# The least doubles of all are written with one digit here, and with the nearest two in Java.
_TINY = (("4.9E-324", "5e-324"), ("9.9E-324", "1e-323"))
