"""The registry: versions, aliases and tags, as :class:`~airflow_mlops.core.records.ModelVersion`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from airflow_mlops.core.errors import Conflict, UsageError
from airflow_mlops.core.records import TAG, ModelVersion
from airflow_mlops.core.results import JSON
from airflow_mlops.hooks._base import HookBase, NotFound, quoted


class Registry(HookBase):
    """Reading and moving what the model registry holds."""

    def version(self, model: str, version: str | int) -> ModelVersion | None:
        """One version of a model, with its aliases, or ``None``."""
        if not str(version).isdigit():
            raise UsageError(f"a version of {model!r} is a number, got {version!r}; for an alias use by_alias()")
        with self.absent_is_none():
            return version_of(self.client.get_model_version(model, str(version)))
        return None

    def by_alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version that an alias points at, or ``None`` when model or alias do not exist."""
        with self.absent_is_none():
            if alias not in _aliases(self.client.get_registered_model(model)):
                return None
            found = version_of(self.client.get_model_version_by_alias(model, alias))
            return dataclasses.replace(found, aliases=tuple(sorted({*found.aliases, alias})))
        return None

    def alias(self, model: str, alias: str) -> str:
        """The number of the version that an alias points at; empty when model or alias do not exist."""
        with self.absent_is_none():
            return _aliases(self.client.get_registered_model(model)).get(alias, "")
        return ""

    def versions(self, model: str, limit: int = 50) -> list[ModelVersion]:
        """The newest versions, newest first, each with its aliases."""
        with self.absent_is_none():
            aliases = _aliases(self.client.get_registered_model(model))
            page = self.client.search_model_versions(
                f"name = {quoted(model)}", max_results=limit, order_by=["version_number DESC"]
            )
            return [version_of(v, aliases) for v in page]
        return []

    def find_version(self, model: str, training_key: str) -> ModelVersion | None:
        """The version that a training with this key made, or ``None``; of several, the oldest."""
        with self.translating():
            page = self.client.search_model_versions(
                f"name = {quoted(model)} and tag.`{TAG}training_key` = {quoted(training_key)}",
                max_results=10,
                order_by=["version_number ASC"],
            )
            ready = [v for v in page if str(v.status) == "READY"]
        return self.version(model, ready[0].version) if ready else None

    def set_alias(self, model: str, alias: str, version: str | int) -> None:
        """Point an alias at a version; there is no compare-and-set in MLflow, so read it back.

        :raises UsageError: when the version does not exist.
        """
        try:
            self.put(lambda: self.client.set_registered_model_alias(model, alias, str(version)))
        except NotFound as error:
            raise UsageError(f"alias {alias!r} of {model!r} can't point at version {version}: {error}") from None

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away; one that is not there is already away."""
        with self.absent_is_none():
            self.client.delete_registered_model_alias(model, alias)

    def tag_version(self, model: str, version: str | int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; names without a dot get this package's prefix ``mlops.``."""
        try:
            for name, value in tags.items():
                set_tag = functools.partial(self.client.set_model_version_tag, model, str(version))
                self.put(functools.partial(set_tag, prefixed(name), str(value)))
        except NotFound as error:
            raise UsageError(f"version {version} of {model!r} can't be tagged: {error}") from None

    def models(self, limit: int = 1000) -> list[dict[str, JSON]]:
        """Every registered model: ``{"name", "aliases": {alias: version}, "tags", "updated_at"}``, by name."""
        found: list[dict[str, JSON]] = []
        token = None
        with self.translating():
            while len(found) < limit:
                page = self.client.search_registered_models(
                    max_results=min(1000, limit - len(found)), order_by=["name ASC"], page_token=token
                )
                for model in page:
                    aliases: dict[str, JSON] = dict(_aliases(model))
                    found.append(
                        {
                            "name": model.name,
                            "aliases": aliases,
                            "tags": dict(model.tags or {}),
                            "updated_at": model.last_updated_timestamp or 0,
                        }
                    )
                token = page.token
                if not token:
                    break
        return found

    def copy_version(self, version: ModelVersion, model: str) -> ModelVersion:
        """The same files as a version of another registered model, with a run of its own: nothing of it leads back."""
        self.ensure_model(model)
        with self.translating():
            run = self.client.create_run(self.experiment_id(model), run_name=f"copy of {version.label}")
            self.client.set_terminated(run.info.run_id, "FINISHED")
            made = self.client.create_model_version(model, source=version.source, run_id=run.info.run_id)
        tags = {f"{TAG}model_digest": version.model_digest, f"{TAG}copy_of": version.label}
        self.tag_version(model, made.version, {k: v for k, v in tags.items() if v})
        copied = self.version(model, made.version)
        if copied is None:
            raise UsageError(f"{version.label} could not be copied to {model!r}")
        return copied

    def delete_versions(self, model: str) -> None:
        """Take all versions of a model away, its aliases first."""
        for version in self.versions(model, limit=1000):
            for alias in version.aliases:
                self.delete_alias(model, alias)
            with self.absent_is_none():
                self.client.delete_model_version(model, version.version)

    def ensure_model(self, model: str) -> None:
        """Register the name, when it is not registered yet."""
        with self.absent_is_none():
            self.client.get_registered_model(model)
            return
        try:
            with self.translating():
                self.client.create_registered_model(model)
        except Conflict:
            pass  # another task was a moment faster


def prefixed(name: str) -> str:
    """A tag's name, with this package's prefix unless it has one of its own.

    >>> prefixed("pinned"), prefixed("mlops.pinned"), prefixed("team.owner")
    ('mlops.pinned', 'mlops.pinned', 'team.owner')
    """
    return name if "." in name else TAG + name


def _aliases(model: Any) -> dict[str, str]:
    """Alias -> version as text: a dict in one store, a list of entities in another, ints or text within."""
    raw = model.aliases or {}
    if isinstance(raw, Mapping):
        return {str(k): str(v) for k, v in raw.items()}
    return {str(a.alias): str(a.version) for a in raw}


def version_of(value: Any, aliases: Mapping[str, str] | None = None) -> ModelVersion:
    """``aliases`` where MLflow's answer has none of its own: a search leaves them empty."""
    number = str(value.version)
    own = tuple(str(a) for a in value.aliases or ())
    return ModelVersion(
        name=value.name,
        version=number,
        run_id=value.run_id or "",
        source=value.source or "",
        status=str(value.status or ""),
        aliases=tuple(sorted(own or (a for a, v in (aliases or {}).items() if v == number))),
        tags=value.tags or {},
        created_at=int(value.creation_timestamp or 0),
    )
