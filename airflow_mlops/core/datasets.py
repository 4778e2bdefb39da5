"""DatasetRef: where the rows are, and the digest that says which rows.

Rows never pass between tasks; a reference of a few hundred bytes does. An *unresolved* reference says where to
look. An engine *resolves* it: it counts the rows, reads the schema and computes the content digest, and from then
on whoever reads through the reference can tell whether the rows are still the same.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.results import JSON, digest, plain

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null")
"""What a row filter can say. A filter is a value, never a piece of SQL: nothing in it can be injected."""

FORMATS = ("parquet", "csv", "jsonl")

ENGINES = ("spark",)
"""Who can be asked by name to count; without a name, files are counted in the task and tables in their database."""

_ENDINGS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """Rows somewhere else: files by URI, or a table or a query through an Airflow connection.

    :param uri: a path, ``file://`` or object-storage URI of a file, a folder or a glob. Exclusive with ``table``
        and ``query``.
    :param table: a table or view, ``schema.name`` or ``name``, read through ``conn_id``.
    :param query: one ``SELECT`` in the dialect of ``conn_id``, whose rows count; it can't write.
    :param conn_id: the Airflow connection of the table, of the object store, or of the engine.
    :param columns: the columns that count, in order; empty: all of them.
    :param filters: rows that count: ``((column, operator, value), ...)``, all of which must hold. A null never
        passes a comparison. Operators: :data:`OPERATORS`.
    :param format: ``parquet``, ``csv`` or ``jsonl``; empty: by the URI's ending.
    :param name: what people call it; empty: derived from the location.
    :param digest: content digest, 32 hex digits, the same for the same rows in any order and any split into files.
    :param rows: number of rows after filters.
    :param schema: column -> type name, as the engine that resolved it saw it.
    :param version: the version a store or repository gave it (object version, DVC revision); empty: none. Of several
        objects: the time of the newest and a fingerprint of all their versions.
    :param engine: who counts: ``spark``, or empty for whoever reads that place here.

    >>> ref = DatasetRef(uri="s3://lake/flights/*.parquet", filters=[("month", "<=", "2013-04")])
    >>> DatasetRef.from_dict(ref.to_dict()) == ref
    True
    >>> ref.resolved
    False
    """

    uri: str = ""
    table: str = ""
    conn_id: str = ""
    columns: tuple[str, ...] = ()
    filters: tuple[tuple[str, str, JSON], ...] = ()
    format: str = ""
    name: str = ""
    digest: str = ""
    rows: int | None = None
    schema: Mapping[str, str] = dataclasses.field(default_factory=dict)
    version: str = ""
    query: str = ""
    engine: str = ""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "columns", tuple(self.columns))
        set_(self, "filters", tuple(_filter(f) for f in self.filters))
        set_(self, "schema", dict(self.schema))
        given = {k: v for k in ("uri", "table", "query") if (v := getattr(self, k))}
        if len(given) != 1:
            raise UsageError(f"a DatasetRef needs one of uri, table and query, got {given or 'none'}")
        if self.engine and self.engine not in ENGINES:
            raise UnknownName("engine", self.engine, ENGINES)
        if not self.uri and not self.conn_id and not self.engine:
            what = f"table {self.table!r}" if self.table else f"query {self.query[:100]!r}"
            raise UsageError(f"{what} needs conn_id, the Airflow connection to read it through")
        if self.format and self.format not in FORMATS:
            raise UnknownName("dataset format", self.format, FORMATS)

    @property
    def resolved(self) -> bool:
        """Whether an engine has counted it: the digest says which rows it is."""
        return bool(self.digest)

    @property
    def location(self) -> str:
        """Where it is, for messages; credentials in a URI are left out."""
        if self.query:
            return f"query {' '.join(self.query.split())[:60]!r}"
        return self.table or re.sub(r"(?<=://)[^/@]*@", "", self.uri)

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name or self.location

    @property
    def file_format(self) -> str:
        """The format, given or by the ending; Parquet for folders and globs without one."""
        if self.format:
            return self.format
        lowered = self.uri.lower()
        return next((f for end, f in _ENDINGS.items() if lowered.endswith(end)), "parquet")

    @property
    def source_digest(self) -> str:
        """Fingerprint of where and which, without the content: the key of an unresolved reference."""
        parts = (self.uri, self.table, self.conn_id, self.columns, self.filters, self.file_format, self.version)
        more = (self.query, self.engine)
        return digest(*parts, *(more if any(more) else ()))

    def select(self, *columns: str) -> Self:
        """The same rows, other columns; no longer resolved."""
        return self._again(columns=columns)

    def where(self, *filters: tuple[str, str, Any]) -> Self:
        """The same place, fewer rows; no longer resolved.

        >>> DatasetRef(uri="a.parquet").where(("day", ">=", 16)).filters
        (('day', '>=', 16),)
        """
        return self._again(filters=(*self.filters, *filters))

    def _again(self, **changes: Any) -> Self:
        return dataclasses.replace(self, digest="", rows=None, schema={}, **changes)

    def resolve(self, *, digest: str, rows: int, schema: Mapping[str, str], version: str = "") -> Self:
        """What an engine found out, added."""
        return dataclasses.replace(self, digest=digest, rows=rows, schema=schema, version=version or self.version)

    def to_dict(self) -> dict[str, JSON]:
        """Plain values; what is empty is left out."""
        return {
            f.name: plain(value)
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) not in ("", (), None, {})
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        :raises UnknownName: for a key that is not a field.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        for key in value:
            if key not in names:
                raise UnknownName("DatasetRef field", key, names)
        return cls(**dict(value))

    @classmethod
    def of(cls, value: DatasetRef | Mapping[str, Any] | str) -> DatasetRef:
        """A reference from whatever a DAG author or an XCom gives: a reference, its dict, or a URI.

        :raises UsageError: for anything else.
        """
        if isinstance(value, DatasetRef):
            return value
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        if isinstance(value, str) and value:
            return cls(uri=value)
        raise UsageError(f"data must be a DatasetRef, its dict or a URI, got {type(value).__name__}")


def _filter(value: Sequence[Any]) -> tuple[str, str, JSON]:
    if isinstance(value, str) or not 2 <= len(value) <= 3:
        raise UsageError(f"a filter is (column, operator, value), got {value!r}")
    column, operator, *rest = value
    operator = str(operator).strip().lower()
    if operator == "==":
        operator = "="
    if operator not in OPERATORS:
        raise UnknownName("filter operator", operator, OPERATORS)
    wanted = rest[0] if rest else None
    if operator in ("in", "not in"):
        if isinstance(wanted, str) or not isinstance(wanted, Sequence | set | frozenset) or not wanted:
            raise UsageError(f"filter {column!r} {operator} needs a non-empty list, got {wanted!r}")
    elif operator in ("is null", "is not null"):
        wanted = None
    elif wanted is None:
        raise UsageError(f"filter {column!r} {operator} needs a value; for nulls say 'is null'")
    return (str(column), operator, plain(wanted))
