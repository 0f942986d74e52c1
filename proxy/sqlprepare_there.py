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


def summon(uplink: Uplink, known: Known, server: Server, *, parsing: bool) -> None:
    """A statement that names others is about to be parsed, or bound: the server needs them. Raises Waits."""
    pipeline = server.pipeline
    names = [name for word in known.facts.prepared if (name := word.encode()) in uplink.statements]
    if not names or pipeline.skipping or pipeline.copy_in or pipeline.status == _FAILED:
        return
    if not uplink.doubtful.keys().isdisjoint(names):
        raise Waits(_FLUSH)
    keep = known.facts.kind is not Kind.DEALLOCATE
    if keep or not parsing:
        raise Waits(put_there(uplink, names, server, keep=keep) + _FLUSH)
