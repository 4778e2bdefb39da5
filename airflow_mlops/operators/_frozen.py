"""The rows that models were judged on, kept beside the verdicts: once a set, as Parquet, up to a size."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import Conflict
from airflow_mlops.core.records import Record
from airflow_mlops.core.results import JSON, digest

if TYPE_CHECKING:
    import pandas as pd

    from airflow_mlops.hooks.mlflow import MlflowHook

log = logging.getLogger(__name__)

FILE = "rows.parquet"


class Copy:
    """A Parquet file that grows with the batches, until it would be too large.

    :param path: of the file.
    :param most: bytes; 0: nothing is written.
    """

    def __init__(self, path: Path, most: int) -> None:
        self.why = "" if most else "keep_rows_mb is 0"
        self.rows = 0
        self._path, self._most = path, most
        self._writer: Any = None

    def __call__(self, batch: pd.DataFrame) -> None:
        """One batch more."""
        self.rows += len(batch)
        if self.why:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            schema = self._writer.schema if self._writer is not None else None
            table = pa.Table.from_pandas(batch, schema=schema, preserve_index=False)
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
            self._writer.write_table(table)
            if self._path.stat().st_size > self._most:
                self.give_up(f"the rows take more than {self._most >> 20} MB")
        except (pa.ArrowException, TypeError, ValueError) as error:
            self.give_up(f"the rows can't be written as Parquet: {' '.join(str(error).split())[:200]}")

    def give_up(self, why: str) -> None:
        """No copy, and why."""
        self.why = why
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """The file is complete."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def content(self) -> bytes | None:
        """The whole file; ``None`` where there is none: ``why`` says why."""
        self.close()
        if not self.why and self._path.exists() and self._path.stat().st_size > self._most:
            self.give_up(f"the rows take more than {self._most >> 20} MB")
        return None if self.why or not self._path.exists() else self._path.read_bytes()


def known(hook: MlflowHook, model: str, data: DatasetRef) -> Record | None:
    """The record of this set of rows."""
    return hook.find_record(model, "evaluation_set", _key(data))


def keep(hook: MlflowHook, model: str, data: DatasetRef, copy: Copy, *, at: str) -> Record:
    """The record of this set of rows, written when it is new."""
    content = copy.content()
    body: dict[str, JSON] = {"data": data.to_dict(), "rows": copy.rows, "kept": content is not None, "why": copy.why}
    if content is not None:
        body |= {"file": FILE, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return hook.record(
        Record(
            kind="evaluation_set",
            model=model,
            key=_key(data),
            outcome="kept" if content is not None else "pinned",
            subject=data.label,
            body=body,
            at=at,
        ),
        artifacts={FILE: content} if content is not None else None,
    )


def told(record: Record) -> dict[str, JSON]:
    """What an evaluation says of the set that it was made on."""
    return {"run_id": record.run_id, **{k: record.body[k] for k in ("kept", "sha256", "why") if record.body.get(k)}}


@contextlib.contextmanager
def restored(hook: MlflowHook, model: str, data: DatasetRef) -> Iterator[DatasetRef | None]:
    """The kept copy of rows that are not to be had any more, as a file; ``None`` where none was kept.

    :raises Conflict: when the copy is not what was kept.
    """
    from airflow_mlops.engines import engine_for

    record = known(hook, model, data)
    if record is None or not record.body.get("kept"):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="mlops-kept-") as folder:
        path = hook.download(record.run_id, FILE, Path(folder))
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != record.body.get("sha256"):
            raise Conflict(
                f"the kept copy of {data.label} (run {record.run_id}) is not what was kept: SHA-256 {found[:12]}, "
                f"not {str(record.body.get('sha256'))[:12]}"
            )
        local = DatasetRef(uri=str(path), name=data.name)
        yield engine_for(local).resolve(local)


def _key(data: DatasetRef) -> str:
    return digest("evaluation_set", data.digest)
