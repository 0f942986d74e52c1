"""The way up of a client that keeps its server connection for good, as in session mode.

Nothing is translated: its prepared statements stand on the server under the client's own names, so that EXECUTE,
DEALLOCATE and pg_prepared_statements mean them, and the server itself says what it thinks of a name. What a name stands
for is still followed, because what a client executes must be known.

SQL can drop a name without being seen here, or make one. So a Parse counts as the name's meaning even if the name
seemed to be taken, until the server refuses it; a Bind of a name that is not known is executed as something unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pool.prepared import Prepared
from protocol.hot import read_bind, read_parse, read_target
from protocol.replies import BIND, CLOSE, DESCRIBE_PORTAL, DESCRIBE_STATEMENT, PARSE
from proxy.uplink import Uplink
from proxy.uplink_notes import STATEMENT, Naming, Registered

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.server import Server
    from proxy.knowledge import Known
    from proxy.uplink_ports import Conductor


class OwnUplink(Uplink):
    """Uplink that leaves names as they are; only for a session that never changes its server."""

    __slots__ = ("_known",)

    def __init__(self, conductor: Conductor, max_message: int, known: Callable[[bytes], Known]) -> None:
        super().__init__(conductor, max_message)
        self._known = known  # what is known of a text

    def _names(self, known: Known, text: bytes, server: Server) -> bytes | None:
        return None

    def _parse(self, data: bytes, body: int, end: int, server: Server) -> bytes | None:
        name, query, types = read_parse(data, body, end)
        pipeline = server.pipeline
        self.open = True
        statement = Prepared(name, query, types, name + b"\0")
        registered = Registered(self, name, statement, server)
        if not pipeline.skipping:
            registered.sends(statement)
            if name:
                server.statements.sent(statement, pipeline.batch)
            else:
                server.statements.unnamed_sent(statement, pipeline.batch)
        pipeline.add(PARSE, registered)
        return None

    def _bind(self, data: bytes, body: int, available: int, end: int, server: Server) -> bytes | None:
        portal, name, _ = read_bind(data, body, end)
        self.open = True
        statement = self.statements.get(name)
        if statement is None:
            self.portals.pop(portal, None)
        else:
            known = self._known(statement.query)
            self.portals[portal] = (known, statement)
            if portal and not server.pipeline.skipping:  # FETCH can run it without our seeing an Execute
                self.conductor.executes(known, statement.query, server, partial=True)
        server.pipeline.add(BIND)
        return None

    def _describe(self, data: bytes, body: int, end: int, server: Server) -> bytes | None:
        kind, _ = read_target(data, body, end)
        self.open = True
        server.pipeline.add(DESCRIBE_STATEMENT if kind == STATEMENT else DESCRIBE_PORTAL)
        return None

    def _close(self, data: bytes, body: int, end: int, server: Server) -> bytes | None:
        kind, name = read_target(data, body, end)
        self.open = True
        pipeline = server.pipeline
        note = None
        if kind != STATEMENT:
            self.portals.pop(name, None)
        elif name in self.statements:
            note = Naming(self, name, pipeline.batch)
            if not pipeline.skipping:
                server.statements.closed(self.statements[name])
                note.sends(None)
        pipeline.add(CLOSE, note)
        return None
