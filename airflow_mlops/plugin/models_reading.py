"""What the pages read from MLflow, in a bounded number of searches and with short memories.

The list of models is a *snapshot*: a thread reads it, requests are answered from what was read last. The first reading
is one search for the models and one for each kind of record; after that, one search finds everything new. How many
models there are changes the size of the answers, never the number of searches but for their pages.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.core.errors import MlopsError
from airflow_mlops.core.records import TAG, ModelVersion
from airflow_mlops.pages.cards import CARD_KINDS, SPARK, Card, Entry, card_of, entry_of

if TYPE_CHECKING:
    from airflow_mlops.hooks.mlflow import MlflowHook

log = logging.getLogger(__name__)

FRESH = 15.0
"""Seconds for which a snapshot is not read again."""

STALE = 120.0
"""Seconds after which a request waits for the new one rather than show the old one."""

WHOLE = 900.0
"""Seconds after which everything is read again: what was deleted in MLflow disappears then."""

OVERLAP_MS = 600_000
"""How far a search for new records looks back: a record is found by when it was begun, and only once it is finished."""

PATIENCE = 0.4
"""Seconds that a request waits for a snapshot; the page says so and asks again."""

PAGE = 2000
MOST_RECORDS = 20_000
"""Records of one kind that a first reading looks at."""

MOST_BYTES = 10_000_000
"""An artifact that is larger is not shown."""

BODIES = 512
"""Bodies that are kept in memory; records never change."""

MLFLOW_ERRORS = (MlopsError,)


class Reader:
    """One connection to MLflow, and what the pages ask it."""

    def __init__(self, hook: MlflowHook) -> None:
        self.hook = hook

    def models(self) -> dict[str, Mapping[str, Any]]:
        """Every registered model: name -> aliases."""
        return {str(m["name"]): _mapping(m["aliases"]) for m in self.hook.models(limit=1_000_000)}

    def experiments(self) -> dict[str, str]:
        """Every active experiment: name -> id."""
        found: dict[str, str] = {}
        token = None
        with self.hook.translating():
            while True:
                page = self.hook.client.search_experiments(max_results=5000, page_token=token)
                found |= {e.name: str(e.experiment_id) for e in page}
                token = page.token
                if not token:
                    return found

    def entries(
        self,
        experiments: Sequence[str],
        where: str,
        *,
        most: int,
        order: Sequence[str] = ("attributes.start_time DESC",),
    ) -> tuple[list[Entry], bool]:
        """Records of experiments, and whether there are more than ``most``."""
        if not experiments:
            return [], False
        found: list[Entry] = []
        token = None
        where = f"attributes.status = 'FINISHED' and {where}"
        with self.hook.translating():
            while len(found) < most:
                page = self.hook.client.search_runs(
                    list(experiments),
                    where,
                    max_results=min(PAGE, most - len(found)),
                    order_by=list(order),
                    page_token=token,
                )
                for run in page:
                    entry = entry_of(run.info.run_id, run.data.tags, run.data.metrics, run.info.start_time or 0)
                    if entry is not None:
                        found.append(entry)
                token = page.token
                if not token:
                    return found, False
        return found, True

    def ledger(self, model: str, limit: int = 200) -> list[Entry]:
        """The newest records of one model, newest first."""
        experiment = self.hook.experiment_id(model, create=False)
        where = f"tags.`{TAG}model` = {self._quoted(model)} and tags.`{TAG}kind` LIKE '%'"
        order = [f"tags.`{TAG}at` DESC", "attributes.start_time DESC"]
        found, _ = self.entries([experiment] if experiment else [], where, most=limit, order=order)
        return sorted(found, key=lambda e: e.order, reverse=True)

    def of_task(self, dag_id: str, run_id: str, task_id: str) -> list[Entry]:
        """The records that one task wrote, newest first."""
        tags = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id}
        where = " and ".join(f"tags.`{TAG}{k}` = {self._quoted(v)}" for k, v in tags.items())
        return self.entries(list(self.experiments().values()), where, most=50)[0]

    def record(self, run_id: str) -> tuple[Entry, Mapping[str, Any]] | None:
        """One record and its body; ``None`` where there is no such run, or it is no record."""
        with self.hook.absent_is_none():
            run = self.hook.client.get_run(run_id)
            entry = entry_of(run_id, run.data.tags, run.data.metrics, run.info.start_time or 0)
            if entry is None:
                return None
            return entry, self._body(run_id, run.data.tags.get(f"{TAG}body", ""))
        return None

    def bodies(self, entries: Sequence[Entry]) -> list[tuple[Entry, Mapping[str, Any]]]:
        """The bodies of some records, read side by side; those that can't be read are left out."""
        from concurrent.futures import ThreadPoolExecutor

        def one(entry: Entry) -> Mapping[str, Any]:
            known = _BODIES.get(entry.run_id)
            if known is not None:
                return known
            found = self.record(entry.run_id)
            return found[1] if found else {}

        if not entries:
            return []
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="mlops-bodies") as pool:
            return [(e, b) for e, b in zip(entries, pool.map(one, entries), strict=True) if b]

    def versions(self, model: str) -> list[ModelVersion]:
        """The newest versions, newest first."""
        return self.hook.versions(model)

    def registered(self, model: str) -> bool:
        """Whether there is such a model, if only its name."""
        with self.hook.absent_is_none():
            return bool(self.hook.client.get_registered_model(model))
        return False

    def outside(self, what: ModelVersion | str) -> str:
        """The page of a version, or of a run, in MLflow's own UI; empty where it has none."""
        return self.hook.link(what)

    def pages_of(self, run_id: str) -> list[str]:
        """The HTML pages that lie with a run: those at its top, and ``data_docs/index.html``; sorted."""
        with self.hook.absent_is_none():
            found = self.hook.client.list_artifacts(run_id)
            paths = [f.path for f in found if not f.is_dir and f.path.endswith(".html")]
            for folder in ("data_docs", "model_card"):
                if any(f.is_dir and f.path == folder for f in found):
                    inside = self.hook.client.list_artifacts(run_id, folder)
                    paths += [f.path for f in inside if not f.is_dir and f.path.endswith(".html")]
            return sorted(paths)
        return []

    def page(self, run_id: str, path: str) -> str | None:
        """An HTML artifact of a run, or ``None``; bounded."""
        with self.hook.absent_is_none():
            folder = path.rpartition("/")[0] or None
            listed = self.hook.client.list_artifacts(run_id, folder)
            if not any(f.path == path and not f.is_dir and (f.file_size or 0) <= MOST_BYTES for f in listed):
                return None
            return self.hook.read_text(run_id, path)
        return None

    def _body(self, run_id: str, text: str) -> Mapping[str, Any]:
        known = _BODIES.get(run_id)
        if known is None:
            try:
                known = _mapping(json.loads(text) if text else self.hook.read_json(run_id, "record.json"))
            except ValueError:
                known = {}
            _BODIES.put(run_id, known)
        return known

    @staticmethod
    def _quoted(value: str) -> str:
        from airflow_mlops.hooks._base import quoted

        return quoted(value)


