"""Airflow's simple auth manager, with two people who may do less than its roles can say."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class Roles(SimpleAuthManager):
    """``no-assets`` may see no asset, ``no-dags`` no DAG, ``one-dag`` and ``one-dag-user`` only ``flights_train``."""

    def is_authorized_asset(self, *, user: Any, **more: Any) -> bool:
        return user.username != "no-assets" and super().is_authorized_asset(user=user, **more)

    def is_authorized_dag(self, *, user: Any, details: Any = None, **more: Any) -> bool:
        if user.username == "no-dags" or (
            user.username.startswith("one-dag") and details and details.id != "flights_train"
        ):
            return False
        return super().is_authorized_dag(user=user, details=details, **more)
