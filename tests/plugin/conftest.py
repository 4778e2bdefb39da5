"""Airflow's own API server app with our plugin in it, on a real MLflow store with a year of records."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ledger

PEOPLE = {
    "admin": "ADMIN",
    "viewer": "VIEWER",
    "nobody": None,
    "no-assets": "VIEWER",
    "no-dags": "VIEWER",
    "one-dag": "VIEWER",
    "one-dag-user": "USER",
}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The hook of a store with a story in it: one model with a year, one that means harm, one without a record."""
    from airflow_mlops.hooks.mlflow import MlflowHook
    from tests.kit.mlflow import template_database

    folder = tmp_path_factory.mktemp("pages")
    shutil.copy(template_database(tmp_path_factory.mktemp("pages-template")), folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AIRFLOW_CONN_MLFLOW_DEFAULT", raising=False)
        patch.setenv("AIRFLOW__MLOPS__TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("AIRFLOW__MLOPS__ARTIFACT_LOCATION", str(folder / "artifacts"))
        hook = MlflowHook()
        records = ledger.year("flights_delay", months=3, pending=True)
        ledger.fill(hook, "flights_delay", records, versions=2)
        nasty = ledger.drift_of(1.0, ledger.NASTY, (ledger.NASTY, "distance", "carrier", "origin"))
        harm = ledger.Record.of_report(
            nasty, model=ledger.NASTY_MODEL, at="2013-05-01", metrics={"<b>psi</b>": 1.0}, subject=ledger.NASTY
        )
        ledger.fill(
            hook, ledger.NASTY_MODEL, [(harm, {"dag_id": ledger.NASTY, "run_id": "r", "task_id": "t"})], versions=1
        )
        hook.tag_version(ledger.NASTY_MODEL, 1, {"data_until": ledger.NASTY, "pinned": ledger.NASTY})
        hook.ensure_model("untouched")
        yield hook


@pytest.fixture(scope="session")
def airflow_app(airflow_db: Path, store: Any) -> Iterator[Any]:
    """The app that ``airflow api-server`` serves; the plugin came in by its entry point."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.plugin.roles.Roles")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "0123456789abcdef" * 4)
        from airflow.api_fastapi.app import create_app, purge_cached_app

        purge_cached_app()
        yield create_app(apps="core")
        purge_cached_app()


@pytest.fixture(scope="session")
def as_user(airflow_app: Any) -> Iterator[Callable[[str | None], Any]]:
    """A client that is logged in as one of :data:`PEOPLE`, or not at all."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from starlette.testclient import TestClient

    made: dict[str | None, Any] = {}

    def client(name: str | None) -> Any:
        if name not in made:
            made[name] = TestClient(airflow_app, follow_redirects=False, raise_server_exceptions=False)
            if name is not None:
                user = SimpleAuthManagerUser(username=name, role=PEOPLE[name])
                token = get_auth_manager().generate_jwt(user)
                made[name].headers["Authorization"] = f"Bearer {token}"
        return made[name]

    return client


@pytest.fixture(scope="session")
def app(airflow_app: Any) -> Any:
    """Our own app, as the plugin builds it."""
    from airflow_mlops.plugin.mlops_plugin import MlopsPlugin

    return MlopsPlugin.fastapi_apps[0]["app"]


@pytest.fixture
def admin(as_user: Any) -> Any:
    """A client that may see everything."""
    return as_user("admin")
