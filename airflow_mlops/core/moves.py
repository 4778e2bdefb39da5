"""Moves of the champion alias as values: what is intended, and who has the right to do it.

A :class:`Move` is kept as a tag on the version that it makes the champion, a :class:`Claim` as a value that is written
once beside the champion that it succeeds. :mod:`airflow_mlops.core.succession` says how they are used.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from airflow_mlops.core.records import TAG, ModelVersion
from airflow_mlops.core.results import JSON, plain

INTENT = f"{TAG}intent."
"""Prefix of the tags on a version that say which moves were going to make it the champion."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """One intended move of the champion alias, with all that anybody needs to finish it.

    :param kind: ``"promotion"`` or ``"rollback"``.
    :param key: of the record that it ends in.
    :param model: the registered model.
    :param to: the version that becomes champion.
    :param to_digest: the digest of that version's files when the move was intended.
    :param origin: the version that it replaces; empty where there is no champion.
    :param previous: what ``previous_champion`` is afterwards; empty: no such alias.
    :param after: how often ``to`` had been succeeded before this move; later successions came after it.
    :param pin: put on ``origin`` as ``mlops.pinned``, where not empty.
    :param decision: the :class:`~airflow_mlops.core.results.Decision` to record, as a dict.
    :param at: the record's time.
    :param backfill: the record's flag.
    :param done: the record is in the ledger; nothing is left to do.
    """

    kind: str
    key: str
    model: str
    to: str
    to_digest: str = ""
    origin: str = ""
    previous: str = ""
    after: int = 0
    pin: str = ""
    decision: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    at: str = ""
    backfill: bool = False
    done: bool = False

    @property
    def tag(self) -> str:
        """The name of the tag on ``to`` that carries this move."""
        return INTENT + self.key

    @property
    def by(self) -> str:
        """Who moves it, in words."""
        run: Any = self.decision.get("dag_run")
        where = "/".join(str(run[k]) for k in ("dag_id", "run_id", "task_id") if run.get(k)) if run else ""
        return f"{self.kind} {self.key}{f' by {where}' if where else ''}"

    def to_text(self) -> str:
        """As the tag's value."""
        return json.dumps(plain(dataclasses.asdict(self)), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """The inverse of :meth:`to_text`; ``None`` for text that is no move."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return None


def moves_to(version: ModelVersion) -> list[Move]:
    """The moves that were going to make ``version`` the champion, done or not, oldest first."""
    moves = [Move.from_text(text) for tag, text in version.tags.items() if tag.startswith(INTENT)]
    return sorted((m for m in moves if m is not None), key=lambda m: (m.at, m.after, m.key))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to succeed a champion, written once and never changed.

    :param number: 0 for the first succession of that champion, 1 for the next.
    :param key: of the move that has it.
    :param to: the version that follows.
    :param end: empty while it is under way; ``done <run id>`` or ``void <why>``.
    """

    number: int
    key: str
    to: str
    end: str = ""

    @property
    def void(self) -> bool:
        """Whether it was given up before the alias moved."""
        return self.end.startswith("void")

    @property
    def done(self) -> bool:
        """Whether its record is written."""
        return self.end.startswith("done")


def moved_by(champion: ModelVersion) -> str:
    """Who made this version the champion, as far as the version itself knows."""
    moves = sorted(moves_to(champion), key=lambda m: m.done)
    return moves[-1].by if moves else "somebody outside of this package (no move of ours names it)"


def slot(origin: str, number: int) -> str:
    """The name of the write-once value that says who is the ``number``-th to succeed ``origin``."""
    return f"{TAG}succession.{origin or 'none'}.{number}"


def read_claims(written: Mapping[str, str], origin: str) -> tuple[Claim, ...]:
    """The successions of ``origin``, in order.

    >>> read_claims({"mlops.succession.2.0": "ab12 3", "mlops.succession.2.0.end": "done r1"}, "2")
    (Claim(number=0, key='ab12', to='3', end='done r1'),)
    """
    claims: list[Claim] = []
    while (value := written.get(slot(origin, len(claims)))) is not None:
        number = len(claims)
        key, _, to = value.partition(" ")
        claims.append(Claim(number=number, key=key, to=to, end=written.get(f"{slot(origin, number)}.end", "")))
    return tuple(claims)
