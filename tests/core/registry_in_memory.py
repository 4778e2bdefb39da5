"""MLflow's semantics in memory, and a scheduler that lets several promotions get in each other's way.

Aliases are overwritten by the last writer, a record is searched and then created, a claim is written once. Before each
of these operations the running actor gives up control; the scheduler says who goes on and who is killed there.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import greenlet

from airflow_mlops.core.records import ModelVersion, Record
from airflow_mlops.core.results import Decision

MODEL = "churn"


class Killed(BaseException):
    """The process is gone; no handler runs."""


def candidate(version: str, *, until: str = "2013-05", **tags: str) -> ModelVersion:
    """A version as a training leaves it."""
    own = {"mlops.model_digest": f"d{version}", "mlops.data_until": until}
    own |= {f"mlops.{name}": value for name, value in tags.items()}
    return ModelVersion(name=MODEL, version=version, run_id=f"run{version}", tags=own)


class InMemory:
    """A registry and a ledger. ``pause`` is called before every operation."""

    def __init__(self, *versions: ModelVersion, champion: str = "", previous: str = "") -> None:
        self.known = {v.version: v for v in versions}
        self.aliases: dict[str, str] = {}
        self.once: dict[tuple[str, str], str] = {}
        self.ledger: list[Record] = []
        self.drafts: dict[str, Record] = {}
        self.gates: list[Record] = []
        self.champions: list[str] = [champion] if champion else []
        self.pause: Callable[[str], None] = lambda what: None
        if champion:
            self.aliases["champion"] = champion
        if previous:
            self.aliases["previous_champion"] = previous

    def version(self, model: str, version: str) -> ModelVersion | None:
        self.pause("version")
        found = self.known.get(version)
        aliases = tuple(a for a, v in self.aliases.items() if v == version)
        return dataclasses.replace(found, aliases=aliases) if found else None

    def by_alias(self, model: str, alias: str) -> ModelVersion | None:
        self.pause(f"read {alias}")
        return self.known.get(self.aliases.get(alias, ""))

    def alias(self, model: str, alias: str) -> str:
        self.pause(f"read {alias}")
        return self.aliases.get(alias, "")

    def versions(self, model: str, limit: int = 50) -> list[ModelVersion]:
        self.pause("versions")
        return [self.known[v] for v in sorted(self.known, key=int, reverse=True)][:limit]

    def set_alias(self, model: str, alias: str, version: str) -> None:
        self.pause(f"set {alias} {version}")
        assert version in self.known, f"{alias} would point at {version}, which does not exist"
        self.aliases[alias] = version
        if alias == "champion":
            self.champions.append(version)

    def delete_alias(self, model: str, alias: str) -> None:
        self.pause(f"delete {alias}")
        self.aliases.pop(alias, None)

    def tag_version(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            self.pause(f"tag {version} {name}")
            found = self.known[version]
            self.known[version] = dataclasses.replace(found, tags={**found.tags, name: value})

    def find_record(self, model: str, kind: str, key: str) -> Record | None:
        self.pause("find record")
        return next((r for r in [*self.ledger, *self.gates] if (r.kind, r.key) == (kind, key)), None)

    def record(self, record: Record) -> Record:
        found = self.find_record(record.model, record.kind, record.key)
        if found is None:
            self.pause("create record")
            found = dataclasses.replace(record, run_id=f"r{len(self.ledger)}-{record.key}")
            self.ledger.append(found)
        return found

    def draft(self, record: Record) -> Record:
        found = self.find_record(record.model, record.kind, record.key)
        if found is None:
            self.pause("create draft")
            found = dataclasses.replace(record, run_id=f"r{len(self.drafts)}-{record.key}")
            self.drafts[found.run_id] = found
        return found

    def seal(self, record: Record) -> None:
        self.pause(f"seal {record.run_id}")
        draft = self.drafts.get(record.run_id)
        if draft is not None and draft not in self.ledger:
            self.ledger.append(draft)

    def history(self, model: str, *, kinds: Sequence[str] = (), limit: int = 200) -> list[Record]:
        self.pause("history")
        return [r for r in reversed(self.ledger) if r.kind in kinds][:limit]

    def retract(self, run_id: str) -> None:
        self.pause("retract")
        assert run_id not in {r.run_id for r in self.ledger}, "a record that counts is taken away"
        self.drafts.pop(run_id, None)

    def written(self, model: str, origin: str) -> Mapping[str, str]:
        self.pause("read claims")
        return {key: value for (seat, key), value in self.once.items() if seat == origin}

    def write_once(self, model: str, origin: str, key: str, value: str) -> str:
        self.pause(f"write once {key} {value}")
        return self.once.setdefault((origin, key), value)

    def judged(self, *decisions: Decision | Mapping[str, Any]) -> InMemory:
        """With the records of these gate decisions."""
        for decision in decisions:
            made = decision if isinstance(decision, Decision) else Decision.from_dict(decision)
            self.gates.append(Record.of_decision(made))
        return self

    def of_kind(self, kind: str, outcome: str) -> list[Record]:
        """Records in the ledger."""
        return [r for r in self.ledger if r.kind == kind and r.outcome == outcome]


class Stage:
    """Actors that take turns, one operation each.

    :param registry: what they share.
    :param actors: name -> what it does; a killed one is begun again, as Airflow retries a task.
    """

    def __init__(self, registry: InMemory, actors: Mapping[str, Callable[[], Any]]) -> None:
        self.registry = registry
        self.actors = dict(actors)
        self.running: dict[str, greenlet.greenlet] = {}
        self.outcomes: dict[str, Any] = {}
        self.log: list[str] = []
        registry.pause = self._pause

    def _pause(self, what: str) -> None:
        here = greenlet.getcurrent()
        if here.parent is not None:
            here.parent.switch(what)

    @property
    def waiting(self) -> list[str]:
        """Who is not at an end."""
        return [name for name in self.actors if name not in self.outcomes]

    def turn(self, name: str, *, kill: bool = False) -> None:
        """Let one actor do its next operation, or kill it just before."""
        current = self.running.get(name)
        if current is None:
            current = self.running[name] = greenlet.greenlet(self.actors[name])
        elif kill:
            self.log.append(f"{name} killed")
            with contextlib.suppress(Killed):
                current.throw(Killed)
            del self.running[name]
            return
        result = current.switch()
        if current.dead:
            self.outcomes[name] = result
            self.log.append(f"{name} ended")
        else:
            self.log.append(f"{name} before: {result}")

    def play(self, schedule: Iterator[tuple[int, bool]]) -> None:
        """Follow a schedule of (who, killed?), then everybody to the end in turn."""
        for index, kill in schedule:
            if not self.waiting:
                return
            self.turn(self.waiting[index % len(self.waiting)], kill=kill)
        for _ in range(20_000):
            if not self.waiting:
                return
            for name in self.waiting:
                self.turn(name)
        raise AssertionError("no end: " + "\n".join(self.log[-40:]))
