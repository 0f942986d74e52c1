"""The TLS front can be verified, and serves many at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg

from tests.support.tls_front import tls_front

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import Cluster


async def test_verified_tls_reaches_the_server(postgres: Cluster, tmp_path: Path) -> None:
    """libpq accepts the certificate in its strictest mode."""
    async with tls_front(postgres.port, tmp_path) as front:
        dsn = postgres.dsn(sslmode="verify-full", sslrootcert=str(front.certificates.authority), gssencmode="disable")
        dsn = dsn.replace(f":{postgres.port}/", f":{front.port}/") + "&channel_binding=disable"

        async def one(number: int) -> int:
            async with await psycopg.AsyncConnection.connect(dsn) as connection:
                row = await (await connection.execute("SELECT %s::int", [number])).fetchone()
                assert row is not None
                return int(row[0])

        assert await asyncio.gather(*map(one, range(5))) == list(range(5))
        assert front.handshakes == 5
