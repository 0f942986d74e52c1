from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config import Config, ConfigError, diff, load
from proxy.options import Address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

URL = "postgresql://app:s3cret@db:5432/shop"


def configured(
    text: str = "", *, env: Mapping[str, str] | None = None, path: Path | None = None, **flags: object
) -> Config:
    """Load with a url unless the text or the flags give another; `pool__size` is the flag `pool.size`."""
    file = None
    if path is not None:
        file = path / "forebay.toml"
        file.write_text(text, encoding="utf-8")
    given = {"url": URL} | {name.replace("__", "."): value for name, value in flags.items()}
    return load(file, env or {}, given)


def problems(
    text: str = "", *, env: Mapping[str, str] | None = None, path: Path | None = None, **flags: object
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configured(text, env=env, path=path, **flags)
    return told(caught.value)


def wrong(flags: Mapping[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(None, {}, flags)
    return told(caught.value)


def told(error: ConfigError) -> list[str]:
    lines = str(error).splitlines()
    assert len(lines) == len(error.problems)
    assert "s3cret" not in str(error)
    return lines


def test_a_url_alone_is_a_configuration() -> None:
    config = configured()
    assert list(config.databases) == ["shop"]
    assert config.listen == (Address("127.0.0.1", 6432),)
    assert config.http == Address("127.0.0.1", 9432)
    assert config.password_in_url("shop", "app") == "s3cret"
    assert config.password_in_url("shop", "other") is None
    assert config.password_in_url("other", "app") is None
    assert config.database("other") is None


def test_a_url_without_a_database_serves_every_name() -> None:
    config = configured(url="postgresql://app:s3cret@db")
    assert list(config.databases) == ["*"]
    assert config.database("anything") is config.databases["*"]
    assert config.password_in_url("anything", "app") == "s3cret"


def test_the_first_source_that_speaks_wins(tmp_path: Path) -> None:
    text = '[pool]\nsize = 1\nmin_size = 1\nidle_timeout = "1m"\n[cache]\nmode = "off"'
    env = {"FOREBAY_POOL__SIZE": "2", "FOREBAY_POOL__IDLE_TIMEOUT": "2m"}
    config = configured(text, env=env, path=tmp_path, pool__size="3", cache__mode=None)
    assert (config.pool.size, config.pool.idle_timeout, config.pool.min_size) == (3, 120.0, 1)
    assert (config.cache.mode, config.pool.queue_timeout) == ("off", 120.0)


def test_the_environment_reaches_every_key_and_leaves_others_programs_alone() -> None:
    env = {
        "FOREBAY_URL": "postgresql://u:p@h/other",
        "FOREBAY_LISTEN": "unix:/run/forebay, [::1]:7000",
        "FOREBAY_HTTP": "",
        "FOREBAY_DATABASES__REPORTS__URL": "postgresql://u:p@h/r",
        "FOREBAY_STATS__LOG_PARAMETERS": "on",
        "FOREBAY_SERVICE_HOST": "10.0.0.1",
        "FOREBAY_PORT": "tcp://10.0.0.1:6432",
        "FOREBAY_PORT_6432_TCP_ADDR": "10.0.0.1",
        "FOREBAY_SERVICE_PORT_METRICS": "1",
        "HOME": "/",
    }
    config = load(None, env, {})
    assert sorted(config.databases) == ["other", "reports"]
    assert config.listen == (Address("", 6432, "/run/forebay"), Address("::1", 7000))
    assert config.listen[0].socket_path == "/run/forebay/.s.PGSQL.6432"
    assert config.http is None
    assert config.stats.log_parameters is True


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[pool]\nsize = 7")
    assert load(None, {"FOREBAY_CONFIG": str(file)}, {"url": URL}).pool.size == 7


def test_paths_in_the_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text('"a" "b"')
    config = configured('[auth]\nusers_file = "users.txt"', path=tmp_path)
    assert config.auth.users_file == tmp_path / "users.txt"


def test_a_databases_own_keys_win_over_the_pools(tmp_path: Path) -> None:
    own = 'pool_size = 3\npool_mode = "session"\nmax_clients = 9'
    text = f'[databases.a]\nurl = "{URL}"\n{own}\n[pool]\nmin_size = 2'
    config = configured(text, path=tmp_path)
    assert (config.pool_of("a").size, config.pool_of("a").mode, config.pool_of("a").min_size) == (
        3,
        "session",
        2,
    )
    assert (config.pool_of("shop").size, config.pool_of("shop").mode) == (20, "transaction")
    assert (config.max_clients_of("a"), config.max_clients_of("shop")) == (9, 0)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("pool.size", "many", '"many": must be a whole number from 1 to 10000'),
        ("pool.size", 0, "0: must be a whole number from 1 to 10000"),
        ("pool.size", True, "true: must be a whole number"),
        ("pool.mode", "fast", '"fast": must be one of transaction, session, statement'),
        ("pool.lifetime_jitter", "2", '"2": must be a fraction from 0 to 1'),
        ("pool.rotate", "maybe", '"maybe": must be true or false'),
        ("cache.ttl", "soon", '"soon": must be a duration like'),
        ("cache.memory", "1 fortnight", '"1 fortnight": must be a size like'),
        ("limits.message", "2GiB", "from 8KiB to 1GiB"),
        ("listen", "6432", '"6432": must be "HOST:PORT" or'),
        ("listen", "h:70000", "port must be a number"),
        ("listen", "::1:5", "must stand in brackets"),
        ("listen", "unix:run", "absolute directory"),
        ("listen", "unix:/" + "x" * 100, "107 bytes"),
        ("http", "unix:/run", 'must be "HOST:PORT", or "" for off'),
        ("auth.method", "pam", "must be one of trust, password, md5, scram-sha-256"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(key: str, value: object, line: str) -> None:
    (said,) = wrong({"url": URL, key: value})
    assert said.startswith(f"{key} (from the command line): ")
    assert line in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("workers", "2"),
        ("cache.redis", "redis://:s3cret@h"),
        ("cache.consistency", "bounded"),
    ],
)
def test_what_this_version_has_not_is_refused(key: str, value: str) -> None:
    (said,) = wrong({"url": URL, key: value})
    assert said.startswith(key)
    assert said.endswith("not available in this version")


def test_a_misspelt_key_gets_a_suggestion() -> None:
    assert problems(pool__siez=3) == ["pool.siez (from the command line): there is no such key; did you mean size?"]
    (said,) = problems(env={"FOREBAY_POOL__SIZ": "3"})
    assert "(from FOREBAY_POOL__SIZ)" in said
    assert "did you mean size?" in said
    (said,) = problems(env={"FOREBAY_XYZZY": "3"})
    assert "known: url, listen, http" in said


def test_everything_wrong_with_a_file_is_reported_at_once(tmp_path: Path) -> None:
    text = 'listn = "x"\nworkers = 0\n[pool]\nsize = "x"\n[databases.a]\npool_size = 1\n[databases.b]\nurl = "http://s3cret"'
    said = problems(text, path=tmp_path)
    assert sorted(line.split(":")[0] for line in said) == [
        "databases.a.url",
        "databases.b.url (from forebay.toml)",
        "listn (from forebay.toml)",
        "pool.size (from forebay.toml)",
        "workers (from forebay.toml)",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("pool = 3", "pool (from forebay.toml): is a section, written [pool] with keys inside"),
        ('[databases]\nshop = "postgresql://u:s3cret@h"', "databases.shop (from"),
        ('databases = "postgresql://u:s3cret@h"', "databases"),
        ("[pool", "forebay.toml: is not TOML"),
        ("[databases.forebay]\nurl = 'postgresql://u:p@h'", "taken by the admin console"),
    ],
)
def test_the_shape_of_a_file(tmp_path: Path, text: str, line: str) -> None:
    assert any(line in said for said in problems(text, path=tmp_path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml", {}, {})
    (tmp_path / "forebay.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(tmp_path / "forebay.toml", {}, {})
    (said,) = problems('[auth]\nusers_file = "users.txt"', path=tmp_path)
    assert "auth.users_file (from forebay.toml): the file" in said
    assert said.endswith("cannot be read: No such file or directory")


@pytest.mark.parametrize(
    ("flags", "keys"),
    [
        ({"pool.size": 2, "pool.min_size": 3}, ["pool.min_size"]),
        (
            {"databases.a.url": URL, "databases.a.pool_size": 1, "pool.min_size": 2},
            ["databases.a.min_pool_size"],
        ),
        ({"pool.retry_delay": "9s"}, ["pool.retry_delay"]),
        ({"pool.retry_delay": 0}, ["pool.retry_delay"]),
        ({"tls.cert": __file__}, ["tls.key"]),
        ({"tls.key": __file__}, ["tls.cert"]),
        ({"tls.mode": "require"}, ["tls.cert"]),
        ({"tls.mode": "verify-full", "tls.cert": __file__, "tls.key": __file__}, ["tls.client_ca"]),
        ({"cache.memory": "1KiB"}, ["cache.max_entry"]),
        ({"cache.ttl": 0}, ["cache.ttl"]),
        ({"cache.probe": 0}, ["cache.probe"]),
        ({"url": "postgresql://app@h/shop"}, ["databases.shop.url"]),
        ({"url": "postgresql://h/shop"}, ["databases.shop.url"]),
        ({"url": None}, ["databases"]),
        ({"url": "h/shop"}, ["url"]),
    ],
)
def test_keys_that_do_not_go_together(flags: dict[str, object], keys: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {"url": URL} | flags)
    assert [problem.key for problem in caught.value.problems] == keys


@pytest.mark.parametrize(
    "flags",
    [
        {"url": "postgresql://app@h/shop", "auth.method": "trust"},
        {"url": "postgresql://h/shop", "auth.users_file": __file__},
        {"cache.mode": "off", "cache.probe": 0},
        {"tls.mode": "verify-ca", "tls.cert": __file__, "tls.key": __file__, "tls.client_ca": __file__},
    ],
)
def test_keys_that_do_go_together(flags: dict[str, object]) -> None:
    load(None, {}, {"url": URL} | flags)


def test_control_characters_of_a_value_are_shown_as_such() -> None:
    (said,) = problems(pool__mode="a\x1b[31m\nb")
    assert "a\\x1b[31m\\x0ab" in said


def test_a_configuration_never_shows_a_password_and_never_changes() -> None:
    config = configured()
    assert "s3cret" not in repr(config) + str(config) + config.model_dump_json()
    with pytest.raises(ValueError, match="frozen"):
        config.pool.size = 3  # type: ignore[misc] # the type checker refuses it as well


def test_diff_tells_what_applies_now_from_what_needs_a_restart() -> None:
    old = configured()
    new = configured(
        url="postgresql://app:other@db:5432/shop",
        pool__size=3,
        listen="127.0.0.1:1",
        log__format="json",
        log__level="debug",
        databases__x__url=URL,
    )
    live, restart = diff(old, new)
    assert live == ["databases.shop.url", "databases.x.url", "log.level", "pool.size"]
    assert restart == ["listen", "log.format"]
    assert diff(old, configured()) == ([], [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[auth]\nquery = "x"', "auth.query (from forebay.toml): has no effect without auth.query_user"),
        ('[auth]\nquery_keep = "1s"', "auth.query_keep (from forebay.toml): has no effect without auth.query_user"),
        ("[auth]\nquery = 1", "auth.query (from forebay.toml): 1: must be a text"),
        ("[auth]\nquery_user = 1", "auth.query_user (from forebay.toml): 1: must be a name"),
        (
            '[auth]\nquery_user = "a"\nquery_database = "no"',
            'auth.query_database (from forebay.toml): "no" is no entry of databases',
        ),
        (
            '[databases.x]\nurl = "postgresql://h"\nquery = "x"\n[auth]\nmethod = "trust"',
            "databases.x.query_user: is needed for the query (or auth.query_user)",
        ),
    ],
)
def test_a_query_needs_somebody_who_asks(tmp_path: Path, text: str, told: str) -> None:
    assert problems(text, path=tmp_path) == [told]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"auth.method": "cert"}, ["cert needs TLS", "cert needs tls.client_ca"]),
        ({"auth.ident_map": "m"}, ["auth.ident_map (from the command line): has no effect without"]),
        ({"auth.ident_file": __file__}, ["auth.ident_file (from the command line): has no effect without"]),
        ({"auth.hba_file": __file__, "auth.method": "md5"}, ["auth.method (from the command line): is decided by"]),
        ({"auth.hba_file": "/nonexistent"}, ['auth.hba_file (from the command line): the file "/nonexistent"']),
    ],
)
def test_what_others_vouch_for_needs_the_means(flags: dict[str, str], told: list[str]) -> None:
    said = wrong({"url": URL, **flags})
    assert len(said) == len(told)
    for line, part in zip(said, told, strict=True):
        assert part in line


def test_with_somebody_who_asks_a_url_needs_no_user(tmp_path: Path) -> None:
    text = '[databases.x]\nurl = "postgresql://h"\n[auth]\nquery_user = "a"\n'
    text += '[databases.y]\nurl = "postgresql://h"\nquery_user = "b"'
    config = configured(text, path=tmp_path)
    assert (config.query_user_of("x"), config.query_user_of("y"), config.query_user_of("z")) == ("a", "b", "a")
