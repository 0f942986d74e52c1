"""What a server must be given before a client's statement can be used on it, so that the client gets what it was told.

A client that has a statement described, or has seen the columns of a portal, takes every later result for one of that
shape. The server that told it so keeps the promise: it refuses the statement when its result has changed (0A000). On
another server the statement would be parsed anew, and be whatever it is by then. So it is parsed *and described* there
first, and whatever needs it waits for the answer (``Waits``): nothing runs before it is known to be as it was told. If
it is not, the client hears the error that it would have heard from the first server, word for word and in place of an
error that we provoke, so that the transaction ends as it should. Parameters keep the types that they had, too.

- ``Learned``: the first Parse of a content on any server is followed by a Describe. All who use it are told the same.
- ``Compared``: a Parse of the same content elsewhere, for somebody who holds it, or to see whether a new client's
  Parse still means the same. If not, the new client gets a new content.
- ``Told``: the unnamed statement is each client's own. From the moment that one has had it described, that client holds
  a copy which knows what it was told.

This costs a round trip when a statement comes to a server for the first time, and nothing when it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pool.prepared import PREFIX, Prepared, Presence, close_message
from protocol import build
from protocol.description import Description
from protocol.replies import BIND, CLOSE, DESCRIBE_STATEMENT, PARSE, SWALLOW
from proxy.uplink_notes import EVERYTHING, Injected, Naming
from sql.facts import Kind

if TYPE_CHECKING:
    from pool.server import Server
    from proxy.knowledge import Known
    from proxy.uplink import Uplink

_MESSAGE: Final = "cached plan must not change result type"
_OUTDATED: Final = build.error_response("0A000", _MESSAGE, F="plancache.c", R="RevalidateCachedQuery")
_NOWHERE: Final = build.bind("", (PREFIX + b"statement: " + _MESSAGE.encode()).decode())  # seen in the server's log
_FLUSH: Final = build.flush()
_BORROWED: Final = frozenset((Kind.FETCH, Kind.EXECUTE, Kind.CALL))


class Waits(Exception):
    """The message cannot be sent yet. ``ahead`` goes to the server, whose answer leads back to the message."""

    def __init__(self, ahead: bytes) -> None:
        self.ahead = ahead


class _Answer(Description):
    """What has been said of a statement."""

    __slots__ = ()

    def fits(self, statement: Prepared) -> bool:
        """Is it what was said before?"""
        return self.shape == statement.shape and self.parameters == statement.parameters


class Learned(_Answer):
    """The Describe behind a client's own Parse."""

    __slots__ = ("_server", "_statement")

    def __init__(self, server: Server, statement: Prepared) -> None:
        super().__init__()
        self._server = server
        self._statement = statement

    def proved(self) -> None:
        statement = self._statement
        if statement.shape is None:
            statement.shape, statement.parameters = self.shape, self.parameters
        elif not self.fits(statement):  # it was parsed elsewhere meanwhile, and changed in between
            self._server.pool.registry.retire(statement)
            self._server.statements.distrust(statement)

    def dropped(self) -> None:
        self._server.statements.distrust(self._statement)


class Told(Description):
    """The client's Describe of its unnamed statement."""

    __slots__ = ("_server", "_statement", "_uplink")

    def __init__(self, uplink: Uplink, server: Server, statement: Prepared) -> None:
        super().__init__()
        self._uplink = uplink
        self._server = server
        self._statement = statement

    def proved(self) -> None:
        statement = self._statement
        statements = self._uplink.statements
        if statements.get(b"") is statement:
            own = Prepared(b"", statement.query, statement.types, b"\0", statement.place, self.shape, self.parameters)
            statements[b""] = own
            self._server.statements.unnamed_becomes(statement, own)

    def dropped(self) -> None:
        """It goes on as before."""


