"""One connection to the console, in the simple and the extended protocol.

Messages are taken one by one and answered in order. Two things make a connection wait: a PAUSE that is not complete,
and a client that does not read; what it sends meanwhile stays in the buffer, which is bounded. Rows are made a batch
at a time, and between batches others have their turn, so that a table with a row for each of ten thousand clients
delays nobody's queries.

An error ends the statement, as on a server: of a simple query the rest, of the extended protocol everything up to
Sync. Only what cannot be a message at all ends the connection. Transactions are taken for what they are worth:
statements take effect at once, and BEGIN only changes the status that drivers look at.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Final

from protocol import build, hot, tags
from protocol.errors import RemoteProtocolError
from proxy.console.command import Command, CommandError, Verb, parse, split
from proxy.console.portal import Portal, formats_of
from proxy.console.rights import check
from proxy.console.table import Table, data_row, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.console.execute import Done, Executor
    from proxy.console.rights import Role

MESSAGE_LIMIT: Final = 1 << 20
"""Bytes; commands are short."""

_header = Struct(">BI").unpack_from
_BATCH: Final = 100  # rows
_IDLE: Final = b"I"
_OPEN: Final = b"T"
_EXTENDED: Final = frozenset((tags.PARSE, tags.BIND, tags.DESCRIBE, tags.EXECUTE, tags.CLOSE))
_HANDLED: Final = _EXTENDED | {tags.QUERY}


class ConsoleConnection(asyncio.Protocol):
    """``role`` is asked for every command, since a reload may change it; ``on_lost`` is called once."""

    def __init__(
        self,
        transport: asyncio.Transport,
        executor: Executor,
        role: Callable[[], Role | None],
        log: Callable[[str], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._executor = executor
        self._role = role
        self._log = log
        self._on_lost = on_lost
        self._buffer = bytearray()
        self._todo: deque[tuple[str, ...]] = deque()  # statements of a simple query
        self._simple = False  # a simple query is being answered
        self._skipping = False  # after an error, until Sync
        self._status = _IDLE
        self._statements: dict[bytes, Command | None] = {}  # None: an empty text
        self._portals: dict[bytes, Portal] = {}
        self._running: Portal | None = None  # its rows are going out
        self._limit = 0
        self._paused: Command | None = None  # a PAUSE that waits
        self._reading = True
        self._choked = False
        self._scheduled = False
        self._closing = False

    # -- asyncio --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._reading and len(self._buffer) > 2 * MESSAGE_LIMIT:
            self._reading = False
            self._transport.pause_reading()
        self._work()

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        self._later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._executor.forget(self._released)
        self._on_lost()

    def eof_received(self) -> bool:
        return False

    # -- from outside -----------------------------------------------------------------------------------------------

    def end(self) -> None:
        """The process ends."""
        self._refuse("57P01", "terminating connection due to administrator command")

    def cancel(self) -> None:
        """The client wants to wait no longer: only a PAUSE takes time."""
        if self._paused is not None:
            self._paused = None
            self._executor.forget(self._released)
            hint = "The pause stays; RESUME ends it."
            self._failed(CommandError("57014", "canceling statement due to user request", hint))
            self._later()

    # -- work ---------------------------------------------------------------------------------------------------------

    def _later(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._again)

    def _again(self) -> None:
        self._scheduled = False
        self._work()

    def _work(self) -> None:
        """Go on as far as it goes."""
        try:
            while not (self._closing or self._choked or self._scheduled or self._paused is not None):
                if self._running is not None:
                    self._batch(self._running)
                elif self._simple:
                    self._next_statement()
                elif not self._next_message():
                    break
        except RemoteProtocolError as error:
            self._refuse(error.sqlstate, error.message)

    def _next_message(self) -> bool:
        """Take one message; False if there is none yet."""
        buffer = self._buffer
        if len(buffer) < 5:
            return False
        tag, length = _header(buffer)
        if not 4 <= length <= MESSAGE_LIMIT:
            raise RemoteProtocolError(f"invalid message length {length}")
        if len(buffer) <= length:
            return False
        body = bytes(buffer[5 : length + 1])
        del buffer[: length + 1]
        if not self._reading and len(buffer) <= MESSAGE_LIMIT and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
        try:
            self._message(tag, body)
        except CommandError as error:
            self._failed(error)
        except RemoteProtocolError as error:
            if tag not in _HANDLED:
                raise
            self._failed(CommandError(error.sqlstate, error.message))
        return True

    def _message(self, tag: int, body: bytes) -> None:
        if tag == tags.TERMINATE:
            self._closing = True
            self._transport.close()
        elif tag == tags.SYNC:
            self._skipping = False
            if self._status == _IDLE:
                self._portals.clear()
            self._transport.write(build.ready_for_query(self._status))
        elif tag == tags.QUERY:
            self._simple = True
            self._skipping = False
            self._query(hot.read_query(body, 0, len(body)))
        elif tag in (tags.COPY_DATA, tags.COPY_DONE, tags.COPY_FAIL, tags.FLUSH):
            return  # nothing is held back, and no copy is going on: PostgreSQL ignores these, too
        elif tag == tags.FUNCTION_CALL:
            self._simple = True
            raise CommandError("0A000", "the console has no functions")
        elif tag not in _EXTENDED:
            raise RemoteProtocolError(f"invalid frontend message type {tag}")
        elif not self._skipping:
            self._extended(tag, body)

    def _failed(self, error: CommandError) -> None:
        """Tell the client; then a simple query is over, and anything else skipped up to Sync."""
        self._transport.write(build.error_response(error.sqlstate, error.message, hint=error.hint))
        self._running = None
        if self._simple:
            self._todo.clear()
            self._finish_query()
        else:
            self._skipping = True

    def _refuse(self, sqlstate: str, message: str) -> None:
        if not self._closing:
            self._closing = True
            self._transport.write(build.error_response(sqlstate, message, severity="FATAL"))
        self._transport.close()

    # -- the simple protocol ----------------------------------------------------------------------------------------

    def _query(self, text: bytes) -> None:
        self._portals.pop(b"", None)
        self._statements.pop(b"", None)
        self._todo.extend(split(_decoded(text)))
        if not self._todo:
            self._transport.write(build.empty_query_response())
            self._finish_query()

    def _next_statement(self) -> None:
        if not self._todo:
            self._finish_query()
            return
        try:
            command = parse(self._todo.popleft())
            self._start(Portal(command, self._executor.columns(command), [0]), 0)
        except CommandError as error:
            self._failed(error)

    def _finish_query(self) -> None:
        self._simple = False
        self._transport.write(build.ready_for_query(self._status))

    # -- the extended protocol ----------------------------------------------------------------------------------------

    def _extended(self, tag: int, body: bytes) -> None:
        if tag == tags.PARSE:
            self._parse(body)
        elif tag == tags.BIND:
            self._bind(body)
        elif tag == tags.DESCRIBE:
            self._describe(body)
        elif tag == tags.EXECUTE:
            name, limit = hot.read_execute(body, 0, len(body))
            self._start(self._portal(name), max(0, limit))
        else:
            kind, name = hot.read_target(body, 0, len(body))
            if kind == ord("S"):
                self._statements.pop(name, None)
            else:
                self._portals.pop(name, None)
            self._transport.write(build.close_complete())

    def _parse(self, body: bytes) -> None:
        name, text, types = hot.read_parse(body, 0, len(body))
        statements = split(_decoded(text))
        if types or len(statements) > 1:
            what = "parameters" if types else "several statements at once"
            raise CommandError("42601", f"{what} cannot be prepared on the console")
        if name and name in self._statements:
            raise CommandError("42P05", f'prepared statement "{_decoded(name)}" already exists')
        command = parse(statements[0]) if statements else None
        if command is not None:
            check(command, self._role())
        self._statements[name] = command
        self._transport.write(build.parse_complete())

    def _bind(self, body: bytes) -> None:
        name, statement, rest = hot.read_bind(body, 0, len(body))
        _, values, formats = hot.bind_parameters(body, rest, len(body))
        command = self._statement(statement)
        if values:
            raise CommandError("08P01", f"bind message supplies {len(values)} parameters, but the statement has none")
        if name and name in self._portals:
            raise CommandError("42P03", f'portal "{_decoded(name)}" already exists')
        columns = None if command is None else self._executor.columns(command)
        self._portals[name] = Portal(command, columns, formats_of(formats, len(columns or ())))
        self._transport.write(build.bind_complete())

    def _describe(self, body: bytes) -> None:
        kind, name = hot.read_target(body, 0, len(body))
        if kind == ord("S"):
            command = self._statement(name)
            columns = None if command is None else self._executor.columns(command)
            formats = [0] * len(columns or ())
            self._transport.write(build.parameter_description([]))
        else:
            portal = self._portal(name)
            columns, formats = portal.columns, portal.formats
        self._transport.write(build.no_data() if columns is None else describe(columns, formats))

    def _statement(self, name: bytes) -> Command | None:
        if name not in self._statements:
            raise CommandError("26000", f'prepared statement "{_decoded(name)}" does not exist')
        return self._statements[name]

    def _portal(self, name: bytes) -> Portal:
        if name not in self._portals:
            raise CommandError("34000", f'portal "{_decoded(name)}" does not exist')
        return self._portals[name]

    # -- running ----------------------------------------------------------------------------------------

    def _start(self, portal: Portal, limit: int) -> None:
        """Run a command, or go on with one whose rows are not all out."""
        command = portal.command
        if command is None:
            self._transport.write(build.empty_query_response())
            return
        if portal.rows is None:
            if portal.ran:
                raise CommandError("55000", "portal cannot be run anymore")
            portal.ran = True
            if command.verb not in (Verb.SHOW, Verb.BEGIN, Verb.END, Verb.NOTHING):
                self._log(" ".join(filter(None, (command.complete, command.argument))))
            answer = self._executor.run(command, self._role(), self._released)
            if answer is None:
                self._paused = command
                return
            if not isinstance(answer, Table):
                self._done(command, answer)
                return
            portal.rows = iter(answer.rows)
            if self._simple:
                portal.formats = [0] * len(answer.columns)
                self._transport.write(describe(answer.columns, portal.formats))
        self._running = portal
        self._limit = limit
        self._batch(portal)

    def _batch(self, portal: Portal) -> None:
        """Some more rows."""
        if portal.rows is None or portal.columns is None:
            raise RuntimeError("a portal without rows was started")
        wanted = min(_BATCH, self._limit or _BATCH)
        rows = list(islice(portal.rows, wanted))
        out = [data_row(portal.columns, row, portal.formats) for row in rows]
        if len(rows) < wanted:
            self._running = None
            out.append(build.command_complete("SHOW"))
        elif self._limit:
            self._limit -= wanted
            if not self._limit:
                self._running = None
                out.append(build.portal_suspended())
        self._transport.write(b"".join(out))
        if self._running is not None:
            self._later()

    def _done(self, command: Command, answer: Done) -> None:
        if command.verb is Verb.BEGIN:
            self._status = _OPEN
        elif command.verb is Verb.END:
            self._status = _IDLE
        if answer.notice is not None:
            message, detail = answer.notice
            self._transport.write(build.notice_response("00000", message, detail=detail))
        self._transport.write(build.command_complete(answer.tag))

    def _released(self, released: bool) -> None:
        """The PAUSE that this connection waits for is over."""
        command, self._paused = self._paused, None
        if command is None:
            return
        if released:
            self._transport.write(build.command_complete(command.complete))
        else:
            self._failed(CommandError("55000", "RESUME came before all servers were released"))
        self._later()


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")
