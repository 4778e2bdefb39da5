"""Tables and views through any Airflow SQL connection (``DbApiHook``).

A database in :data:`LEAVES` counts for itself: digest, profile and verdicts are few aggregate queries in one
read-only snapshot, and nothing but counts (and the few failing values that a report shows) leaves it. From any other
the rows are streamed into DuckDB and counted there, with the same results; a report says which one judged.
What Great Expectations itself has to judge, and :meth:`SqlEngine.read`, are rows either way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError, MlopsError, SourceUnavailable, UsageError
from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.core.profile import Profile
from airflow_mlops.engines.duck import MEMORY, DuckEngine, Source
from airflow_mlops.engines.sql_postgres import Postgres
from airflow_mlops.engines.sql_source import Leaf, Session, SqlSource, said, table_source, unreachable
from airflow_mlops.engines.sql_stream import streamed

LEAVES: Mapping[str, Callable[[], Leaf]] = {"postgresql": Postgres}
"""A hook's dialect: how that database counts for itself."""

log = logging.getLogger(__name__)


class SqlEngine(DuckEngine):
    """Rows of a table, counted where they are or read through the connection that the reference names.

    :param hook: the hook to use; by default the one of ``ref.conn_id``.
    """

    def __init__(self, hook: Any = None, *, memory: str = MEMORY, threads: int = 0) -> None:
        super().__init__(memory=memory, threads=threads)
        self.hook = hook

    @contextlib.contextmanager
    def open(self, ref: DatasetRef) -> Iterator[Source]:
        """The rows of the table that pass the filters: a :class:`SqlSource` where the database is known."""
        hook = self.hook if self.hook is not None else _hook(ref)
        leaf = LEAVES.get(str(getattr(hook, "dialect_name", "")))
        with contextlib.ExitStack() as stack:
            session = stack.enter_context(_session(hook, leaf(), ref)) if leaf else None
            if session is not None:
                yield table_source(session, ref)
                return
            log.info("%s is streamed into DuckDB: its database is not known to count for itself", ref.label)
            yield stack.enter_context(streamed(hook, ref, memory=self.memory, threads=self.threads))

    def resolve(self, ref: DatasetRef) -> DatasetRef:
        """See :meth:`airflow_mlops.engines.Engine.resolve`."""
        from airflow_mlops.engines import digests

        with self.open(ref) as source:
            found, rows = source.digest() if isinstance(source, SqlSource) else digests.content(source)
            return ref.resolve(digest=found, rows=rows, schema={c.name: c.type for c in source.columns})

    def profile(self, ref: DatasetRef, *, reference: Profile | None = None, columns: Sequence[str] = ()) -> Profile:
        """See :meth:`airflow_mlops.engines.Engine.profile`."""
        from airflow_mlops.engines import profiling, sql_profile

        with self.open(ref) as source:
            if isinstance(source, SqlSource):
                return sql_profile.profile(source, reference=reference, columns=columns, digest=ref.digest)
            return profiling.profile(source, reference=reference, columns=columns, digest=ref.digest)

    def judge(self, ref: DatasetRef, expectations: Sequence[Expectation]) -> list[Outcome]:
        """See :meth:`airflow_mlops.engines.Engine.judge`."""
        from airflow_mlops.engines import judging

        with self.open(ref) as source:
            outcomes = judging.judge(source, expectations)
            if not isinstance(source, SqlSource):
                return outcomes
            name = source.con.leaf.name
            return [dataclasses.replace(o, judged_by=name) if o.judged_by == "duckdb" else o for o in outcomes]


def _hook(ref: DatasetRef) -> Any:
    from airflow.sdk import BaseHook

    hook = BaseHook.get_hook(ref.conn_id)
    if not hasattr(hook, "get_cursor"):
        raise UsageError(
            f"connection {ref.conn_id!r} of {ref.label} is no SQL connection ({type(hook).__name__}); "
            "a table is read through one that Airflow has a DbApiHook for"
        )
    return hook


@contextlib.contextmanager
def _session(hook: Any, leaf: Leaf, ref: DatasetRef) -> Iterator[Session | None]:
    """A transaction that ends with the block, or ``None`` where this server can't be counted in."""
    about = f"{ref.label} through connection {ref.conn_id!r}"
    try:
        connection = hook.get_conn()
    except MlopsError:
        raise
    except Exception as error:
        if unreachable(error):
            raise SourceUnavailable(f"{about}: no connection: {said(error)}. Try again") from error
        raise
    with contextlib.closing(connection):
        connection.autocommit = False
        session = Session(leaf, leaf.cursor(connection), about)
        try:
            reason = leaf.begin(session)
        except DataError as error:  # a relative of that database, which speaks less
            reason = str(error)
        if reason:
            log.info("%s: %s", about, reason)
        yield None if reason else session
