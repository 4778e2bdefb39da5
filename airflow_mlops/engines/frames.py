"""DataFrames inside a task, counted by the same code as files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import DataError
from airflow_mlops.engines.duck import MEMORY, DuckEngine, Source, connection, narrowed
from airflow_mlops.engines.headers import unambiguous

if TYPE_CHECKING:
    import pandas as pd


class FrameEngine(DuckEngine):
    """The rows of one DataFrame; of a reference it takes the columns, the filters and the name.

    NaN and NaT are nulls, since a DataFrame can't tell them apart. The frame is not changed; its index is no column.

    :param frame: the rows.

    >>> import pandas as pd
    >>> engine = FrameEngine(pd.DataFrame({"x": [1, 2, 3]}))
    >>> engine.resolve(DatasetRef(uri="frame", filters=[("x", ">", 1)])).rows
    2
    """

    def __init__(self, frame: pd.DataFrame, *, memory: str = MEMORY, threads: int = 0) -> None:
        super().__init__(memory=memory, threads=threads)
        self.frame = frame

    @contextlib.contextmanager
    def open(self, ref: DatasetRef) -> Iterator[Source]:
        """The frame as a relation, through Arrow."""
        import pyarrow as pa

        names = [str(c) for c in self.frame.columns]
        unambiguous(ref.label, names)
        columns = {}
        for position, name in enumerate(names):
            try:
                columns[name] = _array(self.frame.iloc[:, position])
            except (pa.ArrowException, TypeError, ValueError) as error:
                raise DataError(
                    f"{ref.label}: column {name!r} mixes types and has no one type ({error}); "
                    "convert it before it is counted, for example with astype"
                ) from error
        with connection(self.memory, self.threads) as con:
            con.register("frame", pa.table(columns))
            yield narrowed(con, "frame", ref)


def _array(values: Any) -> Any:
    """A column as Arrow has it; what Arrow would guess is refused.

    :raises ValueError: for texts among bytes, and for times of which only some have a zone.
    """
    import pyarrow as pa

    array = pa.Array.from_pandas(values)
    if values.dtype == object and pa.types.is_timestamp(array.type) and array.type.tz:
        bare = [v for v in values if getattr(v, "tzinfo", "") is None]
        if bare:
            raise ValueError(f"times with and without a zone, {bare[0]} has none")
    if values.dtype == object and pa.types.is_binary(array.type) and any(isinstance(v, str) for v in values):
        raise ValueError("text and bytes")
    return array
