from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dsn import ServerUrl, parse_dsn

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


def password(url: ServerUrl) -> str | None:
    return url.password.get_secret_value() if url.password else None


def test_a_whole_url() -> None:
    url = parse_dsn(
        "postgresql://app:p%40ss@db.example:6000/shop?sslmode=verify-full&sslrootcert=/ca&connect_timeout=3"
    )
    assert (url.host, url.port, url.user, password(url), url.database) == (
        "db.example",
        6000,
        "app",
        "p@ss",
        "shop",
    )
    assert (url.sslmode, url.sslrootcert, url.connect_timeout) == ("verify-full", "/ca", 3.0)


def test_what_is_left_out_has_libpqs_defaults() -> None:
    assert parse_dsn("postgres://") == ServerUrl("localhost", 5432, None, None, None, "prefer")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("postgresql://[::1]:55/x", "::1", 55),
        ("postgresql://[fe80::1]/x", "fe80::1", 5432),
        ("postgresql://%2Frun%2Fpg/x", "/run/pg", 5432),
        ("postgresql:///x?host=/run/pg&port=7", "/run/pg", 7),
        ("host=/run/pg port=7 dbname=x", "/run/pg", 7),
        ("host = h dbname=x", "h", 5432),
    ],
)
def test_hosts(text: str, host: str, port: int) -> None:
    url = parse_dsn(text)
    assert (url.host, url.port, url.database, url.is_unix) == (host, port, "x", host.startswith("/"))


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("postgresql://a,b:1/d", (("a", 5432), ("b", 1))),
        ("postgresql://a:1,[::1]:2,/d", (("a", 1), ("::1", 2), ("localhost", 5432))),
        ("postgresql:///d?host=a,/run/pg&port=7", (("a", 7), ("/run/pg", 7))),
        ("host=a,b port=1,2", (("a", 1), ("b", 2))),
        ("host=a", (("a", 5432),)),
    ],
)
def test_several_hosts(text: str, hosts: tuple[tuple[str, int], ...]) -> None:
    assert parse_dsn(text).hosts == hosts


def test_which_of_several_hosts() -> None:
    url = parse_dsn("postgresql://u@a,b/d?target_session_attrs=primary&load_balance_hosts=random")
    assert (url.target_session_attrs, url.load_balance_hosts, url.one_history) == ("primary", "random", True)
    assert str(url) == "postgresql://u@a:5432,b:5432/d?sslmode=prefer&target_session_attrs=primary"
    assert not parse_dsn("postgresql://a,b/d").one_history
    assert parse_dsn("postgresql://a/d?target_session_attrs=standby").one_history


def test_pairs_may_be_quoted_and_escaped() -> None:
    url = parse_dsn(r"user='a \'b' password=x\ y\\z dbname=''")
    assert (url.user, password(url), url.database) == ("a 'b", "x y\\z", None)


def test_white_space_around_a_url_is_dropped() -> None:
    assert parse_dsn(" postgresql://h/d\n").database == "d"


def test_jdbcs_ssl_true_requires_tls() -> None:
    assert parse_dsn("postgresql://h/d?ssl=true").sslmode == "require"
    with pytest.raises(ValueError, match="not known"):
        parse_dsn("postgresql://h/d?ssl=false")


@given(TEXT, TEXT, TEXT)
def test_what_is_percent_encoded_comes_back(user: str, secret: str, database: str) -> None:
    text = f"postgresql://{quote(user, safe='')}:{quote(secret, safe='')}@h/{quote(database, safe='')}"
    url = parse_dsn(text)
    assert (url.user, password(url), url.database) == (user, secret, database)
    again = parse_dsn(str(url))
    assert (again.user, again.password, again.database) == (user, None, database)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("mysql://h/d", "must look like"),
        ("just-a-host", "must look like"),
        ("postgresql://h:0/d", "port must be"),
        ("postgresql://h:65536/d", "port must be"),
        ("postgresql://h:٣/d", "port must be"),
        ("postgresql://[::1/d", "IPv6"),
        ("postgresql://::1/d", "port must be|well formed"),
        ("host=a,b,c port=1,2", "one port, or one for each host"),
        ("postgresql://a,b c/d", "not well formed"),
        ("postgresql://h/d?load_balance_hosts=round", "load_balance_hosts must be one of disable, random"),
        ("postgresql://h/d?sslmode=yes", "sslmode must be one of disable"),
        ("postgresql://h/d?sslmod=require", "did you mean sslmode"),
        ("postgresql://h/d?channel_binding=require", "channel_binding can only be"),
        ("postgresql://h/d?target_session_attrs=master", "target_session_attrs must be one of any, read-write"),
        ("postgresql://h/d?connect_timeout=soon", "whole number of seconds"),
        ("postgresql://h/d?x", "name=value"),
        ("postgresql://a%zz@h/d", "two hexadecimal"),
        ("postgresql://a%ff@h/d", "UTF-8"),
        ("postgresql://a%00@h/d", "zero byte"),
        ("postgresql://h\r/d", "control character"),
        ("host=h dbname='x", "single quotes"),
        ("host='a'b", "single quotes"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_dsn(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:s3cr/et@h/d",
        "postgresql://u:12/s3cr@h/d",
        "postgresql://u:s3cr#et@h/d",
        "postgresql://u:s3cr?et@h/d",
        "postgresql://u:s3cr%et@h/d",
        "postgresql://u:s3cr et@h:x/d?z=1",
        "postgresql://u:s3cret@h/d?password2=s3cret",
        "user=u password='s3cret",
        "user=u passwrd=s3cret",
    ],
)
def test_errors_never_repeat_a_password(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_dsn(text)
    assert "s3cr" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_neither_the_text_nor_the_repr_of_a_url_shows_its_password() -> None:
    url = parse_dsn("postgresql://u:s3cret@h/d")
    assert "s3cret" not in repr(url) + str(url)
    assert str(url) == "postgresql://u@h:5432/d?sslmode=prefer"
