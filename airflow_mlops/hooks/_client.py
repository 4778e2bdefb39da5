"""From an Airflow connection to a working MLflow client, quietly and without leaking a secret.

Credentials reach MLflow through its own extension point for request authentication: this process holds a table
from server URL to ``Authorization`` header, and the header is put on a request whose URL lies below one of them,
whoever sends it (the tracking API, the registry, the artifact proxy). The environment carries only the *name* of
the mechanism; a child process that inherits it has no credentials and is told so by MLflow.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import fcntl
import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from airflow_mlops.core.errors import UsageError
from airflow_mlops.exceptions import MlflowUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

AUTH_NAME = "airflow_mlops"
"""What ``MLFLOW_TRACKING_AUTH`` is set to; a name, never a secret."""

TIMEOUT = 30
"""Seconds one request may take; uploads of large models wait this long for the server's answer."""

PROBE_TIMEOUT = 5
"""Seconds the first request may take, which only asks whether anybody is there."""

MAX_RETRIES = 2
"""How often MLflow's client repeats a request that failed in a way that may pass; about 5 s in all."""

_HEADERS: dict[str, str] = {}
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """A connection, read: where MLflow is and how it wants to be talked to.

    :param conn_id: the connection's id, for messages.
    :param tracking_uri: without credentials; the only form that is ever shown.
    :param store_uri: what the client gets; differs from ``tracking_uri`` for a database URI with a password.
    :param registry_uri: where models are registered.
    :param authorization: the ``Authorization`` header for HTTP, empty for none.
    :param secrets: every text that must not appear anywhere.
    :param artifact_location: where new experiments keep their artifacts; empty: the server decides.
    :param experiment_prefix: put before a model's name to name its experiment.
    :param timeout: seconds for one request.
    :param max_retries: repetitions of a request.
    """

    conn_id: str
    tracking_uri: str
    store_uri: str = dataclasses.field(repr=False)
    registry_uri: str = dataclasses.field(default="", repr=False)
    authorization: str = dataclasses.field(default="", repr=False)
    secrets: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    artifact_location: str = ""
    experiment_prefix: str = ""
    timeout: int = TIMEOUT
    max_retries: int = MAX_RETRIES

    @property
    def http(self) -> bool:
        """Whether a server is asked, and not a database or files."""
        return self.tracking_uri.startswith(("http://", "https://"))

    def scrub(self, text: object) -> str:
        """``text`` without anything secret: known secrets, and what looks like credentials in a URI or header."""
        clean = str(text)
        for secret in sorted(self.secrets, key=len, reverse=True):
            clean = clean.replace(secret, "***")
        clean = re.sub(r"(?<=://)[^/@\s]+@", "***@", clean)
        return re.sub(r"(?i)\b(basic|bearer)\s+[\w.~+/=-]{8,}", r"\1 ***", clean)


def settings_of_connection(conn: Any) -> Settings:
    """Read an Airflow connection of type ``mlflow``.

    :param conn: an Airflow ``Connection``. ``host`` may be a whole URI; with ``schema`` and ``port`` it is put
        together. Extras: ``tracking_uri`` (used before host), ``registry_uri``, ``token``, ``artifact_location``,
        ``experiment_prefix``, ``timeout``, ``max_retries``.
    :raises UsageError: when no place is named, or a number is none.
    """
    extra = conn.extra_dejson or {}
    uri = str(extra.get("tracking_uri") or "") or _host_uri(conn)
    if not uri:
        raise UsageError(f"connection {conn.conn_id!r} names no MLflow: fill in its host or extra 'tracking_uri'")
    clean, user, password = split_credentials(uri)
    user, password = conn.login or user, conn.password or password
    token = str(extra.get("token") or "")
    secrets = [s for s in (password, token) if s]
    authorization = f"Bearer {token}" if token else ""
    if user and password and not token:
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        authorization, secrets = f"Basic {encoded}", [*secrets, encoded]
    http = clean.startswith(("http://", "https://"))
    registry = str(extra.get("registry_uri") or "")
    return Settings(
        conn_id=str(conn.conn_id),
        tracking_uri=clean.rstrip("/") if http else clean,
        store_uri=clean.rstrip("/") if http else uri,
        registry_uri=split_credentials(registry)[0] if registry.startswith("http") else registry,
        authorization=authorization if http else "",
        secrets=tuple(secrets),
        artifact_location=str(extra.get("artifact_location") or ""),
        experiment_prefix=str(extra.get("experiment_prefix") or ""),
        timeout=_number(conn, extra, "timeout", TIMEOUT),
        max_retries=_number(conn, extra, "max_retries", MAX_RETRIES),
    )


