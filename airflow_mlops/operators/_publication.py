"""A Parquet file that is either there, whole, or not there: hidden while it is written, renamed when it is safe.

Readers of a folder or a glob never meet the hidden file. A try that was killed leaves one; the next try removes it,
and recognises a living one by its lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from airflow_mlops.core.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_NAME = "predictions.parquet"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Publication:
    """Where a file is to appear: a local path, or what Airflow's ``ObjectStoragePath`` reaches.

    :param output: a path or URI that ends in ``.parquet``, or a folder, in which it is ``predictions.parquet``.
    :param conn_id: the Airflow connection of an object store.
    """

    def __init__(self, output: str, conn_id: str = "") -> None:
        self.uri = output if output.endswith(".parquet") else f"{output.rstrip('/')}/{DEFAULT_NAME}"
        self.conn_id = conn_id
        parts = urlsplit(self.uri)
        self.local = (
            None if parts.scheme not in ("", "file") else Path(unquote(parts.path) if parts.scheme else self.uri)
        )

    @property
    def place(self) -> str:
        """The same for whatever names one place: links are followed, and S3's schemes are one."""
        return place_of(self.uri)

    def _remote(self) -> Any:
        from airflow.sdk import ObjectStoragePath

        return ObjectStoragePath(self.uri, conn_id=self.conn_id or None)

    def metadata(self) -> dict[str, str]:
        """The key-value metadata of the file that is there now; empty when there is none, or it is no Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        target = self.local or self._remote()
        try:
            with target.open("rb") as file:
                found = pq.read_metadata(file).metadata or {}
        except (FileNotFoundError, pa.ArrowInvalid):
            return {}
        return {k.decode(): v.decode() for k, v in found.items() if k != b"ARROW:schema"}

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writer]:
        """A writer of the new file; when the block ends well it replaces what was there, at once.

        :raises OSError: a full disk, with what happened and that nothing was published. Another try may go well.
        """
        folder = self.local.parent if self.local is not None else Path(tempfile.gettempdir())
        name = (self.local or Path(self.uri)).name
        temporary = folder / f".{name}.{secrets.token_hex(8)}.part"
        writer: Writer | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder, name)
            with temporary.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                writer = Writer(file)
                yield writer
                writer.finish()
                os.fsync(file.fileno())
                self._publish(temporary)
        except OSError as error:
            if error.errno not in FULL:
                raise
            rows = writer.rows if writer else 0
            raise OSError(
                error.errno,
                f"{os.strerror(error.errno)} after {rows} rows of {self.uri}; nothing was published, "
                f"what was there before is unchanged. Make room in {folder}",
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _publish(self, temporary: Path) -> None:
        if self.local is None:
            target = self._remote()  # an object appears when its upload is complete
            target.fs.put_file(str(temporary), target.path)
            return
        temporary.replace(self.local)
        folder = os.open(self.local.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself has to survive a power cut
        finally:
            os.close(folder)


def place_of(uri: str) -> str:
    """See :attr:`Publication.place`.

    >>> place_of("s3a://lake/x.parquet"), place_of("file:///lake/./x.parquet") == place_of("/lake/x.parquet")
    ('s3://lake/x.parquet', True)
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return os.path.realpath(unquote(parts.path) if parts.scheme else uri)
    return re.sub(r"^s3[an]://", "s3://", uri)


class Writer:
    """Batches in, Parquet out; the schema is the first batch's."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.rows = 0
        self.facts: dict[str, str] = {}
        self._writer: Any = None

    def write(self, frame: pd.DataFrame) -> None:
        """Add a batch.

        :raises ModelError: when its types are not the first batch's.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            self._writer = pq.ParquetWriter(self.file, table.schema.remove_metadata())
        try:
            table = pa.Table.from_pandas(frame, schema=self._writer.schema, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ModelError(f"the model's answers change their type after {self.rows} rows: {error}") from None
        self._writer.write_table(table.replace_schema_metadata(None))
        self.rows += len(frame)

    def write_table(self, table: Any) -> None:
        """Add an Arrow table; the first one's schema is the file's, also where it has no rows."""
        import pyarrow.parquet as pq

        if self._writer is None:
            self._writer = pq.ParquetWriter(self.file, table.schema.remove_metadata())
        if table.num_rows:
            self._writer.write_table(table.replace_schema_metadata(None))
        self.rows += table.num_rows

    def finish(self) -> None:
        """Footer with the metadata, and everything out of this process's buffers."""
        self._writer.add_key_value_metadata(self.facts)
        self._writer.close()
        self.file.flush()

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Key-value metadata for the footer."""
        self.facts |= {k: str(v) for k, v in facts.items()}


def sweep(folder: Path, name: str) -> None:
    """Remove what killed tries left behind; a file that somebody is writing is locked and stays."""
    for leftover in folder.glob(f".{name}.*.part"):
        with contextlib.suppress(OSError), leftover.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink(missing_ok=True)
