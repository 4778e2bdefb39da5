"""Has an alias moved: the one predicate behind the sensor and its trigger."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import JSON, plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class AliasWatch:
    """What is waited for.

    :param model: the registered model.
    :param alias: the alias to look at.
    :param version: wait until it points at this version; empty: at any.
    :param different_from: wait until it points at another version than this; empty: no such condition.
    """

    model: str
    alias: str = "champion"
    version: str = ""
    different_from: str = ""

    def checked(self) -> AliasWatch:
        """The same, with the values of a rendered template made text.

        :raises UsageError: when a name is missing, or both conditions name the same version: no alias can do that.
        """
        watch = AliasWatch(**{f.name: str(getattr(self, f.name) or "").strip() for f in dataclasses.fields(AliasWatch)})
        if not watch.model or not watch.alias:
            raise UsageError("an alias is watched by the model's name and the alias's name; one is empty")
        if watch.version and watch.version == watch.different_from:
            raise UsageError(
                f"version and different_from are both {watch.version!r}; no alias can point there and elsewhere"
            )
        return watch

    def to_dict(self) -> dict[str, JSON]:
        """Plain values."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> AliasWatch:
        """The inverse of :meth:`to_dict`."""
        return cls(**value)


def alias_moved(watch: AliasWatch, found: ModelVersion | None) -> bool:
    """Whether the alias is where it is waited for.

    :param found: the version that the alias points at, ``None`` where model or alias do not exist: that is never it.

    >>> third = ModelVersion(name="churn", version="3")
    >>> alias_moved(AliasWatch(model="churn", different_from="2"), third)
    True
    >>> alias_moved(AliasWatch(model="churn", version="4"), third), alias_moved(AliasWatch(model="churn"), None)
    (False, False)
    """
    if found is None:
        return False
    if watch.version and found.version != watch.version:
        return False
    return not watch.different_from or found.version != watch.different_from


def sighting(watch: AliasWatch, found: ModelVersion) -> dict[str, JSON]:
    """What sensor and trigger tell about the version that was found."""
    return {
        "model_name": watch.model,
        "alias": watch.alias,
        "version": found.version,
        "model_digest": found.model_digest or None,
        "different_from": watch.different_from or None,
    }
