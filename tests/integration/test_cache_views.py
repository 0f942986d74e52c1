"""Views and materialized views: answered from the cache, and never after what is behind them has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.caching import Caching, rows
from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Cluster

SCHEMA = """
CREATE TABLE canary (id int);
CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 1);
CREATE TABLE u (id int PRIMARY KEY, v int); INSERT INTO u VALUES (1, 100);
CREATE TABLE child (parent int REFERENCES t ON DELETE CASCADE, v int); INSERT INTO child VALUES (1, 5);
CREATE TABLE root (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10); INSERT INTO root VALUES (1, 1);
CREATE VIEW plain AS SELECT id, v FROM t;
CREATE VIEW joined AS SELECT t.id, t.v + u.v AS v FROM t JOIN u USING (id);
CREATE VIEW over_joined AS SELECT max(v) AS v FROM joined;
CREATE VIEW children AS SELECT coalesce(sum(v), 0) AS v FROM child;
CREATE VIEW parts AS SELECT sum(v) AS v FROM root;
CREATE MATERIALIZED VIEW stored AS SELECT sum(v) AS v FROM t;
CREATE VIEW of_stored AS SELECT v FROM stored;
CREATE FUNCTION refresh() RETURNS int LANGUAGE plpgsql AS
  $$BEGIN UPDATE t SET v = v + 1; REFRESH MATERIALIZED VIEW stored; RETURN 1; END$$;
