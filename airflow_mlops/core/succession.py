"""How a champion is succeeded, effectively once: the protocol between processes that may be killed anywhere.

MLflow has no compare-and-set on aliases, but it has values that are written once: a run's parameters can be
created and never changed, and its store's primary key says which of two writers was first. On that stands this::

    look and judge -> write the intent -> claim the succession -> set champion -> read back
                   -> set previous_champion -> draft the record -> close the claim -> seal the record

* The *intent* is a tag on the version that is to become champion. It carries all that anybody needs to finish.
* The *claim* ``mlops.succession.<champion>.<n>`` is the n-th succession of that champion, written once. Who has it has
  won; everybody else finishes the winner's move first and then looks again, and so is told that the champion moved.
  A claimed move therefore ends in the same state whether its process lives, is killed anywhere, or never returns.
* A retry finds its own claim, and so knows a champion that it set itself from one that somebody else did.
* The record is a draft until the claim is closed, once, with the run of the draft that counts. Sealed is that one, by
  whoever looks next: of several that helped at the same moment, each with a draft, none makes a second record, wherever
  it is killed.
* A claim that can't be carried out any more (its version was deleted or pinned, or somebody moved the alias by hand)
  is closed as void, and the alias stays where it is.

What is left open. A process that is suspended exactly between its last look and its ``set_alias``, while others finish
its move *and* a following promotion, moves the alias back when it wakes; it notices and repairs that with
its next steps. Killed right there as well, it leaves the earlier champion (judged and promoted, never an
unjudged one), and the next promotion is refused because its champion moved. A person who sets the alias in MLflow in
that same moment can be overwritten. Versions that have no run at all, or whose run was deleted, keep their claims in
tags, where two writers in the same instant are told apart only by reading back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

from airflow_mlops.core.moves import Claim, Move, moves_to, read_claims, slot
from airflow_mlops.core.promotion import version_refusals
from airflow_mlops.core.records import CHAMPION, PREVIOUS_CHAMPION, TAG, ModelVersion, Record
from airflow_mlops.core.results import Decision

Step = Callable[[str], None]
"""Called with the name of each step when it is done: where tests pull the plug."""


class Registry(Protocol):
    """What a succession needs of MLflow."""

    def version(self, model: str, version: str) -> ModelVersion | None: ...
    def by_alias(self, model: str, alias: str) -> ModelVersion | None: ...
    def alias(self, model: str, alias: str) -> str: ...
    def versions(self, model: str, limit: int = 50) -> list[ModelVersion]: ...
    def set_alias(self, model: str, alias: str, version: str) -> None: ...
    def delete_alias(self, model: str, alias: str) -> None: ...
    def tag_version(self, model: str, version: str, tags: Mapping[str, str]) -> None: ...
    def find_record(self, model: str, kind: str, key: str) -> Record | None: ...
    def record(self, record: Record) -> Record: ...

    def draft(self, record: Record) -> Record:
        """Write a record that does not count yet, with a run of its own; one that counts already is returned."""

    def seal(self, record: Record) -> None:
        """Let a draft count, by its ``run_id``; other drafts of its key are given up. Harmless when it counts."""

    def retract(self, run_id: str) -> None:
        """Take a draft away."""

    def written(self, model: str, origin: str) -> Mapping[str, str]:
        """The write-once values that belong to the champion ``origin`` (empty: to 'no champion')."""

    def write_once(self, model: str, origin: str, key: str, value: str) -> str:
        """Write unless something is there; what is there afterwards."""


class Succession:
    """The moves of one model's champion alias. Each method may be repeated after a kill at any point."""

    def __init__(self, registry: Registry, model: str, step: Step) -> None:
        self.registry = registry
        self.model = model
        self.step = step

    def claims(self, origin: str) -> tuple[Claim, ...]:
        return read_claims(self.registry.written(self.model, origin), origin)

    def alias(self, alias: str) -> str:
        return self.registry.alias(self.model, alias)

    def intend(self, move: Move) -> None:
        self.registry.tag_version(self.model, move.to, {move.tag: move.to_text()})
        self.step("intent")

    def claim(self, move: Move, number: int) -> None:
        self.registry.write_once(self.model, move.origin, slot(move.origin, number), f"{move.key} {move.to}")
        self.step("claim")

    def close(self, origin: str, number: int, end: str) -> str:
        return self.registry.write_once(self.model, origin, f"{slot(origin, number)}.end", end)

    def intended(self, claim: Claim) -> Move | None:
        version = self.registry.version(self.model, claim.to)
        moves = moves_to(version) if version else []
        return next((m for m in moves if m.key == claim.key), None)

    def complete(self, champion: ModelVersion | None) -> None:
        """Finish the move that made ``champion`` the champion, if whoever began it did not."""
        for move in moves_to(champion) if champion else []:
            if not move.done:
                claims = self.claims(move.origin)
                mine = next((c for c in claims if c.key == move.key), None)
                if mine is not None:
                    self.finish(move.origin, mine)

    def finish(self, origin: str, claim: Claim) -> None:
        """Carry out a claimed move, from wherever it stands, or give it up."""
        move = self.intended(claim)
        if move is None:
            self.close(origin, claim.number, f"void version {claim.to} or its intent is gone")
            return
        champion = self.alias(CHAMPION)
        # The claim is read again after the champion: open, it says that this champion is not one of a later move.
        end = self.claims(origin)[claim.number].end
        if end:
            self._tell(move, end)
            return
        if champion != move.to:
            why = self._impossible(move, champion)
            if why:
                self.close(origin, claim.number, f"void {why}"[:500])
                self.step("void")
                return
            if move.pin:
                self.registry.tag_version(self.model, move.origin, {f"{TAG}pinned": move.pin})
                self.step("pin")
            self.registry.set_alias(self.model, CHAMPION, move.to)
            self.step("champion")
            if self.alias(CHAMPION) != move.to:
                return  # somebody moved it in this moment: whoever called looks again
            if self.claims(origin)[claim.number].void:
                self._undo(move, claim)
                return
        self._set_previous(move)
        self.step("previous")
        if self._followed(move):
            return
        draft = self.registry.draft(_record_of(move))
        self.step("record")
        end = self.close(origin, claim.number, f"done {draft.run_id}")
        self.step("close")
        if end != f"done {draft.run_id}":
            self.registry.retract(draft.run_id)
        if end.startswith("void"):
            self._undo(move, claim)
        else:
            self._tell(move, end)

    def _impossible(self, move: Move, champion: str) -> str:
        if champion != move.origin:
            return f"the champion is version {champion or 'missing'}, not {move.origin or 'missing'}"
        found = self.registry.version(self.model, move.to)
        judged = move.to_digest if move.kind == "promotion" else None
        return "; ".join(r.message for r in version_refusals(self.model, move.to, found, judged))

    def _set_previous(self, move: Move) -> None:
        now = self.alias(PREVIOUS_CHAMPION)
        if move.previous and now != move.previous:
            if self.registry.version(self.model, move.previous):
                self.registry.set_alias(self.model, PREVIOUS_CHAMPION, move.previous)
        elif now and not move.previous:
            self.registry.delete_alias(self.model, PREVIOUS_CHAMPION)

    def _followed(self, move: Move) -> bool:
        """Whether the champion went on from ``move.to`` while this process was held up; then put it where it went."""
        last = self._last(move.to, move.after)
        if last is None:
            return False
        if self.alias(CHAMPION) != last.to:
            self.registry.set_alias(self.model, CHAMPION, last.to)
        self._set_previous(last)
        self.step("repair")
        return True

    def _undo(self, move: Move, claim: Claim) -> None:
        """Somebody gave the claim up while it was being carried out, and was first: put the alias where it belongs."""
        last = self._last(move.origin, claim.number + 1)
        belongs = last.to if last else move.origin
        if self.alias(CHAMPION) == move.to:
            if belongs:
                self.registry.set_alias(self.model, CHAMPION, belongs)
            else:
                self.registry.delete_alias(self.model, CHAMPION)
        if last:
            self._set_previous(last)
        elif belongs and self.alias(PREVIOUS_CHAMPION) == belongs:
            self.registry.delete_alias(self.model, PREVIOUS_CHAMPION)
        self.step("undo")

    def _last(self, at: str, after: int) -> Move | None:
        """The last of the moves that led on from ``at``, not counting its first ``after`` successions."""
        last = None
        while later := [c for c in self.claims(at)[after:] if not c.void]:
            if not later[0].end:
                self.finish(at, later[0])
            follower = self.intended(later[0])
            if follower is None or not self.claims(at)[later[0].number].done:
                break
            last, at, after = follower, follower.to, follower.after
        return last

    def _tell(self, move: Move, end: str) -> None:
        """Let the record count, and note on the version that the move is done, so that nobody asks again."""
        if end.startswith("done") and not move.done:
            self.registry.seal(dataclasses.replace(_record_of(move), run_id=end.removeprefix("done ")))
            self.step("seal")
            self.intend(dataclasses.replace(move, done=True))


def _record_of(move: Move) -> Record:
    return Record.of_decision(Decision.from_dict(move.decision), subject=move.to, at=move.at, backfill=move.backfill)
