"""What the way up sends ahead of a client's message, and what rides through the server's pipeline with both.

A note's ``proved`` is called when the reply shows that its message took effect, ``dropped`` when the server skipped or
refused it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pool.prepared import PREFIX, close_message
from protocol import build, tags
from protocol.errors import RemoteProtocolError
from protocol.hot import Incomplete, read_bind, read_parse, read_target
from protocol.replies import CLOSE, PARSE, SWALLOW

if TYPE_CHECKING:
    from pool.prepared import Prepared
    from pool.server import Server
    from protocol.pipeline import Pipeline
    from proxy.uplink import Uplink

STATEMENT: Final = 0x53  # 'S'
EVERYTHING: Final = b"\0"
"""A name that no statement can have: while it is in doubt, every message waits."""


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
        self._uplink = uplink
        self._name = name
        self._before = uplink.statements.get(name)
        self._next = None
        self.batch = server.pipeline.batch
        self._statement = statement
        self._server = server
        self.sent = True

    def proved(self) -> None:
        if self._uplink.doubtful.get(self._name) is self:
            del self._uplink.doubtful[self._name]
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


def unsure(doubtful: dict[bytes, Naming], tag: int, data: bytes, body: int, end: int, pipeline: Pipeline) -> bool:
    """Does this message refer to a name of which it has not been told yet what it is? Not what its own batch makes."""
    if pipeline.copy_in:
        return False
    if EVERYTHING in doubtful:
        return True
    try:
        if tag == tags.BIND:
            _, name, _ = read_bind(data, body, end)
        elif end > len(data):
            return False
        elif tag == tags.PARSE:
            name, _, _ = read_parse(data, body, end)
            if not name:  # replaces whatever there is
                return False
        elif tag in (tags.DESCRIBE, tags.CLOSE):
            kind, name = read_target(data, body, end)
            if kind != STATEMENT:
                return False
        else:
            return False
    except (RemoteProtocolError, Incomplete):
        return False
    last = doubtful.get(name)
    return last is not None and last.batch != pipeline.batch


def without_unnamed(server: Server) -> bytes:
    """The client has no unnamed statement: whatever another left on the server must not be found."""
    server.pipeline.add(CLOSE, None, SWALLOW)
    server.statements.unnamed_lost()
    return close_message(b"")


def foreign_name(name: bytes) -> bytes:
    """A client's own name as a server may see it: never one of ours."""
    return b"?" + name if name.startswith(PREFIX) else name


def taken(name: bytes, statement: Prepared, server: Server) -> bytes:
    """The client has this name in use: something of that name is put in the way, and the server refuses the other."""
    foreign = foreign_name(name)
    pipeline = server.pipeline
    server.statements.strays.add(foreign)
    pipeline.add(CLOSE, None, SWALLOW)
    pipeline.add(PARSE, None, SWALLOW)
    pipeline.add(PARSE)
    return close_message(foreign) + build.parse(foreign, b"") + statement.parse_message(foreign)


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
