"""What a client asks for at startup, and what it is told: as PostgreSQL itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol.errors import ProtocolError
from proxy.greeting import startup_settings
from tests.integration.rotating import Both
from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.wire import LoginRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("-c work_mem=1MB", {"work_mem": "1MB"}),
        ("-cwork_mem=1MB --statement-timeout=5", {"work_mem": "1MB", "statement_timeout": "5"}),
        ("  -c   a=b=c\t-c d=", {"a": "b=c", "d": ""}),
        (r"-c search_path=\"$user\",\ public", {"search_path": '"$user", public'}),
        (r"-c a=back\\slash", {"a": "back\\slash"}),
        ("-c geqo=off -c geqo=on", {"geqo": "on"}),
        ("-c App.Name=x", {"app.name": "x"}),
    ],
)
def test_options(options: str, settings: dict[str, str]) -> None:
    assert startup_settings({"options": options}) == settings


def test_parameters_outweigh_options_and_names_are_lower_case() -> None:
    asked = {"options": "-c timezone=UTC -c geqo=off", "TimeZone": "Asia/Tokyo", "DateStyle": "ISO"}
    assert startup_settings(asked) == {"timezone": "Asia/Tokyo", "geqo": "off", "datestyle": "ISO"}


@pytest.mark.parametrize("options", ["-c", "-c work_mem", "--work-mem", "-x 1", "work_mem=1MB", "-c =x"])
def test_options_that_are_none(options: str) -> None:
    with pytest.raises(ProtocolError):
        startup_settings({"options": options})


@pytest.fixture(scope="module")
def proxy(postgres: Cluster) -> Iterator[Forebay]:
    with forebay_before(postgres, pool={"size": 3, "min_size": 3, "rotate": True}) as proxy:
        yield proxy


@pytest.fixture
def both(postgres: Cluster, proxy: Forebay, database: str) -> Both:
    return Both(postgres, proxy, database)


ASKED = [
    (),
    (("application_name", "shop"),),
    (("application_name", "ünï\ncode"),),
    (("application_name", "x" * 100),),
    (("TimeZone", "asia/tokyo"), ("datestyle", "german")),
    (("options", "-c timezone=EST5EDT -c IntervalStyle=iso_8601"),),
    (("client_encoding", "latin1"), ("search_path", "pg_catalog,  public")),
    (("options", "-c default_transaction_read_only=1 -c work_mem=9MB"),),
]


@pytest.mark.parametrize("asked", ASKED)
async def test_a_client_is_told_what_the_server_would_tell_it(both: Both, asked: tuple[tuple[str, str], ...]) -> None:
    names = ["work_mem", "timezone", "datestyle", "search_path", "application_name", "client_encoding"]
    async with both.wires(both.direct, 1, *asked) as (direct,), both.wires(both.through, 3, *asked) as wires:
        for wire in wires:  # the first is greeted with a server's help, the others without
            assert wire.parameters == direct.parameters
            for name in names:
                assert await wire.ask(frames.query(f"SHOW {name}")) == await direct.ask(frames.query(f"SHOW {name}"))


@pytest.mark.parametrize(
    ("asked", "sqlstate"),
    [
        (("work_mem", "a lot"), "22023"),
        (("no_such_setting", "1"), "42704"),
        (("server_version", "1"), "55P02"),
        (("TimeZone", "Mars/Olympus"), "22023"),
    ],
)
async def test_a_parameter_that_the_server_refuses(both: Both, asked: tuple[str, str], sqlstate: str) -> None:
    texts = []
    for target in (both.direct, both.through):
        with pytest.raises(LoginRefusedError) as refusal:
            await target.login(asked)
        assert (refusal.value.sqlstate, refusal.value.fields["S"]) == (sqlstate, "FATAL")
        texts.append(refusal.value.fields["M"])
    assert texts[0] == texts[1]
    async with both.wires(both.through, 3) as wires:
        for wire in wires:
            assert await wire.value("SELECT 'fine'") == "fine"


async def test_what_comes_before_the_greeting_is_not_lost(both: Both) -> None:
    wire = await both.through.open()
    try:
        await wire.login(both.through.user, both.through.database, both.through.password, ("work_mem", "8MB"))
        assert await wire.value("SHOW work_mem") == "8MB"
    finally:
        await wire.close()
