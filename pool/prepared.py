"""Prepared statements that outlive the server connection they were made on.

A client names its statements as it likes; on a server they stand under a name of ours that belongs to the *content*
(text and parameter types), so that clients share them and any server can be given any of them. When a client uses a
statement on a server that has not got it, its Parse is sent first and the reply swallowed.

What a text means also depends on the *place* where it is read: search_path, rules of quoting, DateStyle of its
constants. Texts read in different places are different contents. And it changes when definitions do. PostgreSQL
refuses a statement whose result has another shape than when it was parsed (0A000), because the client was told of the
old one. So that this holds wherever a statement is parsed again, one content has one shape on all servers: it is learnt
with the first Parse, and whoever parses it anew must see the same (proxy/uplink_shapes.py does that). What differs is a
new content, for those who prepare from now on.

What a server has is known only by proof. A Parse that is on its way counts for the rest of its own batch (if it fails,
the whole batch is skipped with it) and for nothing later: a later batch closes and parses again, which is right
whatever became of the first. When such a second Parse is skipped, nobody can tell whether its Close was skipped too:
the statement stays in doubt until a Parse of it is proved. Names are never used twice for different contents.

Manual: "Extended Query"; the unnamed statement lives until the next unnamed Parse or simple Query.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from struct import pack

PREFIX = b"forebay_"
_DOUBT = -1  # the number of no batch


@dataclass(slots=True, eq=False)
class Prepared:
    """A statement's content: what Parse says, apart from the name. Compared by identity: contents are interned.

    ``name`` is empty for an unnamed statement that one client has been told about; else servers know it by that name.
    """

    name: bytes
    query: bytes
    types: bytes
    bind_name: bytes  # the name with its terminator, as Bind wants it
    place: bytes = b""
    shape: bytes | None = None  # of its result, as whoever asks is told (protocol/description.py); None: not known
    parameters: bytes = b""  # their types, known with the shape
    names: bool | None = None  # does its text name prepared statements? None: nobody has looked

    def parse_message(self, name: bytes, *, fresh: bool = True) -> bytes:
        """A Parse for it, under this name. Not ``fresh``: with the types of parameters that clients count on."""
        types = self.types if fresh or self.shape is None else self.parameters
        length = 4 + len(name) + 1 + len(self.query) + 1 + 2 + len(types)
        return b"P%b%b\0%b\0%b%b" % (pack(">I", length), name, self.query, pack(">H", len(types) // 4), types)


def close_message(name: bytes) -> bytes:
    """Close of a prepared statement."""
    return b"C%bS%b\0" % (pack(">I", 4 + 1 + len(name) + 1), name)


class Registry:
    """All contents seen in one pool, interned; the least recently prepared is forgotten beyond ``limit`` or ``size``.

    A forgotten content that a client still holds goes on working: the client holds the object itself, and its name is
    not given to another content.
    """

    def __init__(self, limit: int, size: int = 64 * 2**20) -> None:
        self._limit = limit
        self._size = size  # bytes of text
        self._held = 0
        self._by_content: OrderedDict[tuple[bytes, bytes, bytes], Prepared] = OrderedDict()
        self._made = 0

    def intern(self, query: bytes, types: bytes, place: bytes) -> Prepared:
        """The one object for this content."""
        content = (query, types, place)
        found = self._by_content.get(content)
        if found is None:
            self._made += 1
            name = PREFIX + str(self._made).encode()
            found = self._by_content[content] = Prepared(name, query, types, name + b"\0", place)
            self._held += len(query)
            while len(self._by_content) > self._limit or self._held > self._size:
                (forgotten, _, _), _ = self._by_content.popitem(last=False)
                self._held -= len(forgotten)
        else:
            self._by_content.move_to_end(content)
        return found

    def is_current(self, statement: Prepared) -> bool:
        """Would who prepares this content now be given this statement?"""
        return self._by_content.get((statement.query, statement.types, statement.place)) is statement

    def retire(self, statement: Prepared) -> None:
        """Its result type has changed: the same content means something else from now on, under another name."""
        if self.is_current(statement):
            del self._by_content[statement.query, statement.types, statement.place]
            self._held -= len(statement.query)

    def renew(self) -> None:
        """Definitions have changed: whatever is prepared from now on may mean something else."""
        self._by_content.clear()
        self._held = 0

    def __len__(self) -> int:
        return len(self._by_content)


class Presence(Enum):
    """Whether a server has a statement."""

    PRESENT = auto()  # proved, or on its way in this same batch
    ABSENT = auto()
    DOUBTFUL = auto()  # on its way in an earlier batch that has not answered


class ServerStatements:
    """What one server connection has, by proof, in order of use."""

    __slots__ = ("_pending", "_proved", "_unnamed", "_unnamed_batch", "strays")

    def __init__(self) -> None:
        self._proved: OrderedDict[Prepared, None] = OrderedDict()  # with those in doubt: they may be there
        self._pending: dict[Prepared, int] = {}  # the batch of the last Parse; while it stands, _proved says nothing
        self._unnamed: Prepared | None = None
        self._unnamed_batch = -1  # the batch that its Parse went with; -1 = proved
        self.strays: set[bytes] = set()  # names of clients' own that must be closed before others use the server

    def presence(self, statement: Prepared, batch: int) -> Presence:
        """Can a Bind in this batch rely on it?"""
        sent_in = self._pending.get(statement) if self._pending else None
        if sent_in is not None:
            return Presence.PRESENT if sent_in == batch else Presence.DOUBTFUL
        if statement in self._proved:
            self._proved.move_to_end(statement)
            return Presence.PRESENT
        return Presence.ABSENT

    def sent(self, statement: Prepared, batch: int) -> None:
        """Its Parse is on the way."""
        self._pending[statement] = batch

    def proved(self, statement: Prepared, batch: int) -> None:
        """ParseComplete of that batch has come; a later Parse may be on its way already."""
        if self._pending.get(statement, batch) == batch:
            self._pending.pop(statement, None)
        self._proved[statement] = None

    def dropped(self, statement: Prepared, batch: int) -> None:
        """Its Parse in that batch failed or was skipped."""
        if self._pending.get(statement) == batch:
            if statement in self._proved:
                self._pending[statement] = _DOUBT
            else:
                del self._pending[statement]

    def closed(self, statement: Prepared) -> None:
        """A Close has been sent for it, which cannot be skipped."""
        self._proved.pop(statement, None)
        self._pending.pop(statement, None)

    def distrust(self, statement: Prepared) -> None:
        """It is there, but not as it should be."""
        if statement in self._proved:
            self._pending[statement] = _DOUBT

    def doubt(self) -> None:
        """The server has said something that does not fit: whatever is used next is closed and parsed again."""
        for statement in self._proved:
            self._pending.setdefault(statement, _DOUBT)

    def unnamed_is(self, statement: Prepared, batch: int) -> bool:
        """Can a message of this batch rely on the unnamed statement being this one?"""
        return self._unnamed is statement and self._unnamed_batch in (-1, batch)

    def unnamed_sent(self, statement: Prepared, batch: int) -> None:
        """Its Parse is on the way."""
        self._unnamed = statement
        self._unnamed_batch = batch

    def unnamed_proved(self, statement: Prepared) -> None:
        """ParseComplete has come; a later Parse may be on its way already."""
        if self._unnamed is statement:
            self._unnamed_batch = -1

    def unnamed_becomes(self, statement: Prepared, told: Prepared) -> None:
        """The unnamed statement has been described: from now on it is the client's own copy, which says how."""
        if self._unnamed is statement:
            self._unnamed = told

    def unnamed_lost(self) -> None:
        """Replaced, dropped by a simple Query, or not known."""
        self._unnamed = None

    def clear(self) -> None:
        """DEALLOCATE ALL, DISCARD ALL: the server has none left, but for those whose Parse went behind it."""
        self._proved.clear()
        self._pending = {statement: batch for statement, batch in self._pending.items() if batch != _DOUBT}
        self.strays.clear()
        self._unnamed = None

    def surplus(self, limit: int) -> list[Prepared]:
        """The least recently used beyond ``limit``."""
        count = len(self._proved) - limit
        if count <= 0:
            return []
        return [statement for statement, _ in zip(self._proved, range(count), strict=False)]

    def __len__(self) -> int:
        return len(self._proved)
