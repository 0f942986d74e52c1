"""Whose answer is whose: users, roles, settings, types, formats; and what is never answered from the cache."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.caching import Caching, rows
from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay_before

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster
    from tests.support.wire import Wire

USERS = ("reader_a", "reader_b", "reader_c")
SCHEMA = """
CREATE TABLE canary (id int);
CREATE TABLE shown (id int PRIMARY KEY, v int, at timestamptz, day date, f float8, b bytea, t text);
INSERT INTO shown SELECT i, i * 10, '2024-02-03 12:00+00', '2024-02-03', 1.0 / 3, '\\x00ff', 'x' || i
  FROM generate_series(1, 20) i;
CREATE TABLE secret (id int, v int); INSERT INTO secret VALUES (1, 1);
CREATE TABLE owned (who text, v int); INSERT INTO owned SELECT w, 1 FROM unnest(ARRAY['reader_a', 'reader_b']) w;
ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON owned USING (who = current_user);
CREATE SCHEMA reader_a; CREATE SCHEMA reader_b;
CREATE TABLE reader_a.mine (v text); INSERT INTO reader_a.mine VALUES ('a');
CREATE TABLE reader_b.mine (v text); INSERT INTO reader_b.mine VALUES ('b');
GRANT USAGE ON SCHEMA reader_a, reader_b TO reader_a, reader_b, reader_c;
GRANT SELECT ON ALL TABLES IN SCHEMA public, reader_a, reader_b TO reader_a, reader_b;
GRANT SELECT ON canary, shown TO reader_c;
REVOKE ALL ON secret FROM reader_b;
CREATE UNLOGGED TABLE fleeting (v int); INSERT INTO fleeting VALUES (1);
CREATE VIEW aged AS SELECT id, now() - at AS age FROM shown;
CREATE VIEW over_aged AS SELECT id FROM aged;
CREATE VIEW all_owned AS SELECT * FROM owned;
CREATE SEQUENCE numbers;
CREATE FUNCTION clock() RETURNS timestamptz LANGUAGE sql IMMUTABLE AS 'SELECT clock_timestamp()';
"""


@pytest.fixture(scope="module")
def people(postgres: Cluster, shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forebay]:
    """Forebay for several users, each of whom logs in to the server as himself."""
    for user in USERS:
        postgres.execute(f"DROP ROLE IF EXISTS {user}")
        postgres.create_role(user, "pw")
    with psycopg.connect(postgres.dsn(shared_database), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
    databases = {"*": {"url": f"postgresql://{postgres.host}:{postgres.port}"}}
    file = tmp_path_factory.mktemp("users") / "userlist.txt"
    file.write_text("".join(f'"{user}" "pw"\n' for user in USERS) + f'"{postgres.superuser}" "{postgres.password}"\n')
    with forebay_before(postgres, databases=databases, auth={"users_file": str(file)}) as started:
        yield started


@pytest.fixture
def caching(people: Forebay, postgres: Cluster, shared_database: str) -> Caching:
    """The module's database."""
    return Caching(Target(postgres, people, shared_database))


@contextlib.asynccontextmanager
async def login(caching: Caching, user: str, *options: tuple[str, str]) -> AsyncIterator[Wire]:
    """A connection of one of the users."""
    wire = await caching.target.open()
    try:
        await wire.login(user, caching.target.database, "pw", *options)
        yield wire
    finally:
        await wire.close()


async def test_privileges_are_those_of_the_user(caching: Caching) -> None:
    read = "SELECT v FROM secret"
    async with login(caching, "reader_a") as a, login(caching, "reader_b") as b:
        await caching.cached_rows(a, read)
        assert frames.errors(await b.ask(frames.query(read))) == ["42501"]
        assert frames.errors(await b.ask(frames.extended(read))) == ["42501"]


async def test_the_schema_of_the_user(caching: Caching) -> None:
    read = "SELECT v FROM mine"
    async with login(caching, "reader_a") as a, login(caching, "reader_b") as b:
        assert await caching.cached_rows(a, read) == [("a",)]
        assert await caching.cached_rows(b, read) == [("b",)]
        assert await caching.cached_rows(a, read) == [("a",)]


