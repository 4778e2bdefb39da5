"""Asking a model that lives in a process of its own, and what it answered, as something that answers again.

``ask`` runs in the child: it loads the model, has it predict, and leaves numbers (``.npz``, no pickles) and JSON.
:class:`Recorded` is the other side: it has ``predict``, ``predict_proba``, ``decision_function`` and ``classes_`` where
the model had them, and gives back what was said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from airflow_mlops.core.errors import ModelError, SchemaMismatch
from airflow_mlops.core.outputs import classes_of, features_of
from airflow_mlops.core.results import JSON, plain
from airflow_mlops.operators._child import ChildFailed, Limits, in_child

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from airflow_mlops.operators._spool import Rows

    Array: TypeAlias = NDArray[Any]

WARM_UP = 3
"""Predictions of one row that are made before the timed ones."""

NAMES_WITHIN = 1 << 20
"""Bytes of a model's file that are looked through for the modules it needs."""

METHODS = ("predict", "predict_proba", "decision_function")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What a model is asked.

    :param files: the folder with its files.
    :param label: ``name/version``, for messages.
    :param rows: with its features, and any others.
    :param target: the column that is none of its features.
    :param features: its columns, where they are known.
    :param latency_calls: predictions of one row that are timed.
    :param shuffled: places of rows on which each column is shuffled in turn; empty: none.
    :param repeats: how often each is.
    :param seconds: no more shuffling after so long.
    :param seed: of the shuffling.
    """

    files: Path
    label: str
    rows: Rows
    target: str
    features: tuple[str, ...] = ()
    latency_calls: int = 0
    shuffled: tuple[int, ...] = ()
    repeats: int = 5
    seconds: float = 60.0
    seed: int = 0


class Recorded:
    """A model that says again what it said.

    :param said: method -> what it answered.
    :param classes: its classes, where it says which.
    """

    def __init__(self, said: dict[str, Any], classes: Sequence[Any] | None = None):
        self._said = said
        if classes is not None:
            self.classes_ = list(classes)
        for name in said:
            setattr(self, name, self._answer(name))

    def _answer(self, name: str) -> Callable[[Any], Any]:
        return lambda rows: self._said[name]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back.

    :param model: says what the model said of the rows.
    :param latency: ``{"p50", "p95", "calls"}`` in milliseconds; empty: not measured.
    :param features: the columns it was given.
    :param columns: those that were shuffled.
    :param without: what it says when a column is shuffled: column -> a model a repetition.
    :param unfinished: why not every column was shuffled; empty: they were.
    """

    model: Recorded
    latency: dict[str, JSON]
    features: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    without: dict[str, list[Recorded]] = dataclasses.field(default_factory=dict)
    unfinished: str = ""


