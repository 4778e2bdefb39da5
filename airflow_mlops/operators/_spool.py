"""The rows of an evaluation: read from the dataset once, then gone through a part at a time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.errors import Conflict, EmptyDataset

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


class Rows:
    """Rows in their order, a part at a time. A set that came as one part stays in memory; more lie in files.

    What is read back has the digest of what was written: between the two, models that are being judged run on this
    machine.

    :param parts: frames, or files and the SHA-256 of each.
    :param kept: for each part, which of its rows count, shape ``(rows of the part,)``.
    """

    def __init__(self, parts: Sequence[pd.DataFrame | tuple[Path, str]], kept: Sequence[Array]) -> None:
        self._parts = parts
        self._kept = kept
        self._sizes = [int(k.sum()) for k in kept]

    def __len__(self) -> int:
        return sum(self._sizes)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for part, kept, size in zip(self._parts, self._kept, self._sizes, strict=True):
            if size:
                yield _read(part).loc[kept].reset_index(drop=True)

    def take(self, places: Sequence[int] | Array) -> pd.DataFrame:
        """The rows at those places, which grow; only they are held."""
        import numpy as np
        import pandas as pd

        at = np.asarray(places, dtype=int)
        found, start, last = [], 0, None
        for part in self:
            here = at[(at >= start) & (at < start + len(part))]
            if len(here):
                found.append(part.iloc[here - start])
            start, last = start + len(part), part
        if not found and last is not None:
            return last.iloc[:0]
        return found[0].reset_index(drop=True) if len(found) == 1 else pd.concat(found, ignore_index=True)


def in_memory(frame: pd.DataFrame) -> Rows:
    """All rows of a frame."""
    import numpy as np

    return Rows([frame], [np.ones(len(frame), dtype=bool)])


@contextlib.contextmanager
def spooled(
    batches: Iterable[pd.DataFrame], keep: Sequence[str], also: Callable[[pd.DataFrame], object] | None = None
) -> Iterator[tuple[pd.DataFrame, Callable[[Array], Rows]]]:
    """Go through the dataset once: its few columns that are needed whole, and a way to go through the rest again.

    :param batches: of the dataset, in order.
    :param keep: columns that are held for all rows: labels, what slices are told by.
    :param also: is given each batch.
    :returns: those columns of all rows, and what makes :class:`Rows` of those that count, shape ``(rows read,)``.
    :raises EmptyDataset: no rows.
    """
    import numpy as np
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="mlops-rows-") as folder:
        parts: list[pd.DataFrame | tuple[Path, str]] = []
        columns: list[pd.DataFrame] = []
        sizes: list[int] = []
        for batch in batches:
            if also is not None:
                also(batch)
            if len(parts) == 1 and not isinstance(parts[0], tuple):
                parts[0] = _write(parts[0], Path(folder) / "0")
            columns.append(batch[list(keep)].copy())
            sizes.append(len(batch))
            parts.append(_write(batch, Path(folder) / str(len(parts))) if parts else batch)
        if not sum(sizes):
            raise EmptyDataset("there are no rows to judge the models on")
        whole = columns[0] if len(columns) == 1 else pd.concat(columns, ignore_index=True)
        columns.clear()
        yield whole.reset_index(drop=True), lambda kept: Rows(parts, np.split(kept, np.cumsum(sizes)[:-1]))


def _write(frame: pd.DataFrame, path: Path) -> tuple[Path, str]:
    frame.to_pickle(path)
    with path.open("rb") as file:
        return path, hashlib.file_digest(file, "sha256").hexdigest()


def _read(part: pd.DataFrame | tuple[Path, str]) -> pd.DataFrame:
    import pandas as pd

    if not isinstance(part, tuple):
        return part
    path, digest = part
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise Conflict("rows that were put aside for this evaluation changed meanwhile: nothing is judged by them")
    found: pd.DataFrame = pd.read_pickle(io.BytesIO(content))
    return found
