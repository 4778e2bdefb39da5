"""Engine: what every place that rows can be read and counted in can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.expectations import Expectation, Outcome
from airflow_mlops.core.profile import Profile

if TYPE_CHECKING:
    import pandas as pd


@runtime_checkable
class Engine(Protocol):
    """Rows, read and counted. A method opens its source, and closes it before it returns.

    Every method raises :class:`~airflow_mlops.core.errors.DatasetNotFound`,
    :class:`~airflow_mlops.core.errors.SchemaMismatch` or :class:`~airflow_mlops.core.errors.DataError` with a
    message that names the dataset and says what to do.
    """

    def resolve(self, ref: DatasetRef) -> DatasetRef:
        """The reference with the content digest, the number of rows and the schema."""

    def profile(self, ref: DatasetRef, *, reference: Profile | None = None, columns: Sequence[str] = ()) -> Profile:
        """What is to be remembered of the rows.

        :param reference: a profile whose bins and categories are counted in, so that both compare and add up.
            Columns that it does not have, or has as another kind, get bins of their own.
        :param columns: the columns to profile; empty: all of the reference's.
        """

    def judge(self, ref: DatasetRef, expectations: Sequence[Expectation]) -> list[Outcome]:
        """Great Expectations' verdict on every expectation, in order; what can't be evaluated has none."""

    def read(self, ref: DatasetRef) -> pd.DataFrame:
        """All rows, the same content in the same order every time."""

    def batches(self, ref: DatasetRef, rows: int) -> Iterator[pd.DataFrame]:
        """The rows of :meth:`read`, at most ``rows`` at a time, with the same types in every batch."""
