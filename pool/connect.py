"""Getting into a server: hosts, addresses, TLS by sslmode, login, each host within its timeout; and cancel requests.

Which ways are tried, in this order, at each address:

    disable, unix socket           plain
    allow                          plain, TLS
    prefer                         TLS if the server has it, plain
    require, verify-ca, -full      TLS

The next way is tried when TLS fails or when the server refuses this one by its host rules (28000); the next
address when this one cannot be reached. A wrong password is not tried again. A server that knows no
protocol 3.2 and cannot say so politely (0A000) is asked again for 3.0.

The server's answer to the TLS request is one byte, and is read as one. Bytes right behind it came before the
encryption: somebody put them there, and the connection is given up.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random as dice
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from pool.errors import PoolError
from pool.hosts import Role, ask, fits
from pool.keychain import Keychain
from pool.sockets import receive, tune, waiting
from pool.stream import Stream
from pool.tls import ALPN, NO_TLS, ServerTls, SslMode, binding
from protocol import build
from protocol.errors import ProtocolError, RemoteProtocolError
from protocol.login import MINOR, Channel, Identity, Login, ServerRefused

if TYPE_CHECKING:
    from protocol.secrets import Secret

UNREACHABLE: Final = "08001"
LOST: Final = "08006"

_REFUSED_BY_HOST_RULES: Final = "28000"
_NOT_SUPPORTED: Final = "0A000"
_PASSING: Final = ("08", "53", "57P")  # what a later attempt may not meet again
_CHUNK: Final = 4096

Random = Callable[[int], bytes]
Address = tuple[int, str | tuple[object, ...]]


class ServerUnavailable(PoolError):
    """No connection to the server. ``transient``: trying later may help; else something must change."""

    def __init__(self, sqlstate: str, message: str, *, transient: bool, detail: str | None = None) -> None:
        super().__init__(sqlstate, message, detail)
        self.transient = transient


class _TlsFailed(ServerUnavailable):
    """Without TLS it may work."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is and who we are to it. A host with ``/`` or ``@`` first is a unix socket's directory.

    ``parameters`` go into the StartupMessage; ``connect_timeout`` in seconds covers all of one host, 0 means none.
    ``others`` are further hosts with their ports; ``role`` is what the one that is taken must be.
    """

    host: str
    port: int
    user: str
    database: str
    secret: Secret | None = field(default=None, repr=False)
    tls: ServerTls = NO_TLS
    parameters: Mapping[str, str] = field(default_factory=dict)
    connect_timeout: float = 15.0
    keychain: Keychain = field(default_factory=Keychain, repr=False, compare=False)
    others: tuple[tuple[str, int], ...] = ()
    role: Role = Role.ANY
    shuffled: bool = False

    @property
    def is_unix(self) -> bool:
        """Whether the server is reached through a unix socket."""
        return self.host.startswith(("/", "@"))

    def hosts(self) -> list[Target]:
        """One target for each host, in the order in which to try them."""
        if not self.others:
            return [self]
        places = [(self.host, self.port), *self.others]
        if self.shuffled:
            dice.shuffle(places)
        return [replace(self, host=host, port=port, others=()) for host, port in places]


@dataclass(slots=True)
class Opened:
    """A server connection that waits for its first query. Nothing is read until ``adopt``."""

    transport: asyncio.Transport
    parameters: dict[str, str]
    pid: int
    key: bytes
    tls: bool
    leftover: bytes
    minor: int
    address: Address
    stream: Stream = field(repr=False)
    target: Target  # of the host that was taken

    def adopt(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection over; see Stream.hand_over."""
        self.stream.hand_over(protocol, self.leftover)


class _Way(Enum):
    PLAIN = auto()
    TLS = auto()
    TLS_IF_OFFERED = auto()


def _ways(target: Target) -> tuple[_Way, ...]:
    if target.is_unix or target.tls.context is None:
        return (_Way.PLAIN,)
    match target.tls.mode:
        case SslMode.ALLOW:
            return (_Way.PLAIN, _Way.TLS)
        case SslMode.PREFER:
            return (_Way.TLS_IF_OFFERED, _Way.PLAIN)
        case _:
            return (_Way.TLS,)


