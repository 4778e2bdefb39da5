"""Rows as a version that never changes: :class:`SnapshotDataOperator`."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow.sdk import BaseOperator

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict, DatasetNotFound, MlopsError, UsageError
from airflow_mlops.core.results import JSON
from airflow_mlops.exceptions import SnapshotRefused
from airflow_mlops.operators._context import data_of, publish
from airflow_mlops.operators._lineage import TellsLineage

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.dvc import DvcHook

BATCH = 250_000
"""Rows that are held at once while a version is written."""


class SnapshotDataOperator(TellsLineage, BaseOperator):
    """Keep rows as a version of a file in a DVC repository, and pass on a reference that names exactly this version.

    A local file is kept byte by byte; anything else (columns and filters, several files, a table) is written as one
    Parquet file. The same content a second time is the version that is there. A try that died anywhere, with the remote
    or the repository away, is repeated without harm: the data is pushed before the commit that names it.

    Returns ``{"data", "input", "revision", "md5", "created", "tag"}``: ``data`` is a resolved reference
    ``dvc://<path>`` with the commit as its ``version``, to be passed on; ``input`` is the rows that were kept.

    :param data: the rows: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict, a URI, or an upstream's whole
        result. One that was resolved upstream must still have the same content. (templated)
    :param path: where in the repository, ending in ``.parquet`` unless a file is kept as it is. (templated)
    :param message: of the commit. (templated)
    :param tag: for the version; one that is there already must name it. (templated)
    :param dvc_conn_id: the connection of the repository. (templated)
    :raises SnapshotRefused: not retried: rows that changed, a path or a tag that can't be.
    :raises DatasetNotFound: retried: nothing is there yet.
    :raises DvcUnavailable: retried: the repository or its remote does not answer, or another task is at work there.
    """

    template_fields: Sequence[str] = ("data", "path", "message", "tag", "dvc_conn_id")
    ui_color = "#e6f2e6"

    def __init__(
        self,
        *,
        data: Any,
        path: str,
        message: str,
        tag: str = "",
        dvc_conn_id: str = "dvc_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.path = path
        self.message = message
        self.tag = tag
        self.dvc_conn_id = dvc_conn_id

    @cached_property
    def hook(self) -> DvcHook:
        """The repository through the connection."""
        from airflow_mlops.hooks.dvc import DvcHook

        return DvcHook(self.dvc_conn_id)

    def execute(self, context: Context) -> dict[str, JSON]:
        """Write the rows to a file, make it a version, publish."""
        try:
            ref = data_of(self.data)
            with tempfile.TemporaryDirectory(prefix="mlops-snapshot-") as folder:
                file, read, made = self._written(ref, Path(folder))
                meta = {"digest": made.digest, "rows": made.rows}
                version = self.hook.snapshot(file, self.path, message=self.message, tag=self.tag, meta=meta)
        except DatasetNotFound:
            raise
        except MlopsError as error:
            failed = {"data": None, "error": {"type": type(error).__name__, "message": str(error)}}
            raise SnapshotRefused(f"no version of {self.path}: {error}", publish(context, failed)) from error
        kept = dataclasses.replace(
            made, uri=f"dvc://{self.path}", conn_id=self.dvc_conn_id, name=ref.name, version=version.revision
        )
        self.log.info("%s is version %s%s", self.path, version.revision, "" if version.created else ", as before")
        return publish(
            context,
            {
                "data": kept.to_dict(),
                "input": read.to_dict(),
                "revision": version.revision,
                "md5": version.md5,
                "created": version.created,
                "tag": self.tag,
            },
        )

    def _written(self, ref: DatasetRef, folder: Path) -> tuple[Path, DatasetRef, DatasetRef]:
        """The rows as one file, what was read, and what is in it."""
        from airflow_mlops.engines import engine_for
        from airflow_mlops.engines.locate import ENDINGS

        engine = engine_for(ref)
        now = engine.resolve(dataclasses.replace(ref, digest="", rows=None, schema={}))
        if ref.resolved and now.digest != ref.digest:
            raise Conflict(f"{ref.label} changed since it was resolved upstream; run the tasks before this one again")
        as_it_is = _plain_file(ref)
        if as_it_is is not None and self.path.lower().endswith(ENDINGS[ref.file_format]):
            kept = DatasetRef(uri=str(as_it_is), format=ref.format, digest=now.digest, rows=now.rows, schema=now.schema)
            return as_it_is, now, kept
        if not self.path.lower().endswith((".parquet", ".pq")):
            raise UsageError(f"{ref.label} is kept as Parquet, so the path ends in .parquet; got {self.path!r}")
        file = folder / "rows.parquet"
        _write(engine.batches(now, BATCH), now, file)
        made = DatasetRef(uri=str(file))
        return file, now, engine_for(made).resolve(made)


def _plain_file(ref: DatasetRef) -> Path | None:
    """The one local file that a reference is, whole."""
    parts = urlsplit(ref.uri)
    if ref.table or ref.columns or ref.filters or parts.scheme not in ("", "file"):
        return None
    path = Path(unquote(parts.path) if parts.scheme else ref.uri)
    return path if path.is_file() else None


def _write(frames: Any, ref: DatasetRef, file: Path) -> None:
    """Batches as one Parquet file; the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    empty = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    writer = None
    try:
        for frame in frames:
            if writer is None:
                seen = pa.Schema.from_pandas(frame, preserve_index=False).remove_metadata()
                # A column of nulls in the first rows has the type that the engine says it has.
                told = {f.name: empty.get(ref.schema.get(f.name, ""), pa.string()) for f in seen}
                fields = [pa.field(f.name, told[f.name]) if pa.types.is_null(f.type) else f for f in seen]
                writer = pq.ParquetWriter(file, pa.schema(fields))
            writer.write_table(pa.Table.from_pandas(frame, schema=writer.schema, preserve_index=False))
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise UsageError(f"{ref.label} has no rows: there is nothing to keep as a version")
