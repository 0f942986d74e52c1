"""One turn: from a client's first message up to the ReadyForQuery that answers it.

A Turn rides through the server's pipeline as the note of its Sync or Query and comes back when the answer is complete.
Turns that are answered without a server (hits, local answers) make none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stats.records import Outcome

if TYPE_CHECKING:
    from cache.coherence import Mark, Stamp
    from cache.key import Key
    from pool.settings import Profile
    from proxy.knowledge import Known
    from sql.facts import Facts, Pin, SettingChange


Unjudged = tuple["Known", "Profile", str]
"""A read that was sent while the catalog was not known: the statement, and the settings and user that it had."""


class Fill:
    """An answer on its way that is to be kept: the bytes as the client gets them, until it is too long."""

    __slots__ = ("chunks", "key", "size", "stamp", "ttl")

    def __init__(self, key: Key, stamp: Stamp, ttl: float | None) -> None:
        self.key = key
        self.stamp = stamp
        self.ttl = ttl
        self.chunks: list[bytes] = []
        self.size = 0


@dataclass(slots=True)
class Effects:
    """What the statements of a turn do beyond their answer; made only when one does something."""

    pins: list[Pin] = field(default_factory=list)
    unpins: list[Pin] = field(default_factory=list)
    settings: list[SettingChange] = field(default_factory=list)
    heeds: list[Facts] = field(default_factory=list)  # what decides to which channels the session listens
    writes: set[int] | None = field(default_factory=set)  # OIDs; None = the whole database
    blind: set[Unjudged] = field(default_factory=set)
    ddl: bool = False
    defines: bool = False  # it holds a statement that changes definitions that others see, cached or not
    taints: bool = False
    forgets: bool = False  # DISCARD ALL or DEALLOCATE ALL: prepared statements are gone
    commits: bool = False  # it holds a statement that may end the transaction it is in
    ends: bool = False  # it holds one that does
    begins: bool = False  # the last that has an effect begins a transaction which may be answered from the cache
    savepoints: bool = False
    loosens: bool = False  # it holds a statement that may end the reason of a pin
    statements: int = 0


class Turn:
    """Times in seconds of the monotonic clock.

    Made for every turn that a server sees, and most of it keeps its default: those are read from the class, which
    makes a turn at a third of what filling that many slots would cost.
    """

    queued = 0.0  # seconds in the queue for a server
    sent = 0.0  # when the last of it went to the server
    known: Known | None = None  # the first statement executed: the turn is counted under it
    text: bytes | None = None
    parameters: bytes | None = None
    outcome = Outcome.BYPASS
    reason: str | None = None  # why the cache was not asked
    sqlstate: str | None = None
    effects: Effects | None = None
    mark: Mark | None = None
    fill: Fill | None = None

    def __init__(self, started: float) -> None:
        self.started = started

    def proved(self) -> None:
        """A swallowed Sync: nobody's turn."""

    def dropped(self) -> None:
        """Its Sync gets no answer (COPY in): what it did is settled with the next turn of its transaction."""
