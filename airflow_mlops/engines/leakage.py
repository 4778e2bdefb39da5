"""Counting what :mod:`airflow_mlops.core.leakage` judges: features against the label, rows against a holdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_mlops.core.columns import ColumnProfile
from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import SchemaMismatch, UsageError
from airflow_mlops.core.leakage import (
    Leakage,
    duplicate_check,
    feature_check,
    power_of_classes,
    power_of_numbers,
    time_check,
)
from airflow_mlops.core.results import Check
from airflow_mlops.engines import digests
from airflow_mlops.engines.duck import Column, DuckEngine, Source, need
from airflow_mlops.engines.fetched import in_duckdb
from airflow_mlops.engines.profiling import _tree, profile

BINS = 20
"""Bins that a number's power is counted in: few, so that a bin has rows enough to mean something."""

CLASSES = 50
"""Different labels up to which a number is a class."""


def check(
    engine: DuckEngine,
    ref: DatasetRef,
    policy: Leakage,
    *,
    label: str,
    holdout: tuple[DuckEngine, DatasetRef] | None = None,
) -> list[Check]:
    """Everything that the policy looks for and that can be looked for with what is given.

    :param label: the column of the label; empty: no feature is held against it.
    :param holdout: the rows that judge the model later, and their engine.
    :raises UsageError: when a bound needs a holdout or a label that is not given.
    :raises SchemaMismatch: for a column that is not there.
    """
    if not label and holdout is None:
        raise UsageError("leakage: nothing to look for; give a target, a holdout, or both")
    if policy.time and holdout is None:
        raise UsageError("leakage: the order in time needs a holdout")
    checks: list[Check] = []
    with engine.open(ref) as opened, in_duckdb(opened) as source:
        if label and policy.max_power is not None:
            checks += _features(source, label, policy)
        if holdout is None:
            return checks
        other, other_ref = holdout
        with other.open(other_ref) as opened_, in_duckdb(opened_) as held:
            if policy.max_duplicate_share is not None:
                checks.append(_duplicates(source, held, label, policy))
            if policy.time:
                for one in (source, held):
                    need(one.label, [c.name for c in one.columns], [policy.time])
                a = profile(source, columns=[policy.time]).columns[policy.time]
                b = profile(held, columns=[policy.time]).columns[policy.time]
                missing = a.count - a.valid + b.count - b.valid
                checks.append(time_check(policy.time, a.maximum, b.minimum, missing))
    return checks


def _features(source: Source, label: str, policy: Leakage) -> list[Check]:
    need(source.label, [c.name for c in source.columns], [label, *policy.ignore])
    target = source.column(label)
    assert target is not None
    seen = profile(source)
    of_label = seen.columns[label]
    number = target.type in ("int", "float", "decimal") and not (
        of_label.distinct_exact and of_label.distinct <= CLASSES
    )
    rows = of_label.valid
    checks = []
    for column in source.columns:
        if column.name == label or column.name in policy.ignore:
            continue
        bin_ = _bin(column, seen.columns[column.name], rows)
        if bin_ is None:
            continue
        power = _numbers(source, bin_, target, of_label) if number else _classes(source, bin_, target, column)
        checks.append(feature_check(column.name, power, rows, policy, label=label))
    return checks


def _bin(column: Column, seen: ColumnProfile, rows: int) -> str | None:
    """SQL of a feature's bin; ``None`` for free text and nested values: as many as there are rows tell nothing."""
    if seen.kind == "categorical":
        return f"coalesce(CAST({column.sql} AS VARCHAR), '')"
    if seen.kind not in ("numeric", "datetime"):
        return None
    edges = seen.edges
    if not seen.distinct_exact or seen.distinct * 10 > rows:
        step = max(1, -(-len(edges) // (BINS - 1)))
        edges = edges[step - 1 :: step]
    there = f"{column.sql} IS NOT NULL" + (f" AND isfinite({column.sql})" if column.type != "int" else "")
    if column.type == "decimal":
        there = f"{column.sql} IS NOT NULL"
    return f"CASE WHEN {there} THEN {_tree(column.number, edges)} ELSE -1 END"


def _classes(source: Source, bin_: str, target: Column, column: Column) -> float | None:
    value = column.number if column.type in ("int", "float", "decimal", "datetime", "date") else "NULL"
    real = f" AND NOT isnan({target.sql})" if target.type == "float" else ""
    table = source.fetch(
        f"{bin_} AS bin, CAST({target.sql} AS VARCHAR) AS class, count(*), min({value}), max({value})",
        f"WHERE {target.sql} IS NOT NULL{real} GROUP BY ALL",
    )
    return power_of_classes((b, c, int(n), low, high) for b, c, n, low, high in table)


def _numbers(source: Source, bin_: str, target: Column, seen: ColumnProfile) -> float | None:
    value = f"({target.number} - $center)"
    finite = f" AND isfinite({target.sql})" if target.type == "float" else ""
    table = source.fetch(
        f"{bin_} AS bin, count(*), fsum({value}), fsum({value} * {value})",
        f"WHERE {target.sql} IS NOT NULL{finite} GROUP BY ALL ORDER BY bin",
        center=float(seen.mean or 0.0),
    )
    return power_of_numbers((int(n), float(s or 0), float(q or 0)) for _, n, s, q in table)


def _duplicates(source: Source, held: Source, label: str, policy: Leakage) -> Check:
    have, other = [c.name for c in source.columns], [c.name for c in held.columns]
    names = list(policy.keys) or [n for n in have if n in other and n != label]
    need(source.label, have, names)
    need(held.label, other, names)
    if not names:
        raise SchemaMismatch(f"{source.label} and {held.label} have no column in common but the label")
    hashes = held.execute(f"{_hash(held, names)} AS h").to_arrow_table()
    source.con.register("holdout_rows", hashes)
    try:
        ((same, rows),) = source.run(
            f"SELECT count(*) FILTER (WHERE h IN (SELECT {_hash(source, names)} FROM {source.relation} AS data)), "
            "count(*) FROM holdout_rows"
        )
    finally:
        source.con.unregister("holdout_rows")
    return duplicate_check(int(same), int(rows), names, policy)


def _hash(source: Source, names: Sequence[str]) -> str:
    """64 bits of a row's MD5, of the values as the content digest has them: the same on every engine."""
    columns: list[Any] = [source.column(n) for n in names]
    return f"CAST(md5_number(concat({', '.join(digests.encoded(c) for c in columns)}, '')) & {2**64 - 1} AS UBIGINT)"
