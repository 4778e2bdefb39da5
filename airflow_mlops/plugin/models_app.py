"""The pages as an app: who may see what, which page is made of what, and the headers of every answer.

Only the API server imports this. A mounted app inherits no authentication, so the app itself asks for a login and the
permission on views, and each route for the permission on what it shows. There are only GET routes: nothing is written.
What a reader may start, the page's script asks of Airflow's public API, as the reader.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import (
    GetUserDep,
    requires_access_asset,
    requires_access_dag,
    requires_access_view,
)
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from airflow_mlops.pages import models as pages
from airflow_mlops.pages.cards import DEFAULT_SORT, Entry, card_of, select
from airflow_mlops.pages.layout import Frame, render
from airflow_mlops.pages.reports import page_of
from airflow_mlops.plugin.actions import actions_for
from airflow_mlops.plugin.models_reading import Reader, Snapshot, View, said

log = logging.getLogger(__name__)

STATIC = {
    "app.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "icon-dark.svg": "image/svg+xml",
}

MODEL_NAME = Query(min_length=1, max_length=256)
ID = Query(max_length=250)
RUN_ID = Path(pattern="^[0-9a-f]{32}$")

DRAWN = ("verdict.html",)
"""Artifacts that the report itself shows, drawn anew."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


def policy(nonce: str) -> str:
    """The content security policy: our own style and script, images of this site, nothing else from anywhere."""
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )


SANDBOX = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
"""The policy of a page that somebody else wrote: an origin of its own, no script, no form, nothing loaded."""

ARTIFACT = Query(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,4}\.html$", max_length=200)
"""Paths that are shown: no part begins with a dot, none is empty."""


def connect() -> Reader:
    """MLflow through the connection ``mlflow_default``; the API server reads it from Airflow's own database."""
    from airflow_mlops.hooks.mlflow import MlflowHook

    return Reader(MlflowHook())


