"""Send what happened by e-mail, through the SMTP provider that comes with Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_mlops.core.results import JSON
from airflow_mlops.notifications.lifecycle import LifecycleNotifier


class EmailNotifier(LifecycleNotifier):
    """One e-mail: the title is its subject.

    :param to: address, or several. (templated)
    :param from_email: empty: that of the connection. (templated)
    :param smtp_conn_id: Airflow connection of type ``smtp``. (templated)
    :param title: see :class:`LifecycleNotifier`. (templated)
    :param text: likewise. (templated)
    :param events: likewise.
    """

    template_fields: Sequence[str] = (*LifecycleNotifier.template_fields, "to", "from_email", "smtp_conn_id")

    def __init__(
        self, *, to: str | Iterable[str], from_email: str = "", smtp_conn_id: str = "smtp_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.to = to if isinstance(to, str) else list(to)
        self.from_email = from_email
        self.smtp_conn_id = smtp_conn_id

    def send(self, message: Mapping[str, JSON]) -> None:
        """Send it; the text is escaped."""
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier
        from markupsafe import escape

        text = escape(str(message["text"]))
        link = f'<p><a href="{escape(str(message["url"]))}">Open in Airflow</a></p>' if message.get("url") else ""
        SmtpNotifier(
            to=self.to,
            from_email=self.from_email or None,
            smtp_conn_id=self.smtp_conn_id,
            subject=str(message["title"]),
            html_content=f'<div style="white-space:pre-wrap;font-family:sans-serif">{text}</div>{link}',
        ).notify({})
