"""Good rows to one file, the others to another: each appears whole or not at all, the quarantine first."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.expectations import Expectation, Outcome, check_of
from airflow_mlops.operators._publication import Publication, place_of

if TYPE_CHECKING:
    from airflow_mlops.engines.quarantine import Divided


class _Withheld(Exception):
    """Ends the block of a file that is not to appear."""


def written(
    asked: Any, engine: Any, ref: DatasetRef, suite: Sequence[Expectation], chosen: Sequence[Expectation], share: float
) -> tuple[Divided, list[Outcome], DatasetRef | None]:
    """Divide, and write both files; the good rows only where they may go on.

    :return: the counts, the suite's verdicts on the good rows, and where these are.
    """
    from airflow_mlops.engines.fetched import in_duckdb
    from airflow_mlops.engines.quarantine import divide, judge_remaining

    aside, on = Publication(asked.quarantine, asked.conn_id), None
    if asked.good:
        on = Publication(asked.good, asked.conn_id)
        if on.place == aside.place:
            raise UsageError(f"good and quarantine are the same file {on.uri!r}; every row needs one of two")
    _apart(ref, [aside, *([on] if on is not None else [])])
    facts = {"mlops.data": ref.digest, "mlops.rows": ref.rows}
    with (
        engine.open(ref) as opened,
        in_duckdb(opened) as source,
        contextlib.suppress(_Withheld),
        contextlib.ExitStack() as stack,
    ):
        outcomes = judge_remaining(source, suite, chosen)
        good = stack.enter_context(on.writing()) if on is not None else None
        with aside.writing() as bad:
            divided = divide(source, chosen, good=good.write_table if good is not None else None, bad=bad.write_table)
            bad.describe(facts)
        if good is not None:
            good.describe(facts)
        rows = divided.good + divided.bad
        blocked = any(check_of(e, o).blocks for e, o in zip(suite, outcomes, strict=True))
        if blocked or not divided.good or rows != ref.rows or divided.bad > share * rows:
            raise _Withheld
    out = DatasetRef(uri=on.uri, conn_id=asked.conn_id, name=ref.name) if on is not None else None
    return divided, outcomes, out


def _apart(ref: DatasetRef, written: Sequence[Publication]) -> None:
    """No file that is read is written over: rows of it would be in one of two files only, or be divided again.

    :raises UsageError: naming it.
    """
    if not ref.uri:
        return
    from airflow_mlops.engines.locate import locate

    read = {place_of(path) for path in locate(ref).paths}
    for one in written:
        if one.place in read:
            raise UsageError(
                f"{one.uri!r} is one of the files of {ref.label}, which are read; write to a place beside the dataset"
            )
