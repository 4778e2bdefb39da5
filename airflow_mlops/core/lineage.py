"""What a task read, made and found out, from what it published: datasets and model versions with their digests.

Pure; ``operators/_lineage.py`` says it in OpenLineage's terms. A dataset's version is the digest of its rows, a model
is a dataset of the namespace ``mlmodel`` whose version is the registered one. A check that could not be judged for lack
of rows claims nothing, neither that the data is sound nor that it is not; one that ended in an error did not succeed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from airflow_mlops.core.datasets import DatasetRef
from airflow_mlops.core.errors import MlopsError
from airflow_mlops.core.profile import Profile
from airflow_mlops.core.results import Severity, Status

MODELS = "mlmodel"
"""The namespace of models."""


@dataclasses.dataclass(frozen=True)
class Roles:
    """What a task's datasets and model are to it.

    :param inputs: names under which the result, or else the task's arguments, has what was read.
    :param outputs: names under which the result has what was written.
    :param model: ``input`` where a model is used, ``output`` where a version is made or becomes the champion.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    model: str = ""


ROLES: Mapping[str, Roles] = {
    "validation": Roles(inputs=("data", "reference", "holdout")),
    "quarantine": Roles(inputs=("input",), outputs=("data", "quarantine")),
    "profile": Roles(inputs=("data",)),
    "snapshot": Roles(inputs=("input",), outputs=("data",)),
    "training": Roles(inputs=("data",), model="output"),
    "evaluation": Roles(inputs=("data",), model="input"),
    "scoring": Roles(inputs=("input",), outputs=("data",), model="input"),
    "promotion": Roles(model="output"),
    "shadow": Roles(inputs=("data",), model="input"),
    "drift": Roles(inputs=("data", "predictions", "reference_rows"), model="input"),
    "performance": Roles(inputs=("predictions", "labels"), model="input"),
    "retraining": Roles(inputs=("data",), model="input"),
}
"""The module of an operator -> the roles; another one tells nothing."""

_MOVED = ("promoted", "already_promoted", "rolled_back")


@dataclasses.dataclass(frozen=True)
class Assertion:
    """A check of a dataset.

    :param name: of the check. :param success: whether it passed. :param column: empty: the whole dataset.
    :param severity: as the author gave it. :param expected: in words. :param actual: what was seen, as text.
    """

    name: str
    success: bool
    column: str = ""
    severity: str = ""
    expected: str = ""
    actual: str = ""


@dataclasses.dataclass(frozen=True)
class Told:
    """A dataset or a model version.

    :param namespace: and :param name: as OpenLineage names it; the namespace is empty for a table, whose database only
        its connection knows.
    :param version: digest of the rows, or a model's version; empty: not known.
    :param rows: how many; ``None``: not known. :param schema: column -> type.
    :param assertions: what was checked. :param ref: of a dataset. :param profile: what was counted of it.
    """

    namespace: str
    name: str
    version: str = ""
    rows: int | None = None
    schema: Mapping[str, str] = dataclasses.field(default_factory=dict)
    assertions: tuple[Assertion, ...] = ()
    ref: DatasetRef | None = None
    profile: Profile | None = None


