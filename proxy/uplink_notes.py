"""What the way up sends ahead of a client's message, and what rides through the server's pipeline with both.

A note's ``proved`` is called when the reply shows that its message took effect, ``dropped`` when the server skipped or
refused it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pool.prepared import PREFIX, Presence, close_message
from protocol import build
from protocol.replies import BIND, CLOSE, EXECUTE, PARSE, SWALLOW

if TYPE_CHECKING:
    from pool.prepared import Prepared
    from pool.server import Server
    from proxy.uplink import Uplink

_OUTDATED = (
    build.parse(
        "",
        "DO 'BEGIN RAISE feature_not_supported USING MESSAGE = ''cached plan must not change result type''; END'",
    )
    + build.bind("forebay", "")
    + build.execute("forebay", 0)
)


class Naming:
    """A name of the client's has been given a meaning, or lost it, and the server has not answered yet.

    Notes of one name are a chain: one that is dropped hands what was there before it to the next.
    """

    __slots__ = ("_before", "_name", "_next", "_uplink", "batch")

    def __init__(self, uplink: Uplink, name: bytes, batch: int) -> None:
        self._uplink = uplink
        self._name = name
        self._before = uplink.statements.get(name)
        self._next: Naming | None = None
        self.batch = batch

    def sends(self, statement: Prepared | None) -> None:
        """From now on the client counts on it."""
        uplink = self._uplink
        if statement is None:
            uplink.statements.pop(self._name, None)
        else:
            uplink.statements[self._name] = statement
        last = uplink.doubtful.get(self._name)
        if last is not None:
            last._next = self
        uplink.doubtful[self._name] = self

    def proved(self) -> None:
        if self._uplink.doubtful.get(self._name) is self:
            del self._uplink.doubtful[self._name]

    def dropped(self) -> None:
        uplink = self._uplink
        if uplink.doubtful.get(self._name) is self:
            del uplink.doubtful[self._name]
            if self._before is None:
                uplink.statements.pop(self._name, None)
            else:
                uplink.statements[self._name] = self._before
        elif self._next is not None:
            self._next._before = self._before


class Registered(Naming):
    """The client has been told, or will be, that a name stands for a statement. Not ``sent``: the server had it."""

    __slots__ = ("_server", "_statement", "sent")

    def __init__(self, uplink: Uplink, name: bytes, statement: Prepared, server: Server) -> None:
        super().__init__(uplink, name, server.pipeline.batch)
        self._statement = statement
        self._server = server
        self.sent = True

    def proved(self) -> None:
        super().proved()
        if self.sent:
            if self._name:
                self._server.statements.proved(self._statement, self.batch)
            else:
                self._server.statements.unnamed_proved(self._statement)

    def dropped(self) -> None:
        if self.sent:
            if self._name:
                self._server.statements.dropped(self._statement, self.batch)
            else:
                self._server.statements.unnamed_lost()
                if self in self._server.pipeline.failed:  # a Parse that fails takes the unnamed statement with it
                    self._before = None
        super().dropped()


class Injected:
    """A Parse of ours."""

    __slots__ = ("_batch", "_server", "_statement", "_unnamed")

    def __init__(self, server: Server, statement: Prepared, *, unnamed: bool) -> None:
        self._batch = server.pipeline.batch
        self._server = server
        self._statement = statement
        self._unnamed = unnamed

    def proved(self) -> None:
        if self._unnamed:
            self._server.statements.unnamed_proved(self._statement)
        else:
            self._server.statements.proved(self._statement, self._batch)

    def dropped(self) -> None:
        if self._unnamed:
            self._server.statements.unnamed_lost()
        else:
            self._server.statements.dropped(self._statement, self._batch)


def provide(statement: Prepared, server: Server) -> bytes:
    """What must go ahead so that the server has a statement."""
    pipeline = server.pipeline
    presence = server.statements.presence(statement, pipeline.batch)
    if presence is Presence.PRESENT:
        return b""
    if statement in server.pool.registry.outdated:
        return _refuse_outdated(server)
    before = b""
    if presence is Presence.DOUBTFUL:
        pipeline.add(CLOSE, None, SWALLOW)
        before = close_message(statement.name)
    pipeline.add(PARSE, Injected(server, statement, unnamed=False), SWALLOW)
    if not pipeline.skipping:
        server.statements.sent(statement, pipeline.batch)
    return before + statement.parse_message(statement.name)


def _refuse_outdated(server: Server) -> bytes:
    """The server would say this of the client's statement, if it had kept it: let it say so."""
    for kind in (PARSE, BIND, EXECUTE):
        server.pipeline.add(kind, None, SWALLOW)
    server.statements.unnamed_lost()
    return _OUTDATED


def provide_unnamed(statement: Prepared, server: Server) -> bytes:
    """The same for the unnamed statement."""
    pipeline = server.pipeline
    if server.statements.unnamed_is(statement, pipeline.batch):
        return b""
    pipeline.add(PARSE, Injected(server, statement, unnamed=True), SWALLOW)
    if not pipeline.skipping:
        server.statements.unnamed_sent(statement, pipeline.batch)
    return statement.parse_message(b"")


def without_unnamed(server: Server) -> bytes:
    """The client has no unnamed statement: whatever another left on the server must not be found."""
    server.pipeline.add(CLOSE, None, SWALLOW)
    server.statements.unnamed_lost()
    return close_message(b"")


def foreign_name(name: bytes) -> bytes:
    """A client's own name as a server may see it: never one of ours."""
    return b"?" + name if name.startswith(PREFIX) else name


def without(foreign: bytes, server: Server) -> bytes:
    """The client has no such statement: what stood in the way of its name earlier must not be found."""
    if foreign not in server.statements.strays:
        return b""
    server.pipeline.add(CLOSE, None, SWALLOW)
    return close_message(foreign)


def bind_message(portal: bytes, name: bytes, data: bytes, rest: int, available: int, end: int) -> bytes:
    """A Bind with another statement's name, as far as it is there; ``name`` with its terminator."""
    length = 4 + len(portal) + 1 + len(name) + end - rest
    return b"B%b%b\0%b%b" % (length.to_bytes(4, "big"), portal, name, data[rest:available])
