"""What a session's statements have done, kept until it is known whether they took effect.

A turn collects effects while its messages go out. When it ends, the transaction status decides: outside a block, what
was done has been committed or is void; inside one it is carried along until the block ends.

Writes. Tags are marked before anything leaves that can commit them: Sync or Query outside a block, an explicit COMMIT
inside one. Marking too often is always allowed, marking too little never: with other turns still unanswered the status
is not known, so everything in flight is marked. A mark ends when ReadyForQuery has come, before that is passed on.

Pins. A statement that failed leaves no pin, unless the turn had more than one statement, of which some may have worked.

Settings. What PostgreSQL reports is followed by its reports (session.py). The others change when the transaction that
set them commits; savepoints make that hard to follow, and pin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.turn import Effects, Turn, Unjudged
from sql.facts import Kind, Pin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pool.settings import Profile
    from proxy.database import Database
    from proxy.knowledge import Judgement, Known
    from sql.facts import Facts, SettingChange

IDLE = 0x49


class Ledger:
    """The effects of one session. ``pins`` holds why it keeps its server."""

    __slots__ = (
        "_blind",
        "_carried",
        "_database",
        "_savepoints",
        "_settings",
        "pins",
        "taints",
    )

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blind: set[Unjudged] = set()  # of the open transaction, to be judged before it commits
        self._carried: set[int] | None = set()  # written in the open transaction; None = anything
        self._settings: list[SettingChange] = []
        self._savepoints = False
        self.pins: set[Pin] = set()
        self.taints = False

    # -- while messages go out ----------------------------------------------------------------------------------------

    def executes(self, turn: Turn, known: Known, judgement: Judgement, profile: Profile, user: str) -> None:
        """A statement that is not quiet is about to be sent, by this user with these settings."""
        effects = turn.effects
        if effects is None:
            effects = turn.effects = Effects()
            self._database.writing.add(turn)
        if judgement is known.blind:
            effects.blind.add((known, profile, user))
            if self._database.newcomer:
                effects.writes = None
        if judgement.writes is None:
            effects.writes = None
        elif effects.writes is not None:
            effects.writes |= judgement.writes
        effects.ddl = effects.ddl or judgement.ddl
        effects.taints = effects.taints or judgement.taints
        effects.commits = effects.commits or known.facts.can_commit
        self._collect(effects, known.facts)

    def _collect(self, effects: Effects, facts: Facts) -> None:
        for statement in facts.statements or (facts,):
            effects.statements += 1
            effects.pins.extend(pin for pin in statement.pins if pin in self._database.pinning)
            effects.unpins.extend(statement.unpins)
            effects.settings.extend(change for change in statement.settings if not change.local)
            kind = statement.kind
            if kind is Kind.UNKNOWN:
                effects.pins.append(Pin.UNKNOWN)
            elif kind in (Kind.SAVEPOINT, Kind.ROLLBACK_TO):
                effects.savepoints = True
            elif (kind is Kind.DISCARD and statement.name == "all") or (
                kind is Kind.DEALLOCATE and statement.name is None
            ):
                effects.forgets = True

    def before_send(self, turn: Turn, in_flight: Iterable[Turn], *, may_commit: bool) -> None:
        """The turn's last message is about to leave: mark what it may commit."""
        if not may_commit:
            return
        if self._blind:
            turn.effects = turn.effects or Effects()
            turn.effects.blind |= self._blind
            self._blind.clear()
            self._database.writing.add(turn)
            self._database.judge_again(turn)
        writes: set[int] | None = set()
        for part in (self._carried, *(t.effects.writes for t in (turn, *in_flight) if t.effects is not None)):
            writes = None if writes is None or part is None else writes | part
        if writes is None or writes:
            self._database.mark(turn, writes)

    # -- when the answer is there -------------------------------------------------------------------------------------

    def finished(self, turn: Turn, status: int, tag: bytes) -> bool:
        """The turn has been answered. True if the session's profile must be looked at again (``take_settings``)."""
        effects = turn.effects
        changed = False
        if effects is not None:
            self._database.writing.discard(turn)
            if effects.blind:
                (self._database.unjudged if status == IDLE else self._blind).update(effects.blind)
            if effects.writes is None or self._carried is None:
                self._carried = None
            else:
                self._carried |= effects.writes
            if effects.ddl:
                self._database.suspect("ddl")
            self._pins(effects, failed=turn.sqlstate is not None)
            self.taints = self.taints or effects.taints
            self._savepoints = self._savepoints or effects.savepoints
            if turn.sqlstate is None and effects.settings:
                self._settings.extend(effects.settings)
                if self._savepoints and status != IDLE:
                    self.pin(Pin.SETTING_IN_TRANSACTION)
        if turn.mark is not None:
            self._database.unmark(turn)
        if status == IDLE:
            changed = bool(self._settings)
            if changed and tag == b"ROLLBACK":
                self._settings.clear()
                changed = False
            self._carried = set()
            self._savepoints = False
        return changed

    def take_settings(self) -> list[SettingChange]:
        """The settings that have just been committed, in order."""
        settings, self._settings = self._settings, []
        return settings

    def _pins(self, effects: Effects, *, failed: bool) -> None:
        if failed and effects.statements == 1:
            return
        for pin in effects.unpins:
            if not failed:
                self.pins.discard(pin)
        for pin in effects.pins:
            self.pin(pin)

    def pin(self, pin: Pin) -> None:
        """Keep the server from now on."""
        if pin not in self.pins:
            self.pins.add(pin)
            self._database.pinned(pin)

    @property
    def in_block(self) -> bool:
        """Something was written in the open transaction."""
        return self._carried is None or bool(self._carried) or bool(self._blind)

    def leave(self, turns: Iterable[Turn]) -> list[Turn]:
        """The client is gone: the turns whose outcome is still to be learnt, with their marks."""
        left = []
        for turn in turns:
            self._database.writing.discard(turn)
            if turn.mark is not None:
                left.append(turn)
        return left