CREATE TABLE switch (v int);
CREATE FUNCTION refreshed() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN UPDATE t SET v = v + 1; REFRESH MATERIALIZED VIEW stored; RETURN NULL; END$$;
CREATE TRIGGER refresh AFTER INSERT ON switch FOR EACH ROW EXECUTE FUNCTION refreshed();
CREATE VIEW redefined AS SELECT sum(v) AS v FROM t;
CREATE VIEW base AS SELECT 1 AS v FROM t WHERE id = 1;
CREATE VIEW over_base AS SELECT v FROM base;
CREATE VIEW updatable AS SELECT id, v FROM t WHERE id = 2;
"""

SEEN = {
    "the table": ("SELECT sum(v) FROM plain", "UPDATE t SET v = v + 1"),
    "one of two tables": ("SELECT v FROM joined", "UPDATE u SET v = v + 1"),
    "the other of two tables": ("SELECT v FROM joined", "UPDATE t SET v = v + 1 WHERE id = 1"),
    "behind two views": ("SELECT v FROM over_joined", "UPDATE u SET v = v + 1"),
    "a cascade": ("SELECT v FROM children", "DELETE FROM t WHERE id = 1"),
    "a partition": ("SELECT v FROM parts", "INSERT INTO leaf VALUES (2, 1)"),
    "the view itself": ("SELECT v FROM updatable", "UPDATE updatable SET v = v + 1"),
    "the view, seen in the table": ("SELECT sum(v) FROM t", "UPDATE updatable SET v = v + 1"),
    "refresh": ("SELECT v FROM stored", "UPDATE t SET v = v + 1; REFRESH MATERIALIZED VIEW stored"),
    "refresh below a view": ("SELECT v FROM of_stored", "UPDATE t SET v = v + 1; REFRESH MATERIALIZED VIEW stored"),
    "refresh by a function": ("SELECT v FROM of_stored", "SELECT refresh()"),
    "refresh by a trigger": ("SELECT v FROM of_stored", "INSERT INTO switch VALUES (1)"),
    "another definition": (
        "SELECT v FROM redefined",
        "CREATE OR REPLACE VIEW redefined AS SELECT 5 + sum(v) AS v FROM t",
    ),
    "another below": ("SELECT v FROM over_base", "CREATE OR REPLACE VIEW base AS SELECT 2 AS v FROM t WHERE id = 1"),
    "another table of that name": (
        "SELECT count(*) FROM plain",
        "ALTER TABLE t RENAME TO old; CREATE TABLE t (id int, v int); INSERT INTO old VALUES (9, 9)",
    ),
}


@pytest.fixture
def caching(proxy_of_views: Caching) -> Caching:
    """Everything as it was at first."""
    with psycopg.connect(proxy_of_views.dsn, autocommit=True) as connection:
        connection.execute(b"DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")
        connection.execute(SCHEMA.encode())
    return proxy_of_views


@pytest.fixture(scope="module")
def proxy_of_views(postgres: Cluster, shared_database: str) -> Iterator[Caching]:
    """One Forebay for all of them."""
    with forebay_before(postgres) as started:
        yield Caching(Target(postgres, started, shared_database))


@pytest.mark.parametrize(("read", "write"), SEEN.values(), ids=list(SEEN))
async def test_what_changes_behind_a_view_is_seen_at_once(caching: Caching, read: str, write: str) -> None:
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        before = await caching.cached_rows(reader, read)
        assert not frames.errors(await writer.ask(frames.query(write)))
        assert await rows(reader, read) == caching.truth(read) != before
        assert await caching.cached_rows(reader, read) == caching.truth(read)


async def test_a_materialized_view_stays_what_it_is_until_it_is_refreshed(caching: Caching) -> None:
    """And a write to its table does not cost its answers."""
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        before = await caching.cached_rows(reader, "SELECT v FROM stored")
        assert not frames.errors(await writer.ask(frames.query("UPDATE t SET v = v + 1")))
        hits = caching.hits
        assert await rows(reader, "SELECT v FROM stored") == before
        assert caching.hits == hits + 1


async def test_privileges_of_the_owner_of_a_view(caching: Caching) -> None:
    """The reader has none on the table; when the owner loses his, the reader gets no rows any more."""
    read = "SELECT sum(v) FROM owners"
    caching.behind(
        "DROP ROLE IF EXISTS view_owner",
        "CREATE ROLE view_owner",
        "GRANT CREATE ON SCHEMA public TO view_owner",
        "GRANT SELECT ON t TO view_owner",
        "SET ROLE view_owner; CREATE VIEW owners AS SELECT v FROM t; RESET ROLE",
    )
    try:
        async with caching.target.wire() as reader, caching.target.wire() as admin:
            await caching.cached_rows(reader, read)
            assert not frames.errors(await admin.ask(frames.query("REVOKE SELECT ON t FROM view_owner")))
            assert frames.errors(await reader.ask(frames.query(read))) == ["42501"]
            assert not frames.errors(await admin.ask(frames.query("GRANT SELECT ON t TO view_owner")))
            await caching.cached_rows(reader, read)
            caching.behind("REVOKE SELECT ON t FROM view_owner")
            async with asyncio.timeout(20):  # past us: within the probe's period
                while not frames.errors(await reader.ask(frames.query(read))):
                    pass
    finally:
        caching.behind("DROP OWNED BY view_owner CASCADE", "DROP ROLE view_owner")


async def test_a_temporary_table_does_not_come_between_a_view_and_its_table(caching: Caching) -> None:
    """A name in a view means what it meant when the view was made; one in the statement does not."""
    async with caching.target.wire() as reader, caching.target.wire() as other:
        before = await caching.cached_rows(reader, "SELECT sum(v) FROM plain")
        for text in ("CREATE TEMP TABLE t (v int)", "CREATE TEMP VIEW joined AS SELECT 0 AS v"):
            assert not frames.errors(await other.ask(frames.query(text)))
        assert await rows(other, "SELECT sum(v) FROM plain") == before
        assert await rows(other, "SELECT v FROM joined") == [("0",)]
        assert await caching.cached_rows(reader, "SELECT v FROM joined") == [("101",)]


async def test_whoever_locks_a_table_of_a_view_is_not_waited_for(caching: Caching) -> None:
    """Definitions are read with locks: they wait for nobody, so that no client is part of a deadlock with us."""
    async with caching.target.wire() as reader, caching.target.wire() as other:
        await caching.cached_rows(reader, "SELECT sum(v) FROM plain")
        assert caching.target.forebay is not None
        log = caching.target.forebay.log
        with psycopg.connect(caching.direct) as direct:
            direct.execute("LOCK TABLE u IN ACCESS EXCLUSIVE MODE")
            assert not frames.errors(await other.ask(frames.query("CREATE TABLE made (id int)")))
            await eventually(lambda: "lock timeout" in log())
            direct.execute("LOCK TABLE t, child IN ACCESS EXCLUSIVE MODE NOWAIT")
        await caching.cached_rows(reader, "SELECT sum(v) FROM plain")
