"""Moving the champion alias: :class:`PromoteModelOperator`, :class:`RollbackModelOperator`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_mlops.assets import model_uri
from airflow_mlops.core.champion import promote, rollback
from airflow_mlops.core.errors import UsageError
from airflow_mlops.core.outcomes import Outcome
from airflow_mlops.core.promotion import PromotionRequest, RollbackRequest
from airflow_mlops.core.results import JSON, digest
from airflow_mlops.exceptions import PromotionRefused
from airflow_mlops.operators._context import is_backfill, publish, run_of, time_of
from airflow_mlops.operators._events import emit_once, with_model_outlet, without_event
from airflow_mlops.operators._lineage import TellsLineage
from airflow_mlops.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.mlflow import MlflowHook


class _MovesChampion(TellsLineage, BaseOperator):
    """What promotion and rollback share: a model, its asset as outlet, and how an outcome ends the task."""

    ui_color = "#d7f0dd"
    operator_extra_links = LINKS

    def __init__(
        self, *, model_name: str, mlflow_conn_id: str = "mlflow_default", outlets: Any = (), **kwargs: Any
    ) -> None:
        super().__init__(outlets=with_model_outlet(outlets, model_name), **kwargs)
        self.model_name = model_name
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> MlflowHook:
        """MLflow through the connection."""
        from airflow_mlops.hooks.mlflow import MlflowHook

        return MlflowHook(self.mlflow_conn_id)

    def _end(self, context: Context, outcome: Outcome) -> dict[str, JSON]:
        decision = outcome.decision
        for reason in decision.reasons:
            self.log.info("%s of %s: %s: %s", decision.kind, self.model_name, decision.decision, reason)
        result = publish(context, decision.to_dict())
        if outcome.refused:
            why = "\n".join(f"  {reason}" for reason in decision.reasons[:10])
            raise PromotionRefused(
                f"{decision.kind} of {self.model_name!r} refused, the champion is what it was:\n{why}", result
            )
        if outcome.moved:
            extra: dict[str, JSON] = {
                "kind": decision.kind,
                "version": outcome.version,
                "model_digest": outcome.model_digest,
                "replaces": outcome.origin or None,
            }
            emit_once(self, context, self.hook, self.model_name, outcome.version, decision.key, extra)
        else:
            without_event(self, self.model_name)
        return result


class PromoteModelOperator(_MovesChampion):
    """Make the version that passed the gate the champion, effectively once.

    The champion is read and compared with the one that the gate judged against, the alias is set, read back and
    recorded, and the asset ``mlmodel://<model_name>`` gets one event. Killed anywhere and retried, it ends
    in the same state; of two at once one wins, and the other is refused
    (:mod:`airflow_mlops.core.succession` has the protocol and its limits).

    Returns the :class:`~airflow_mlops.core.results.Decision` as a dict: ``"promoted"``; ``"already_promoted"`` where
    somebody else had made the same version the champion; ``"superseded"`` where this promotion was done before and
    another champion has followed (a task of an old run that was cleared). ``evidence["version"]`` is the champion.

    :param model_name: the registered model. A plain name makes ``mlmodel://<name>`` an outlet of the task; a template
        emits through the asset alias ``mlmodel`` instead. (templated)
    :param gate: the gate's decision: the XCom of a ``GateOperator``. Without one nothing is promoted. (templated)
    :param approval: the XCom of an ``ApproveModelOperator``, needed where the gate says ``require_approval``; a list
        where several people have to approve: each of them, and nobody twice. One that is given has to hold even where
        the gate passes. (templated)
    :param allow_older: promote although the candidate was trained on older data than the champion, or on data whose
        age is not known on either side.
    :param about: for the model card, what no record knows, heading -> text: ``purpose``, ``limits``, ``owner``. The
        card (Markdown, HTML, JSON) is logged with the version; one that can't be written is a warning in the log, and
        running the task again writes it. (templated)
    :param mlflow_conn_id: the MLflow connection.
    :raises PromotionRefused: not retried; the champion is what it was, and the refusal is recorded.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = ("model_name", "gate", "approval", "allow_older", "about", "mlflow_conn_id")

    def __init__(
        self,
        *,
        model_name: str,
        gate: Mapping[str, Any] | str | None,
        approval: Mapping[str, Any] | Sequence[Any] | str | None = None,
        allow_older: bool | str = False,
        about: Mapping[str, str] | str | None = None,
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(model_name=model_name, mlflow_conn_id=mlflow_conn_id, **kwargs)
        self.gate = gate
        self.approval = approval
        self._asked = approval is not None  # an XCom that is not there renders to None, as if nobody had been asked
        self.allow_older = allow_older
        self.about = about

    def execute(self, context: Context) -> dict[str, JSON]:
        """Judge, move, record, publish; see the class."""
        with _misuse_is_final():
            request = PromotionRequest.of(
                _named(self.model_name),
                self.gate,
                approval=(self.approval or [None]) if self._asked else None,
                allow_older=_flag("allow_older", self.allow_older),
            )
        outcome = promote(
            self.hook,
            request,
            dag_run=run_of(context),
            at=time_of(context),
            backfill=is_backfill(context),
        )
        result = self._end(context, outcome)
        if outcome.decision.decision == "promoted":
            self._card(outcome)
        return result

    def _card(self, outcome: Outcome) -> None:
        """The champion is what it is and recorded: nothing that happens to its card is a failure of the task."""
        from airflow_mlops.operators._card import write_card

        try:
            write_card(self.hook, outcome.decision, self.about if isinstance(self.about, Mapping) else {})
        except Exception as error:
            self.log.warning("no model card was written, run this task again for it: %s", error)


class RollbackModelOperator(_MovesChampion):
    """Make the previous or a named version the champion again, effectively once.

    The version that is left is pinned, so that no loop promotes it again; taking the tag ``mlops.pinned`` off in
    MLflow allows it again. A retried or cleared task does not go back one further: the
    same DAG run, task and map index are the same rollback.

    Returns the :class:`~airflow_mlops.core.results.Decision` as a dict; ``evidence["version"]`` is the champion.

    :param model_name: the registered model, as in :class:`PromoteModelOperator`. (templated)
    :param reason: why, in a sentence; kept in the record and in the pin. (templated)
    :param to_version: where to; empty: the version that ``previous_champion`` names. (templated)
    :param from_version: the champion that is meant, where a decision about one version asked for the rollback: another
        one that has followed meanwhile is left alone. Empty: whichever it is. (templated)
    :param pin: whether to pin the version that is left. (templated)
    :param mlflow_conn_id: the MLflow connection.
    :raises PromotionRefused: there is nothing to go back to, or the champion moved meanwhile; nothing was changed.
    :raises MlflowUnavailable: retried.
    """

    template_fields: Sequence[str] = ("model_name", "reason", "to_version", "from_version", "pin", "mlflow_conn_id")

    def __init__(
        self,
        *,
        model_name: str,
        reason: str,
        to_version: str | int = "",
        from_version: str | int = "",
        pin: bool | str = True,
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(model_name=model_name, mlflow_conn_id=mlflow_conn_id, **kwargs)
        self.reason = reason
        self.to_version = to_version
        self.from_version = from_version
        self.pin = pin

    def execute(self, context: Context) -> dict[str, JSON]:
        """Judge, move, pin, record, publish; see the class."""
        who = run_of(context)
        with _misuse_is_final():
            request = RollbackRequest(
                model=_named(self.model_name),
                request=digest({k: who.get(k) for k in ("dag_id", "run_id", "task_id", "map_index")}),
                reason=str(self.reason or ""),
                to_version=str(self.to_version or "").strip(),
                from_version=str(self.from_version or "").strip(),
                pin=_flag("pin", self.pin),
            )
        return self._end(context, rollback(self.hook, request, dag_run=who, at=time_of(context)))


@contextlib.contextmanager
def _misuse_is_final() -> Iterator[None]:
    """An argument that is wrong is wrong at the next try too."""
    try:
        yield
    except UsageError as error:
        raise PromotionRefused(str(error)) from error


def _named(model_name: Any) -> str:
    model_uri(model_name)  # before anything moves: a name that can't be told to others is refused
    return str(model_name)


def _flag(name: str, value: Any) -> bool:
    """A flag as it is after rendering: ``True`` and ``"True"`` alike, and nothing that only looks like one."""
    known = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() in known:
        return known[str(value).strip().lower()]
    raise UsageError(f"{name} is True or False, got {value!r}")
