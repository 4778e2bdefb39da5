"""Buttons that start a DAG run, as values: what a form asks follows from the DAG's own parameters.

A DAG offers itself by its tags: ``mlops:rollback`` or ``mlops:retrain``, and ``mlmodel:NAME`` for each model it is for;
without such a tag it is for every model and is told which by its parameter ``model_name`` or ``model``. The page's
script sends the form to Airflow's public API as the user who is logged in; this package writes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PREFIX, FOR_MODEL = "mlops:", "mlmodel:"

KINDS: Mapping[str, tuple[str, str, str]] = {
    "rollback": (
        "Roll back …",
        "Start the rollback",
        "Starts the DAG that puts an earlier champion back, at once. The reason stays in the ledger.",
    ),
    "retrain": (
        "Retrain …",
        "Start the training",
        "Starts the DAG that trains a candidate. A gate judges it: the champion stays until a better one has passed.",
    ),
}
"""What can be started: kind -> what opens the form, the button, what it does."""

MODEL_PARAMS = ("model_name", "model")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One parameter of the DAG as a form shows it.

    :param type: ``string``, ``integer``, ``number`` or ``boolean``.
    :param required: a run without it would be refused.
    """

    name: str
    type: str = "string"
    label: str = ""
    hint: str = ""
    default: Any = ""
    required: bool = False
    nullable: bool = False
    choices: tuple[str, ...] = ()
    min_length: int = 0
    max_length: int = 2000
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None

    @property
    def long(self) -> bool:
        """Whether it is prose, for more than one line."""
        return self.type == "string" and self.name == "reason"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Action:
    """One form.

    :param kind: one of :data:`KINDS`.
    :param fixed: what is sent along and not asked for: which model.
    :param fields: ``None``: there is a parameter that needs Airflow's own form.
    :param paused: the run will wait.
    """

    kind: str
    dag_id: str
    fields: tuple[Field, ...] | None = ()
    fixed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    paused: bool = False

    @property
    def words(self) -> tuple[str, str, str]:
        """What opens the form, the button, what it does."""
        return KINDS[self.kind]


def offered(tags: Iterable[str], model: str) -> tuple[str, ...]:
    """The kinds that a DAG with these tags offers for a model.

    >>> offered(["mlops:rollback", "mlmodel:churn"], "churn"), offered(["mlops:rollback", "mlmodel:churn"], "late")
    (('rollback',), ())
    >>> offered(["mlops:retrain"], "late"), offered(["mlops:nonsense", "flights"], "late")
    (('retrain',), ())
    """
    tags = list(tags)
    models = [t.removeprefix(FOR_MODEL) for t in tags if t.startswith(FOR_MODEL)]
    if models and model not in models:
        return ()
    return tuple(k for k in KINDS if PREFIX + k in tags)


def action_of(
    kind: str, dag_id: str, params: Mapping[str, Mapping[str, Any]], *, model: str, paused: bool = False
) -> Action:
    """The form of a DAG.

    :param params: of the DAG: name -> ``{"value", "description", "schema"}``, as Airflow's API gives them; a
        parameter without a default has no ``value``.
    """
    own = next((name for name in MODEL_PARAMS if name in params), "")
    found = [_field(name, param) for name, param in params.items() if name != own]
    fields = [field for field in found if field is not None]
    fields.sort(key=lambda f: f.name == "reason")  # the button stands below the words
    return Action(
        kind=kind,
        dag_id=dag_id,
        fields=tuple(fields) if len(fields) == len(found) else None,
        fixed={own: model} if own else {},
        paused=paused,
    )


def _field(name: str, param: Mapping[str, Any]) -> Field | None:
    schema = param.get("schema")
    schema = schema if isinstance(schema, Mapping) else {}
    types = schema.get("type", "string")
    types = [types] if isinstance(types, str) else list(types) if isinstance(types, Sequence) else []
    plain = [t for t in types if t != "null"]
    value = param.get("value")
    if len(plain) != 1 or plain[0] not in ("string", "integer", "number", "boolean"):
        return None
    if value is not None and not isinstance(value, str | int | float):
        return None
    choices = schema.get("enum")
    return Field(
        name=name,
        type=plain[0],
        label=str(schema.get("title") or name.replace("_", " ").capitalize()),
        hint=str(param.get("description") or schema.get("description") or ""),
        default="" if value is None else value,
        required=value is None and "null" not in types,
        nullable="null" in types,
        choices=tuple(str(c) for c in choices if c is not None) if isinstance(choices, list | tuple) else (),
        min_length=_whole(schema.get("minLength"), 0),
        max_length=_whole(schema.get("maxLength"), 2000),
        pattern=str(schema.get("pattern") or ""),
        minimum=_figure(schema.get("minimum")),
        maximum=_figure(schema.get("maximum")),
    )


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _figure(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