def create_app(airflow_path: str = "", *, connect: Callable[[], Reader] = connect) -> FastAPI:
    """The app.

    :param airflow_path: path that Airflow is served under; see ``plugin.airflow_path``.
    :param connect: how MLflow is reached.
    """
    app = FastAPI(
        title="Models",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(requires_access_view(AccessView.PLUGINS))],
    )
    app.state.snapshot = Snapshot(connect)
    root = f"{airflow_path}/mlops"
    asset = [Depends(requires_access_asset("GET"))]
    task = [
        Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE)),
        Depends(requires_access_dag("GET", DagAccessEntity.XCOM)),
    ]

    def frame(request: Request, links: Iterable[tuple[str, str]] = ()) -> Frame:
        return Frame(nonce=request.state.nonce, script=f"{root}/static/app.js", links=tuple(links))

    def links_of(user: Any, entries: Iterable[Entry]) -> pages.Links:
        return pages.Links(airflow=airflow_path, mlops=root, readable=readable(user, {e.dag_id for e in entries}))

    def message(request: Request, title: str, text: str, status: int, *, bad: bool = True) -> Response:
        back = [("Models", f"{root}/")] if status not in (401, 403) else []
        return html(render("empty.html", frame(request, back), title=title, message=text, bad=bad), status)

    @app.middleware("http")
    async def guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        request.state.nonce = secrets.token_urlsafe(16)
        try:
            response = await call_next(request)
        except Exception:
            log.exception("%s failed", request.url.path)
            response = message(request, "This page failed", "The API server's log says why.", 500)
        for name, value in {"Content-Security-Policy": policy(request.state.nonce), **HEADERS}.items():
            if name not in response.headers:
                response.headers[name] = value
        return response

    @app.exception_handler(StarletteHTTPException)
    def refused(request: Request, error: StarletteHTTPException) -> Response:
        text = {
            401: "Log in to Airflow first, then open this page again.",
            403: "You do not have the permission to see this.",
            404: str(error.detail) if error.detail != "Not Found" else "There is no such page.",
            405: "These pages are read-only.",
        }.get(error.status_code, str(error.detail))
        return message(request, f"{error.status_code}", text, error.status_code)

    @app.get("/", dependencies=asset)
    def models(
        request: Request,
        user: GetUserDep,
        q: Annotated[str, Query(max_length=200)] = "",
        verdict: Annotated[str, Query(max_length=40)] = "",
        sort: Annotated[str, Query(max_length=40)] = DEFAULT_SORT,
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        per: Annotated[int, Query(ge=1, le=2000)] = pages.PER_PAGE[0],
    ) -> Response:
        view: View = app.state.snapshot.view()
        chosen = select(view.cards, search=q, verdict=verdict, sort=sort, page=page, per=per)
        listing = pages.Listing(
            search=q,
            verdict=verdict,
            sort=sort,
            page=chosen.page,
            per=per,
            age=view.age,
            trouble=view.trouble,
            partial=view.partial,
        )
        links = links_of(user, [c.pending for c in chosen.cards if c.pending is not None])
        return html(pages.models_page(chosen, listing, now=time.time(), links=links, frame=frame(request)))

    @app.get("/model", dependencies=asset)
    def model(request: Request, user: GetUserDep, name: Annotated[str, MODEL_NAME]) -> Response:
        back = [("← All models", f"{root}/")]
        try:
            reader = connect()
            entries = reader.ledger(name)
            versions = reader.versions(name)
            newest = next((e for e in entries if e.kind == "evaluation"), None)
            checks = [e for e in entries if e.kind == "drift"][: pages.MOST_CHECKS]
            bodies = {e.run_id: body for e, body in reader.bodies([*checks, *([newest] if newest else [])])}
            known = bool(versions or entries) or reader.registered(name)
        except Exception as error:
            return message(request, name, f"MLflow could not be read: {said(error)}", 503)
        if not known:
            raise HTTPException(404, "There is no registered model of this name.")
        aliases = {a: v.version for v in reversed(versions) for a in v.aliases}
        return html(
            pages.model_page(
                card_of(name, aliases, entries),
                versions=versions,
                entries=entries,
                evaluation=bodies.get(newest.run_id) if newest else None,
                drift=[(e, bodies[e.run_id]) for e in checks if e.run_id in bodies],
                now=time.time(),
                outside=reader.outside,
                actions=actions_for(user, name),
                form_id=request.state.nonce[:12],
                links=links_of(user, entries),
                frame=frame(request, back),
            )
        )

    @app.get("/report/{run_id}", dependencies=asset)
    def report(request: Request, user: GetUserDep, run_id: Annotated[str, RUN_ID]) -> Response:
        try:
            reader = connect()
            entry, body = allowed(reader, user, run_id)
            beside, own = reader.pages_of(run_id), reader.outside(run_id)
        except HTTPException:
            raise
        except Exception as error:
            return message(request, "Report", f"MLflow could not be read: {said(error)}", 503)
        links = links_of(user, [entry])
        around = [(f"← {entry.model}", links.model(entry.model))]
        if run := links.dag_run(entry):
            around.append(("The task that wrote it", run))
        if entry.outcome == "require_approval" and (form := links.required_actions(entry)):
            around.append(("Decide in Airflow", form))
        around += [("In MLflow", own)] if own else []
        around += [(path, links.artifact(run_id, path)) for path in beside if path not in DRAWN][:10]
        made = page_of(body, frame=frame(request, around))
        if made is None:
            made = render("result.html", frame(request, around), title=_title(entry), facts=_facts(entry), value=body)
        return html(made)

    def allowed(reader: Reader, user: Any, run_id: str) -> tuple[Entry, Mapping[str, Any]]:
        found = reader.record(run_id)
        if found is None:
            raise HTTPException(404, "There is no such record.")
        if (dag_id := found[0].dag_id) and dag_id not in readable(user, {dag_id}):
            raise HTTPException(403)
        return found

    @app.get("/artifact/{run_id}", dependencies=asset)
    def artifact(
        request: Request, user: GetUserDep, run_id: Annotated[str, RUN_ID], path: Annotated[str, ARTIFACT]
    ) -> Response:
        try:
            entry, _ = allowed(connect(), user, run_id)
        except HTTPException:
            raise
        except Exception as error:
            return message(request, path, f"MLflow could not be read: {said(error)}", 503)
        links = links_of(user, [entry])
        around = [(f"← {entry.model}", links.model(entry.model)), ("Report", links.report(entry))]
        raw = f"{root}/raw/{run_id}?{urlencode({'path': path})}"
        return html(render("artifact.html", frame(request, around), title=f"{entry.model}: {path}", source=raw))

    @app.get("/raw/{run_id}", dependencies=asset)
    def raw(
        request: Request, user: GetUserDep, run_id: Annotated[str, RUN_ID], path: Annotated[str, ARTIFACT]
    ) -> Response:
        try:
            reader = connect()
            allowed(reader, user, run_id)
            text = reader.page(run_id, path)
        except HTTPException:
            raise
        except Exception as error:
            return message(request, path, f"MLflow could not be read: {said(error)}", 503)
        if text is None:
            raise HTTPException(404, "There is no such page with this record.")
        answer = html(text)
        answer.headers["Content-Security-Policy"] = SANDBOX
        return answer

    @app.get("/task", dependencies=task)
    def of_task(
        request: Request,
        user: GetUserDep,
        dag_id: Annotated[str, ID],
        run_id: Annotated[str, ID],
        task_id: Annotated[str, ID],
        map_index: Annotated[str, Query(max_length=20)] = "-1",
    ) -> Response:
        index = int(map_index) if map_index.lstrip("-").isdecimal() else -1  # the UI leaves {MAP_INDEX} in its place
        value = result_of(dag_id, run_id, task_id, index)
        if (made := page_of(value, frame=frame(request))) is not None:
            return html(made)
        trouble = ""
        try:
            reader = connect()
            entries = reader.of_task(dag_id, run_id, task_id)
            bodies = reader.bodies(entries[:1])
        except Exception as error:
            trouble, entries, bodies = said(error), [], []
        links = links_of(user, entries)
        around = [(_title(e), links.report(e)) for e in entries[1:10]]
        if bodies and (made := page_of(bodies[0][1], frame=frame(request, around))) is not None:
            return html(made)
        if trouble:
            text = f"This task left no report with Airflow, and MLflow could not be asked for one: {trouble}"
            return html(render("empty.html", frame(request), title="Report", message=text, bad=True))
        text = "This task has not written a report: it judges nothing, or it has not run yet, or it failed before."
        return html(render("empty.html", frame(request), title="No report", message=text, bad=False))

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404)
        content = (files("airflow_mlops.plugin") / "static" / name).read_bytes()
        return Response(content, media_type=STATIC[name])

    return app