def answer_of(question: Question, folder: Path, limits: Limits, *, method: str = "auto") -> Answer:
    """Ask in a child process.

    :param question: what.
    :param folder: an empty folder for the answer.
    :param limits: what the model may take.
    :param method: ``fork``, ``spawn`` or ``auto``.
    :raises ModelError: when the model can't be loaded, can't predict, or took the child down with it.
    :raises SchemaMismatch: when the rows lack a column of it.
    """
    preload(question.files)
    try:
        in_child(ask, question, folder, limits, method=method)
    except ChildFailed as failed:
        last = _last_line(folder / "output.txt")
        raise ModelError(f"model {question.label} failed in its own process: {failed}{last}") from None
    try:
        said = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ModelError(f"model {question.label} ended its own process without an answer") from None
    if said.get("missing"):
        raise SchemaMismatch(str(said["error"]), missing=[str(m) for m in said["missing"]])
    if said.get("error"):
        raise ModelError(str(said["error"]))
    without: dict[str, list[Recorded]] = {}
    for place in range(said["shuffled"]):
        column = said["columns"][place // question.repeats]
        without.setdefault(column, []).append(_read(folder, [f"shuffled-{place}"], said["classes"]))
    return Answer(
        model=_read(folder, [f"all-{i}" for i in range(said["parts"])], said["classes"]),
        latency=said["latency"],
        features=tuple(said["features"]),
        columns=tuple(said["columns"]),
        without=without,
        unfinished=said["unfinished"],
    )


def preload(files: Path) -> None:
    """Import what the model's flavour needs, here, so that a forked child has it already."""
    import importlib

    import yaml

    try:
        flavours = yaml.safe_load((files / "MLmodel").read_text(encoding="utf-8"))["flavors"]
        importlib.import_module("mlflow.sklearn" if "sklearn" in flavours else "mlflow.pyfunc")
        if "sklearn" in flavours:  # the modules that its file names; their names come before their contents
            with (files / flavours["sklearn"]["pickled_model"]).open("rb") as file:
                named = set(re.findall(rb"sklearn(?:\.\w+)+", file.read(NAMES_WITHIN)))
            for name in sorted(named):
                with contextlib.suppress(ImportError):
                    importlib.import_module(name.decode())
    except Exception:  # the child says what is wrong with it
        return


def ask(folder: Path, question: Question) -> None:
    """In the child: load, predict, write down."""
    from airflow_mlops.hooks._models import load_files

    said: dict[str, Any] = {"error": "", "missing": [], "latency": {}, "classes": None}
    said |= {"features": [], "columns": [], "shuffled": 0, "unfinished": "", "parts": 0}
    try:
        model = load_files(question.files, question.label)
        known = classes_of(model)
        said["classes"] = plain(known) if known else None
        for part in question.rows:  # one part of the rows at a time, and of each what is said of it
            X = features_of(model, part, target=question.target, features=question.features)
            said["features"] = [str(c) for c in X.columns]
            _write(folder, f"all-{said['parts']}", model, X)
            if question.latency_calls and not said["parts"]:
                said["latency"] = _latency(model, X, question.latency_calls)
            said["parts"] += 1
    except SchemaMismatch as error:
        said |= {"error": str(error), "missing": list(error.missing)}
    except MemoryError:
        raise
    except ModelError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None
        said["error"] = str(error)
    except Exception as error:  # whatever a model raises on rows, it can't predict them
        said["error"] = (
            f"the model can't predict these rows: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        )
    if not said["error"] and question.shuffled:
        said["columns"] = said["features"]
        try:
            few = question.rows.take(question.shuffled)
            X = features_of(model, few, target=question.target, features=question.features)
            said["shuffled"], said["unfinished"] = _shuffle(folder, model, X, question)
        except Exception as error:
            said["unfinished"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    (folder / "answer.json").write_text(json.dumps(said, allow_nan=False), encoding="utf-8")


def _shuffle(folder: Path, model: Any, few: pd.DataFrame, question: Question) -> tuple[int, str]:
    import numpy as np

    began = time.monotonic()
    done = 0
    for place, column in enumerate(few.columns):
        rng = np.random.default_rng([question.seed, place])
        for _ in range(question.repeats):
            if time.monotonic() - began > question.seconds:
                return done, f"shuffling {len(few.columns)} columns takes longer than {question.seconds:g} s"
            order = rng.permutation(len(few))
            changed = few.copy()
            changed[column] = few[column].take(order).array
            _write(folder, f"shuffled-{done}", model, changed)
            done += 1
    return done, ""


def _write(folder: Path, name: str, model: Any, X: pd.DataFrame) -> None:
    import numpy as np

    arrays: dict[str, Array] = {}
    lists: dict[str, JSON] = {}
    said: set[str] = set()
    for method in METHODS:
        if method != "predict" and not (hasattr(model, method) and classes_of(model)):
            continue
        if method == "decision_function" and "predict_proba" in said:  # nobody asks for it then
            continue
        values = np.asarray(getattr(model, method)(X))
        said.add(method)
        if values.dtype.kind in "biufUS":
            arrays[method] = values
        else:  # text in its other forms
            lists[method] = plain(values.tolist())
    np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    (folder / f"{name}.json").write_text(json.dumps(lists, allow_nan=False), encoding="utf-8")


def _read(folder: Path, names: Sequence[str], classes: Any) -> Recorded:
    """What was said of the parts of the rows, one after the other."""
    import numpy as np

    parts: list[dict[str, Any]] = []
    for name in names:
        try:
            with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
                said: dict[str, Any] = dict(arrays)
            said |= json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"the answer of the model can't be read: {error}") from None
        parts.append({k: v for k, v in said.items() if k in METHODS})
    if any(set(p) != set(parts[0]) for p in parts):
        raise ModelError("the model gives other kinds of answers for some of the rows")
    return Recorded({k: _joined([p[k] for p in parts]) for k in parts[0]} if parts else {}, classes)


def _joined(answers: Sequence[Any]) -> Any:
    import numpy as np

    if len(answers) == 1:
        return answers[0]
    if all(isinstance(a, np.ndarray) for a in answers):
        if len({a.shape[1:] for a in answers}) > 1 or len({a.dtype.kind in "US" for a in answers}) > 1:
            raise ModelError("the model gives answers of several shapes for some of the rows")
        return np.concatenate(answers)
    return [one for a in answers for one in (a.tolist() if isinstance(a, np.ndarray) else a)]


def _latency(model: Any, rows: pd.DataFrame, calls: int) -> dict[str, JSON]:
    """Milliseconds of predictions of one row each, cycling through the rows."""
    took = []
    for call in range(-WARM_UP, calls):
        row = rows.iloc[[call % len(rows)]]
        start = time.perf_counter()
        model.predict(row)
        took.append((time.perf_counter() - start) * 1000)
    kept = sorted(took[WARM_UP:])
    return {
        "p50": kept[(len(kept) - 1) // 2],
        "p95": kept[min(len(kept) - 1, int(0.95 * len(kept)))],
        "calls": calls,
    }


def _last_line(path: Path) -> str:
    """The end of what a child printed, bounded; empty where it printed nothing."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2000))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return f" ({lines[-1][:200]})" if lines else ""