class _Bodies:
    """The bodies that were read last."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    def get(self, run_id: str) -> Mapping[str, Any] | None:
        with self._lock:
            if run_id in self._kept:
                self._kept.move_to_end(run_id)
            return self._kept.get(run_id)

    def put(self, run_id: str, body: Mapping[str, Any]) -> None:
        with self._lock:
            self._kept[run_id] = body
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


_BODIES = _Bodies(BODIES)


@dataclasses.dataclass(frozen=True)
class View:
    """What is known at the moment.

    :param cards: by name; empty until it was read. :param age: seconds since, ``None``: never.
    :param trouble: why the last reading failed.
    :param partial: the first reading is not through: models are there, some of their records are not.
    """

    cards: Sequence[Card] = ()
    age: float | None = None
    trouble: str = ""
    partial: bool = False


class Snapshot:
    """All models and their newest records, read by a thread of its own.

    :param connect: makes a reader; called for each reading, so that a changed connection is noticed.
    :param fresh: seconds for which nothing is read again.
    """

    def __init__(self, connect: Callable[[], Reader], *, fresh: float = FRESH) -> None:
        self._connect, self._fresh = connect, fresh
        self._lock = threading.Lock()
        self._done = threading.Condition(self._lock)
        self._reading = False
        self._cards: list[Card] = []
        self._read_at: float | None = None
        self._whole_at = 0.0
        self._tried_at: float | None = None
        self._trouble = ""
        self._partial = False
        self._records: dict[str, dict[str, Entry]] = {}
        self._cut: tuple[str, ...] = ()
        self._newest = 0

    def view(self, patience: float = PATIENCE) -> View:
        """What was read last. Reads again in the background when that is old; waits for it only when it is very old."""
        with self._lock:
            now = time.monotonic()
            if not self._reading and (self._tried_at is None or now - self._tried_at >= self._fresh):
                self._reading, self._tried_at = True, now
                threading.Thread(target=self._read, name="mlops-models", daemon=True).start()
            if self._reading and (self._read_at is None or self._partial or now - self._read_at > STALE):
                self._done.wait_for(lambda: not self._reading, timeout=patience)
            age = None if self._read_at is None else time.monotonic() - self._read_at
            return View(tuple(self._cards), age, self._trouble, self._partial)

    def card(self, name: str, patience: float = PATIENCE) -> Card | None:
        """The card of one model, of the last reading."""
        return next((c for c in self.view(patience).cards if c.name == name), None)

    def _read(self) -> None:
        trouble = ""
        cards: list[Card] | None = None
        began = time.monotonic()
        try:
            cards = self._gather(began)
        except Exception as error:  # whatever it is, the page has to say that it does not know
            trouble = said(error)
            log.warning("the Models page could not read MLflow: %s", trouble)
        with self._lock:
            if cards is not None:
                self._cards, self._read_at, self._partial = cards, began, False
            self._trouble, self._reading = trouble, False
            self._done.notify_all()

    def _gather(self, now: float) -> list[Card]:
        reader = self._connect()
        models = reader.models()
        prefix = reader.hook.settings.experiment_prefix
        ids = [i for name, i in reader.experiments().items() if name.removeprefix(prefix) in models]
        if now - self._whole_at >= WHOLE or not self._records:
            found: list[Entry] = []
            cut = list(CARD_KINDS)  # until they are read
            for kind in CARD_KINDS:
                self._show(models, found, cut, now)
                most = min(MOST_RECORDS, max(2000, 2 * len(models)))
                entries, more = reader.entries(ids, f"tags.`{TAG}kind` = '{kind}'", most=most)
                found += entries
                if not more:
                    cut.remove(kind)
            self._records, self._cut, self._whole_at = {}, tuple(cut), now
        else:
            where = f"attributes.start_time > {self._newest - OVERLAP_MS} and tags.`{TAG}kind` LIKE '%'"
            found, _ = reader.entries(ids, where, most=MOST_RECORDS)
        for entry in found:
            self._records.setdefault(entry.model, {})[entry.run_id] = entry
            self._newest = max(self._newest, entry.started)
        self._records = {name: _newest(self._records.get(name, {})) for name in models}
        return [
            card_of(name, aliases, self._records[name].values(), self._cut) for name, aliases in sorted(models.items())
        ]

    def _show(self, models: Mapping[str, Any], found: Sequence[Entry], cut: Sequence[str], now: float) -> None:
        """Of a first reading, what is there so far: better some columns now than all in a minute."""
        if self._read_at is not None and not self._partial:
            return
        of: dict[str, list[Entry]] = {}
        for entry in found:
            of.setdefault(entry.model, []).append(entry)
        cards = [card_of(name, aliases, of.get(name, ()), cut) for name, aliases in sorted(models.items())]
        with self._lock:
            self._cards, self._read_at, self._partial = cards, now, True
            self._done.notify_all()


def said(error: BaseException) -> str:
    """An error in a sentence for the page: those of this package are written for people and carry no secret."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    from airflow_mlops.exceptions import MlflowUnavailable

    if isinstance(error, MlopsError | MlflowUnavailable | AirflowNotFoundException):
        return str(error)[:600]
    log.error("reading MLflow failed", exc_info=error)
    return f"{type(error).__name__}; the API server's log says more"


def _newest(records: Mapping[str, Entry]) -> dict[str, Entry]:
    """Of each kind as many as a card can show."""
    kept: dict[str, Entry] = {}
    counts: dict[str, int] = {}
    for entry in sorted(records.values(), key=lambda e: e.order, reverse=True):
        counts[entry.kind] = counts.get(entry.kind, 0) + 1
        if entry.kind in CARD_KINDS and counts[entry.kind] <= SPARK:
            kept[entry.run_id] = entry
    return kept


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
