"""The passes over rows that a profile is made of: a first look, where bins have to be chosen, and the count itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_mlops.core.columns import MAX_BINS
from airflow_mlops.engines import arrays, hashing, streams
from airflow_mlops.engines.binning import CELLS, Map
from airflow_mlops.engines.duck import Column
from airflow_mlops.engines.scratch import Scratch
from airflow_mlops.engines.streams import Rows
from airflow_mlops.engines.tallies import Numbers, Words, numbers

KEYS, FEW_KEYS = 64, 8
"""Columns that a row's hash is made of where few don't tell the rows apart: the first ones; and those few."""

_TELLING = ("float", "decimal", "datetime", "int", "date", "string", "other", "bool")
"""Types of columns; those of the first have most different values."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What a first look at a column has seen.

    :param values: the different values, if they are fewer than bins; else ``None``.
    :param quantiles: where bins of equal share end.
    """

    values: tuple[float, ...] | None
    quantiles: tuple[float, ...]


def keys(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The few columns that are likely to tell the rows apart."""
    return tuple(sorted(columns, key=lambda c: _TELLING.index(c.type))[:FEW_KEYS])


def looks(rows: Rows, columns: Sequence[Column], about: int) -> dict[str, Look]:
    """A look at all rows, or at ``about`` so many of them: those whose hash is small, which are the same ones whatever
    the order of the rows and their split into files.
    """
    if not columns:
        return {}
    if rows.count <= about:
        return _looks(_parts(rows, columns, (), None)[0])
    limit = np.uint64((2**64 * about) // rows.count)
    parts, hashes = _parts(rows, columns, keys(rows.columns), limit)
    many = rows.columns[:KEYS]
    if len(rows.columns) > FEW_KEYS and not _spread(hashes, about):
        if isinstance(rows, streams.Held) and not rows.has(many):
            rows = rows.of
        parts, _ = _parts(rows, columns, many, limit)
    return _looks(parts)


def _spread(hashes: Any, about: int) -> bool:
    """Whether the rows of a sample differ in their keys, and are as many as they then have to be."""
    return abs(len(hashes) - about) <= about / 20 and len(np.unique(hashes)) >= 0.9 * len(hashes)


def _parts(rows: Rows, columns: Sequence[Column], by: Sequence[Column], limit: Any) -> tuple[dict[str, list[Any]], Any]:
    """The values of the rows whose hash is at most the limit, and their hashes.

    :param by: the columns that the hash is made of.
    :param limit: ``None``: every row.
    """

    def add(found: tuple[Scratch, dict[str, list[Any]], list[Any]], batch: Any) -> None:
        scratch, parts, hashes = found
        chosen = None
        if limit is not None:
            arrays = [batch.column(c.name) for c in by]
            hashed = hashing.of_rows((_hashes(c, a, scratch) for c, a in zip(by, arrays, strict=True)), len(batch))
            chosen = np.flatnonzero(hashed <= limit)
            hashes.append(hashed.take(chosen))
        for column in columns:
            values, _ = numbers(batch.column(column.name), scratch, chosen)
            parts[column.name].append(values.copy())

    made: Callable[[], Any] = lambda: (Scratch(), {c.name: [] for c in columns}, [])  # noqa: E731
    threads = streams.each(rows, list(dict.fromkeys([*by, *columns])), made, add)
    hashes = [h for _, _, held in threads for h in held]
    found = {c.name: [part for _, held, _ in threads for part in held[c.name]] for c in columns}
    return found, np.concatenate(hashes) if hashes else np.empty(0, np.uint64)


def _looks(parts: dict[str, list[Any]]) -> dict[str, Look]:
    found = {}
    for name in list(parts):
        values = parts.pop(name)
        found[name] = _look(np.concatenate(values) if values else np.empty(0))
    return found


def _look(values: Any) -> Look:
    size = len(values)
    if not size:
        return Look((), ())
    ranks = [max(size - math.floor(size - i / MAX_BINS * size), 1) - 1 for i in range(1, MAX_BINS)]
    found = _ranked(values, ranks)
    if found is not None:
        return Look(None, tuple((found + 0.0).tolist()))
    values = np.sort(values + 0.0)
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    few = tuple(values[first].tolist()) if len(first) < MAX_BINS else None
    return Look(few, tuple(values[ranks].tolist()))


_FEW, _COARSE = 16_384, 1024
"""Values that are sorted as they are; and those of many that tell about where they lie."""


def _ranked(values: Any, ranks: Sequence[int]) -> Any:
    """The values of these ranks, where it takes less than sorting all; ``None``: there are few, or few different ones.

    The cells of a monotone map are counted, and only those are sorted that a rank falls into.
    """
    if len(values) <= _FEW:
        return None
    coarse = np.unique(values[:: len(values) // _COARSE] + 0.0)
    maps = (
        [m for by_bits in (False, True) if (m := Map.over(coarse[[8, -8]], by_bits))] if len(coarse) > MAX_BINS else []
    )
    if not maps:
        return None
    scratch = Scratch()
    cells = max(maps, key=lambda m: len(np.unique(m.cells(coarse, scratch)))).cells(values, scratch)
    counts = np.bincount(cells, minlength=CELLS)
    wanted = np.searchsorted(np.cumsum(counts), ranks, side="right")  # the cell of each rank
    asked = np.zeros(CELLS, bool)
    asked[wanted] = True
    skipped = np.cumsum(np.where(asked, 0, counts))  # values up to each cell that are not sorted
    return np.sort(values[asked.take(cells)])[np.asarray(ranks) - skipped[wanted]]


def _hashes(column: Column, array: Any, scratch: Scratch) -> Any:
    """A hash of every value of a column, in their order; of a null as well."""
    if pa.types.is_dictionary(array.type):
        codes, known = arrays.raw(array.indices)
        wide = scratch.whole("codes", len(codes))
        np.copyto(wide, codes)
        texts = hashing.of_texts(array.dictionary) if len(array.dictionary) else np.zeros(1, np.uint64)
        found = texts.take(wide, out=scratch.bits("hashes", len(wide)), mode="clip")
    elif column.type in ("string", "other"):
        known = arrays.there(array)
        found = hashing.of_texts(array)
    else:
        values, known, _ = arrays.floats(array, scratch)
        if known is not None:
            values = np.where(known, values, 0.0)
        found = hashing.of_numbers(values, scratch)
    if known is not None:
        found[~known] = hashing.NOTHING
    return found


def extremes(rows: Rows, columns: Sequence[Column]) -> dict[str, tuple[float, float]]:
    """The least and the greatest finite number of each column that has any."""

    def add(found: tuple[Scratch, dict[str, tuple[float, float]]], batch: Any) -> None:
        scratch, ends = found
        for column in columns:
            if column.name not in batch.schema.names:
                continue
            values, (least, most) = numbers(batch.column(column.name), scratch)
            if len(values):
                low, high = ends.get(column.name, (math.inf, -math.inf))
                ends[column.name] = min(low, float(least)), max(high, float(most))

    made: Callable[[], Any] = lambda: (Scratch(), {})  # noqa: E731
    found: dict[str, tuple[float, float]] = {}
    for _, ends in streams.each(rows, columns, made, add, apart=True):
        for name, (low, high) in ends.items():
            a, b = found.get(name, (math.inf, -math.inf))
            found[name] = min(a, low), max(b, high)
    return found


def tallied(
    rows: Rows, columns: Sequence[Column], made: Callable[[Column], Numbers | Words]
) -> Mapping[str, Numbers | Words]:
    """Each column's tally of all rows."""

    def start() -> tuple[Scratch, dict[str, Numbers | Words]]:
        return Scratch(), {c.name: made(c) for c in columns}

    def add(found: tuple[Scratch, dict[str, Numbers | Words]], batch: Any) -> None:
        scratch, tallies = found
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            if name in tallies:  # rows that are held may have more columns
                tallies[name].add(array, scratch)

    threads = streams.each(rows, columns, start, add, apart=True)
    first = threads[0][1]
    for _, others in threads[1:]:
        for name, one in first.items():
            one.merge(others[name])  # type: ignore[arg-type]
    for one in first.values():
        one.close()
    return first
