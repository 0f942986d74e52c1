"""Messages whose body cannot be read: the server says what it thinks of them, and the connection lives on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol import tags
from protocol.replies import BIND, CLOSE, DESCRIBE_STATEMENT, EXECUTE, PARSE, QUERY

if TYPE_CHECKING:
    from pool.server import Server
    from proxy.uplink_ports import Conductor

_KINDS: Final = {
    tags.QUERY: QUERY,
    tags.PARSE: PARSE,
    tags.BIND: BIND,
    tags.DESCRIBE: DESCRIBE_STATEMENT,
    tags.EXECUTE: EXECUTE,
    tags.CLOSE: CLOSE,
}


def pass_malformed(tag: int, conductor: Conductor, server: Server) -> bool:
    """Expect an answer to it; False if the server must not see it."""
    kind = _KINDS.get(tag)
    if kind is None:
        return False
    server.pipeline.add(kind, conductor.query(conductor.known(b""), b"", server) if kind == QUERY else None)
    return True
