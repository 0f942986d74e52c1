"""To which channels a session listens, followed through its transactions: a pure machine.

LISTEN and UNLISTEN take effect when their transaction commits, in the order in which they were said. A savepoint
remembers how many had been said; ROLLBACK TO forgets the later ones. A turn is looked at once it has been answered:
if it has not failed, all its statements have worked, in their order. If it has failed, the transaction it was in is
void or doomed, and so is what it said, unless the turn held more than that transaction: then nobody can tell, and every
LISTEN counts and no UNLISTEN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sql.facts import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sql.facts import Facts

FOLLOWED: Final = frozenset(
    (
        Kind.LISTEN,
        Kind.UNLISTEN,
        Kind.DISCARD,
        Kind.SAVEPOINT,
        Kind.RELEASE,
        Kind.ROLLBACK_TO,
        Kind.COMMIT,
        Kind.ROLLBACK,
    )
)
"""Statements that matter here."""

_ENDS: Final = frozenset((Kind.COMMIT, Kind.ROLLBACK))
_IDLE: Final = 0x49
_FAILED: Final = 0x45


class Follow:
    """One session's. ``channels`` are those that its committed LISTENs name."""

    __slots__ = ("_doomed", "_pending", "_savepoints", "channels")

    def __init__(self) -> None:
        self.channels: set[str] = set()
        self._pending: list[tuple[bool, str | None]] = []  # (LISTEN, channel); UNLISTEN of None = of all
        self._savepoints: list[tuple[str | None, int]] = []
        self._doomed = False

    def coming(self, flying: Iterable[Facts]) -> set[str]:
        """Channels of LISTENs that a commit might put into effect, with those of statements that are on their way."""
        names = {channel for listen, channel in self._pending if listen}
        names |= {statement.name for statement in flying if statement.kind is Kind.LISTEN}
        return {name for name in names if name is not None} - self.channels

    def answered(self, statements: Sequence[Facts], count: int, *, failed: bool, status: int) -> None:
        """A turn is over: those of its ``count`` statements that matter here, and the transaction status now."""
        if not failed:
            for statement in statements:
                self._worked(statement)
            if status == _IDLE:
                self._commit()
        elif count > 1 and any(statement.kind in _ENDS for statement in statements):
            self.channels |= self.coming(statements)
            self._forget()
        elif status == _IDLE:
            self._forget()
        self._doomed = status == _FAILED

    def _worked(self, statement: Facts) -> None:
        kind = statement.kind
        if kind is Kind.LISTEN:
            self._pending.append((True, statement.name))
        elif kind is Kind.UNLISTEN:
            self._pending.append((False, statement.name))
        elif kind is Kind.DISCARD:
            if statement.name == "all":
                self._pending.append((False, None))
        elif kind is Kind.SAVEPOINT:
            self._savepoints.append((statement.name, len(self._pending)))
        elif kind in (Kind.RELEASE, Kind.ROLLBACK_TO):
            self._back_to(statement)
        elif kind is Kind.COMMIT and not self._doomed:
            self._commit()
        elif kind in _ENDS:
            self._forget()

    def _back_to(self, statement: Facts) -> None:
        rollback = statement.kind is Kind.ROLLBACK_TO
        while self._savepoints and self._savepoints[-1][0] != statement.name:
            self._savepoints.pop()
        # One that was set before anything was followed is older than all that is pending.
        kept = self._savepoints[-1][1] if self._savepoints else 0
        if rollback:
            del self._pending[kept:]
            self._doomed = False
        elif self._savepoints:
            self._savepoints.pop()

    def _commit(self) -> None:
        for listen, channel in self._pending:
            if listen and channel is not None:
                self.channels.add(channel)
            elif channel is None:
                self.channels.clear()
            else:
                self.channels.discard(channel)
        self._forget()

    def _forget(self) -> None:
        self._pending.clear()
        self._savepoints.clear()
        self._doomed = False
