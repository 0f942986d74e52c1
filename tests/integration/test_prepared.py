"""Prepared statements of clients that never get the same server twice: as PostgreSQL itself, message by message."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.rotating import Both
from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.frames import FLUSH, SYNC, bind, close, describe, execute, parse, query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.rotating import Step
    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster


@pytest.fixture(scope="module")
def rotating(postgres: Cluster) -> Iterator[Forebay]:
    with forebay_before(postgres, pool={"size": 3, "min_size": 3, "rotate": True}, cache={"mode": "off"}) as proxy:
        yield proxy


@pytest.fixture
def both(postgres: Cluster, rotating: Forebay, shared_database: str) -> Both:
    return Both(postgres, rotating, shared_database)


def use(name: str, *values: str, portal: str = "") -> bytes:
    """Bind, Describe and Execute."""
    return bind(*values, statement=name, portal=portal) + describe("P", portal) + execute(portal)


async def test_named_statements_go_with_their_client(both: Both) -> None:
    steps = [
        (0, parse("SELECT $1::int + 1", "s") + SYNC),
        (1, parse("SELECT $1::text || '!'", "s") + SYNC),
        *[(client, use("s", str(n)) + SYNC) for n in range(8) for client in (0, 1)],
        (0, describe("S", "s") + SYNC),
        (1, describe("S", "s") + SYNC),
    ]
    await both.same(steps)


async def test_the_unnamed_statement_is_every_clients_own(both: Both) -> None:
    steps = [
        (0, parse("SELECT 'zero'") + SYNC),
        (1, parse("SELECT 'one'") + SYNC),
        *[(client, use("") + SYNC) for _ in range(3) for client in (0, 1)],
        (0, describe("S") + SYNC),
        (2, use("") + SYNC),
        (2, describe("S") + SYNC),
        (0, query("SELECT 1")),
        (0, use("") + SYNC),
        (1, use("") + SYNC),
        (1, close("S") + SYNC),
        (1, use("") + SYNC),
    ]
    await both.same(steps, clients=3)


async def test_duplicates_unknown_names_and_closing(both: Both) -> None:
    steps = [
        (0, parse("SELECT 1", "a") + SYNC),
        (0, parse("SELECT 2", "a") + SYNC),
        (0, use("a") + SYNC),
        (1, use("a") + SYNC),
        (1, describe("S", "a") + SYNC),
        (0, close("S", "a") + SYNC),
        (0, close("S", "a") + SYNC),
        (0, use("a") + SYNC),
        (0, parse("SELECT 3", "a") + use("a") + SYNC),
        (0, use("a") + SYNC),
    ]
    heard = await both.same(steps)
    assert [tag for tag, _ in heard[1]] == ["E", "Z"]


async def test_a_duplicate_leaves_nothing_in_the_way(both: Both) -> None:
    inside = [
        query("BEGIN"),
        parse("SELECT 1", "a") + SYNC,
        query("SAVEPOINT s"),
        parse("SELECT 2", "a") + SYNC,
        query("ROLLBACK TO s"),
        close("S", "a") + SYNC,
        query("SAVEPOINT t"),
        use("a") + SYNC,
        query("ROLLBACK TO t"),
        describe("S", "a") + SYNC,
        query("ROLLBACK TO t"),
        parse("SELECT 3", "a") + use("a") + SYNC,
        query("COMMIT"),
    ]
    await both.same([(0, step) for step in inside])


async def test_names_like_ours_are_the_clients_own(both: Both) -> None:
    steps: list[Step] = [(0, parse("SELECT 'theirs'", "x") + use("x") + SYNC) for _ in range(1)]
    for number in range(1, 8):
        name = f"forebay_{number}"
        steps += [(1, describe("P", "no portal") + SYNC), (1, parse(f"SELECT {number}", name) + use(name) + SYNC)]
    steps += [(0, use("x") + SYNC) for _ in range(4)]
    await both.same(steps)
    async with both.through.wire() as wire:
        for number in range(1, 20):
            name = f"forebay_{number}"
            assert frames.errors(await wire.ask(use(name) + SYNC)) == ["26000"], "never a statement of another client"
            assert frames.errors(await wire.ask(describe("S", name) + SYNC)) == ["26000"]
            assert frames.errors(await wire.ask(parse("SELECT 1", name) + SYNC)) == []
            assert frames.errors(await wire.ask(parse("SELECT 1", name) + SYNC)) == ["42P05"]
    await both.same(steps)


@pytest.mark.parametrize(
    "bad", [parse("SELEC", "b"), parse("SELECT 1/0", "b") + use("b"), use("nowhere"), execute("no")]
)
async def test_after_an_error_in_a_batch(both: Both, bad: bytes) -> None:
    steps = [
        (0, parse("SELECT 'a'", "a") + SYNC),
        (0, parse("SELECT 'early'", "early") + bad + parse("SELECT 'late'", "late") + use("a") + SYNC),
        (0, use("early") + SYNC),
        (0, use("late") + SYNC),
        (0, use("a") + SYNC),
        (0, use("b") + SYNC),
        (0, parse("SELECT 'b'", "late") + use("late") + SYNC),
        (0, use("late") + SYNC),
    ]
    await both.same(steps, clients=1)


async def test_pipelines_with_several_syncs(both: Both) -> None:
    steps = [
        (0, (parse("SELECT 1", "a") + use("a") + SYNC + use("a") + SYNC + parse("SELECT 1", "b") + use("b") + SYNC)),
        (1, parse("SELECT 1", "a") + SYNC + use("a") + parse("SELEC", "b") + SYNC + use("a") + SYNC),
        (0, (use("nowhere") + parse("SELECT 2", "c") + use("c") + SYNC + parse("SELECT 2", "c") + use("c") + SYNC)),
        (0, use("c") + SYNC + query("SELECT 5") + use("c") + SYNC),
        (0, close("S", "c") + parse("SELECT 3", "c") + use("c") + SYNC + use("c") + SYNC),
        (0, query("BEGIN") + use("a") + SYNC + query("ROLLBACK") + use("a") + SYNC),
    ]
    await both.same(steps)


async def test_a_failed_transaction(both: Both) -> None:
    steps = [
        (0, parse("SELECT 1", "a") + SYNC + parse("ROLLBACK", "r") + SYNC),
        *[(1, use("x") + SYNC) for _ in range(2)],
        (0, query("BEGIN") + query("SELECT 1/0")),
        (0, use("a") + SYNC),
        (0, parse("SELECT 1", "new") + SYNC),
        (0, parse("SELECT 1", "a2") + SYNC),
        (0, use("r") + SYNC),
        (0, use("new") + SYNC),
        (0, use("a") + SYNC),
    ]
    await both.same(steps)


async def test_flush_brings_what_there_is(both: Both) -> None:
    for target in (both.direct, both.through):
        async with target.wire() as wire:
            await wire.ask(parse("SELECT 1", "a") + SYNC)
            for _ in range(3):
                wire.write(parse("SELECT 1", "b") + describe("S", "b") + FLUSH)
                assert frames.tags(await wire.until("T")) == "1tT"
                wire.write(bind(statement="b") + FLUSH)
                assert frames.tags(await wire.until("2")) == "2"
                wire.write(execute() + FLUSH)
                assert frames.tags(await wire.until("C")) == "DC"
                wire.write(close("S", "b") + FLUSH)
                assert frames.tags(await wire.until("3")) == "3"
                assert frames.tags(await wire.ask(SYNC)) == "Z"


async def test_portals_within_a_transaction(both: Both) -> None:
    steps = [
        (0, parse("SELECT * FROM generate_series(1, 5)", "g") + SYNC),
        (0, query("BEGIN")),
        (0, bind(statement="g", portal="p") + execute("p", 2) + SYNC),
        (1, query("SELECT 'elsewhere'")),
        (0, execute("p", 2) + describe("P", "p") + SYNC),
        (0, execute("p", 2) + close("P", "p") + SYNC),
        (0, execute("p", 2) + SYNC),
        (0, query("ROLLBACK")),
        (0, bind(statement="g", portal="p") + SYNC),
        (0, execute("p", 2) + SYNC),
    ]
    await both.same(steps)


async def test_deallocate_all_and_discard_all_forget_names(both: Both) -> None:
    for word in ("DEALLOCATE ALL", "DISCARD ALL"):
        steps = [
            (0, parse("SELECT 1", "a") + SYNC),
            (1, parse("SELECT 1", "a") + SYNC),
            (0, query(word)),
            (0, use("a") + SYNC),
            *[(1, use("a") + SYNC) for _ in range(4)],
            (0, parse("SELECT 2", "a") + use("a") + SYNC),
            (0, query("COMMIT")),
            (0, use("a") + SYNC),
        ]
        await both.same(steps)


async def test_a_changed_result_type_is_told_to_old_clients_and_not_to_new_ones(both: Both) -> None:
    text = "SELECT * FROM grows"
    async with both.wires(both.through, 3) as (first, second, new):
        await first.ask(query("CREATE TABLE grows (x int); INSERT INTO grows VALUES (1)"))
        for wire in (first, second):
            await wire.ask(parse(text, "g") + SYNC)
            for _ in range(3):
                assert frames.rows(await wire.ask(use("g") + SYNC)) == [("1",)]
        await first.ask(query("ALTER TABLE grows ADD y int DEFAULT 2"))
        assert frames.errors(await first.ask(use("g") + SYNC)) == ["0A000"]
        for _ in range(3):
            assert frames.errors(await second.ask(use("g") + SYNC)) == ["0A000"], "it was told of one column"
            messages = await new.ask(parse(text, "g") + use("g") + close("S", "g") + SYNC)
            assert frames.rows(messages) == [("1", "2")]
        messages = await first.ask(close("S", "g") + parse(text, "g") + use("g") + SYNC)
        assert frames.rows(messages) == [("1", "2")]


async def test_servers_keep_no_more_statements_than_they_may(both: Both) -> None:
    function = "CREATE FUNCTION held() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM pg_prepared_statements'"
    async with both.through.wire() as wire:
        await wire.ask(query(function))  # who asks by himself sees his own
        for number in range(900):
            await wire.ask(parse(f"SELECT {number}", f"s{number}") + use(f"s{number}") + SYNC)
        for _ in range(3):
            kept = await wire.value("SELECT held()")
            assert kept is not None
            assert int(kept) <= 201
        for number in (0, 450, 899):
            assert frames.rows(await wire.ask(use(f"s{number}") + SYNC)) == [(str(number),)]


@pytest.mark.parametrize("seed", range(8))
async def test_any_conversation_is_the_same_both_ways(both: Both, seed: int) -> None:
    chance = random.Random(seed)
    texts = ["SELECT 1", "SELECT 3", "SELECT 1/0", "SELEC", "", "SELECT 2 AS two"]
    names = ["", "a", "b"]

    def message() -> bytes:
        name = chance.choice(names)
        kind = chance.randrange(7)
        if kind <= 1:
            return parse(chance.choice(texts), name)
        if kind <= 4:
            return bind(statement=name) + describe("P") + execute()
        return describe("S", name) if kind == 5 else close("S", name)

    steps: list[Step] = []
    for _ in range(60):
        client = chance.randrange(3)
        choice = chance.randrange(10)
        if choice == 0:
            steps.append((client, query(chance.choice(["BEGIN", "COMMIT", "ROLLBACK", "SELECT 7", "SELECT 1/0"]))))
        else:
            batches = [
                b"".join(message() for _ in range(chance.randrange(1, 5))) + SYNC for _ in range(choice // 4 + 1)
            ]
            steps.append((client, b"".join(batches)))
    steps += [(client, query("ROLLBACK")) for client in range(3)]
    await both.same(steps, clients=3)


def test_psycopg_prepares_and_forgets(both: Both) -> None:
    with psycopg.connect(both.through.dsn(), autocommit=True, prepare_threshold=0) as connection:
        connection.prepared_max = 3
        for _ in range(3):
            for number in range(8):
                found = connection.execute(f"SELECT %s::int + {number}", (1,)).fetchone()
                assert found == (1 + number,)
