"""Airflow's REST API, as much of it as a script needs; only the standard library."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

FINISHED = ("success", "failed")

PATIENCE = 10.0
"""Seconds for which a question that the server failed to answer is asked again."""


class StackError(RuntimeError):
    """Airflow did not start, died, or answered with an error."""


class ServerError(StackError):
    """The server could not answer this time (5xx); the question may be asked again."""


class Client:
    """A user at an Airflow.

    :param url: where it is.
    :param user: who asks.
    :param password: of the user, for the simple auth manager.
    """

    def __init__(self, url: str = "", user: str = "", password: str = "") -> None:
        self.url = url
        self.user = user
        self.password = password
        self._token = ""

    def look_alive(self) -> None:
        """Raise when waiting has no sense any more; here it always has."""

    def token(self) -> str:
        """A bearer token of the user; fetched once."""
        if not self._token:
            body = {"username": self.user, "password": self.password}
            self._token = str(request(f"{self.url}/auth/token", "POST", body)["access_token"])
        return self._token

    def api(self, method: str, path: str, json: Any = None, **query: Any) -> Any:
        """Call Airflow's REST API.

        :param method: ``GET``, ``POST``, ``PATCH``, ``DELETE``.
        :param path: below ``/api/v2``, for example ``/dags``.
        :param json: the body.
        :param query: query parameters.
        :return: the answer's JSON, ``None`` where there is none.
        :raises StackError: for an answer that is not a success, with its text.
        :raises ServerError: for a 5xx; one to a question is asked again first, for :data:`PATIENCE` seconds (SQLite
            is locked now and then).
        """
        url = f"{self.url}/api/v2/{path.lstrip('/')}"
        if query:
            url += "?" + urllib.parse.urlencode(query, doseq=True)

        def ask() -> Any:
            return request(url, method, json, self.token())

        return self.patiently(ask) if method == "GET" else ask()

    def patiently(self, ask: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Do what may be done twice, again and again while the server fails.

        :raises ServerError: the last one, after ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                return ask()
            except ServerError:
                self.look_alive()
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.3)

    def wait_dags(self, *dag_ids: str, patience: float = 120) -> None:
        """Wait until the dag-processor has read these DAGs.

        :raises StackError: when one is missing after ``patience`` seconds; with the import errors.
        """

        def missing() -> set[str]:
            found = self.api("GET", "/dags", limit=200)["dags"]
            return set(dag_ids) - {d["dag_id"] for d in found}

        if not self.until(lambda: not missing(), patience):
            errors = self.api("GET", "/importErrors")["import_errors"]
            raise StackError(f"DAGs not found: {sorted(missing())}; import errors: {errors}")

    def trigger(self, dag_id: str, **body: Any) -> dict[str, Any]:
        """Start a run by hand; ``conf=``, ``logical_date=``, ``dag_run_id=`` and the like go into the body.

        Where the server fails, it is asked again, and one run begins: it has a name from the start, by which one that
        began in spite of the failure is found.
        """
        body = {"logical_date": None, "dag_run_id": f"manual__{uuid.uuid4()}", **body}
        asked = False

        def ask() -> dict[str, Any]:
            nonlocal asked
            begun: list[dict[str, Any]] = (
                [r for r in self.runs(dag_id) if r["dag_run_id"] == body["dag_run_id"]] if asked else []
            )
            asked = True
            run: dict[str, Any] = begun[0] if begun else self.api("POST", f"/dags/{dag_id}/dagRuns", body)
            return run

        return self.patiently(ask)  # type: ignore[no-any-return]

    def runs(self, dag_id: str = "~", **query: Any) -> list[dict[str, Any]]:
        """Runs of one DAG, or of all of them, oldest first."""
        answer = self.api("GET", f"/dags/{dag_id}/dagRuns", **{"limit": 500, "order_by": "run_after", **query})
        return list(answer["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        found: dict[str, Any] = self.api("GET", f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}")
        return found

    def tasks_of(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of one run."""
        path = f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}/taskInstances"
        return list(self.api("GET", path, limit=500)["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task returned."""
        path = f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}/taskInstances/{task_id}"
        return self.api("GET", f"{path}/xcomEntries/{key}", deserialize="false", stringify="false")["value"]

    def wait_run(self, dag_id: str, run_id: str, *, patience: float = 600) -> dict[str, Any]:
        """Wait until a run has ended, well or badly, and return it.

        :raises StackError: when it has not after ``patience`` seconds, or Airflow died meanwhile.
        """
        last: dict[str, Any] = {}

        def ended() -> bool:
            last.update(self.run(dag_id, run_id))
            return last["state"] in FINISHED

        if not self.until(ended, patience):
            raise StackError(f"{dag_id} {run_id} is still {last.get('state')} after {patience:.0f} s")
        return last

    def until(self, done: Callable[[], bool], patience: float, pause: float = 0.2) -> bool:
        """Look again and again until ``done()``; False when it is not after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while not done():
            self.look_alive()
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
        return True


def request(url: str, method: str, body: Any = None, token: str = "") -> Any:
    """One request, JSON both ways.

    :raises StackError: for an answer that is not a success, with its text.
    """
    asked = urllib.request.Request(url, method=method)
    asked.add_header("Accept", "application/json")
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        asked.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(asked, data, timeout=60) as answer:
            text = answer.read()
    except urllib.error.HTTPError as e:
        kind = ServerError if e.code >= 500 else StackError
        raise kind(f"{method} {url}: {e.code} {e.read().decode(errors='replace')[:2000]}") from None
    return json.loads(text) if text else None
