"""A model as an Airflow asset: ``mlmodel://<name>``.

Airflow reads this module for the scheme ``mlmodel`` while it starts, so nothing of Airflow is imported at its top.

::

    with DAG("score", schedule=model_asset("flights_delay")): ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit

from airflow_mlops.core.errors import UsageError

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from pydantic.types import JsonValue

SCHEME = "mlmodel"
"""The scheme, and the group of these assets."""

MODELS = "mlmodel"
"""The asset alias through which a task emits whose model's name is known only when it runs."""


def model_uri(model_name: str) -> str:
    """The URI of a registered model; characters that a URI can't carry are percent-encoded.

    :param model_name: as MLflow knows it.
    :raises UsageError: for what MLflow takes for no name: empty, blank at an end, or with ``/`` or ``:``.

    >>> model_uri("flights_delay"), model_uri("späte Flüge")
    ('mlmodel://flights_delay', 'mlmodel://sp%C3%A4te%20Fl%C3%BCge')
    """
    if not isinstance(model_name, str) or not model_name or model_name != model_name.strip():
        raise UsageError(f"a model's name is text without blanks around it, got {model_name!r}")
    if "/" in model_name or ":" in model_name:
        raise UsageError(f"a model's name can't have '/' or ':' in MLflow, got {model_name!r}")
    return f"{SCHEME}://{quote(model_name, safe='')}"


def model_of_uri(uri: str) -> str:
    """The model that a URI names: the inverse of :func:`model_uri`, also of the form that Airflow stores.

    :raises UsageError: for a URI of another scheme, or one that names no model.

    >>> model_of_uri("mlmodel://sp%C3%A4te%20Fl%C3%BCge/")
    'späte Flüge'
    """
    parts = urlsplit(uri)
    if parts.scheme != SCHEME:
        raise UsageError(f"expected {SCHEME}://<name>, got {uri!r}")
    name = unquote(sanitize_uri(parts).netloc)
    model_uri(name)
    return name


def model_asset(model_name: str) -> Asset:
    """The asset of a registered model, for ``schedule``, ``inlets`` and ``outlets``.

    Its name is the URI as a person would write it, so that ``Asset("mlmodel://flights_delay")`` is the same asset.

    :param model_name: as MLflow knows it.
    :raises UsageError: for what can't be a model's name.
    """
    from airflow.sdk import Asset

    uri = model_uri(model_name)
    return Asset(name=uri, uri=uri, group=SCHEME)


def create_asset(*, model_name: str, extra: dict[str, JsonValue] | None = None) -> Asset:
    """Airflow's factory for assets of this scheme, as its lineage collector calls it."""
    from airflow.sdk import Asset

    uri = model_uri(model_name)
    return Asset(name=uri, uri=uri, group=SCHEME, extra=extra)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Airflow's handler for the scheme: one name, nothing else. The trailing slash that Airflow adds is kept, so that
    a process that has not loaded this handler stores the same URI.

    :raises ValueError: when there is no name, or more than one.

    >>> sanitize_uri(urlsplit("mlmodel://churn/")).geturl()
    'mlmodel://churn/'
    """
    if not uri.netloc:
        raise ValueError(f"{SCHEME} URI needs a model: {SCHEME}://<name>")
    if uri.path not in ("", "/") or uri.query or uri.fragment or "@" in uri.netloc or ":" in uri.netloc:
        raise ValueError(f"{SCHEME} URI takes the model's name only, percent-encoded: {SCHEME}://<name>")
    return uri._replace(path="/")
