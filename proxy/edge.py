"""Where clients come in: from an accepted socket to a client that has logged in and been handed over.

One task for each client, and only until it is handed over:

    bare socket   first byte 0x16: TLS at once (refused without ALPN); else the packets before the
                  StartupMessage, read from the socket itself (pool/sockets.py says why), or TLS by request
    transport     with TLS or without: the rest of the opening, then the login (protocol/accept.py decides)
    handed over   in the same step as AuthenticationOk is written: `on_client` gives the next protocol

The login timeout covers all of it. Whoever does not get as far is closed, and no more than `pending` clients
may be on their way at once: one more closes the one that has been on its way longest, so that those who never
finish keep nobody out.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pool.sockets import receive, tune
from pool.stream import Stream
from pool.tls import ALPN
from protocol import build
from protocol.accept import MESSAGE_LIMIT, Accept, ClientLogin, Terms, Verdict
from protocol.errors import ProtocolError
from protocol.startup import LIMIT, CancelRequest
from proxy.listen import Acceptor
from proxy.peers import address_of, certified_name, system_user_of
from proxy.tls import NO_TLS, ClientTls

if TYPE_CHECKING:
    from protocol.policy import Policy
    from protocol.secrets import Secret

logger = logging.getLogger("forebay.edge")

TLS_HANDSHAKE: Final = b"\x16"  # the first byte of a TLS record that holds a ClientHello
LOGIN_TIMEOUT_STATE: Final = "57014"

_CHUNK: Final = 4096
_TLS_SHUTDOWN: Final = 5.0  # seconds for a client to say goodbye

OnClient = Callable[[ClientLogin, asyncio.Transport, bytes], asyncio.Protocol | None]
OnCancel = Callable[[int, bytes], Awaitable[None]]
OnRefused = Callable[[ProtocolError], None]


class Asker(Protocol):
    """Finds out secrets that take longer."""

    async def ask(self, login: ClientLogin) -> Secret | None:
        """The secret, None for an unknown user. Raises ProtocolError when that cannot be found out."""

    def forget(self, login: ClientLogin) -> None:
        """What was found out did not fit."""


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What holds for clients that come from now on. ``login_timeout`` in seconds, 0 means none."""

    policy: Policy
    tls: ClientTls = NO_TLS
    login_timeout: float = 60.0
    startup_limit: int = LIMIT
    message_limit: int = MESSAGE_LIMIT
    pending: int = 1000
    asker: Asker | None = None  # for look-ups that answer LATER


class Edge:
    """Lets clients in.

    `on_client(login, transport, leftover)` is called without an await since AuthenticationOk was written. The
    protocol that it returns gets the transport (no `connection_made`) and then `leftover`, if there is any;
    with None the edge closes. A ProtocolError from it is told to the client as FATAL. `on_cancel(pid, key)`
    is awaited, then the connection closed. `on_refused` is told of every login that ended with an error.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        on_client: OnClient,
        on_cancel: OnCancel,
        on_refused: OnRefused = lambda error: None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.settings = settings
        self._on_client = on_client
        self._on_cancel = on_cancel
        self._on_refused = on_refused
        self._random = random
        self._acceptor = Acceptor(self.take)
        self._pending: dict[asyncio.Task[None], None] = {}  # oldest first
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """How many clients are on their way in."""
        return len(self._pending)

    def listen(self, listener: socket.socket) -> None:
        """Accept clients from a listening socket (see proxy/listen.py), which is the edge's from now on."""
        self._acceptor.add(listener)

    def stop_listening(self) -> None:
        """Accept nobody any more; who is on his way in may get there."""
        self._acceptor.close()

    async def close(self) -> None:
        """Stop listening and close whoever is on his way in; who was handed over stays."""
        self.stop_listening()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def take(self, sock: socket.socket) -> None:
        """Let in the client of an accepted socket, which is the edge's from now on."""
        if self._pending and len(self._pending) >= self.settings.pending:
            oldest = next(iter(self._pending))
            del self._pending[oldest]
            oldest.cancel()
        guest = _Guest(sock, self.settings, self._random)
        task = asyncio.get_running_loop().create_task(self._serve(guest), name="login")
        self._pending[task] = None
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._pending.pop(task, None)
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("letting in a client failed", exc_info=error)

    async def _serve(self, guest: _Guest) -> None:
        try:
            async with asyncio.timeout(self.settings.login_timeout or None):
                verdict = await guest.come_in()
            if verdict is Verdict.ADMITTED:
                self._hand_over(guest)
            elif verdict is Verdict.CANCEL and guest.accept.cancel is not None:
                await self._deliver(guest.accept.cancel)
            elif guest.accept.refusal is not None:
                self._refused(guest.accept.refusal)
        except ProtocolError as error:
            self._refused(guest.refuse(error.sqlstate, error.message))
        except TimeoutError:
            self._refused(guest.refuse(LOGIN_TIMEOUT_STATE, "canceling authentication due to timeout"))
        except ssl.SSLError as error:
            logger.info("TLS with a client failed: %s", error)
        except (OSError, EOFError) as error:
            logger.debug("a client left before it had logged in: %s", error)
        except asyncio.CancelledError:
            guest.abort()
            raise
        finally:
            guest.close()

    async def _deliver(self, cancel: CancelRequest) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._pending.pop(task, None)
        await self._on_cancel(cancel.pid, cancel.key)

    def _refused(self, error: ProtocolError) -> None:
        logger.info("a client was refused: %s (%s)", error.message, error.sqlstate)
        self._on_refused(error)

    def _hand_over(self, guest: _Guest) -> None:
        login, stream, leftover = guest.accept.login, guest.stream, guest.accept.leftover
        if login is None or stream is None:
            raise RuntimeError("admitted without a login")
        try:
            protocol = self._on_client(login, stream.transport, leftover)
        except ProtocolError as error:
            self._refused(guest.refuse(error.sqlstate, error.message))
            return
        if protocol is not None:
            guest.stream = None
            stream.hand_over(protocol, leftover)


