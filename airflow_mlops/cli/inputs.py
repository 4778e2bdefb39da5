"""What the commands of ``airflow mlops`` are given: datasets and profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from airflow_mlops.core.errors import UsageError

if TYPE_CHECKING:
    from airflow_mlops.core.datasets import DatasetRef
    from airflow_mlops.core.profile import Profile


def dataset(text: str, conn_id: str) -> DatasetRef:
    """A reference from what was typed."""
    from airflow_mlops.core.datasets import DatasetRef

    return DatasetRef(uri=text, conn_id=conn_id)


def profile_of(text: str, conn_id: str) -> Profile:
    """The profile of a dataset, or the one that a ``.json`` file holds."""
    from airflow_mlops.core.profile import Profile
    from airflow_mlops.engines import engine_for

    if text.lower().endswith(".json") and "://" not in text:
        import json

        try:
            value = json.loads(Path(text).read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{text} is no JSON: {error}") from error
        return Profile.from_dict(value.get("profile", value) if isinstance(value, dict) else value)
    ref = dataset(text, conn_id)
    engine = engine_for(ref)
    return engine.profile(engine.resolve(ref))