async def open_server(target: Target, random: Random = os.urandom) -> Opened:
    """Connect and log in. Raises ServerUnavailable, with the server's SQLSTATE and message if it gave any.

    With several hosts: the last failure of all, if none of them fits.
    """
    failure: ServerUnavailable | None = None
    for role in target.role.passes:
        for host in target.hosts():
            try:
                return await _open_host(replace(host, role=role) if role is not host.role else host, random)
            except ServerUnavailable as error:
                if not error.transient:
                    raise
                failure = error
    raise failure or ServerUnavailable(UNREACHABLE, "there is no host", transient=False)


async def _open_host(target: Target, random: Random) -> Opened:
    try:
        async with asyncio.timeout(target.connect_timeout or None):
            return await _of_its_role(target, await _open(target, random))
    except ServerRefused as error:
        passing = error.sqlstate.startswith(_PASSING)
        detail = error.detail or None
        raise ServerUnavailable(error.sqlstate, error.message, transient=passing, detail=detail) from error
    except ProtocolError as error:
        raise ServerUnavailable(error.sqlstate, error.message, transient=False) from error
    except TimeoutError as error:
        raise ServerUnavailable(
            UNREACHABLE, "the server did not let us in within the timeout", transient=True
        ) from error
    except OSError as error:
        raise ServerUnavailable(UNREACHABLE, f"cannot reach the server: {_reason(error)}", transient=True) from error


async def _of_its_role(target: Target, opened: Opened) -> Opened:
    fit: bool | None = False
    try:
        fit = fits(target.role, opened.parameters)
        if fit is None:
            said, opened.leftover = await ask(opened.stream, opened.leftover)
            fit = fits(target.role, said)
    finally:
        if not fit:
            opened.transport.abort()
    if not fit:
        wanted = f"the server at {target.host}:{target.port} is not {target.role.value}"
        raise ServerUnavailable(UNREACHABLE, wanted, transient=True)
    return opened


async def send_cancel(
    target: Target,
    pid: int,
    key: bytes,
    timeout: float,
    wanted: Callable[[], bool] = lambda: True,
    address: Address | None = None,
) -> None:
    """Ask the server to cancel what the backend runs; returns when it has closed, so the signal is sent.

    ``wanted`` is asked when the connection stands; if it says no, nothing is sent. ``address`` is that of the
    connection to cancel (Opened.address), for a host with several. Raises ServerUnavailable.
    """
    try:
        async with asyncio.timeout(timeout or None):
            where = address or (await _addresses(target))[0]
            await _cancel(target, where, build.cancel_request(pid, key), wanted)
    except ProtocolError as error:
        raise ServerUnavailable(error.sqlstate, error.message, transient=False) from error
    except OSError as error:
        raise ServerUnavailable(UNREACHABLE, f"cannot cancel: {_reason(error)}", transient=True) from error


async def _cancel(target: Target, address: Address, request: bytes, wanted: Callable[[], bool]) -> None:
    stream, _ = await _connect(target, address, _ways(target)[0])
    try:
        if wanted():
            stream.transport.write(request)
            while await stream.read():
                pass
    finally:
        stream.transport.abort()


# Finding the server


async def _open(target: Target, random: Random) -> Opened:
    failures: list[OSError] = []
    for address in await _addresses(target):
        try:
            return await _open_at(target, address, random)
        except OSError as error:
            failures.append(error)
    raise failures[-1]


async def _addresses(target: Target) -> list[Address]:
    if target.is_unix:
        directory = "\0" + target.host[1:] if target.host.startswith("@") else target.host
        return [(socket.AF_UNIX, f"{directory}/.s.PGSQL.{target.port}")]
    try:
        version = ipaddress.ip_address(target.host).version
    except ValueError:
        return await look_up(target.host, target.port)
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (target.host, target.port))]


