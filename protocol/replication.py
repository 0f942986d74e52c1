"""What the CopyData of a replication connection carries: messages inside messages, with a tag of their own.

Some letters mean different things to each side and in each command, so there is a table for what a standby
sends, one for what a server streams, and one for a base backup. Positions in the log and times have 64 bits;
times count microseconds since the first of January 2000.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import construct as c

from protocol.errors import RemoteProtocolError
from protocol.wire import REST, TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

_POSITION: Final = c.Int64ub
_TIME: Final = c.Int64sb


def _carried(tag: bytes, *fields: Any) -> Any:
    return c.Struct("tag" / c.Const(tag), *fields, c.Terminated)


# A server streams its log.
STREAM: Final = {
    "XLogData": _carried(b"w", "start" / _POSITION, "end" / _POSITION, "time" / _TIME, "data" / REST),
    "PrimaryKeepalive": _carried(b"k", "end" / _POSITION, "time" / _TIME, "reply" / c.Flag),
}

# A standby tells how far it is.
STANDBY: Final = {
    "StandbyStatusUpdate": _carried(
        b"r",
        "written" / _POSITION,
        "flushed" / _POSITION,
        "applied" / _POSITION,
        "time" / _TIME,
        "reply" / c.Flag,
    ),
    "HotStandbyFeedback": _carried(
        b"h",
        "time" / _TIME,
        "xmin" / c.Int32ub,
        "xmin_epoch" / c.Int32ub,
        "catalog_xmin" / c.Int32ub,
        "catalog_xmin_epoch" / c.Int32ub,
    ),
}

# A server sends a base backup.
BACKUP: Final = {
    "NewArchive": _carried(b"n", "name" / TEXT, "path" / TEXT),
    "ManifestStart": _carried(b"m"),
    "BackupData": _carried(b"d", "data" / REST),
    "BackupProgress": _carried(b"p", "done" / c.Int64sb),
}


def parse(table: Mapping[str, Any], data: bytes) -> tuple[str, Any]:
    """Read what a CopyData carries: its name in `table`, and its fields; RemoteProtocolError if none."""
    for name, declaration in table.items():
        try:
            return name, declaration.parse(data)
        except c.ConstructError:
            continue
    raise RemoteProtocolError("invalid replication message")
