"""Hits inside a transaction: while it has only read, its reads are answered as if it were none.

At READ COMMITTED each statement sees what was committed when it began, and so does a hit, which is why the block makes
no difference until the transaction itself has written something that others do not see. It must have been begun by a
BEGIN alone, at that level, and since then nothing but quiet statements may have been sent: no write, no setting, no
savepoint, no lock, nothing unknown (``Ledger.reading``). And the session must wait for no answer.

What comes from the server in such a block may be kept, for the same reason.

A batch that is answered here leaves no portal on the server. One that a client executes again without a new Bind, which
would say that there are no more rows, is not there, or is one that has said so before.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from protocol import build, tags
from proxy.inbox import EXTENDED, batch_end
from proxy.ledger import IN_BLOCK

if TYPE_CHECKING:
    from pool.server import Server
    from proxy.session import Session

_header = Struct(">BI").unpack_from
_READY_IN_BLOCK = build.ready_for_query(b"T")


def answer_inside(session: Session, data: bytes, server: Server | None, now: float) -> bytes:
    """Answer what can be from the cache; what is left. ``server`` None: its BEGIN is deferred."""
    if server is not None and (
        server.pipeline.queue or server.pipeline.status != IN_BLOCK or session.uplink.open or session.uplink.left
    ):
        return data
    ledger = session.ledger
    if session.down.turns or session.full or ledger.in_block or ledger.pins or not session.database.caching:
        return data
    reader = session.reader
    while len(data) >= 5:
        tag, length = _header(data)
        if tag == tags.QUERY:
            end = 1 + length
            hit = 5 <= end <= len(data) and reader.simple(session, data, end, now, _READY_IN_BLOCK)
        elif tag in EXTENDED:
            end = batch_end(data)
            hit = end > 0 and reader.batch(session, data, end, now, _READY_IN_BLOCK)
        else:
            break
        if not hit:
            break
        data = data[end:]
    return data