async def look_up(host: str, port: int) -> list[Address]:
    """All addresses of a name, in the order in which to try them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


async def _open_at(target: Target, address: Address, random: Random) -> Opened:
    ways = _ways(target)
    for way in ways[:-1]:
        try:
            return await _open_by(target, address, way, random)
        except _TlsFailed:
            continue
        except ServerRefused as error:
            if error.sqlstate != _REFUSED_BY_HOST_RULES or error.authenticated:
                raise
    return await _open_by(target, address, ways[-1], random)


async def _open_by(target: Target, address: Address, way: _Way, random: Random) -> Opened:
    try:
        return await _attempt(target, address, way, random, MINOR)
    except ServerRefused as error:
        if error.sqlstate != _NOT_SUPPORTED or error.authenticated:
            raise
    return await _attempt(target, address, way, random, 0)


# One attempt


async def _attempt(target: Target, address: Address, way: _Way, random: Random, minor: int) -> Opened:
    stream, tls = await _connect(target, address, way)
    opened = None
    try:
        identity = Identity(target.user, target.database, target.secret, target.parameters)
        channel = Channel(tls, binding(stream.transport.get_extra_info("ssl_object")))
        login = Login(identity, channel, random, minor=minor)
        await _log_in(stream, login, target.keychain)
        opened = Opened(
            stream.transport,
            login.parameters,
            login.pid,
            login.key,
            tls,
            login.leftover,
            login.minor,
            address,
            stream,
            target,
        )
    finally:
        if opened is None:
            stream.transport.abort()
    return opened


async def _log_in(stream: Stream, login: Login, keychain: Keychain) -> None:
    answer = login.start()
    while True:
        if answer:
            stream.transport.write(answer)
        if login.ready:
            return
        if login.derivation is not None:
            answer = login.derived(await keychain.keys(login.derivation))
            continue
        data = await stream.read()
        if not data:
            raise ConnectionResetError("the server closed the connection during login")
        answer = login.receive(data)


async def _connect(target: Target, address: Address, way: _Way) -> tuple[Stream, bool]:
    # The connection with TLS or without, and whether it has it.
    loop = asyncio.get_running_loop()
    stream = Stream()
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    made = False
    try:
        tune(sock)
        await loop.sock_connect(sock, address[1])
        tls = await _negotiate(sock, target, way)
        if tls:
            await _start_tls(loop, stream, sock, target)
        elif address[0] == socket.AF_UNIX:
            await loop.create_unix_connection(lambda: stream, sock=sock)
        else:
            await loop.create_connection(lambda: stream, sock=sock)
        made = True
    finally:
        if not made:
            sock.close()
    return stream, tls


async def _negotiate(sock: socket.socket, target: Target, way: _Way) -> bool:
    if way is _Way.PLAIN or target.tls.direct:
        return way is not _Way.PLAIN
    await asyncio.get_running_loop().sock_sendall(sock, build.ssl_request())
    match await receive(sock, 1):
        case b"S":
            if waiting(sock):
                raise RemoteProtocolError("the server sent unencrypted data behind its answer to the TLS request")
            return True
        case b"N":
            if way is _Way.TLS:
                raise ServerUnavailable(UNREACHABLE, "the server has no TLS, but sslmode requires it", transient=False)
            return False
        case b"":
            raise ConnectionResetError("the server closed the connection when asked for TLS")
        case b"E":
            # Its text came without encryption, so it may be anybody's.
            raise ConnectionRefusedError("the server answered the TLS request with an error")
        case _:
            raise RemoteProtocolError("the server gave an answer to the TLS request that is not of this protocol")


async def _start_tls(loop: asyncio.AbstractEventLoop, stream: Stream, sock: socket.socket, target: Target) -> None:
    try:
        await loop.create_connection(lambda: stream, sock=sock, ssl=target.tls.context, server_hostname=target.host)
    except ssl.SSLError as error:
        passing = not isinstance(error, ssl.SSLCertVerificationError)
        reason = getattr(error, "verify_message", "") or error.reason or "it broke off"
        raise _TlsFailed(
            UNREACHABLE, f"the TLS handshake with the server failed: {reason}", transient=passing
        ) from error
    except ConnectionError as error:
        raise _TlsFailed(UNREACHABLE, "the server broke off the TLS handshake", transient=True) from error
    if target.tls.direct and _alpn(stream) != ALPN:
        stream.transport.abort()
        raise RemoteProtocolError("the server took direct TLS without agreeing on the protocol (ALPN)")


def _alpn(stream: Stream) -> str | None:
    tls_object: ssl.SSLObject = stream.transport.get_extra_info("ssl_object")
    return tls_object.selected_alpn_protocol()


def _reason(error: OSError) -> str:
    # asyncio puts its own text, with the address, into strerror; the errno of a failed look-up is negative.
    known = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
    return (known or str(error) or type(error).__name__).lower()
