from __future__ import annotations

import string
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import load_text
from proxy.dsn import parse_dsn
from proxy.pgbouncer import settings
from proxy.pgbouncer.databases import Common, url_of
from proxy.pgbouncer.parse import Entry, read_ini
from proxy.pgbouncer.render import render
from proxy.pgbouncer.translate import translate
from proxy.pgbouncer.values import Translation
from tests.proxy.pgbouncer.whole import OF_DATABASES, OF_USERS, SETTINGS, WHOLE
from tests.support.certificates import make_certificates


def translated(text: str, path: Path) -> Translation:
    file = path / "pgbouncer.ini"
    file.write_text(text)
    return translate(read_ini(file), file, path)


def result(text: str, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The new file as TOML reads it, and what was remarked, by name."""
    found = translated(text, path)
    return tomllib.loads(render(found, "x.ini")), {remark.name: remark.text for remark in found.remarks}


def test_every_setting_is_in_one_table_and_no_other() -> None:
    tables = [set(settings.EQUIVALENT), set(settings.NONE), set(settings.TOGETHER)]
    assert sum(map(len, tables)) == len(set().union(*tables))
    assert set().union(*tables) == set(SETTINGS)
    assert set(settings.NOT_OF_A_USER) == set(OF_USERS)
    of_databases = set(settings.OF_A_DATABASE) | set(settings.NOT_OF_A_DATABASE) | settings.IN_THE_URL
    assert of_databases | {"auth_user", "auth_query", "auth_dbname"} == set(OF_DATABASES)


def test_the_example_says_something_for_every_setting(tmp_path: Path) -> None:
    (tmp_path / "p.ini").write_text(WHOLE)
    assert set(read_ini(tmp_path / "p.ini")["pgbouncer"]) == {*SETTINGS, "colour"}


def test_everything(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    assert made.key.name == "server.key"
    (tmp_path / "userlist.txt").write_text('"a" "b"\n')
    found, _ = result(WHOLE, tmp_path)
    ca, key, crt = (tmp_path / name for name in ("ca.crt", "client.key", "client.crt"))
    tls = "sslmode=verify-full" + "".join(
        f"&{word}={str(path).replace('/', '%2F')}"
        for word, path in (("sslrootcert", ca), ("sslcert", crt), ("sslkey", key))
    )
    assert found["listen"] == "127.0.0.1:6433, [::1]:6433, unix:/run/pooler:6433"
    databases = found["databases"]
    assert databases["plain"] == {"url": "postgresql://%2Frun%2Fpooler/"}
    assert databases["shop"] == {
        "url": f"postgresql://app:pa%27ss%20w%2F%40rd@10.0.0.5:5433/store?{tls}",
        "pool_size": 7,
        "min_pool_size": 2,
    }
    assert databases["six"] == {
        "url": f"postgresql://[fd00::5]/?{tls}&options=-c%20timezone%3DEurope%2FRome",
        "reserve_pool_size": 3,
        "max_clients": 50,
        "pool_mode": "statement",
    }
    odd = parse_dsn(databases['Odd "name"']["url"])
    assert (odd.host, odd.application_name) == ("/run/pg", "odd")
    assert odd.options == "-c client_encoding=UTF8 -c datestyle=ISO,\\ DMY"
    many, some = (parse_dsn(databases[name]["url"]) for name in ("many", "some"))
    assert (many.hosts, many.load_balance_hosts) == ((("a", 5432), ("fd00::2", 5432)), "random")
    assert (some.hosts, some.load_balance_hosts) == ((("a", 6543), ("/run/pg", 6543)), "disable")
    assert databases["many"]["max_db_connections"] == 3
    assert some.target_session_attrs == "primary"
    assert set(databases) == {"plain", "shop", "six", 'Odd "name"', "many", "some", "asks", "odd", "*"}
    assert found["pool"] == {
        "mode": "transaction",
        "size": 30,
        "min_size": 3,
        "reserve_size": 5,
        "max_db_connections": 60,
        "max_user_connections": 40,
        "queue_notice": "5s",
        "check_after_idle": "10s",
        "idle_timeout": "5m",
        "connect_timeout": "7.5s",
        "queue_timeout": "1m",
        "cancel_timeout": "5s",
        "dns_ttl": "20s",
        "lifetime": "30m",
        "reserve_timeout": "2.5s",
        "lifetime_jitter": 0,
        "retry_max": "2s",
    }
    assert found["timeouts"] == {
        "login": "20s",
        "query": "90s",
        "client_idle": "2h",
        "idle_in_transaction": "30s",
    }
    assert found["limits"] == {
        "clients": 500,
        "clients_per_database": 300,
        "clients_per_user": 200,
        "message": "1GiB",
    }
    assert found["tls"] == {"mode": "require", "cert": "server.crt", "key": "server.key", "client_ca": "ca.crt"}
    assert found["auth"]["admin_users"] == ["boss", "chief"]
    assert found["auth"]["stats_users"] == ["watcher"]
    assert found["auth"]["users_file"] == "userlist.txt"
    assert found["auth"]["query_user"] == "asker"
    assert found["auth"]["query"] == "SELECT * FROM public.look($1)"
    assert found["auth"]["query_database"] == "plain"
    assert databases["asks"] == {
        "url": f"postgresql://a/?{tls}",
        "query_user": "asker",
        "query": "SELECT * FROM look($1)",
        "query_database": "plain",
    }
    assert (found["cache"], found["log"]) == ({"mode": "off"}, {"level": "debug"})
    assert load_text(render(translated(WHOLE, tmp_path), "x"), tmp_path / "new.toml").pool.size == 30


def test_everything_without_an_equivalent_is_named(tmp_path: Path) -> None:
    _, remarks = result(WHOLE, tmp_path)
    assert set(settings.NONE) <= set(remarks)
    for name in (
        *(f"[users] bob: {word}" for word in ("pool_mode", "pool_size", "max_user_connections")),
        *("[users] ann: colour", "[users] tim", "[peers] 1", "colour", "broken", "pgbouncer", "many: host"),
        *("odd: fetch_size", "odd: pool_size", "some: server_lifetime", "many: connect_query"),
    ):
        assert name in remarks, name


def test_what_pgbouncer_does_when_it_is_told_nothing(tmp_path: Path) -> None:
    found, remarks = result("[databases]\n* = host=db", tmp_path)
    assert found == {
        "listen": "unix:/tmp",
        "databases": {"*": {"url": "postgresql://db/"}},
        "pool": {"mode": "session"},
        "limits": {"clients": 100},
        "auth": {"method": "md5"},
        "tls": {"mode": "disable"},
        "cache": {"mode": "off"},
    }
    assert remarks == {}


@pytest.mark.parametrize(
    ("line", "key", "value", "remarked"),
    [
        ("listen_addr = *", "listen", "*:6432, unix:/tmp", "listen_addr = *"),
        ("unix_socket_dir = @pool", "listen", None, "unix_socket_dir"),
        ("server_lifetime = 0", "pool.lifetime", None, "server_lifetime"),
        ("server_lifetime = 0.0", "pool.lifetime_jitter", None, "server_lifetime"),
        ("server_lifetime = soon", "pool.lifetime", None, "server_lifetime"),
        ("reserve_pool_timeout = 0", "pool.reserve_size", 0, None),
        ("server_login_retry = 0", "pool.retry_max", None, None),
        ("server_login_retry = .05", "pool.retry_delay", "50ms", None),
        ("dns_max_ttl = 0", "pool.dns_ttl", "1s", None),
        ("dns_max_ttl = 1.5", "pool.dns_ttl", "1.5s", None),
        ("verbose = 0", "log.level", None, None),
        ("auth_type = plain", "auth.method", "password", None),
        ("auth_type = trust", "auth.method", "trust", None),
        ("auth_query = SELECT 1", "auth.query", None, "auth_query"),
        ("auth_user = asker", "auth.query_user", "asker", None),
        ("auth_type = cert", "auth.method", "cert", None),
        ("auth_type = hba", "auth.method", "scram-sha-256", "auth_type"),
        ("auth_type = hba\nauth_hba_file = hba.conf", "auth.hba_file", "hba.conf", None),
        ("auth_type = hba\nauth_hba_file = hba.conf", "auth.method", None, None),
        ("auth_type = HBA\nauth_hba_file = a\nauth_ident_file = b", "auth.ident_file", "b", None),
        ("auth_hba_file = hba.conf", "auth.hba_file", None, "auth_hba_file"),
        ("auth_type = any", "auth.method", "scram-sha-256", "auth_type"),
        ("auth_type = pam", "auth.method", "scram-sha-256", "auth_type"),
        ("auth_type = ldap", "auth.method", "scram-sha-256", "auth_type"),
        ("auth_type = magic", "auth.method", "scram-sha-256", "auth_type"),
        ("pool_mode = magic", "pool.mode", None, "pool_mode"),
        ("default_pool_size = -1", "pool.size", None, "default_pool_size"),
        ("server_tls_sslmode = magic", "databases.*.url", "postgresql://db/?sslmode=verify-full", "server_tls_sslmode"),
    ],
)
def test_one_by_one(tmp_path: Path, line: str, key: str, value: object, remarked: str | None) -> None:
    found, remarks = result(f"[databases]\n* = host=db\n[pgbouncer]\n{line}", tmp_path)
    at: Any = found
    for part in key.split("."):
        at = at.get(part) if at is not None else None
    assert at == value
    assert list(remarks) == ([remarked] if remarked else [])


NAMES = st.text(string.ascii_letters + string.digits + "_-. äß\"'\\%/@:?#", min_size=1, max_size=20)
TEXTS = st.text(string.printable.replace("\n", "").replace("\r", "") + "äß€", max_size=20)


@given(
    name=NAMES,
    dbname=NAMES,
    user=NAMES,
    password=st.text(string.printable[:94] + "äß€", min_size=1, max_size=20),
    port=st.integers(1, 65535),
    host=st.sampled_from(["db", "10.0.0.1", "fd00::1", "/run/postgres ql", "@abstract"]),
)
def test_a_url_says_what_the_pairs_said(name: str, dbname: str, user: str, password: str, port: int, host: str) -> None:
    if " " in host or host.startswith("@"):
        host = "/run/pg"
    pairs = {"dbname": dbname, "user": user, "password": password, "port": str(port), "host": host, "timezone": name}
    url = parse_dsn(url_of(pairs, Common()))
    assert (url.host, url.port, url.user, url.database) == (host, port, user, dbname)
    assert url.password is not None
    assert url.password.get_secret_value() == password


@given(names=st.lists(NAMES, unique=True), text=TEXTS, number=st.integers(0), words=st.lists(TEXTS))
def test_any_file_is_toml_and_says_what_was_said(names: list[str], text: str, number: int, words: list[str]) -> None:
    translation = Translation(Path("/"))
    for name in names:
        translation.say(("databases", name, "url"), text, text)
    translation.say("pool.size", number)
    translation.say("auth.admin_users", words)
    translation.remark("x:1", text, text)
    found = tomllib.loads(render(translation, "x\n.ini"))
    assert found.get("databases", {}) == {name: {"url": text} for name in names}
    assert (found["pool"]["size"], found["auth"]["admin_users"]) == (number, words)


def test_no_remark_shows_a_password(tmp_path: Path) -> None:
    found = translated("[databases]\nx = host=db password='s3cret\ny = host=db password=s3cret port=s3cret", tmp_path)
    assert not [remark for remark in found.remarks if "s3cret" in str(remark)]
    assert Entry("a", "b", "c").place == "c"
