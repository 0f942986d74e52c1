"""The conversation with one server: which request does the next reply belong to, and who gets to see it.

Theory of operation
-------------------
PostgreSQL answers requests strictly in order, so a conversation is a queue of *outstanding requests*; there is no
"current operation". Each entry of the queue is a plain tuple ``(kind, action, note, reply)``:

``kind``    which request it was; it decides which replies end it (table below).
``action``  FORWARD: its replies go to the client. SWALLOW: we injected it, its replies are dropped; with a ``reply``,
            that is what the client hears of its failing for want of its statement (26000).
            FAKE: nothing was sent; ``reply`` goes to the client when everything before it has been answered.
``note``    any object of the caller's. It comes back in ``proved`` when the reply shows that the request took effect,
            in ``dropped`` when an error made the server skip it: state is recorded by proof, never by sending.

=====================  ==============================  ==========================================
request                ended by                        on ErrorResponse
=====================  ==============================  ==========================================
QUERY, FUNCTION        ReadyForQuery                   the entry stays, ReadyForQuery follows
PARSE, BIND, CLOSE     ParseComplete, ...              everything up to the next SYNC is dropped
DESCRIBE_... (either)  RowDescription or NoData        same (of a statement ParameterDescription before)
EXECUTE                CommandComplete, EmptyQuery,    same
                       PortalSuspended
SYNC                   ReadyForQuery                   a failed commit: ReadyForQuery follows
=====================  ==============================  ==========================================

NoticeResponse, NotificationResponse and ParameterStatus may come at any time and belong to no request.

*Skip until Sync.* After an error in the extended protocol the server ignores everything up to Sync. If the queue holds
no SYNC yet, the machine goes on skipping: requests added meanwhile are dropped at once, as the server does.

*COPY in.* Between CopyInResponse and CopyDone/CopyFail (``copy_in``) the server ignores Sync, and none must be sent.
One that is on its way when CopyInResponse arrives gets no answer and leaves the queue; unless the copy fails before
the server has read it, which nobody can see from here, so that after such a failure the conversation is lost. The
caller therefore sends no Sync before it knows whether a copy begins. A CopyDone that was sent before CopyInResponse
arrived stands in the queue as COPY_END, so that Syncs behind it keep their answers.

*Streaming.* Rows, copy data and anything longer than ``HOLD`` are passed on as they arrive; short messages are held
until they are complete, because their content decides. The machine does no I/O and knows no clock.

Manual: "Message Flow", "Extended Query", "COPY Operations"; PostgreSQL 18, chapter 54.2.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Final

from protocol.description import Description
from protocol.errors import RemoteProtocolError
from protocol.plain import Shape, count_rows
from protocol.probe import Probe
from protocol.replies import (
    ANY_TIME,
    BIND,
    COPY_END,
    DESCRIBED,
    END,
    END_LOOK,
    EXTENDED,
    FAKE,
    FORWARD,
    FUNCTION,
    HOLD,
    LONGEST,
    PARSE,
    QUERY,
    ROW,
    RULES,
    SWALLOW,
    SYNC,
    WITHIN_LOOK,
    WITHIN_PASS,
    Entry,
    Finished,
    is_held,
)

_header = Struct(">BI").unpack_from
_STATUS: Final = frozenset((0x49, 0x54, 0x45))  # I T E
_UNKNOWN_NAME: Final = b"\0C26000\0"
_TURNS: Final = frozenset((QUERY, FUNCTION, SYNC))
_NOBODY: Final[Entry] = (SYNC + 8, FORWARD, None, b"")  # in place of a request when nothing is outstanding


class Pipeline:
    """The queue of outstanding requests of one server connection.

    Feed it what is sent (``add`` and friends) and what arrives (``receive``). After ``receive`` the caller reads and
    empties ``proved``, ``dropped``, ``finished`` and ``parameters`` *before* it passes the returned bytes on;
    ``errors`` holds those of the turn that is not finished yet. Raises RemoteProtocolError when the server says
    something that answers nothing.
    """

    __slots__ = (
        "_fakes",
        "_held",
        "_stream_forward",
        "_stream_left",
        "_unsure",
        "batch",
        "copy_began",
        "copy_in",
        "dropped",
        "errors",
        "failed",
        "finished",
        "last_tag",
        "mute",
        "notices",
        "parameters",
        "plain",
        "proved",
        "queue",
        "rows",
        "skipping",
        "status",
        "swallowed_errors",
    )

    def __init__(self) -> None:
        self.queue: deque[Entry] = deque()
        self.status = 0x49  # transaction status of the last ReadyForQuery: I, T or E
        self.skipping = False  # an extended error happened and no Sync has been sent since
        self.plain: Shape | None = None  # set while all that is outstanding may be a plain turn, see plain.py
        self.copy_in = False  # the server is reading CopyData and has not been sent CopyDone or CopyFail
        self.copy_began = False  # since the caller last said that none had
        self.batch = 0  # counts Sync, Query and FunctionCall: requests of one batch succeed or fail together
        self.last_tag = b""
        self.mute = False  # notifications go to nobody
        self.rows = 0
        self.notices = 0
        self.proved: list[object] = []
        self.dropped: list[object] = []
        self.finished: list[Finished] = []
        self.parameters: list[tuple[bytes, bool]] = []  # (body of a ParameterStatus, was it passed on)
        self.errors: list[bytes] = []  # bodies of ErrorResponses passed on, cut at HOLD
        self.swallowed_errors: list[bytes] = []
        self.failed: list[object] = []  # of the dropped, those that failed themselves
        self._fakes = 0  # entries in the queue that no reply will end: FAKE and COPY_END
        self._held = b""
        self._stream_left = 0
        self._stream_forward = True
        self._unsure = False  # a Sync was on its way when a copy began that has not ended well

    # -- what is sent ---------------------------------------------------------------------------------------------

    @property
    def at_rest(self) -> bool:
        """Nothing outstanding, no message half read: the connection may change hands (its status says how)."""
        return not self.queue and not self._stream_left and not self._held and not self.skipping

    @property
    def mid_message(self) -> bool:
        """Part of a message has been passed to the client: nothing but its rest may follow."""
        return self._stream_left > 0 and self._stream_forward

    @property
    def turns_outstanding(self) -> bool:
        """An earlier turn of the owner's is not answered: the transaction's status by then is not known."""
        return any(kind in _TURNS and action == FORWARD for kind, action, _, _ in self.queue)

    def add(self, kind: int, note: object = None, action: int = FORWARD, reply: bytes = b"") -> None:
        """A request has been, or is about to be, sent. Dropped at once while the server skips to Sync."""
        if self.skipping:
            if kind != SYNC:
                if note is not None:
                    self.dropped.append(note)
                return
            self.skipping = False
        if kind == SYNC or kind <= FUNCTION:
            self.batch += 1
        self.queue.append((kind, action, note, reply))

    def add_turn(self, shape: Shape, note: object, parsing: object = None) -> None:
        """The requests of a usual turn, all to be passed on; ``parsing`` is its Parse's note. Not while skipping."""
        self.batch += 1
        queue = self.queue
        if shape.parsed:
            queue.append((PARSE, FORWARD, parsing, b""))
        queue.extend(shape.middle)
        queue.append((shape.last, FORWARD, note, b""))

    def add_fake(self, kind: int, reply: bytes, note: object = None) -> None:
        """A request that is answered by us, in its place."""
        if self.skipping:
            if note is not None:
                self.dropped.append(note)
            return
        self.queue.append((kind, FAKE, note, reply))
        self._fakes += 1

    def copy_ended(self) -> bool:
        """CopyDone or CopyFail from the client: True if it must be sent on, False if there is no copy to end."""
        if self.copy_in:
            self.copy_in = False
            return True
        if not self.queue:
            return False
        if not self.skipping:
            self.queue.append((COPY_END, FAKE, None, b""))
            self._fakes += 1
        return True

    def take_fakes(self) -> bytes:
        """What can be answered now without the server: for Flush, and when nothing is outstanding."""
        if self._stream_left:  # within a message nothing else may be said
            return b""
        out: list[bytes] = []
        queue = self.queue
        while self._fakes and queue and queue[0][1] == FAKE:
            _, _, note, reply = queue.popleft()
            self._fakes -= 1
            if note is not None:
                self.proved.append(note)
            out.append(reply)
        return b"".join(out)

    # -- what arrives ---------------------------------------------------------------------------------------------

    def receive_plain(self, data: bytes) -> int:
        """If this is the whole answer to a plain turn: how many rows it has. Else -1, and it must be received."""
        shape = self.plain
        queue = self.queue
        if shape is None or len(queue) != shape.size or self._held or self._stream_left:
            return -1
        rows = count_rows(data, shape)
        if rows >= 0:
            self.plain = None
            if queue[0][2] is not None and shape.parsed:
                self.proved.append(queue[0][2])
            queue.clear()
        return rows

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the server; return what goes to the client (often ``data`` itself)."""
        self.plain = None
        if self._held:
            data = self._held + data
            self._held = b""
        size = len(data)
        position = 0
        start = 0  # everything before it is in ``out`` or swallowed
        out: list[bytes] | None = None
        if self._stream_left:
            if size <= self._stream_left:
                self._stream_left -= size
                forward = data if self._stream_forward else b""
                return forward + self.take_fakes() if self._fakes and not self._stream_left else forward
            position = self._stream_left
            self._stream_left = 0
            if not self._stream_forward:
                start = position
        queue = self.queue
        while size - position >= 5:
            if self._fakes and queue and queue[0][1] == FAKE:
                out = out or []
                out.append(data[start:position])
                out.append(self.take_fakes())
                start = position
            tag, length = _header(data, position)
            end = position + 1 + length
            if not 4 <= length <= LONGEST:
                raise RemoteProtocolError(f"the server sent a message of type {tag:#04x} with length {length}")
            if end > size and is_held(tag, length):
                break
            head = queue[0] if queue else _NOBODY
            swallow = head[1]
            rule = RULES.get(head[0] << 8 | tag, 0)
            if rule == ROW:
                self.rows += 1
            elif rule == END:
                queue.popleft()
                if head[2] is not None:
                    self.proved.append(head[2])
            elif rule != WITHIN_PASS:
                swallow = self._message(rule, tag, data, position + 5, end if end < size else size)
            if swallow:
                if start < position:
                    out = out or []
                    out.append(data[start:position])
                start = end if end < size else size
            if end > size:
                self._stream_left = end - size
                self._stream_forward = not swallow
                position = size
                break
            position = end
        if position < size:
            self._held = data[position:]
        if out is None:
            whole = data if start == 0 and position == size else data[start:position] if start < position else b""
            return whole + self.take_fakes() if self._fakes and not self._stream_left else whole
        if start < position:
            out.append(data[start:position])
        if self._fakes and not self._stream_left:
            out.append(self.take_fakes())
        return b"".join(out)

    def _message(self, rule: int, tag: int, data: bytes, body: int, end: int) -> int:
        """One message whose content matters, or that answers nothing. Returns SWALLOW or FORWARD."""
        queue = self.queue
        kind, action, note, reply = queue[0] if queue else _NOBODY
        if rule == DESCRIBED:
            if isinstance(note, Description):
                note.read(tag, data[body:end])
            if tag == 0x74:
                return action
            rule = END_LOOK
        if rule == WITHIN_LOOK and tag != 0x43:
            self._copy_begins()
            return action
        if rule in (END_LOOK, WITHIN_LOOK):
            if rule == END_LOOK:
                queue.popleft()
            self.copy_in = self._unsure = False
            if tag == 0x5A:
                return self._ready(data, body, end, action, note)
            if tag == 0x43:
                self.last_tag = data[body : end - 1]
            if note is not None and rule == END_LOOK:
                self.proved.append(note)
            return action
        if tag not in ANY_TIME:
            what = "that answers nothing" if queue else "although nothing was asked"
            raise RemoteProtocolError(f"the server sent a message of type {chr(tag)!r} {what}")
        if tag == 0x45:
            if isinstance(note, Probe):
                note.failed = True
                return SWALLOW
            swallowed = action == SWALLOW and kind <= FUNCTION
            (self.swallowed_errors if swallowed else self.errors).append(data[body : min(end, body + HOLD)])
            return self._error(action, reply)
        if tag == 0x41 and self.mute:
            return SWALLOW
        if tag == 0x53:
            self.parameters.append((data[body:end], action == FORWARD))
        elif action != SWALLOW:
            self.notices += 1
        return action

    def _ready(self, data: bytes, body: int, end: int, action: int, note: object) -> int:
        if end - body != 1 or data[body] not in _STATUS:
            raise RemoteProtocolError("the server sent a malformed ReadyForQuery")
        self.status = data[body]
        if action != SWALLOW:
            error = self.errors[-1] if self.errors else None
            self.finished.append(Finished(note, self.status, error, self.last_tag, self.rows, self.notices))
            self.errors.clear()
            self.notices = 0
        elif note is not None:
            if isinstance(note, Probe) and not note.failed:
                note.rows = self.rows
            self.proved.append(note)
        self.last_tag = b""
        self.rows = 0
        return action

    def _error(self, action: int, reply: bytes) -> int:
        queue = self.queue
        self.copy_in = False
        if self._unsure:
            raise RemoteProtocolError("a COPY failed with a Sync sent ahead: nobody knows how often it will answer")
        if queue and queue[0][0] in EXTENDED:
            self.failed.append(queue[0][2])
            while queue and queue[0][0] != SYNC:
                _, did, note, _ = queue.popleft()
                if did == FAKE:
                    self._fakes -= 1
                if note is not None:
                    self.dropped.append(note)
            self.skipping = not queue
            if not (reply and _UNKNOWN_NAME in self.errors[-1]):
                return FORWARD  # an injected Parse that fails is the failure of what it was injected for
            self.errors[-1] = reply[5:]
            queue.appendleft((BIND, FAKE, None, reply))
            self._fakes += 1
            return SWALLOW
        return action

    def _copy_begins(self) -> None:
        queue = self.queue
        self.copy_began = True
        while len(queue) > 1:
            following = queue[1][0]
            if following == COPY_END:
                del queue[1]
                self._fakes -= 1
                return
            if following != SYNC:
                break
            if queue[1][2] is not None:
                self.dropped.append(queue[1][2])
            del queue[1]
            self._unsure = True
        self.copy_in = True
