"""Where a replication connection leads to, and what its server is asked to set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol.accept import ClientLogin
from protocol.errors import ProtocolError
from proxy.access import Access
from proxy.config import load_text
from proxy.relay import Kind
from proxy.relays import kind_of, place_of, target_of

if TYPE_CHECKING:
    from pathlib import Path

SAME = (
    '[databases.one]\nurl = "postgresql://boss@h1"\n[databases.two]\nurl = "postgresql://h1/real?options=-c%20a%3Db"\n'
)
OTHER = '[databases.three]\nurl = "postgresql://h1:5433"\n'
ANY = '[databases."*"]\nurl = "postgresql://h2"\n'


def access(path: Path, text: str) -> Access:
    return Access(load_text(text + '[auth]\nmethod = "trust"', path / "x.toml"))


def login(database: str, replication: str = "true", user: str = "app", **parameters: str) -> ClientLogin:
    return ClientLogin(user, database, parameters, 0, tls=False, replication=replication)


@pytest.mark.parametrize(("value", "kind"), [("true", Kind.PHYSICAL), ("1", Kind.PHYSICAL), ("database", Kind.LOGICAL)])
def test_the_kind(value: str, kind: Kind) -> None:
    assert kind_of(login("x", value)) is kind


@pytest.mark.parametrize(
    ("text", "name", "user", "place"),
    [
        (SAME, "two", "app", "two"),
        (SAME, "replication", "app", "two"),
        (SAME, "replication", "boss", "one"),
        (SAME + OTHER, "three", "app", "three"),
        (SAME + OTHER + ANY, "replication", "app", "replication"),
    ],
    ids=["named", "one server", "one server, its user", "named of several", "any"],
)
def test_where_physical_replication_leads(tmp_path: Path, text: str, name: str, user: str, place: str) -> None:
    assert place_of(access(tmp_path, text), login(name, user=user)) == place


@pytest.mark.parametrize(
    ("text", "name", "kind", "expected"),
    [
        (SAME, "forebay", "true", "0A000"),
        (ANY, "pgbouncer", "database", "0A000"),
        (SAME, "nowhere", "database", "3D000"),
        (SAME + OTHER, "replication", "true", "3D000"),
    ],
)
def test_where_it_does_not(tmp_path: Path, text: str, name: str, kind: str, expected: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        place_of(access(tmp_path, text), login(name, kind))
    assert caught.value.sqlstate == expected


def test_what_to_do_about_several_servers_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"configure \[databases.replication\] for one of them"):
        place_of(access(tmp_path, SAME + OTHER), login("replication"))


def test_what_the_server_is_asked_to_set(tmp_path: Path) -> None:
    found = target_of(access(tmp_path, SAME), login("two", "on", application_name="me", options="-c c=d"), "two")
    assert found.parameters == {"replication": "on", "application_name": "me", "options": "-c a=b -c c=d"}
    assert (found.host, found.database, found.user) == ("h1", "real", "app")
