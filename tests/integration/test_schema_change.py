"""Tables that change under statements that were prepared before.

What holds is what PostgreSQL can say itself: a server connection that has the statement answers 0A000, and a driver
that knows this answer prepares anew. So there is one server connection here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from tests.support.forebay import forebay_before

if TYPE_CHECKING:
    from tests.support.postgres import Cluster


async def test_a_changed_table_under_prepared_statements(postgres: Cluster) -> None:
    """Two clients share a statement whose table gets another column; both see it, neither is lost."""
    name = postgres.create_database()
    login = {"changing": {"url": postgres.dsn(name)}}
    with forebay_before(postgres, pool={"size": 1}, databases=login) as proxy:
        first, second = [await asyncpg.connect(proxy.dsn("changing")) for _ in range(2)]
        await first.execute("CREATE TABLE changing (a int)")
        await first.execute("INSERT INTO changing VALUES (1)")
        for connection in (first, second):
            assert [tuple(row) for row in await connection.fetch("SELECT * FROM changing")] == [(1,)]
        await first.execute("ALTER TABLE changing ADD COLUMN b text DEFAULT 'new'")
        for connection in (first, second, first):
            assert [tuple(row) for row in await connection.fetch("SELECT * FROM changing")] == [(1, "new")]
        await first.close()
        await second.close()
