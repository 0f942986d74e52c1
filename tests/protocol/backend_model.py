"""A PostgreSQL of thirty lines: which messages answer which requests, with errors, skip-until-Sync and COPY in.

Written from the manual ("Message Flow"), not from the machine that it is compared with.
"""

from __future__ import annotations

from protocol.replies import (
    BIND,
    CLOSE,
    COPY_END,
    DESCRIBE_PORTAL,
    DESCRIBE_STATEMENT,
    EXECUTE,
    FUNCTION,
    PARSE,
    QUERY,
    SYNC,
)
from tests.support.frames import data_row, error_response, frame, row_description

ERROR = error_response("22012", "division by zero")
COPY_IN = frame("G", b"\0\0\0")
_COMPLETE = frame("C", b"SELECT 1\0")
_ANSWERS = {
    PARSE: frame("1"),
    BIND: frame("2"),
    CLOSE: frame("3"),
    DESCRIBE_STATEMENT: frame("t", b"\0\0") + row_description("a"),
    DESCRIBE_PORTAL: frame("n"),
    EXECUTE: data_row("x") + data_row("y") + _COMPLETE,
    QUERY: row_description("a") + data_row("x") + _COMPLETE + frame("I"),
    FUNCTION: frame("V", b"\0\0\0\0"),
}
EXTENDED = (PARSE, BIND, CLOSE, DESCRIBE_STATEMENT, DESCRIBE_PORTAL, EXECUTE)


def ready(status: str = "I") -> bytes:
    """A ReadyForQuery."""
    return frame("Z", status.encode())


class Backend:
    """Give it what was sent, one request after the other; get what it answers."""

    def __init__(self) -> None:
        self.skipping = False
        self.copying = -1  # the kind of request that is reading copy data

    def answer(self, kind: int, *, fails: bool = False, copies: bool = False) -> bytes:
        """One request; ``copies``: it is a COPY FROM STDIN; COPY_END stands for CopyDone, failing for CopyFail."""
        if self.copying >= 0:
            return self._within_copy(kind, fails=fails)
        if kind == SYNC:
            self.skipping = False
            return (ERROR if fails else b"") + ready()
        if self.skipping or kind == COPY_END:
            return b""
        if fails:
            self.skipping = kind in EXTENDED
            return ERROR if self.skipping else ERROR + ready("E")
        if copies:
            self.copying = kind
            return COPY_IN
        return _ANSWERS[kind] + (b"" if kind in EXTENDED else ready("T"))

    def fail_copy(self) -> bytes:
        """The copy data could not be read."""
        kind, self.copying = self.copying, -1
        self.skipping = kind == EXECUTE
        return ERROR if self.skipping else ERROR + ready()

    def _within_copy(self, kind: int, *, fails: bool) -> bytes:
        if kind == SYNC:
            return b""
        if kind != COPY_END or fails:
            return self.fail_copy()
        kind, self.copying = self.copying, -1
        return frame("C", b"COPY 1\0") + (ready() if kind == QUERY else b"")
