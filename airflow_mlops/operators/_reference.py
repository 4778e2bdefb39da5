"""Where a drift check finds its reference in MLflow."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.drift_reference import ReferenceChoice, added
from airflow_mlops.core.errors import MlopsError
from airflow_mlops.core.ledger import has_broken_inputs, partitions
from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import JSON, Report, finite
from airflow_mlops.core.retraining_rules import time_of

if TYPE_CHECKING:
    from airflow_mlops.core.profile import Profile
    from airflow_mlops.hooks.mlflow import MlflowHook

ARTIFACT = "profile.json"
"""Where a check's record keeps the profile of its batch, for the checks of later partitions."""


PAGE = "report.html"

Pair = tuple["Profile | None", "Profile | None"]
"""What was compared: the reference's profile and the batch's, where there are such."""


def artifacts_of(report: Report, features: Pair, predictions: Pair = (None, None)) -> dict[str, str | bytes]:
    """What a check's record keeps beside its report: the batch's profile, and a page for people."""
    from airflow_mlops.pages import report_page

    drawn: list[dict[str, JSON]] = []
    for side in (0, 1):
        known, said = features[side], predictions[side]
        columns: list[JSON] = [] if known is None else [c.to_dict() for c in known.columns.values()]
        if said is not None:
            columns += [{**c.to_dict(), "name": f"predictions {name}"} for name, c in said.columns.items()]
        drawn.append({"columns": columns})
    kept: dict[str, str | bytes] = {PAGE: report_page(report.to_dict(), reference=drawn[0], current=drawn[1])}
    if (profile := features[1]) is not None:
        kept[ARTIFACT] = json.dumps(profile.to_dict(), allow_nan=False)
    return kept


def earlier(
    hook: MlflowHook, version: ModelVersion, choice: ReferenceChoice, at: str, columns: Collection[str]
) -> tuple[Profile | None, str]:
    """The reference among the partitions that this version's checks have seen, and what it is called.

    Of a partition that was checked more than once the newest check counts. One whose input was broken is nothing to
    compare with, nor is one that came without a column: it would not be missed any more. ``None`` where there is none,
    or its profile is gone or broken: then the training profile has to do, and the report says so.

    :param columns: that a reference must have.
    """
    from airflow_mlops.core.profile import Profile

    if not at:
        return None, "the run is about no time"
    own: list[Record] = []
    for record in hook.history(version.name, kinds=("drift",), limit=1000, until=choice.until(time_of(at)).isoformat()):
        details = record.body.get("details")
        if record.at and isinstance(details, Mapping) and str(details.get("version")) == version.version:
            own.append(record)
    sound = [g[0] for g in partitions(own) if g[0].outcome != "failed" or not has_broken_inputs(g[0].body)]
    profiles, names, left_out = [], [], len(own) > 0 and not sound
    for record in choice.among([(time_of(r.at), r) for r in sound], time_of(at)):
        try:
            found = hook.read_json(record.run_id, ARTIFACT)
            profile = None if found is None else Profile.from_dict(found)
        except (MlopsError, ValueError, TypeError, KeyError):  # broken, or of another release
            continue
        if profile is None or not set(columns) <= set(profile.columns):
            left_out = True
            continue
        profiles.append(profile)
        names.append(record.subject)
    if not profiles:
        why = "those partitions lack columns, or their input was broken"
        return None, why if left_out else "no such partition has been checked with this version"
    return added(profiles), f"{len(names)} partition{'s' if len(names) > 1 else ''}: {', '.join(names[:10])}"


def importances_of(hook: MlflowHook, version: ModelVersion) -> dict[str, float | None]:
    """What each column does for the model, as its newest evaluation measured; empty where none did.

    A column that the model does better without does nothing for it; ``None`` is one whose importance is not known.
    """
    for record in hook.history(version.name, kinds=("evaluation",)):
        found: Any = record.body.get("importances")
        if record.subject == version.version and isinstance(found, Mapping) and found.get("features"):
            means = {str(f["name"]): finite(f.get("mean")) for f in found["features"]}
            return {name: None if mean is None else max(mean, 0.0) for name, mean in means.items()}
    return {}