def html(page: str, status: int = 200) -> Response:
    """A page as an answer."""
    return Response(page, status, media_type="text/html; charset=utf-8")


def readable(user: Any, dag_ids: Iterable[str]) -> frozenset[str]:
    """Of some DAGs those that a user may read, by Airflow's auth manager."""
    from airflow.models.dag import DagModel

    manager = get_auth_manager()
    return frozenset(
        dag_id
        for dag_id in dag_ids
        if dag_id
        and manager.is_authorized_dag(
            method="GET", details=DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)), user=user
        )
    )


def result_of(dag_id: str, run_id: str, task_id: str, map_index: int) -> Any:
    """What the last try of a task returned, as plain values: Airflow clears it before the next try.

    Read as JSON and never turned into objects: whoever writes a task chooses what is in it.
    """
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        query = XComModel.get_many(
            run_id=run_id or "-", key="return_value", task_ids=task_id, dag_ids=dag_id, map_indexes=map_index, limit=1
        )
        row: Any = session.scalars(query).first()
        value = None if row is None else row.value
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, Mapping) else None


def _title(entry: Entry) -> str:
    return f"{entry.kind} of {entry.model}: {entry.outcome}"


def _facts(entry: Entry) -> list[tuple[str, Any]]:
    from airflow_mlops.pages import words

    return [
        ("Outcome", words.badge(entry.outcome, entry.kind)),
        ("Subject", words.name(entry.subject)),
        ("At", words.when(entry.at)),
        *((words.name(k), words.number(v)) for k, v in sorted(entry.metrics.items())[:40]),
    ]
