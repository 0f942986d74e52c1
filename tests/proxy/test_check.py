from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy import check
from proxy.config import ConfigError, load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import Cluster


async def said(**flags: object) -> tuple[int, list[str]]:
    lines: list[str] = []
    given = {name.replace("__", "."): value for name, value in flags.items()}
    status = await check.run(load(None, {}, given), lines.append)
    return status, lines


@pytest.fixture(scope="module")
def url(postgres: Cluster) -> str:
    postgres.create_role("checker", "p@ss/word")
    return postgres.dsn("postgres", "checker", "p@ss/word")


async def test_a_server_that_answers(url: str) -> None:
    status, lines = await said(url=url)
    assert status == 0
    assert lines[0] == "configuration: valid"
    (found,) = [line for line in lines if line.startswith("databases.postgres: ")]
    assert ": PostgreSQL " in found
    assert found.endswith("primary, TLS off")
    assert "p@ss" not in "\n".join(lines)
    assert "cache: strict, one process, memory store of 128MiB" in "\n".join(lines)
    assert lines[-1] == "cache: writes that bypass Forebay are bounded by ttl 1m"


async def test_files_that_it_names_are_read(url: str, tmp_path: Path) -> None:
    hba = tmp_path / "hba.conf"
    hba.write_text("local all all peer\nhost all all all ldap\n")
    with pytest.raises(ConfigError, match=r"configuration: auth\.hba_file, line 2: ldap"):
        await said(url=url, auth__hba_file=str(hba))
    users = tmp_path / "users.txt"
    users.write_text("nonsense\n")
    with pytest.raises(ConfigError, match="line 1 must look like"):
        await said(url=url, auth__users_file=str(users))


async def test_a_pool_that_the_server_has_no_room_for(url: str) -> None:
    status, lines = await said(url=url, pool__size=9000)
    assert status == 0
    assert any(line.startswith("  warning: one pool may open 9000 connections") for line in lines)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("p%40ss%2Fword", "wrong"), "FAILED: password authentication failed"),
        (("/postgres", "/nowhere"), 'FAILED: database "nowhere" does not exist'),
    ],
)
async def test_a_login_that_fails_says_why(url: str, change: tuple[str, str], why: str) -> None:
    status, lines = await said(url=url.replace(*change))
    assert status == 1
    assert any(why in line for line in lines)


async def test_tls_that_is_asked_for_and_not_there(url: str) -> None:
    status, lines = await said(url=f"{url.partition('?')[0]}?sslmode=require")
    assert status == 1
    assert any("FAILED: " in line and "SSL" in line for line in lines)


async def test_one_failure_does_not_hide_the_others(url: str) -> None:
    dead = "postgresql://u:p@127.0.0.1:1/dead"
    flags = {"databases.dead.url": dead, "databases.live.url": url}
    status, lines = await said(**flags)
    assert status == 1
    assert any(line.startswith("databases.dead: ") and line.endswith("Connection refused") for line in lines)
    assert any(line.startswith("databases.live: ") and "PostgreSQL" in line for line in lines)


async def test_a_url_without_a_user_is_said_not_to_be_tried() -> None:
    status, lines = await said(url="postgresql://127.0.0.1:1/x", auth__method="trust")
    assert status == 0
    assert any("not tried, as the url names no user" in line for line in lines)


async def test_the_guarantees_follow_the_configuration(url: str) -> None:
    config = load(None, {}, {"url": url, "cache.mode": "off"})
    assert check.guarantees(config, [])[-1] == "cache: off; every answer comes from the server"
    config = load(None, {}, {"url": url, "cache.ttl": "90s"})
    assert check.guarantees(config, ["x"])[-2:] == [
        "cache: writes that bypass Forebay are bounded by ttl 90s",
        "cache: databases.x is a replica: its writes come past Forebay, so they count as such",
    ]
