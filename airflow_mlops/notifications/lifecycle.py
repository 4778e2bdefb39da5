"""Notifiers that know what the lifecycle has to say, for ``on_failure_callback`` and ``on_success_callback``.

::

    GateOperator(..., on_failure_callback=WebhookNotifier(http_conn_id="chat"))
    PromoteModelOperator(..., on_success_callback=EmailNotifier(to="ml-team@example.org"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from airflow_mlops.core.errors import UnknownName, UsageError
from airflow_mlops.core.results import JSON
from airflow_mlops.notifications.messages import NAMES, Message, message_for

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

REPORT = "mlops_report"
"""Key of the context under which an operator hands its report to a notifier that it calls itself."""

RUN = ("dag_id", "run_id", "task_id", "try_number", "map_index")


def message_of(context: Mapping[str, Any]) -> dict[str, JSON]:
    """What there is to say about a task: ``{"event", "title", "text", "model", "subject", "dag_run", "url"}``.

    From the report that the context carries, else from the failure that ended the task, else from what the task
    returned. For notifiers of one's own; in the templates of ours it is there as ``{{ message.title }}``.

    :param context: the context of a callback, or anything shaped like it.
    """
    return _message(context).to_dict()


class LifecycleNotifier(BaseNotifier):
    """Says what happened to a model; a class that sends it somewhere has only ``send(message)``.

    :param title: in place of the default title, a template: ``message`` is what :func:`message_of` gives. (templated)
    :param text: in place of the default text. (templated)
    :param events: only these of :data:`~airflow_mlops.notifications.messages.NAMES`; empty: all.
    """

    template_fields: Sequence[str] = ("title", "text")

    def __init__(self, *, title: str = "", text: str = "", events: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.title = title
        self.text = text
        self.events = (events,) if isinstance(events, str) else tuple(events)

    def __call__(self, *args: Any) -> None:
        """Send, when it is one of the events. One object can serve many tasks: its templates are kept.

        :raises UnknownName: for an event that there is not.
        """
        for event in self.events:
            if event not in NAMES:
                raise UnknownName("event", event, NAMES)
        if len(args) != 1:
            super().__call__(*args)
            return
        context = dict(args[0])
        message = _message(context)
        if self.events and message.event not in self.events:
            return
        templates = {name: getattr(self, name) for name in self.template_fields}
        try:
            super().__call__({**context, "message": message.to_dict()})
        finally:
            for name, value in templates.items():
                setattr(self, name, value)

    def notify(self, context: Context) -> None:
        """Put title and text together and send them."""
        message = _message(context).to_dict()
        if self.title:
            message["title"] = " ".join(str(self.title).split())
        if self.text:
            message["text"] = str(self.text)
        self.send(message)

    async def async_notify(self, context: Context) -> None:
        """The same from the triggerer, in a thread of its own: nothing else there waits for it."""
        import asyncio

        await asyncio.to_thread(self.notify, context)

    def send(self, message: Mapping[str, JSON]) -> None:
        """Send it; whatever goes wrong may be raised, Airflow logs it.

        :param message: see :func:`message_of`.
        """
        raise UsageError(f"{type(self).__name__} does not say where messages go: give it a send(message)")


def _message(context: Mapping[str, Any]) -> Message:
    ti = context.get("ti") or context.get("task_instance")
    error = context.get("exception")
    value = context.get(REPORT) or getattr(error, "report", None)
    if not value and error is None and ti is not None:
        value = _returned(ti)
    run = {k: _plain(v) for k in RUN if (v := getattr(ti, k, None)) is not None and v != -1}
    deadline = context.get("deadline")
    dag_run = context.get("dag_run")
    if isinstance(deadline, Mapping) and isinstance(dag_run, Mapping):  # as a DeadlineAlert calls, for no task
        run = {"dag_id": str(dag_run.get("dag_id")), "run_id": str(dag_run.get("dag_run_id"))}
    url = str(getattr(ti, "log_url", "") or "")
    return message_for(
        value if isinstance(value, Mapping) else None,
        run=run,
        error=f"{type(error).__name__}: {error}"[:1500] if isinstance(error, BaseException) else str(error or ""),
        url=url if url.startswith(("http://", "https://")) else "",
        deadline=str(deadline.get("deadline_time") or "") if isinstance(deadline, Mapping) else "",
    )


def _returned(ti: Any) -> Any:
    """What the task returned, where it can be asked for."""
    pull = getattr(ti, "xcom_pull", None)
    if pull is None:
        return None
    index = getattr(ti, "map_index", None)
    more = {} if index in (None, -1) else {"map_indexes": index}
    return pull(task_ids=getattr(ti, "task_id", None), key="return_value", **more)


def _plain(value: Any) -> JSON:
    return value if isinstance(value, str | int) else str(value)
