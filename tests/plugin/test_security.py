"""Who sees what: every route, found in the app, asked by everybody."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from tests.kit import ledger

EXAMPLES = {
    "/": "/",
    "/model": "/model?name=flights_delay",
    "/report/{run_id}": "/report/{gate}",
    "/artifact/{run_id}": "/artifact/{gate}?path=verdict.html",
    "/raw/{run_id}": "/raw/{gate}?path=verdict.html",
    "/task": "/task?dag_id=flights_train&run_id=asset_triggered__2013-02&task_id=gate&map_index=%7BMAP_INDEX%7D",
    "/static/{name}": "/static/app.js",
}
"""Each route, asked as the pages ask it; a route that is not here fails the first test."""


@pytest.fixture(scope="session")
def urls(store) -> dict[str, str]:
    gate = store.history("flights_delay", kinds=["gate"])[-1].run_id
    store.log_text(
        gate, "verdict.html", f"<script>alert(1)</script><style>p{{color:red}}</style><p>flights {ledger.NASTY}"
    )
    return {path: "/mlops" + url.replace("{gate}", gate) for path, url in EXAMPLES.items()}


@pytest.fixture(scope="session")
def routes(as_user, app):
    as_user("admin").get("/mlops/static/app.js")  # the app is built at its first request
    return list(app._app.routes)


def test_every_route_is_known_to_these_tests(routes):
    assert {r.path for r in routes} == set(EXAMPLES)
    assert all(isinstance(r, APIRoute) for r in routes)


def test_everything_is_read_only(routes, as_user, urls):
    assert {m for r in routes for m in r.methods} == {"GET"}
    for url in urls.values():
        for method in ("post", "put", "patch", "delete"):
            assert getattr(as_user("admin"), method)(url).status_code == 405


@pytest.mark.parametrize("path", EXAMPLES)
def test_without_a_login_nothing_is_answered(path, as_user, urls):
    answer = as_user(None).get(urls[path])
    assert answer.status_code == 401
    assert "flights" not in answer.text


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_token_that_is_none_is_refused(path, as_user, urls):
    assert as_user(None).get(urls[path], headers={"Authorization": "Bearer abc"}).status_code in (401, 403)


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_login_without_a_role_is_refused(path, as_user, urls):
    answer = as_user("nobody").get(urls[path])
    assert answer.status_code == 403
    assert "flights" not in answer.text


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_right_role_is_answered(path, as_user, urls):
    assert as_user("viewer").get(urls[path]).status_code == 200


@pytest.mark.parametrize("path", ["/", "/model", "/report/{run_id}", "/artifact/{run_id}", "/raw/{run_id}"])
def test_who_may_see_no_asset_sees_no_model(path, as_user, urls):
    assert as_user("no-assets").get(urls[path]).status_code == 403


@pytest.mark.parametrize("path", ["/task", "/report/{run_id}", "/artifact/{run_id}", "/raw/{run_id}"])
def test_who_may_see_no_dag_sees_no_report_of_one(path, as_user, urls):
    assert as_user("no-dags").get(urls[path]).status_code == 403


def test_dags_that_one_may_not_see_are_named_nowhere(as_user, urls):
    page = as_user("one-dag").get(urls["/model"]).text
    assert "/dags/flights_train/" in page
    assert "flights_monitor" not in page and "flights_rollback" not in page
    assert "/dags/" not in as_user("no-dags").get(urls["/model"]).text
    assert "flights_monitor" in as_user("viewer").get(urls["/model"]).text


@pytest.mark.parametrize("who", ["admin", None, "nobody"])
@pytest.mark.parametrize("path", EXAMPLES)
def test_every_answer_forbids_what_it_does_not_need(path, who, as_user, urls):
    headers = as_user(who).get(urls[path]).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy.replace(
        "style-src 'unsafe-inline'", "" if policy.startswith("sandbox;") else "unsafe"
    )
    assert "*" not in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [p for p in EXAMPLES if "static" not in p and "raw" not in p])
def test_pages_keep_to_their_policy(path, as_user, urls):
    answer = as_user("admin").get(urls[path])
    nonce = re.search(r"style-src 'nonce-([^']+)'", answer.headers["content-security-policy"])[1]
    assert f'<style nonce="{nonce}">' in answer.text
    assert answer.text.count("<style") == 1 and answer.text.count("<script") == 1
    assert '<script src="/mlops/static/app.js" defer></script>' in answer.text
    assert not re.search(r"\son\w+\s*=", re.sub(r"<bdi.*?</bdi>|<pre>.*?</pre>", "", answer.text, flags=re.S))
    assert " style=" not in answer.text and "javascript:" not in answer.text


def test_a_nonce_is_used_once(admin):
    one, two = (admin.get("/mlops/").headers["content-security-policy"] for _ in range(2))
    assert one != two


@pytest.mark.parametrize(
    "path",
    [
        "/report/..%2f..%2fetc%2fpasswd",
        "/report/../../airflow.cfg",
        "/report/" + "0" * 31,
        "/report/" + "A" * 32,
        "/report/" + "0" * 32 + "%2f..",
        "/raw/{gate}?path=..%2f..%2fmlflow.db",
        "/raw/{gate}?path=..%2f..%2fother%2fverdict.html",
        "/raw/{gate}?path=%2fetc%2fpasswd",
        "/raw/{gate}?path=%2fetc%2fpasswd.html",
        "/raw/{gate}?path=a%2f..%2f..%2fx.html",
        "/raw/{gate}?path=.hidden.html",
        "/raw/{gate}?path=%252e%252e%2fx.html",
        "/raw/{gate}?path=..%5cx.html",
        "/raw/{gate}?path=file:%2f%2f%2fetc%2fpasswd.html",
        "/raw/{gate}?path=record.json",
        "/raw/{gate}?path=not-there.html",
        "/raw/{gate}?path=verdict.html%00.png",
        "/artifact/{gate}?path=..%2f..%2fverdict.html",
        "/artifact/{gate}?path=javascript:alert(1).html",
        "/static/..%2fmodels_app.py",
        "/static/../models_app.py",
        "/static/%2e%2e/%2e%2e/pyproject.toml",
        "/openapi.json",
        "/docs",
    ],
)
def test_no_path_leads_out(path, admin, store, urls):
    gate = store.history("flights_delay", kinds=["gate"])[-1].run_id
    answer = admin.get("/mlops" + path.replace("{gate}", gate))
    assert answer.status_code in (404, 422) or 'id="root"' in answer.text  # normalised away: Airflow's own page
    assert "root:x:" not in answer.text and "create_app" not in answer.text and "openapi" not in answer.text


def test_a_run_that_is_no_record_is_not_shown(admin, store):
    run = store.client.create_run(store.experiment_id("flights_delay"), tags={"secret": "42"})
    assert admin.get(f"/mlops/report/{run.info.run_id}").status_code == 404


def test_a_page_that_lies_with_a_record_has_no_rights(admin, urls):
    around = admin.get(urls["/artifact/{run_id}"])
    frame = re.search(r"<iframe[^>]*>", around.text)[0]
    assert ' sandbox src="/mlops/raw/' in frame and "allow-" not in frame
    raw = admin.get(urls["/raw/{run_id}"])
    policy = raw.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'") and "allow-" not in policy and "script-src" not in policy
    assert "<script>alert(1)</script>" in raw.text  # as it was logged, and it can do nothing


def test_no_page_of_a_run_that_is_no_record(admin, store):
    run = store.client.create_run(store.experiment_id("flights_delay"))
    store.log_text(run.info.run_id, "page.html", "<p>private")
    for route in ("raw", "artifact"):
        assert admin.get(f"/mlops/{route}/{run.info.run_id}", params={"path": "page.html"}).status_code == 404


def test_a_page_that_is_too_large_is_not_shown(admin, store, urls, monkeypatch):
    from airflow_mlops.plugin import models_reading

    monkeypatch.setattr(models_reading, "MOST_BYTES", 5)
    assert admin.get(urls["/raw/{run_id}"]).status_code == 404


def test_names_are_escaped_wherever_they_appear(admin, store):
    pages = [
        admin.get("/mlops/").text,
        admin.get("/mlops/", params={"q": ledger.NASTY}).text,
        admin.get("/mlops/model", params={"name": ledger.NASTY_MODEL}).text,
        admin.get("/mlops/report/" + store.history(ledger.NASTY_MODEL)[0].run_id).text,
        admin.get("/mlops/task", params={"dag_id": ledger.NASTY, "run_id": "r", "task_id": "t"}).text,
        admin.get("/mlops/model", params={"name": ledger.NASTY + "-not-there"}).text,
    ]
    for page in pages:
        assert "<script>" not in page and "<b>" not in page.replace("<b>0", "").replace("<b>–", "")
    for page in pages[:4]:
        assert "&lt;script&gt;" in page


def test_no_secret_of_the_connection_is_in_any_page(as_user, urls, store, monkeypatch):
    from airflow_mlops.plugin import models_app

    secret = '{"conn_type": "mlflow", "host": "http://ann:hunter2@127.0.0.1:9/x", "extra": {"token": "hunter2"}}'
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", secret)
    app = models_app.create_app("")
    assert app.state.snapshot.view(patience=60).trouble
    assert "hunter2" not in app.state.snapshot.view().trouble
    for path in ("/model", "/report/{run_id}", "/task"):
        answer = as_user("admin").get(urls[path])
        assert answer.status_code == (200 if path == "/task" else 503)
        assert "hunter2" not in answer.text and "ann:" not in answer.text
