"""The connection of :class:`~airflow_mlops.hooks.mlflow.MlflowHook`, and the translation of its errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_mlops.core.errors import Conflict, UsageError
from airflow_mlops.exceptions import MlflowUnavailable
from airflow_mlops.hooks._client import (
    Settings,
    connect,
    load_mlflow,
    settings_of_config,
    settings_of_connection,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


class NotFound(Exception):
    """MLflow answered that there is no such thing. Private to the hook: its methods return ``None`` instead."""


class Raced(MlflowUnavailable):
    """MLflow's database refused what it was told, and not MLflow: mostly two writers of one new tag or alias at once.

    MLflow calls it a bad request. It is none: the same request again goes well.
    """


_BY_DATABASE = re.compile(r"(BAD_REQUEST: )?\([a-zA-Z_]\w*(\.\w+)+\)")
"""How SQLAlchemy begins to tell what a database said: its driver's error."""


class _Absent:
    """A ``with`` block that :class:`NotFound` leaves silently."""

    def __init__(self, inner: AbstractContextManager[None, bool | None]) -> None:
        self.inner = inner

    def __enter__(self) -> None:
        self.inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            return bool(self.inner.__exit__(kind, error, trace))
        except NotFound:
            return True


class HookBase(BaseHook):
    """What the parts of the hook share: settings, one client, one way in which errors come out."""

    def __init__(self, mlflow_conn_id: str = "mlflow_default") -> None:
        super().__init__()
        self.mlflow_conn_id = mlflow_conn_id
        self._experiments: dict[str, str] = {}

    @cached_property
    def settings(self) -> Settings:
        """The connection, read once; where none is defined, ``[mlops] tracking_uri`` or the embedded SQLite file.

        Only the default connection may be undefined: a name that somebody wrote down must exist.
        """
        try:
            connection = self.get_connection(self.mlflow_conn_id)
        except AirflowNotFoundException:
            if self.mlflow_conn_id != "mlflow_default":
                raise
            return self._configured()
        return settings_of_connection(connection)

    def _configured(self) -> Settings:
        from airflow.configuration import AIRFLOW_HOME
        from airflow.sdk import conf

        return settings_of_config(
            self.mlflow_conn_id,
            conf.get("mlops", "tracking_uri", fallback=""),
            conf.get("mlops", "artifact_location", fallback=""),
            Path(AIRFLOW_HOME),
        )

    @property
    def tracking_uri(self) -> str:
        """Where MLflow is; never with credentials."""
        return self.settings.tracking_uri

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own client, bound to this connection and to nothing global."""
        with self.translating():
            return connect(self.settings)

    def get_conn(self) -> MlflowClient:
        """MLflow's own client, for what this hook has no method for.

        :raises MlflowUnavailable: when nobody answers.
        """
        return self.client

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Errors of the client become this package's: unavailable, misuse, conflict or :class:`NotFound`.

        The original is not chained: its text and its request could carry what the connection keeps secret.
        """
        load_mlflow()
        import requests
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError

        try:
            yield
        except MlflowException as error:
            raise self._translated(error) from None
        except requests.exceptions.HTTPError as error:  # the artifact proxy's answers
            status = error.response.status_code if error.response is not None else 0
            if status == 404:
                raise NotFound(self.settings.scrub(error)) from None
            raise MlflowUnavailable(self.mlflow_conn_id, self.settings.scrub(error)) from None
        except (requests.exceptions.RequestException, OperationalError) as error:
            raise MlflowUnavailable(self.mlflow_conn_id, self.settings.scrub(error)) from None

    def _translated(self, error: Any) -> Exception:
        text = _bounded(self.settings.scrub(error.message))
        code = error.error_code
        if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            return NotFound(text)
        if code in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS", "RESOURCE_CONFLICT"):
            return Conflict(f"MLflow ({self.mlflow_conn_id}): {text}")
        if code == "BAD_REQUEST" and _BY_DATABASE.match(text):
            return Raced(self.mlflow_conn_id, text)
        if code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE"):
            return UsageError(f"MLflow ({self.mlflow_conn_id}) refused the request: {text}")
        if code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"):
            text = f"{self.tracking_uri} refuses the credentials of the connection ({text})"
        return MlflowUnavailable(self.mlflow_conn_id, text)

    def put(self, write: Callable[[], None]) -> None:
        """Do a write that may be repeated; one that another writer got ahead of is, twice at most."""
        for last in (False, False, True):
            try:
                with self.translating():
                    write()
                return
            except Raced:
                if last:
                    raise

    def absent_is_none(self) -> _Absent:
        """Like :meth:`translating`, and what does not exist passes silently: the caller returns ``None`` after it."""
        return _Absent(self.translating())

    def experiment_id(self, model: str, *, create: bool = True) -> str:
        """The experiment of a model, created on demand; empty when there is none and ``create`` is off."""
        name = self.settings.experiment_prefix + model
        if name in self._experiments:
            return self._experiments[name]
        with self.translating():
            found = self.client.get_experiment_by_name(name)
        if found is None and create:
            location = self.settings.artifact_location.rstrip("/")
            try:
                with self.translating():
                    self.client.create_experiment(
                        name, artifact_location=f"{location}/{_folder(name)}" if location else None
                    )
            except Conflict:
                pass  # another task was a moment faster
            with self.translating():
                found = self.client.get_experiment_by_name(name)
        if found is None:
            return ""
        if found.lifecycle_stage != "active":
            raise UsageError(
                f"experiment {name!r} of MLflow ({self.mlflow_conn_id}) is deleted: restore it there first"
            )
        self._experiments[name] = str(found.experiment_id)
        return self._experiments[name]


def quoted(value: str) -> str:
    """``value`` as a literal of MLflow's search language.

    :raises UsageError: for a text with both kinds of quotes, which that language can't say.

    >>> quoted("churn")
    "'churn'"
    """
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    raise UsageError(f"{value!r} has both kinds of quotes; MLflow can not search for it")


def _folder(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def _bounded(text: str, most: int = 500) -> str:
    return text if len(text) <= most else text[:most] + " ..."