class _Guest:
    """One client on its way in, and what must be closed if it does not get there."""

    def __init__(self, sock: socket.socket, settings: EdgeSettings, random: Callable[[int], bytes]) -> None:
        local = sock.family == socket.AF_UNIX
        tls = NO_TLS if local else settings.tls
        self.stream: Stream | None = None
        self._sock = sock
        self._tls = tls
        self._made = False
        self._asker = settings.asker
        self._asked = False
        terms = Terms(
            tls_offered=tls.context is not None,
            tls_required=tls.mode.insists,
            endpoint=tls.endpoint,
            startup_limit=settings.startup_limit,
            message_limit=settings.message_limit,
            address=address_of(sock),
            system_user=lambda: system_user_of(sock),
        )
        self.accept = Accept(settings.policy, terms, random)

    async def come_in(self) -> Verdict:
        """Until there is something to decide that is not ours: a login, a cancel request, a refusal."""
        tune(self._sock)
        first = await receive(self._sock, 1, socket.MSG_PEEK)
        if first == TLS_HANDSHAKE and self._tls.context is not None:
            stream = await self._start_tls(self._tls.context)
            tls_object: ssl.SSLObject = stream.transport.get_extra_info("ssl_object")
            if tls_object.selected_alpn_protocol() != ALPN:
                return Verdict.REFUSED
            return await self._log_in(stream, b"", Verdict.READ)
        return await self._open_in_clear()

    async def _open_in_clear(self) -> Verdict:
        loop = asyncio.get_running_loop()
        while True:
            answer, verdict = self.accept.receive(_some(await receive(self._sock, _CHUNK)))
            if verdict is Verdict.CANCEL:
                return verdict
            if verdict in (Verdict.ADMITTED, Verdict.ASK) or (verdict is Verdict.READ and not self.accept.opening):
                # The StartupMessage is here: from now on a transport writes and reads.
                return await self._log_in(await self._transport(None), answer, verdict)
            await loop.sock_sendall(self._sock, answer)
            if verdict is Verdict.REFUSED:
                return verdict
            if verdict is Verdict.START_TLS and self._tls.context is not None:
                return await self._log_in(await self._start_tls(self._tls.context), b"", Verdict.READ)

    async def _log_in(self, stream: Stream, answer: bytes, verdict: Verdict) -> Verdict:
        while True:
            if answer:
                stream.transport.write(answer)
            if verdict is Verdict.ASK:
                answer, verdict = self.accept.found(await self._ask())
            elif verdict is Verdict.READ:
                answer, verdict = self.accept.receive(_some(await stream.read()))
            else:
                if verdict is Verdict.REFUSED and self._asked and self._asker and self.accept.login:
                    self._asker.forget(self.accept.login)
                return verdict

    async def _ask(self) -> Secret | None:
        if self._asker is None or self.accept.login is None:
            raise RuntimeError("nobody to ask")
        self._asked = True
        return await self._asker.ask(self.accept.login)

    async def _start_tls(self, context: ssl.SSLContext) -> Stream:
        stream = await self._transport(context)
        self.accept.encrypted(certified_name(stream.transport.get_extra_info("ssl_object")))
        return stream

    async def _transport(self, context: ssl.SSLContext | None) -> Stream:
        loop = asyncio.get_running_loop()
        stream = Stream()
        shutdown = None if context is None else _TLS_SHUTDOWN
        await loop.connect_accepted_socket(lambda: stream, self._sock, ssl=context, ssl_shutdown_timeout=shutdown)
        self.stream = stream
        self._made = True
        return stream

    def refuse(self, sqlstate: str, message: str) -> ProtocolError:
        """Tell the client, if it has come so far that it would understand."""
        if self.stream is not None and not self.stream.transport.is_closing():
            self.stream.transport.write(build.error_response(sqlstate, message, severity="FATAL"))
        return ProtocolError(message, sqlstate)

    def close(self) -> None:
        """Close what was not handed over; what was written still goes out."""
        if self.stream is not None:
            self.stream.transport.close()
        elif not self._made:
            self._sock.close()

    def abort(self) -> None:
        """Close at once."""
        if self.stream is not None:
            self.stream.transport.abort()
        elif not self._made:
            self._sock.close()


def _some(data: bytes) -> bytes:
    if not data:
        raise EOFError("it closed the connection")
    return data
