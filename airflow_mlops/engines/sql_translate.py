"""One SQL, other dialects.

What counts is written once, in DuckDB's SQL with named parameters. Here it becomes another database's: SQLGlot
parses it, the parameters become literals of the tree (escaped when it is written, whatever is in them), a leaf's rule
renames what that database calls otherwise, and SQLGlot writes the dialect. No text of a user is ever pasted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import DataError

if TYPE_CHECKING:
    from sqlglot import exp

Rule = Callable[[Any], Any]
"""What a leaf makes of a node of the tree: another one, or the same."""


def translated(sql: str, parameters: Mapping[str, Any], dialect: str, rule: Rule) -> str:
    """DuckDB's SQL as another dialect's, its parameters as literals.

    :param dialect: SQLGlot's name of it.
    :param rule: applied to every node, the innermost first.
    :raises DataError: for something that the dialect can't say.

    >>> translated('SELECT count(*) FROM "t" WHERE "x" = CAST($v AS VARCHAR)', {"v": "O'Hara; --"}, "mysql",
    ...            lambda node: node)
    "SELECT COUNT(*) FROM `t` WHERE `x` = CAST('O''Hara; --' AS CHAR)"
    """
    import sqlglot
    from sqlglot import exp

    tree: Any = sqlglot.parse_one(sql, read="duckdb")
    for node in reversed(list(tree.walk())):
        new: Any = node
        if isinstance(node, exp.Placeholder | exp.Parameter):
            new = literal(parameters[node.name])
        new = rule(new)
        if new is not node:
            if node is tree:
                tree = new
            else:
                node.replace(new)
    try:
        return str(tree.sql(dialect=dialect, unsupported_level=sqlglot.ErrorLevel.RAISE))
    except sqlglot.UnsupportedError as error:
        raise DataError(f"this can't be said in {dialect}: {error}") from error


def literal(value: Any) -> exp.Expression:
    """A value as a literal. Floats are text that reads back the same, for the cast around them to read.

    >>> [literal(v).sql() for v in (None, True, -3, 0.1, "it's", [1, 2])]
    ['NULL', 'TRUE', '-3', "'0.1'", "'it''s'", 'ARRAY(1, 2)']
    """
    from sqlglot import exp

    if value is None:
        return exp.Null()
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, int):
        return exp.Literal.number(value) if value >= 0 else exp.Neg(this=exp.Literal.number(-value))
    if isinstance(value, float):
        return exp.Literal.string(repr(value) if math.isfinite(value) else str(value))
    if isinstance(value, str):
        if "\x00" in value:
            raise DataError(f"a text with a null character is in no database: {value!r}")
        return exp.Literal.string(value)
    if isinstance(value, list | tuple):
        return exp.Array(expressions=[literal(v) for v in value])
    raise DataError(f"{type(value).__name__} is no value of SQL: {value!r}")


def group_by_all(select: exp.Select) -> None:
    """``GROUP BY ALL`` as the numbers of the columns that are no aggregate."""
    from sqlglot import exp

    group = select.args.get("group")
    if group is None or not group.args.get("all"):
        return
    numbers = [exp.Literal.number(i) for i, one in enumerate(select.expressions, 1) if one.find(exp.AggFunc) is None]
    select.set("group", exp.Group(expressions=numbers))
