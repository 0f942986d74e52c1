"""Prepared statements that must stand on the server under the names that the client gave them.

For texts that are not understood (proxy/sqlprepare.py), and for the statements of the extended protocol that name
others: the server looks those up by itself. They are parsed there by their own names and leave the session's map, and
the session keeps the server. All but DEALLOCATE, which is done with them: the server is kept for nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pool.prepared import close_message
from protocol import build
from protocol.replies import CLOSE, PARSE, SWALLOW
from proxy.knowledge import MAX_PARSE
from proxy.uplink_notes import foreign_name
from proxy.uplink_shapes import Waits
from sql.facts import Kind, Pin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pool.prepared import Prepared
    from pool.server import Server
    from proxy.knowledge import Known
    from proxy.uplink import Uplink

_FAILED: Final = 0x45
_FLUSH: Final = build.flush()
_NAMES: Final = re.compile(rb"\s*(?:PREPARE|EXECUTE|DEALLOCATE)\b", re.IGNORECASE)


class Placed:
    """A Parse by the client's own name."""

    __slots__ = ("_name", "_uplink")

    def __init__(self, uplink: Uplink, name: bytes) -> None:
        self._uplink = uplink
        self._name = name

    def proved(self) -> None:
        self._uplink.statements.pop(self._name, None)
        self._uplink.there.add(self._name)

    def dropped(self) -> None:
        """The session still has it, and can be given it anywhere."""


def kept_there(uplink: Uplink) -> bool:
    """Does the session keep a server that has prepared statements by the client's names?"""
    return Pin.PREPARE in uplink.conductor.ledger.pins


def called(uplink: Uplink, known: Known, text: bytes) -> list[bytes]:
    """The session's names that a text may use. Of one that is too long to be read: all of them."""
    facts = known.facts
    if facts.kind is Kind.UNKNOWN and len(text) > MAX_PARSE and _NAMES.match(text) is not None:
        return [name for name in uplink.statements if name]
    return [name for word in facts.prepared if (name := word.encode()) in uplink.statements]


def put_there(uplink: Uplink, names: Iterable[bytes], server: Server, *, keep: bool) -> bytes:
    """What goes ahead so that these stand on the server; empty if the session has none of them. Not while skipping."""
    pipeline = server.pipeline
    strays = server.statements.strays
    up: list[bytes] = []
    for name in names:
        statement = uplink.statements.get(name)
        if statement is None:
            continue
        foreign = foreign_name(name)
        (strays.discard if keep else strays.add)(foreign)
        pipeline.add(CLOSE, None, SWALLOW)
        pipeline.add(PARSE, Placed(uplink, name), SWALLOW)
        up += (close_message(foreign), statement.parse_message(foreign, fresh=False))
    if up and keep:
        uplink.conductor.ledger.pin(Pin.PREPARE)
    return b"".join(up)


def summon_for_parse(uplink: Uplink, statement: Prepared, server: Server) -> None:
    """A statement is about to be parsed: see whether it names others, which the server then needs. Raises Waits."""
    known = uplink.conductor.known(statement.query)
    statement.names = bool(known.facts.prepared)
    if known.facts.kind is not Kind.DEALLOCATE:
        summon(uplink, known, server)


def summon(uplink: Uplink, known: Known, server: Server) -> None:
    """The server needs the statements that one names which is about to be parsed, or bound. Raises Waits."""
    pipeline = server.pipeline
    stays_there(uplink, known)
    names = [name for word in known.facts.prepared if (name := word.encode()) in uplink.statements]
    if not names or pipeline.skipping or pipeline.copy_in or pipeline.status == _FAILED:
        return
    if not uplink.doubtful.keys().isdisjoint(names):
        raise Waits(_FLUSH)
    raise Waits(put_there(uplink, names, server, keep=known.facts.kind is not Kind.DEALLOCATE) + _FLUSH)


def stays_there(uplink: Uplink, known: Known) -> None:
    """A text goes up that may give names on the server."""
    if Pin.PREPARE in known.facts.pins:
        uplink.there.update(word.encode() for word in known.facts.prepared)


def stands_there(uplink: Uplink, server: Server) -> bool:
    """Must the server be asked what has become of a name that SQL may have given there? Raises Waits."""
    if kept_there(uplink):
        return True
    pipeline = server.pipeline
    if pipeline.turns_outstanding and not pipeline.copy_in:
        raise Waits(b"")
    uplink.there.clear()
    return False


def parse_there(name: bytes, statement: Prepared, server: Server) -> bytes:
    """The client's Parse by a name that SQL may have given: the server knows whether it is free."""
    server.pipeline.add(PARSE)
    return statement.parse_message(foreign_name(name))