async def test_row_security_is_not_cached(caching: Caching) -> None:
    async with login(caching, "reader_a") as a, login(caching, "reader_b") as b:
        assert await caching.never_cached(a, "SELECT who FROM owned") == [("reader_a",)]
        assert await caching.never_cached(b, "SELECT who FROM owned") == [("reader_b",)]


async def test_revoked_through_forebay(caching: Caching) -> None:
    read = "SELECT sum(v) FROM shown"
    async with login(caching, "reader_c") as c, caching.target.wire() as owner:
        await caching.cached_rows(c, read)
        assert not frames.errors(await owner.ask(frames.query("REVOKE SELECT ON shown FROM reader_c")))
        assert frames.errors(await c.ask(frames.query(read))) == ["42501"]
        assert not frames.errors(await owner.ask(frames.query("GRANT SELECT ON shown TO reader_c")))
        await caching.cached_rows(c, read)


async def test_revoked_elsewhere_is_noticed(caching: Caching) -> None:
    read = "SELECT sum(v) + 1 FROM shown"
    async with login(caching, "reader_c") as c:
        await caching.cached_rows(c, read)
        caching.behind("REVOKE SELECT ON shown FROM reader_c")
        try:
            async with asyncio.timeout(20):
                while not frames.errors(await c.ask(frames.query(read))):
                    pass
        finally:
            caching.behind("GRANT SELECT ON shown TO reader_c")


