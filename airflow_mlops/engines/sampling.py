"""The passes over rows that a profile is made of: a first look, where bins have to be chosen, and the count itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_mlops.core.columns import MAX_BINS
from airflow_mlops.engines import arrays, hashing, streams
from airflow_mlops.engines.duck import Column
from airflow_mlops.engines.scratch import Scratch
from airflow_mlops.engines.streams import Rows
from airflow_mlops.engines.tallies import Numbers, Words, numbers

KEYS = 64
"""Columns that a row's hash is made of; the first ones."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What a first look at a column has seen.

    :param values: the different values, if they are fewer than bins; else ``None``.
    :param quantiles: where bins of equal share end.
    """

    values: tuple[float, ...] | None
    quantiles: tuple[float, ...]


def looks(rows: Rows, columns: Sequence[Column], about: int) -> dict[str, Look]:
    """A look at all rows, or at ``about`` so many of them: those whose hash is small, which are the same ones whatever
    the order of the rows and their split into files.
    """
    if not columns:
        return {}
    every = rows.count <= about
    keys = () if every else rows.columns[:KEYS]
    names = list(dict.fromkeys([*keys, *columns]))
    limit = np.uint64(2**64 - 1 if every else (2**64 * about) // rows.count)

    def add(found: tuple[Scratch, dict[str, list[Any]]], batch: Any) -> None:
        scratch, parts = found
        chosen = None
        if not every:
            arrays = [batch.column(c.name) for c in keys]
            hashed = (_hashes(c, a, scratch) for c, a in zip(keys, arrays, strict=True))
            chosen = np.flatnonzero(hashing.of_rows(hashed, len(batch)) <= limit)
        for column in columns:
            values, _ = numbers(batch.column(column.name), scratch, chosen)
            parts[column.name].append(values.copy())

    made: Callable[[], Any] = lambda: (Scratch(), {c.name: [] for c in columns})  # noqa: E731
    threads = streams.each(rows, names, made, add)

    def look(column: Column) -> Look:
        parts = [part for _, held in threads for part in held.pop(column.name)]
        return _look(np.concatenate(parts) if parts else np.empty(0))

    with ThreadPoolExecutor(len(threads)) as pool:  # sorting lets go of the interpreter
        return dict(zip((c.name for c in columns), pool.map(look, columns), strict=True))


def _look(values: Any) -> Look:
    values = np.sort(values + 0.0)
    size = len(values)
    if not size:
        return Look((), ())
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    few = tuple(values[first].tolist()) if len(first) < MAX_BINS else None
    ranks = [max(size - math.floor(size - i / MAX_BINS * size), 1) for i in range(1, MAX_BINS)]
    return Look(few, tuple(values[[r - 1 for r in ranks]].tolist()))


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
            values, (least, most) = numbers(batch.column(column.name), scratch)
            if len(values):
                low, high = ends.get(column.name, (math.inf, -math.inf))
                ends[column.name] = min(low, float(least)), max(high, float(most))

    made: Callable[[], Any] = lambda: (Scratch(), {})  # noqa: E731
    found: dict[str, tuple[float, float]] = {}
    for _, ends in streams.each(rows, columns, made, add):
        for name, (low, high) in ends.items():
            a, b = found.get(name, (math.inf, -math.inf))
            found[name] = min(a, low), max(b, high)
    return found


def tallied(
    rows: Rows, columns: Sequence[Column], made: Callable[[Column], Numbers | Words]
) -> Mapping[str, Numbers | Words]:
    """Each column's tally of all rows."""

    def start() -> tuple[Scratch, list[Numbers | Words]]:
        return Scratch(), [made(c) for c in columns]

    def add(found: tuple[Scratch, list[Numbers | Words]], batch: Any) -> None:
        scratch, tallies = found
        for tally in tallies:
            tally.add(batch.column(tally.column.name), scratch)

    threads = streams.each(rows, columns, start, add)
    first = threads[0][1]
    for _, others in threads[1:]:
        for one, other in zip(first, others, strict=True):
            one.merge(other)  # type: ignore[arg-type]
    for one in first:
        one.close()
    return {tally.column.name: tally for tally in first}
