"""The plugin that Airflow loads: two views, and the app behind them.

Every Airflow process loads plugins, only the API server serves the app. So this module imports next to nothing, and
the app is built at the first request for it.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

PREFIX = "/mlops"
"""Where the pages are mounted."""

TASK = "dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"
"""Filled in by the UI, percent-encoded."""


def airflow_path() -> str:
    """The path that Airflow is served under, of ``[api] base_url``: empty, or without a slash at its end."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


class LazyApp:
    """An ASGI app that is imported when somebody asks for it."""

    def __init__(self) -> None:
        self._app: Any = None
        self._building = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Build once, then pass on."""
        if self._app is None:
            async with self._building:
                if self._app is None:
                    self._app = await asyncio.to_thread(_build)
        await self._app(scope, receive, send)


def _build() -> Any:
    from airflow_mlops.plugin.models_app import create_app

    return create_app(airflow_path())


class MlopsPlugin(AirflowPlugin):
    """The Models page in the navigation, and a Report tab on every task instance."""

    name = "airflow_mlops"
    fastapi_apps = [{"name": "Models", "app": LazyApp(), "url_prefix": PREFIX}]
    external_views = [
        {
            "name": "Models",
            "href": f"{airflow_path()}{PREFIX}/",
            "destination": "nav",
            "nav_top_level": True,
            "url_route": "mlops-models",
            "icon": f"{airflow_path()}{PREFIX}/static/icon.svg",
            "icon_dark_mode": f"{airflow_path()}{PREFIX}/static/icon-dark.svg",
        },
        {
            "name": "Report",
            "href": f"{airflow_path()}{PREFIX}/task?{TASK}",
            "destination": "task_instance",
            "url_route": "mlops-report",
            "icon": f"{airflow_path()}{PREFIX}/static/icon.svg",
            "icon_dark_mode": f"{airflow_path()}{PREFIX}/static/icon-dark.svg",
        },
    ]
