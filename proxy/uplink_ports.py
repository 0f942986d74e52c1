"""What the way up asks of the session: Uplink translates, the session decides what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pool.server import Server
    from pool.settings import Profile
    from proxy.knowledge import Known
    from proxy.ledger import Ledger
    from proxy.turn import Turn


class Conductor(Protocol):
    """The session, as Uplink sees it. ``turn`` is the one whose messages are coming in, if any have come."""

    turn: Turn | None
    longest: int  # bytes; longer messages go the long way, through Uplink

    @property
    def ledger(self) -> Ledger:
        """What its statements have done."""

    @property
    def profile(self) -> Profile:
        """The settings that go with it, by which its statements are read."""

    def known(self, text: bytes) -> Known:
        """What is known of a text."""

    def query(self, known: Known, text: bytes, server: Server) -> Turn:
        """A simple Query is about to be sent; the turn it is."""

    def sync(self, server: Server) -> Turn:
        """A Sync is about to be sent; the turn that it ends."""

    def function(self, server: Server) -> Turn:
        """A FunctionCall is about to be sent; the turn it is."""

    def executes(self, known: Known, text: bytes, server: Server, *, partial: bool) -> None:
        """A portal is about to be executed, or only some rows of it."""

    def executes_unknown(self, server: Server) -> None:
        """A portal that no Bind of this session made is about to be executed: a cursor of SQL, or a mistake."""

    def answer(self, data: bytes) -> None:
        """Write to the client now."""
