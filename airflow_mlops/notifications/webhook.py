"""Post what happened as JSON to a web address: a chat, a pager, an endpoint of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook

from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.results import JSON
from airflow_mlops.notifications.lifecycle import LifecycleNotifier


class WebhookNotifier(LifecycleNotifier):
    """One HTTP POST with ``{"event", "title", "text", "model", "subject", "dag_run", "url"}`` as JSON.

    ``text`` begins with the title, which is what chats show of an incoming webhook.

    :param http_conn_id: Airflow connection of type ``http``: its host, schema, port and login are used, its extras are
        headers. An address that is itself a secret belongs here.
    :param endpoint: path after the connection's host. (templated)
    :param fields: only these fields of the message, for receivers that refuse others; empty: all.
    :param timeout: seconds.
    :param title: see :class:`LifecycleNotifier`. (templated)
    :param text: likewise. (templated)
    :param events: likewise.
    """

    template_fields: Sequence[str] = (*LifecycleNotifier.template_fields, "endpoint", "http_conn_id")

    def __init__(
        self,
        *,
        http_conn_id: str = "http_default",
        endpoint: str = "",
        fields: Sequence[str] = (),
        timeout: float = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.http_conn_id = http_conn_id
        self.endpoint = endpoint
        self.fields = tuple(fields)
        self.timeout = timeout

    def send(self, message: Mapping[str, JSON]) -> None:
        """Post it.

        :raises UsageError: when the receiver can't be reached or refuses; the address is not in the message.
        """
        import requests

        connection = BaseHook.get_connection(self.http_conn_id)
        url = _url(connection, self.endpoint)
        headers = {str(k): str(v) for k, v in (connection.extra_dejson or {}).items() if isinstance(v, str)}
        auth = (connection.login, connection.password or "") if connection.login else None
        body = {k: v for k, v in message.items() if not self.fields or k in self.fields}
        try:
            answer = requests.post(
                url, json=body, headers=headers, auth=auth, timeout=self.timeout, allow_redirects=False
            )
        except requests.exceptions.RequestException as error:
            reason = type(error).__name__
            raise UsageError(f"the webhook of connection {self.http_conn_id!r} can't be reached: {reason}") from None
        if not 200 <= answer.status_code < 300:
            raise UsageError(f"the webhook of connection {self.http_conn_id!r} answers HTTP {answer.status_code}")


def _url(connection: Any, endpoint: str) -> str:
    host = str(connection.host or "")
    if "://" not in host:
        port = f":{connection.port}" if connection.port else ""
        host = f"{connection.schema or 'http'}://{host}{port}" if host else ""
    if urlsplit(host).scheme not in ("http", "https") or not urlsplit(host).netloc:
        raise UsageError(f"connection {connection.conn_id!r} names no http(s) address")
    return f"{host.rstrip('/')}/{endpoint.lstrip('/')}" if endpoint else host
