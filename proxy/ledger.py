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

from proxy.knowledge import Doubt
from proxy.notify.follow import FOLLOWED
from proxy.turn import Effects, Turn, Unjudged
from sql.facts import Kind, Pin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pool.settings import Profile
    from proxy.database import Database
    from proxy.knowledge import Judgement, Known
    from proxy.notify.ears import Ears
    from sql.facts import Facts, SettingChange

IDLE = 0x49
IN_BLOCK = 0x54
_UNNAMED = frozenset((Pin.TEMP_TABLE, Pin.UNKNOWN))
"""With these, any name may mean something of the session's own."""
WEAR = frozenset((Pin.TEMP_TABLE, Pin.LOAD))
"""What leaves traces in the server's process: a temporary schema, which search paths then show; hooks."""


class Ledger:
    """The effects of one session. ``pins`` holds why it keeps its server."""

    __slots__ = (
        "_blind",
        "_carried",
        "_database",
        "_ddl",
        "_defines",
        "_running",
        "_savepoints",
        "_settings",
        "deferred",
        "doubt",
        "ears",
        "loosened",
        "pins",
        "reading",
        "taints",
    )

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blind: set[Unjudged] = set()  # of the open transaction, to be judged before it commits
        self._carried: set[int] | None = set()  # written in the open transaction; None = anything
        self._settings: list[SettingChange] = []
        self._savepoints = False
        self._ddl = False  # definitions may have changed in the open transaction
        self._defines = False  # the same, whether answers are kept or not
        self._running = 0  # turns with effects that are not finished
        self.doubt = Doubt.NONE  # how far the next statement's names are known to mean what the session's view says
        self.deferred: bytes | None = None  # the BEGIN of a transaction of which no server knows yet, see deferred.py
        self.ears: Ears | None = None
        self.loosened = False  # something has been done that may have ended a pin: see unpin.py
        self.pins: set[Pin] = set()
        self.reading = False  # a transaction is open that has only read so far: see inside.py
        self.taints = False

    # -- while messages go out ----------------------------------------------------------------------------------------

    def executes(self, turn: Turn, known: Known, judgement: Judgement, profile: Profile, user: str) -> None:
        """A statement that is not quiet is about to be sent, by this user with these settings."""
        self.reading = False
        effects = turn.effects
        if effects is None:
            effects = turn.effects = Effects()
            self._running += 1
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
        effects.forgets = effects.forgets or known.forgets
        effects.ends = effects.ends or known.facts.ends
        effects.begins = known.begins_reading
        effects.loosens = effects.loosens or known.loosens or effects.taints
        self._collect(effects, known.facts)
        for name in known.facts.vacates:
            self._database.vacate(name)
        if not _UNNAMED.isdisjoint(effects.pins):
            self.doubt = Doubt.TEMPORARY
        elif (known.moves or judgement.taints) and self.doubt is Doubt.NONE:
            self.doubt = Doubt.PLACE

    def _collect(self, effects: Effects, facts: Facts) -> None:
        for statement in facts.statements or (facts,):
            effects.statements += 1
            effects.pins.extend(pin for pin in statement.pins if pin in self._database.pinning)
            effects.unpins.extend(pin for pin in statement.unpins if pin is not Pin.LISTEN)  # see notify/ears.py
            effects.settings.extend(change for change in statement.settings if not change.local)
            kind = statement.kind
            if kind in FOLLOWED:
                effects.heeds.append(statement)
                effects.taints = effects.taints or kind is Kind.LISTEN
            if kind is Kind.UNKNOWN:
                effects.pins.append(Pin.UNKNOWN)
            elif kind is Kind.DDL:
                effects.defines = effects.defines or statement.opaque
            elif kind in (Kind.SAVEPOINT, Kind.ROLLBACK_TO):
                effects.savepoints = True

    def before_send(self, turn: Turn, in_flight: Iterable[Turn], *, may_commit: bool) -> None:
        """The turn's last message is about to leave: mark what it may commit."""
        if not may_commit:
            return
        if self.ears is not None:
            self.ears.before_commit(turn)
        if self._blind:
            if turn.effects is None:
                turn.effects = Effects()
                self._running += 1
            turn.effects.blind |= self._blind
            self._blind.clear()
            self._database.writing.add(turn)
            self._database.judge_again(turn)
        writes: set[int] | None = set()
        flying = [t.effects for t in (turn, *in_flight) if t.effects is not None]
        for part in (self._carried, *(effects.writes for effects in flying)):
            writes = None if writes is None or part is None else writes | part
        if turn.effects is not None:
            turn.effects.ddl = self._ddl or any(effects.ddl for effects in flying)
        if writes is None or writes:
            self._database.mark(turn, writes)

    # -- when the answer is there -------------------------------------------------------------------------------------

    def finished(self, turn: Turn, status: int, tag: bytes) -> bool:
        """The turn has been answered. True if the session's profile must be looked at again (``take_settings``)."""
        effects = turn.effects
        changed = False
        if effects is not None:
            self._running = max(0, self._running - 1)
            alone = effects.begins and effects.statements == 1 and not self._running
            self.reading = alone and status == IN_BLOCK and self.doubt is Doubt.NONE
            self._database.writing.discard(turn)
            if effects.blind:
                (self._database.unjudged if status == IDLE else self._blind).update(effects.blind)
            if effects.writes is None or self._carried is None:
                self._carried = None
            else:
                self._carried |= effects.writes
            if effects.ddl:
                self._ddl = True  # in a block it counts from its COMMIT on: see before_send
                self._database.suspect("ddl")
            if effects.defines:
                self._defines = True
                self._database.defined()
            self._pins(effects, failed=turn.sqlstate is not None)
            if self.pins and (effects.loosens or effects.pins):
                self.loosened = True
            self.taints = self.taints or effects.taints
            self._savepoints = self._savepoints or effects.savepoints
            if turn.sqlstate is None and effects.settings:
                self._settings.extend(effects.settings)
            if effects.settings and (
                (self._savepoints and status != IDLE) or (effects.ends and effects.statements > 1)
            ):
                self.pin(Pin.SETTING_IN_TRANSACTION)  # which of them will stay, nobody can tell
        if turn.mark is not None:
            self._database.unmark(turn)
        if status == IDLE:
            changed = bool(self._settings)
            if changed and (tag == b"ROLLBACK" or turn.sqlstate is not None):
                self._settings.clear()
                changed = False
            self._ddl = False
            if self._defines:  # only now others see it
                self._defines = False
                self._database.defined()
            if not self._running:
                self._settle_doubt()
            self._carried = set()
            self._savepoints = False
            self._database.blocks.discard(self)
        elif self._carried is None or self._carried:
            self._database.blocks.add(self)
        return changed

    def _settle_doubt(self) -> None:
        """Nothing is open or in flight: what the settings say is what the session's profile says."""
        if not self.pins.isdisjoint(_UNNAMED):
            self.doubt = Doubt.TEMPORARY
        elif self.taints or Pin.SETTING_IN_TRANSACTION in self.pins:
            self.doubt = Doubt.PLACE
        else:
            self.doubt = Doubt.NONE

    def released(self) -> bool:
        """The server goes back, and with it whatever was done to it: True if that is more than the profile says."""
        tainted, self.taints = self.taints, False
        self.doubt = Doubt.NONE
        return tainted

    def widen(self) -> None:
        """What was written in the open transaction was judged by an outdated catalog."""
        self._carried = None

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

    def unpin(self, gone: set[Pin]) -> None:
        """These have no reason any more."""
        self.pins -= gone

    @property
    def in_block(self) -> bool:
        """Something was written in the open transaction."""
        return self._carried is None or bool(self._carried) or bool(self._blind)

    def leave(self, turns: Iterable[Turn]) -> list[Turn]:
        """The client is gone: the turns whose outcome is still to be learnt, with their marks."""
        left = []
        self._database.blocks.discard(self)
        for turn in turns:
            if turn.effects is not None and turn.effects.blind:
                self._database.mark(turn, None)
            if turn.mark is not None:
                left.append(turn)  # still among those who write, until its outcome is known
            else:
                self._database.writing.discard(turn)
        return left
