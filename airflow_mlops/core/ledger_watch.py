"""Is a record in the ledger yet: the one predicate behind the sensor and its trigger."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.records import KINDS, Record
from airflow_mlops.core.results import JSON, plain

LOOK = 200
"""Records that are looked at, the newest first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordWatch:
    """What is waited for.

    :param model: the registered model.
    :param kind: one of :data:`~airflow_mlops.core.records.KINDS`: ``drift``, ``performance``, ``gate`` ...
    :param subject: the partition or version that the record is about; empty: any.
    :param outcomes: words that it has to end with, as in ``("passed", "failed")``; empty: any.
    """

    model: str
    kind: str
    subject: str = ""
    outcomes: tuple[str, ...] = ()

    def checked(self) -> RecordWatch:
        """The same, with the values of a rendered template made text.

        :raises UsageError: when the model is not named.
        :raises UnknownName: for a kind of record that does not exist.
        """
        given: Any = self.outcomes
        words = given.split(",") if isinstance(given, str) else list(given or ())
        watch = RecordWatch(
            model=str(self.model or "").strip(),
            kind=str(self.kind or "").strip(),
            subject=str(self.subject or "").strip(),
            outcomes=tuple(str(w).strip() for w in words if str(w).strip()),
        )
        if not watch.model:
            raise UsageError("a record is watched by the model's name, which is empty")
        if watch.kind not in KINDS:
            raise UnknownName("kind of record", watch.kind, KINDS)
        return watch

    @property
    def search(self) -> dict[str, Any]:
        """What the ledger is asked for, by keyword: what is waited for may be older than many records since."""
        speakable = not {"'", '"'} <= set(self.subject)  # MLflow's search can't say a text with both
        return {
            "kinds": (self.kind,),
            "subject": self.subject if speakable else "",
            "outcome": self.outcomes[0] if len(self.outcomes) == 1 else "",
            "limit": LOOK,
        }

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> RecordWatch:
        """The inverse of :meth:`to_dict`."""
        return cls(**{**value, "outcomes": tuple(value.get("outcomes", ()))})


def record_of(watch: RecordWatch, records: Iterable[Record]) -> Record | None:
    """The first record that is waited for; of records newest first, the newest.

    >>> done = Record(kind="drift", model="churn", key="k", outcome="passed", subject="2013-05")
    >>> record_of(RecordWatch(model="churn", kind="drift", subject="2013-05"), [done]) is done
    True
    >>> record_of(RecordWatch(model="churn", kind="drift", outcomes=("failed",)), [done]) is None
    True
    """
    for record in records:
        if record.model != watch.model or record.kind != watch.kind:
            continue
        if watch.subject and record.subject != watch.subject:
            continue
        if not watch.outcomes or record.outcome in watch.outcomes:
            return record
    return None


def told(record: Record) -> dict[str, JSON]:
    """What sensor and trigger tell about the record that was found."""
    return {
        "model_name": record.model,
        "kind": record.kind,
        "subject": record.subject,
        "outcome": record.outcome,
        "at": record.at,
        "record": {"run_id": record.run_id, "key": record.key},
    }