def settings_of_config(conn_id: str, tracking_uri: str, artifact_location: str, home: Path) -> Settings:
    """Where no connection is defined: ``[mlops] tracking_uri``, else SQLite and a folder below ``home``.

    :param home: ``AIRFLOW_HOME``.

    >>> settings_of_config("mlflow_default", "", "", Path("/opt/airflow")).tracking_uri
    'sqlite:////opt/airflow/mlops/mlflow.db'
    """
    if not tracking_uri:
        folder = home.absolute() / "mlops"
        tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
        artifact_location = artifact_location or (folder / "artifacts").as_uri()
    clean, user, password = split_credentials(tracking_uri)
    http = clean.startswith(("http://", "https://"))
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode() if user and password else ""
    return Settings(
        conn_id=conn_id,
        tracking_uri=clean.rstrip("/") if http else clean,
        store_uri=clean.rstrip("/") if http else tracking_uri,
        authorization=f"Basic {encoded}" if http and encoded else "",
        secrets=tuple(s for s in (password, encoded) if s),
        artifact_location=artifact_location,
    )


def split_credentials(uri: str) -> tuple[str, str, str]:
    """``uri`` without user information, and the user and password that were in it.

    >>> split_credentials("https://ann:s%2Fecret@mlflow.example.org:5000/x")
    ('https://mlflow.example.org:5000/x', 'ann', 's/ecret')
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri, "", ""
    clean = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return clean, unquote(parts.username or ""), unquote(parts.password or "")


def connect(settings: Settings) -> MlflowClient:
    """A client for ``settings``, after asking whether anybody is there.

    :raises MlflowUnavailable: when nobody answers within :data:`PROBE_TIMEOUT` seconds.
    """
    mlflow = load_mlflow()
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(settings.timeout)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(settings.max_retries)
    if settings.authorization:
        _authenticate(settings)
    if settings.http:
        _probe(settings)
    with _first_use(settings.store_uri) as first:  # the client's constructor opens the tracking store already
        client = mlflow.MlflowClient(
            tracking_uri=settings.store_uri, registry_uri=settings.registry_uri or settings.store_uri
        )
        if first:  # both stores create their tables on first use, which two processes must not do at once
            client.search_experiments(max_results=1)
            client.search_registered_models(max_results=1)
    return client


def load_mlflow() -> Any:
    """Import MLflow with telemetry off and its console noise kept out of the task log."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)
    import mlflow

    return mlflow


def _authenticate(settings: Settings) -> None:
    from mlflow.tracking.request_auth import registry
    from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
    from requests.auth import AuthBase

    class ConnectionAuth(AuthBase):
        """Puts the header of the longest matching server URL on a request; others go as they are."""

        def __call__(self, request: Any) -> Any:
            header = header_for(request.url)
            if header:
                request.headers["Authorization"] = header
            return request

    class Provider(RequestAuthProvider):
        def get_name(self) -> str:
            return AUTH_NAME

        def get_auth(self) -> ConnectionAuth:
            return ConnectionAuth()

    for uri in (settings.tracking_uri, settings.registry_uri):
        if uri.startswith(("http://", "https://")):
            _HEADERS[uri.rstrip("/")] = settings.authorization
    table = registry._request_auth_provider_registry
    if not any(provider.get_name() == AUTH_NAME for provider in table):
        table.register(Provider)
    os.environ["MLFLOW_TRACKING_AUTH"] = AUTH_NAME


def header_for(url: str | None) -> str:
    """The ``Authorization`` header for a request to ``url``; empty when it goes to no server we know."""
    best = ""
    for base in _HEADERS:
        if url and (url == base or url.startswith((base + "/", base + "?"))) and len(base) > len(best):
            best = base
    return _HEADERS.get(best, "")


def _probe(settings: Settings) -> None:
    import requests

    headers = {"Authorization": settings.authorization} if settings.authorization else {}
    try:
        answer = requests.get(
            f"{settings.tracking_uri}/health", headers=headers, timeout=min(settings.timeout, PROBE_TIMEOUT)
        )
    except requests.exceptions.RequestException as error:
        raise MlflowUnavailable(settings.conn_id, settings.scrub(error)) from None
    if answer.status_code in (429, 500, 502, 503, 504):
        raise MlflowUnavailable(
            settings.conn_id, f"{settings.tracking_uri} answers HTTP {answer.status_code} {answer.reason}"
        )


@contextlib.contextmanager
def _first_use(store_uri: str) -> Iterator[bool]:
    """Holds other processes off while a SQLite store is created; yields whether there is something to create."""
    if not store_uri.startswith("sqlite:///"):
        yield False
        return
    path = Path(unquote(store_uri.removeprefix("sqlite:///").split("?")[0])).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    ready = path.with_name(path.name + ".ready")
    if ready.exists() and path.exists():
        yield False
        return
    with path.with_name(path.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the one writer
        yield True
        ready.touch()


def _host_uri(conn: Any) -> str:
    host = str(conn.host or "")
    if not host or "://" in host:
        return host
    scheme = conn.schema if conn.schema in ("http", "https") else "http"
    return f"{scheme}://{host}:{conn.port}" if conn.port else f"{scheme}://{host}"


def _number(conn: Any, extra: dict[str, Any], name: str, default: int) -> int:
    value = extra.get(name)
    if value in (None, ""):
        return default
    try:
        return max(0 if name == "max_retries" else 1, int(float(str(value))))
    except ValueError:
        raise UsageError(f"extra {name!r} of connection {conn.conn_id!r} must be a number, got {value!r}") from None
