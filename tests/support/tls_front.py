"""TLS in front of a server that has none: answers SSLRequest, unwraps, and passes the bytes on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Final

from tests.support.certificates import make_certificates
from tests.support.listener import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.certificates import Certificates

SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")
_CHUNK: Final = 65_536


class TlsFront:
    """The listening side; `port` and `certificates` are what a client needs."""

    def __init__(self, upstream_port: int, certificates: Certificates) -> None:
        self.certificates = certificates
        self.port = 0
        self.handshakes = 0
        self._upstream_port = upstream_port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
        self._context.load_cert_chain(certificates.certificate, certificates.key)
        self._context.set_alpn_protocols(["postgresql"])
        self._context.verify_mode = ssl.CERT_OPTIONAL

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
            return
        writer.write(b"S")
        await writer.start_tls(self._context)
        self.handshakes += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def tls_front(upstream_port: int, directory: Path) -> AsyncIterator[TlsFront]:
    """A TLS front for the server on that loopback port; its certificates are written to `directory`."""
    front = TlsFront(upstream_port, make_certificates(directory))
    async with listening(front.serve) as front.port:
        yield front