SETTINGS = {
    "TimeZone": ("Asia/Tokyo", "SELECT at FROM shown WHERE id = 1"),
    "DateStyle": ("German", "SELECT day FROM shown WHERE id = 1"),
    "bytea_output": ("escape", "SELECT b FROM shown WHERE id = 1"),
    "extra_float_digits": ("-5", "SELECT f FROM shown WHERE id = 1"),
    "search_path": ("reader_b", "SELECT v FROM mine"),
    "client_encoding": ("LATIN1", "SELECT chr(233) || t FROM shown WHERE id = 1"),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("how", ["startup", "set", "local"])
async def test_an_answer_belongs_to_its_settings(caching: Caching, name: str, how: str) -> None:
    value, read = SETTINGS[name]
    startup = ((name, value),) if how == "startup" else ()
    async with login(caching, "reader_a") as plain, login(caching, "reader_a", *startup) as other:
        before = await caching.cached(lambda: plain.ask(frames.query(read)))
        if how == "set":
            await rows(other, f"SET {name} = '{value}'")
        elif how == "local":
            await rows(other, "BEGIN")
            await rows(other, f"SET LOCAL {name} = '{value}'")
        answer = await other.ask(frames.query(read))
        assert frames.tags(answer) == frames.tags(before)
        assert answer[1] != before[1]
        if how == "local":
            await rows(other, "COMMIT")
            assert await other.ask(frames.query(read)) == before
        assert await caching.cached(lambda: plain.ask(frames.query(read))) == before


async def test_a_role_that_was_set(caching: Caching) -> None:
    async with caching.target.wire() as other, caching.target.wire() as plain:
        await rows(other, "SET ROLE reader_b")
        assert frames.errors(await other.ask(frames.query("SELECT v FROM secret"))) == ["42501"]
        await caching.cached_rows(plain, "SELECT v FROM secret")
        assert frames.errors(await other.ask(frames.query("SELECT v FROM secret"))) == ["42501"]
        assert await rows(other, "SELECT v FROM mine") == [("b",)]
        await rows(other, "RESET ROLE")
        assert await rows(other, "SELECT v FROM secret") == caching.truth("SELECT v FROM secret")


def batch(text: str, *values: str | bytes | None, types: tuple[int, ...] = (), results: int = 0) -> bytes:
    """One statement, not described."""
    return frames.parse(text, "", types) + frames.bind(*values, results=results) + frames.execute() + frames.SYNC


async def test_declared_types_tell_questions_apart(caching: Caching) -> None:
    text = "SELECT id, $1 || '' FROM shown WHERE id = 1"
    as_text = batch(text, "01", types=(25,))
    as_char = batch(text, "01  ", types=(1042,))
    async with login(caching, "reader_a") as wire:
        for request in (as_text, as_char) * 3:
            assert frames.rows(await wire.ask(request)) == [("1", "01")]
        number, other = batch("SELECT id FROM shown WHERE v = $1 * 10", "1", types=(20,)), 701
        assert frames.rows(await caching.cached(lambda: wire.ask(number))) == [("1",)]
        wrong = batch("SELECT id FROM shown WHERE v = $1 * 10", "1.5", types=(other,))
        assert frames.rows(await wire.ask(wrong)) == []


async def test_result_formats_tell_questions_apart(caching: Caching) -> None:
    text = "SELECT id FROM shown WHERE id = 7"
    async with login(caching, "reader_a") as wire:
        in_text = await caching.cached(lambda: wire.ask(batch(text)))
        in_binary = await caching.cached(lambda: wire.ask(batch(text, results=1)))
        assert in_text[2].body == struct.pack("!hi", 1, 1) + b"7"
        assert in_binary[2].body == struct.pack("!hii", 1, 4, 7)
        assert await caching.cached(lambda: wire.ask(batch(text))) == in_text


async def test_a_hit_says_what_the_server_said(caching: Caching) -> None:
    """Simple, extended with and without Describe, prepared by name, empty answers: message by message."""
    target = caching.target
    direct = Target(target.cluster, None, target.database)
    for text in ("SELECT id, t FROM shown WHERE v > 100 ORDER BY id", "SELECT id FROM shown WHERE v < 0"):
        prepared = frames.parse(text, "p") + frames.SYNC
        named = frames.bind(statement="p") + frames.describe("P") + frames.execute() + frames.SYNC
        async with direct.wire() as server, target.wire() as wire:
            await server.ask(prepared)
            await wire.ask(prepared)
            for request in (frames.query(text), batch(text), frames.extended(text), named, batch(text)):
                expected = await server.ask(request)
                assert await caching.cached(lambda request=request: wire.ask(request)) == expected  # type: ignore[misc]


async def test_hits_and_misses_keep_their_order_in_a_pipeline(caching: Caching) -> None:
    async with login(caching, "reader_a") as wire:
        hit = "SELECT t FROM shown WHERE id = 3"
        await caching.cached(lambda: wire.ask(frames.extended(hit)))
        wire.write(frames.extended(hit), frames.extended("SELECT 'miss'"), frames.extended(hit), frames.query(hit))
        found = [frames.rows(await wire.until("Z")) for _ in range(4)]
        assert found == [[("x3",)], [("miss",)], [("x3",)], [("x3",)]]


NEVER = (
    "SELECT now() FROM shown LIMIT 1",
    "SELECT count(*) FROM shown WHERE at < now()",
    "SELECT count(*) FROM shown WHERE day < 'today'",
    "SELECT count(*) FROM shown WHERE day < CURRENT_DATE",
    "SELECT random() FROM shown LIMIT 1",
    "SELECT id FROM shown WHERE id = 1 FOR UPDATE",
    "SELECT count(*) FROM pg_class",
    "SELECT count(*) FROM shown, pg_catalog.pg_database",
    "SELECT count(*) FROM information_schema.tables",
    "SELECT v FROM fleeting",
    "SELECT count(*) FROM aged",
    "SELECT count(*) FROM over_aged",
    "SELECT count(*) FROM all_owned",
    "SELECT last_value FROM numbers",
    "SELECT nextval('numbers') FROM shown LIMIT 1",
    "SELECT count(*) FROM shown TABLESAMPLE BERNOULLI (50)",
    "SELECT clock() FROM shown LIMIT 1",
    "SELECT current_setting('application_name') FROM shown LIMIT 1",
    "SELECT pg_backend_pid() FROM shown LIMIT 1",
    "SELECT ctid FROM shown WHERE id = 1",
    "/* forebay: nocache */ SELECT id FROM shown WHERE id = 1",
    "SELECT 1",
    "TABLE shown; TABLE shown",
)


@pytest.mark.parametrize("text", NEVER)
async def test_never_cached(caching: Caching, text: str) -> None:
    async with caching.target.wire() as wire:
        await caching.never_cached(wire, text)


@pytest.mark.parametrize("types", [(), (25,)])
@pytest.mark.parametrize("binary", [False, True])
async def test_a_parameter_that_means_now(caching: Caching, types: tuple[int, ...], binary: bool) -> None:
    request = frames.parse("SELECT count(*) FROM shown WHERE at < $1::timestamptz", "", types)
    format_ = struct.pack("!hh", 1, 1) if binary else struct.pack("!h", 0)
    request += frames.frame("B", b"\0\0" + format_ + struct.pack("!hi", 1, 3) + b"now" + struct.pack("!h", 0))
    request += frames.execute() + frames.SYNC
    async with login(caching, "reader_a") as wire:
        await caching.catalog_known(wire)
        for _ in range(3):
            await caching.asked_afresh(lambda: wire.ask(request))


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_snapshot_stays_what_it_was(caching: Caching, level: str) -> None:
    read = "SELECT sum(v) FROM secret"
    async with caching.target.wire() as old, caching.target.wire() as new:
        before = await caching.cached_rows(new, read)
        await rows(old, f"BEGIN ISOLATION LEVEL {level}")
        assert await rows(old, read) == before
        assert not frames.errors(await new.ask(frames.query("UPDATE secret SET v = v + 1")))
        after = await caching.cached_rows(new, read)
        assert after != before
        assert await rows(old, read) == before
        await rows(old, "COMMIT")
        assert await caching.cached_rows(old, read) == after


async def test_sessions_above_read_committed_are_not_served(caching: Caching) -> None:
    async with caching.target.wire(("default_transaction_isolation", "serializable")) as wire:
        for _ in range(3):
            await caching.asked_afresh(lambda: rows(wire, "SELECT sum(v) FROM shown"))


async def test_a_partial_answer_is_not_kept(caching: Caching) -> None:
    text = "SELECT id FROM shown ORDER BY id"
    part = frames.parse(text) + frames.bind() + frames.execute(rows=2) + frames.SYNC
    async with login(caching, "reader_a") as wire:
        await caching.catalog_known(wire)
        for _ in range(3):
            assert frames.tags(await wire.ask(part)) == "12DDsZ"
        assert len(frames.rows(await wire.ask(batch(text)))) == 20


async def test_what_is_too_long_is_passed_on_and_not_kept(caching: Caching) -> None:
    text = "SELECT repeat(t, 100000) FROM shown"
    async with login(caching, "reader_a") as wire:
        found = await caching.never_cached(wire, text)
        assert sum(len(row[0] or "") for row in found) > 1 << 20


async def test_an_answer_with_a_notice_is_not_kept(caching: Caching) -> None:
    text = f"SELECT id AS {'x' * 70} FROM shown WHERE id = 1"
    async with login(caching, "reader_a") as quiet, login(caching, "reader_a") as wire:
        await rows(quiet, "SET client_min_messages = error")
        await caching.cached_rows(quiet, text)
        for _ in range(3):
            assert frames.tags(await wire.ask(frames.query(text))) == "NTDCZ"


async def test_a_session_may_do_without(caching: Caching) -> None:
    text = "SELECT t FROM shown WHERE id = 9"
    async with login(caching, "reader_a") as wire:
        await caching.cached_rows(wire, text)
        await rows(wire, "SET forebay.cache = off")
        await caching.asked_afresh(lambda: rows(wire, text))
        await caching.asked_afresh(lambda: rows(wire, text))
        await rows(wire, "SET forebay.cache = on")
        await caching.cached_rows(wire, text)


async def test_hits_that_nobody_reads_do_not_pile_up(caching: Caching) -> None:
    text = "SELECT repeat(t, 20000) FROM shown"
    forebay = caching.target.forebay
    assert forebay is not None
    async with login(caching, "reader_a") as wire:
        size = len(b"".join(m.body for m in await caching.cached(lambda: wire.ask(frames.query(text)))))
        before = forebay.process.memory_info().rss
        wire.write(frames.query(text) * 300)
        async with login(caching, "reader_a") as other:
            for _ in range(20):
                await rows(other, "SELECT 1")
        assert forebay.process.memory_info().rss - before < 60 * size
        for _ in range(300):
            assert frames.tags(await wire.until("Z")) == "T" + "D" * 20 + "CZ"
