"""What drivers send all day to a server that is leased already, translated in one go.

Bind of a named statement to the unnamed portal, perhaps Describe, Execute of all rows, Sync: nothing is decided here
that the way of each of its messages (uplink.py) would decide otherwise. At rest express.py does the same, and more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pool.prepared import Presence
from proxy.uplink_notes import bind_message
from proxy.usual import execution_of, execution_shape, read_bound

if TYPE_CHECKING:
    from pool.server import Server
    from proxy.uplink import Uplink


def send_execution(uplink: Uplink, data: bytes, size: int, server: Server) -> bytes | None:
    """The bytes for the server; None if it is anything else, or if there is more to it."""
    tail = execution_of(data)
    end = size - tail
    name_end = read_bound(data, end) if tail else 0
    if not name_end:
        return None
    pipeline = server.pipeline
    statement = uplink.statements.get(data[6:name_end])
    if statement is None or pipeline.skipping or pipeline.copy_in:
        return None
    if server.statements.presence(statement, pipeline.batch) is not Presence.PRESENT:
        return None
    conductor = uplink.conductor
    known = conductor.known(statement.query)
    if known.copies or known.names:
        return None
    uplink.portals[b""] = (known, statement)
    conductor.executes(known, statement.query, server, partial=False)
    uplink.open = False
    pipeline.add_turn(execution_shape(tail), conductor.sync(server))
    return bind_message(b"", statement.bind_name, data, name_end + 1, size, end)
