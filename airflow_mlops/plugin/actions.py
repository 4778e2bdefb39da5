"""Which DAGs a reader may start for a model, from Airflow's own database and by its own auth manager. Only reads."""

from __future__ import annotations

import logging
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails

from airflow_mlops.pages.actions import KINDS, PREFIX, Action, action_of, offered

log = logging.getLogger(__name__)

MOST = 10
"""Buttons of one model."""


def actions_for(user: Any, model: str) -> list[Action]:
    """The forms that a user sees on the page of a model: of DAGs that he may see and start."""
    from airflow.models.dag import DagModel, DagTag
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    found: list[Action] = []
    with create_session(scoped=False) as session:
        wanted = select(DagTag.dag_id).where(DagTag.name.in_([PREFIX + k for k in KINDS]))
        there = session.execute(
            select(DagModel.dag_id, DagModel.is_paused)
            .where(DagModel.dag_id.in_(wanted), DagModel.is_stale.is_(False))
            .order_by(DagModel.dag_id)
        ).all()
        tags: dict[str, list[str]] = {dag_id: [] for dag_id, _ in there}
        for tag in session.scalars(select(DagTag).where(DagTag.dag_id.in_(tags))):
            tags[tag.dag_id].append(tag.name)
        for dag_id, paused in there:
            kinds = offered(tags[dag_id], model)
            if not kinds or len(found) >= MOST or not may_start(user, dag_id):
                continue
            try:
                dag = SerializedDagModel.get_dag(dag_id, session=session)
                params = {} if dag is None else {name: _param(dag.params.get_param(name)) for name in dag.params}
            except Exception:  # a DAG that can't be read offers nothing; the page goes on without its button
                log.exception("the parameters of DAG %s could not be read", dag_id)
                continue
            if dag is not None:
                found += [action_of(kind, dag_id, params, model=model, paused=bool(paused)) for kind in kinds]
    return sorted(found, key=lambda a: list(KINDS).index(a.kind))[:MOST]


def may_start(user: Any, dag_id: str) -> bool:
    """Whether a user may see a DAG and start a run of it."""
    from airflow.models.dag import DagModel

    manager = get_auth_manager()
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return manager.is_authorized_dag(method="GET", details=details, user=user) and manager.is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user
    )


def _param(param: Any) -> dict[str, Any]:
    from airflow.serialization.definitions.notset import is_arg_set

    value = {"value": param.value} if is_arg_set(param.value) else {}
    return {**value, "description": param.description, "schema": dict(param.schema)}