def lineage_of(
    kind: str, result: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[tuple[Told, ...], tuple[Told, ...]]:
    """Inputs and outputs of a task.

    :param kind: a key of :data:`ROLES`; another one has none.
    :param result: what the task published; empty: it published nothing.
    :param arguments: its rendered arguments.

    >>> inputs, outputs = lineage_of("training", {"model_name": "late", "version": "3"}, {"data": "s3://lake/a.parquet"})
    >>> inputs[0].namespace, inputs[0].name, outputs[0].name, outputs[0].version
    ('s3://lake', 'a.parquet', 'late', '3')
    """
    roles = ROLES.get(kind, Roles())
    digests = _part(result.get("report"), "inputs")
    inputs = [
        told if told.version else dataclasses.replace(told, version=_digest(digests, name))
        for name in roles.inputs
        for told in _data(result.get(name)) or _data(arguments.get(name))
    ]
    # What goes on as it came was read and not made.
    outputs = [told for name in roles.outputs for told in _data(result.get(name)) if told not in inputs]
    if inputs:
        found = _assertions(result.get("report"))
        if kind == "quarantine":
            found = _of_all_rows(found, _part(_part(result, "counts"), "reasons"))
        inputs[0] = dataclasses.replace(inputs[0], assertions=found, profile=_profile(result.get("profile")))
    models = [Told(MODELS, name, version) for name, version in _models(kind, result)]
    if roles.model == "input":
        inputs += models
    elif roles.model == "output":
        outputs += models
    return tuple(inputs), tuple(outputs)


def named(uri: str) -> tuple[str, str]:
    """Namespace and name of files, as OpenLineage's naming rules have it.

    >>> named("s3://lake/day=1/*.parquet"), named("/data/a.parquet")
    (('s3://lake', 'day=1/*.parquet'), ('file', '/data/a.parquet'))
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return "file", parts.path if parts.scheme else uri
    name = uri.split("://", 1)[1].split("/", 1)
    return f"{parts.scheme}://{name[0]}", name[1].strip("/") if len(name) > 1 and name[1].strip("/") else "/"


def _data(value: Any) -> list[Told]:
    if isinstance(value, Mapping) and isinstance(value.get("data"), Mapping):  # an upstream's whole result
        value = value["data"]
    try:
        ref = DatasetRef.of(value) if value else None
    except (MlopsError, TypeError):
        return []
    if ref is None:
        return []
    space, name = ("", ref.location) if not ref.uri else named(ref.location)
    if space.startswith("dvc://"):  # the path in a repository, which its connection names
        space, name = f"dvc://{ref.conn_id or 'dvc_default'}", ref.location.removeprefix("dvc://")
    return [Told(space, name, ref.digest, ref.rows, ref.schema, ref=ref)]


def _models(kind: str, result: Mapping[str, Any]) -> list[tuple[str, str]]:
    name = str(result.get("model_name") or result.get("model") or "")
    if not name:
        return []
    if kind == "evaluation":
        found = [_part(result, which).get("version") for which in ("candidate", "champion")]
    elif kind == "shadow":
        found = [result.get(which) for which in ("champion", "challenger")]
    elif kind == "promotion":
        evidence = _part(result, "evidence")
        moved = result.get("decision") in _MOVED
        found = [_part(evidence, "candidate").get("version") or evidence.get("version")] if moved else []
    elif kind == "retraining":
        found = [_part(_part(result, "evidence"), "facts").get("champion")]
    else:
        found = [result.get("version")]
    return [(name, str(version)) for version in dict.fromkeys(found) if version]


def _digest(digests: Mapping[str, Any], name: str) -> str:
    """Of rows that the task was given unresolved, as its report has it."""
    found = str(digests.get(name) or digests.get(f"{name}_data") or "")
    return "" if found == "none" else found


def _profile(value: Any) -> Profile | None:
    try:
        return value if isinstance(value, Profile) or value is None else Profile.from_dict(value)
    except (MlopsError, TypeError, ValueError, KeyError):
        return None


def _assertions(report: Any) -> tuple[Assertion, ...]:
    checks = report.get("checks") if isinstance(report, Mapping) else None
    found = [c for c in checks if isinstance(c, Mapping)] if isinstance(checks, Sequence) else []
    return tuple(
        Assertion(
            name=str(check.get("name") or ""),
            success=check.get("status") == Status.PASSED,
            column=str(check.get("subject") or ""),
            severity=_SEVERITIES.get(str(check.get("severity") or Severity.CRITICAL), ""),
            expected=str(check.get("expected") or ""),
            actual="" if check.get("observed") is None else str(check["observed"]),
        )
        for check in found
        if check.get("status") not in (Status.SKIPPED, Status.INSUFFICIENT)
    )


def _of_all_rows(found: tuple[Assertion, ...], reasons: Mapping[str, Any]) -> tuple[Assertion, ...]:
    """Of the rows before they were divided: what holds of the good ones does not hold of those that were taken out."""
    broken = tuple(Assertion(name=str(r), success=False, actual=f"{n} rows") for r, n in reasons.items())
    return broken + tuple(
        a for a in found if not a.success or not any(r.startswith(f"{a.name}(") for r in map(str, reasons))
    )


_SEVERITIES = {"critical": "error", "warning": "warn", "info": "info"}


def _part(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}
