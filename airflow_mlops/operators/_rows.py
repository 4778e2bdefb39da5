"""What a drift check asks of rows, where profiles are not enough: a domain classifier, and attributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.drift_policy import DriftPolicy
from airflow_mlops.core.errors import DatasetNotFound, MlopsError, UsageError
from airflow_mlops.core.fingerprint import describe_value
from airflow_mlops.core.records import ModelVersion
from airflow_mlops.core.results import JSON, Check, Report, Status, digest

if TYPE_CHECKING:
    import pandas as pd

    from airflow_mlops.core.profile import Profile
    from airflow_mlops.hooks.mlflow import MlflowHook

SAMPLED = 50_000
"""Rows of a batch that are read at a time while some are drawn."""


def asked_of_rows(
    hook: MlflowHook,
    version: ModelVersion,
    profile: Profile | None,
    ref: DatasetRef,
    reference: DatasetRef,
    policy: DriftPolicy,
    attributions: Any,
) -> tuple[list[Check], dict[str, str]]:
    """Checks of both samples' rows, and the digests of what they are a function of.

    :param profile: of the batch: its numeric and categorical columns are compared. A time differs between any two
        periods, and would tell them apart by itself.
    :param attributions: false; true: by shuffling; or a function of one's own.
    :raises DatasetNotFound: when rows are not there yet.
    :raises UsageError: for attributions that are neither.
    """
    if not isinstance(attributions, bool) and not callable(attributions):
        raise UsageError(f"attributions is true, false or a function, got {type(attributions).__name__}")
    checks: list[Check] = []
    inputs = {"reference_rows": reference.digest, "attributions": digest(describe_value(attributions))}
    columns = [c for c, p in (profile.columns if profile else {}).items() if p.kind in ("numeric", "categorical")]
    columns = [c for c in columns if c in reference.schema]
    try:
        checks.append(_classified(ref, reference, columns, policy))
    except DatasetNotFound:
        raise
    except MlopsError as error:
        checks.append(Check(name="domain_classifier", status=Status.ERROR, message=str(error)))
    if attributions:
        try:
            function = attributions if callable(attributions) else None
            checks.append(_attributed(hook, version, ref, reference, policy, function))
        except DatasetNotFound:
            raise
        except MlopsError as error:
            checks.append(Check(name="attribution_ranking", status=Status.ERROR, message=str(error)))
    return checks, inputs


def _classified(ref: DatasetRef, reference: DatasetRef, columns: list[str], policy: DriftPolicy) -> Check:
    from airflow_mlops.core.drift_multivariate import MOST_ROWS, domain_classifier

    if not columns:
        raise UsageError(f"{reference.label} and {ref.label} have no column in common that could be compared")
    was, now = (sample(r, columns, MOST_ROWS) for r in (reference, ref))
    return domain_classifier(
        was, now, alpha=policy.alpha, floor=policy.domain_floor, minimum_rows=max(policy.minimum_rows, 100)
    )


def _attributed(
    hook: MlflowHook, version: ModelVersion, ref: DatasetRef, reference: DatasetRef, policy: DriftPolicy, function: Any
) -> Check:
    from airflow_mlops.core.drift_attributions import MOST_ROWS, attributions_of, compare_attributions
    from airflow_mlops.core.scoring import require_scorable

    model = hook.load_scoring_model(version)
    for rows in (reference, ref):
        require_scorable(model, list(rows.schema), (), rows.label)
    features = list(model.features)
    was, now = (
        attributions_of(function, model.estimator, sample(r, features, MOST_ROWS)[features]) for r in (reference, ref)
    )
    return compare_attributions(
        was,
        now,
        features,
        alpha=policy.alpha,
        least=policy.attribution_floor,
        minimum_rows=max(policy.minimum_rows, 100),
    )


def sample(ref: DatasetRef, columns: list[str], most: int, *, seed: int = 0) -> pd.DataFrame:
    """At most so many rows, all alike likely, in one pass and bounded memory; the same rows every time."""
    import numpy as np
    import pandas as pd

    from airflow_mlops.engines import engine_for

    engine, rng = engine_for(ref), np.random.default_rng(seed)
    kept: list[Any] = []
    for batch in engine.batches(ref.select(*columns), SAMPLED):
        kept.append(batch.assign(**{_PLACE: rng.random(len(batch))}))
        if sum(map(len, kept)) > most + SAMPLED:
            kept = [pd.concat(kept).nsmallest(most, _PLACE)]
    if not kept:
        return engine.read(ref.select(*columns)).head(0)
    rows = pd.concat(kept, ignore_index=True)
    return (rows.nsmallest(most, _PLACE) if len(rows) > most else rows).drop(columns=_PLACE).reset_index(drop=True)


_PLACE = "__place__"


def with_checks(report: Report, checks: list[Check], inputs: Mapping[str, str]) -> Report:
    """The report with what the rows say: drift in either is drift, and what is not known is not "no drift"."""
    drift: JSON = report.details.get("drift")
    if any(c.status is Status.FAILED for c in checks):
        drift = True
    elif drift is False and any(c.status is not Status.PASSED for c in checks):
        drift = None
    return Report(
        kind=report.kind,
        subject=report.subject,
        checks=(*report.checks, *checks),
        inputs={**report.inputs, **inputs},
        details={**report.details, "drift": drift},
    )
