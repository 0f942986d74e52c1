"""Settings of clients that never get the same server twice: each has its own, and only its own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.integration.rotating import Both
from tests.support.forebay import forebay_before
from tests.support.frames import SYNC, bind, execute, parse, query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.rotating import Step
    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster

SHOWN = ["timezone", "work_mem", "search_path", "app.user"]  # the last two: reported in 18, and of the client's making


@pytest.fixture(scope="module")
def rotating(postgres: Cluster) -> Iterator[Forebay]:
    with forebay_before(postgres, pool={"size": 3, "min_size": 3, "rotate": True}, cache={"mode": "off"}) as proxy:
        yield proxy


@pytest.fixture
def both(postgres: Cluster, rotating: Forebay, shared_database: str) -> Both:
    return Both(postgres, rotating, shared_database)


def show(client: int) -> list[Step]:
    """Ask for all of them, on as many servers."""
    # a setting of the client's making that nobody set is NULL or empty, as the server's past has it
    asked = ", ".join(f"nullif(current_setting('{name}', true), '')" for name in SHOWN)
    return [(client, query(f"SELECT {asked}"))]


def shown_after(*steps: Step) -> list[Step]:
    """Each step, and what both clients have then, twice."""
    return [step for one in steps for step in (one, *(show(0) + show(1)) * 2)]


async def test_set_and_reset(both: Both) -> None:
    await both.same(
        shown_after(
            (0, query("SET TimeZone = 'Asia/Tokyo'")),
            (1, query("SET TimeZone = 'UTC'")),
            (0, query("SET work_mem = '7MB'")),
            (1, query("SET SESSION work_mem TO '8MB'")),
            (0, query('SET search_path = pg_catalog, "odd, name"')),
            (1, query("SET app.user = 'it''s me'")),
            (0, query("RESET work_mem")),
            (1, query("SET TimeZone TO DEFAULT")),
            (0, query("RESET ALL")),
            (1, query("RESET ALL; SET work_mem = '3MB'; SET TimeZone = 'Asia/Tokyo'")),
            (1, query("DISCARD ALL")),
        )
    )


async def test_in_transactions(both: Both) -> None:
    for end in ("COMMIT", "ROLLBACK"):
        for word in ("SET", "SET LOCAL"):
            steps: list[Step] = [
                (0, query("BEGIN")),
                (0, query(f"{word} TimeZone = 'Asia/Tokyo'")),
                (0, query(f"{word} work_mem = '7MB'")),
                *show(0),
                *show(1),
                (0, query(end)),
                *(show(0) + show(1)) * 3,
            ]
            await both.same(steps)


async def test_a_failed_transaction_takes_its_settings_back(both: Both) -> None:
    steps: list[Step] = [
        (0, query("SET work_mem = '5MB'")),
        (0, query("BEGIN; SET work_mem = '7MB'; SET TimeZone = 'Asia/Tokyo'")),
        (0, query("SELECT 1/0")),
        (0, query("COMMIT")),
        *(show(0) + show(1)) * 3,
        (0, query("SET TimeZone = 'Asia/Tokyo'; SELECT 1/0")),
        *(show(0) + show(1)) * 3,
        (0, query("SET work_mem = 'a lot'")),
        *(show(0) + show(1)) * 3,
    ]
    await both.same(steps)


async def test_savepoints(both: Both) -> None:
    steps: list[Step] = [
        (0, query("BEGIN; SET work_mem = '5MB'; SAVEPOINT s; SET work_mem = '6MB'; SET TimeZone = 'Asia/Tokyo'")),
        (0, query("ROLLBACK TO s")),
        (0, query("COMMIT")),
        *(show(0) + show(1)) * 3,
    ]
    await both.same(steps)


async def test_set_config_and_the_extended_protocol(both: Both) -> None:
    def run(text: str, *values: str) -> bytes:
        return parse(text) + bind(*values) + execute() + SYNC

    await both.same(
        shown_after(
            (0, query("SELECT set_config('work_mem', '7MB', false)")),
            (1, run("SELECT set_config($1, $2, false)", "app.user", "me")),
            (0, run("SET TimeZone = 'Asia/Tokyo'")),
            (1, query("SELECT set_config('work_mem', '9MB', true)")),
            (0, run("SELECT set_config('search_path', 'a, b', false)")),
            (1, run("RESET ALL")),
            (0, parse("SET work_mem = '2MB'", "s") + SYNC),
            (0, bind(statement="s") + execute() + SYNC),
        )
    )


@pytest.mark.parametrize(
    "asked",
    [
        (("TimeZone", "Asia/Tokyo"), ("application_name", "shop")),
        (("options", "-c work_mem=6MB -c app.user=options -c search_path=pg_catalog"),),
    ],
)
@pytest.mark.parametrize("back", ["RESET ALL", "DISCARD ALL", "RESET TimeZone; RESET work_mem; RESET search_path"])
async def test_a_reset_leads_back_to_the_start(both: Both, asked: tuple[tuple[str, str], ...], back: str) -> None:
    changes = ["SET TimeZone = 'UTC'", "SET work_mem = '9MB'", "SET search_path = public", "SET app.user = 'changed'"]
    answers = []
    for target in (both.direct, both.through):
        async with both.wires(target, 1, *asked) as (wire,):
            heard: list[object] = []
            for text in (*changes, back):
                await wire.ask(query(text))
                heard += [(await wire.ask(show(0)[0][1]))[1] for _ in range(3)]
            answers.append(heard)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("seed", range(6))
async def test_any_sequence_of_settings(both: Both, seed: int) -> None:
    chance = random.Random(seed)
    values = {"timezone": ["UTC", "Asia/Tokyo"], "work_mem": ["5MB", "6MB"], "search_path": ["public", "pg_catalog"]}
    steps: list[Step] = []
    for _ in range(60):
        client = chance.randrange(2)
        name = chance.choice(list(values))
        value = chance.choice(values[name])
        texts = [
            f"SET {name} = '{value}'",
            f"SET LOCAL {name} = '{value}'",
            f"SET {name} = '{value}'; SET app.user = '{value}'",
            f"SET {name} = '{value}'; SELECT 1/0",
            f"SELECT set_config('{name}', '{value}', {chance.choice(['true', 'false'])})",
            f"RESET {name}",
            "RESET ALL",
            "BEGIN",
            "COMMIT",
            "ROLLBACK",
            "SELECT 1/0",
            f"BEGIN; SET {name} = '{value}'; COMMIT; SET {name} TO DEFAULT",
        ]
        steps += [(client, query(chance.choice(texts))), *show(client)]
    await both.same(steps)