class Compared(_Answer):
    """The Describe behind a Parse of ours. Not ``held``: its client has not been told anything of it yet."""

    __slots__ = ("_batch", "_doubt", "_held", "_server", "_statement", "_uplink")

    def __init__(self, uplink: Uplink, server: Server, statement: Prepared, *, held: bool) -> None:
        super().__init__()
        self._batch = server.pipeline.batch
        self._doubt = Naming(uplink, EVERYTHING, self._batch)
        self._doubt.sends(None)
        self._held = held
        self._server = server
        self._statement = statement
        self._uplink = uplink

    def proved(self) -> None:
        self._doubt.proved()
        statement = self._statement
        there = self._server.statements
        fits = self.fits(statement)
        if statement.name:
            there.proved(statement, self._batch)
            if not fits:
                there.distrust(statement)
        elif fits:
            there.unnamed_proved(statement)
        else:
            there.unnamed_lost()
        if not fits and self._held:
            self._uplink.misfit = statement
        elif not fits:
            self._server.pool.registry.retire(statement)

    def dropped(self) -> None:
        self._doubt.dropped()
        if self._statement.name:
            self._server.statements.dropped(self._statement, self._batch)
        else:
            self._server.statements.unnamed_lost()


def steady(known: Known) -> bool:
    """Does it have a result of its own, not that of something which it names?"""
    return known.facts.kind not in _BORROWED


def provide(statement: Prepared, server: Server, uplink: Uplink) -> bytes:
    """What must go ahead so that the server has a statement that the client holds. Raises Waits."""
    pipeline = server.pipeline
    there = server.statements
    presence = there.presence(statement, pipeline.batch)
    if presence is Presence.PRESENT:
        return b""
    if uplink.misfit is statement:
        there.closed(statement)
        return close(statement, server) + _refuse(server, uplink)
    if statement.shape is not None and not (pipeline.skipping or pipeline.copy_in):
        raise compare(statement, server, uplink, held=True)
    before = close(statement, server) if presence is Presence.DOUBTFUL else b""
    pipeline.add(PARSE, Injected(server, statement, unnamed=False), SWALLOW)
    if not pipeline.skipping:
        there.sent(statement, pipeline.batch)
    return before + statement.parse_message(statement.name, fresh=False)


def provide_unnamed(statement: Prepared, server: Server, uplink: Uplink) -> bytes:
    """The same for the unnamed statement."""
    pipeline = server.pipeline
    there = server.statements
    if there.unnamed_is(statement, pipeline.batch):
        return b""
    if uplink.misfit is statement:
        return _refuse(server, uplink)
    own = not statement.name
    if own and not (pipeline.skipping or pipeline.copy_in):
        raise compare(statement, server, uplink, held=True)
    pipeline.add(PARSE, Injected(server, statement, unnamed=True), SWALLOW)
    if not pipeline.skipping:
        there.unnamed_sent(statement, pipeline.batch)
    return statement.parse_message(b"", fresh=not own)


def close(statement: Prepared, server: Server) -> bytes:
    """A Close for it, of ours."""
    server.pipeline.add(CLOSE, None, SWALLOW)
    return close_message(statement.name)


def compare(statement: Prepared, server: Server, uplink: Uplink, *, held: bool) -> Waits:
    """Parse it, and see whether it still is what was told of it. Not while the server skips to Sync."""
    pipeline = server.pipeline
    there = server.statements
    name = statement.name
    before = b""
    if name and there.presence(statement, pipeline.batch) is not Presence.ABSENT:
        before = close(statement, server)
    pipeline.add(PARSE, None, SWALLOW)
    pipeline.add(DESCRIBE_STATEMENT, Compared(uplink, server, statement, held=held), SWALLOW)
    if name:
        there.sent(statement, pipeline.batch)
    else:
        there.unnamed_sent(statement, pipeline.batch)
    return Waits(before + statement.parse_message(name, fresh=not held) + build.describe("S", name) + _FLUSH)


def _refuse(server: Server, uplink: Uplink) -> bytes:
    """What the server would say of the client's statement if it had kept it."""
    uplink.misfit = None
    server.pipeline.add(BIND, None, SWALLOW, _OUTDATED)
    return _NOWHERE
