"""What is to be remembered of rows: :class:`ProfileDataOperator`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, ObjectStoragePath

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.results import JSON
from airflow_mlops.operators._context import data_of, publish
from airflow_mlops.operators._lineage import TellsLineage
from airflow_mlops.operators.links import ReportLink

if TYPE_CHECKING:
    from airflow.sdk import Context


class ProfileDataOperator(TellsLineage, BaseOperator):
    """Count rows once, so that nobody has to read them again to compare with them.

    Returns ``{"data", "profile"}``: the resolved reference, and the
    :class:`~airflow_mlops.core.profile.Profile` as a dict of at most about 2 KB a column. Profiles that were counted
    against one reference add up: days to weeks.

    :param data: the rows: a :class:`~airflow_mlops.core.datasets.DatasetRef`, its dict, a URI, or an upstream's whole
        result. (templated)
    :param reference: a profile, its dict, or the result of another ``ProfileDataOperator``, whose bins and categories
        are counted in. (templated)
    :param columns: the columns to profile; empty: all. (templated)
    :param page: path or URI of the picture: one self-contained HTML file with a histogram, nulls and extremes of every
        column; empty: none is written. The task's Report tab shows it either way. (templated)
    :param conn_id: the Airflow connection of the object store that ``page`` is in. (templated)
    :raises DatasetNotFound: retried: nothing is there yet.
    """

    operator_extra_links = (ReportLink(),)
    template_fields: Sequence[str] = ("data", "reference", "columns", "page", "conn_id")

    def __init__(
        self,
        *,
        data: Any,
        reference: Any = None,
        columns: Sequence[str] = (),
        page: str = "",
        conn_id: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data.to_dict() if isinstance(data, DatasetRef) else data
        self.reference = reference.to_dict() if isinstance(reference, Profile) else reference
        self.columns = columns
        self.page = page
        self.conn_id = conn_id

    def execute(self, context: Context) -> dict[str, JSON]:
        """Resolve and count."""
        from airflow_mlops.engines import engine_for

        ref = data_of(self.data)
        engine = engine_for(ref)
        ref = engine.resolve(ref)
        profile = engine.profile(ref, reference=profile_of(self.reference), columns=tuple(self.columns))
        self.log.info("%s: %s rows, %s columns", ref.label, profile.rows, len(profile.columns))
        if self.page:
            _write(self.page, self.conn_id, profile)
        return publish(context, {"data": ref.to_dict(), "profile": profile.to_dict()})


def _write(page: str, conn_id: str, profile: Profile) -> None:
    """The picture, at once: readers never see half of it."""
    from airflow_mlops.pages import profile_page

    text = profile_page(profile.to_dict())
    if "://" in page and not page.startswith("file://"):
        ObjectStoragePath(page, conn_id=conn_id or None).write_bytes(text.encode())  # appears when it is complete
        return
    path = Path(page.removeprefix("file://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        hidden.write_text(text, encoding="utf-8")
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def profile_of(value: Any) -> Profile | None:
    """A profile from what an author or an XCom gives: a profile, its dict, or a result with one under ``profile``.

    :raises UsageError: for anything else.

    >>> profile_of(None) is None
    True
    """
    if value is None or isinstance(value, Profile):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("profile"), Mapping):
        value = value["profile"]
    if not isinstance(value, Mapping):
        raise UsageError(f"expected a profile or its dict, got {type(value).__name__}")
    return Profile.from_dict(value)
