"""What two requests must have in common to share one answer.

A key is a plain tuple, compared whole on a hit, of six parts:

    0  scope      bytes        who asks and under which settings, see `scope`
    1  epoch      int          the schema epoch: the catalog snapshot under which the names were resolved
    2  statement  bytes        the text of the statement as it came, comments and blanks included
    3  types      bytes|None   extended protocol: the type OIDs of Parse as they came; simple: None
    4  bind       bytes|None   extended protocol: Bind after its two names, that is parameter formats,
                               lengths and values, and result formats; simple: None
    5  told       bytes|None   extended protocol: what the client was told of the result's columns before it sent
                               Bind, and takes it to have; None: nothing, it takes what comes

The parts are bytes wherever possible, because bytes remember their hash and compare in one memcmp; a nested
tuple would be hashed again at every lookup. The wire's own encoding carries counts and lengths, so two
different Binds never look alike. Two that mean the same may look different: that costs a hit, not the truth.
Whether the client speaks the simple or the extended protocol shows in parts 3 and 4 being there.
Not in the key: the portal's name, the statement's name (they name, they do not mean), max_rows (only complete
answers are kept), and whether Describe was asked (the entry keeps the description apart).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Key: TypeAlias = "tuple[bytes, int, bytes, bytes | None, bytes | None, bytes | None]"

_LENGTH: Final = struct.Struct("!I")


def scope(
    cluster: str,
    database: int,
    session_user: str,
    role: str,
    search_path: Sequence[str],
    settings: Mapping[str, str],
) -> bytes:
    """The part of a key that belongs to a session; build it once and again whenever one of these changes.

    `cluster` is the system identifier of the server and `database` an OID, so that a name that is used again
    means something else. `session_user` is who logged in, `role` who is in effect. `settings` are the values
    in effect of every setting that is not at its default and not known to be harmless, in any order. Every
    field carries its length, so that no two scopes run into each other.
    """
    fields = [cluster, str(database), session_user, role, str(len(search_path)), *search_path]
    for name in sorted(settings):
        fields += (name, settings[name])
    parts: list[bytes] = []
    for field in fields:
        # Names may hold undecodable bytes as lone surrogates, which must stay distinguishable.
        data = field.encode("utf-8", "surrogatepass")
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def simple_key(scope: bytes, epoch: int, statement: bytes) -> Key:
    """The key of a statement sent with Query (`statement` without the closing NUL)."""
    return (scope, epoch, statement, None, None, None)


def extended_key(
    scope: bytes, epoch: int, statement: bytes, types: bytes, bind: bytes, told: bytes | None = None
) -> Key:
    """The key of a statement sent with Parse, Bind and Execute; see the head of this file for the parts."""
    return (scope, epoch, statement, types, bind, told)


def key_bytes(key: Key) -> int:
    """How many bytes the parts of a key hold, the fixed cost of the objects not counted."""
    size = len(key[0]) + len(key[2])
    if key[3] is not None:
        size += len(key[3])
    if key[4] is not None:
        size += len(key[4])
    if key[5] is not None:
        size += len(key[5])
    return size
