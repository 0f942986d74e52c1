"""HBA files: which line holds for whom, and every line that is refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.hba import Hba, parse_hba
from protocol.hbalines import LineError
from protocol.policy import Certificate, Method, Visitor

FILES = {
    "dbs": 'one, two # not three\n\n"all"\n@more',
    "more": "four",
    "self": "@self",
    "open": 'a "b',
    "plus": "+role",
}


def read(name: str) -> str:
    if name == "latin":
        return b"\xff".decode()
    if name not in FILES:
        raise FileNotFoundError(2, "No such file or directory")
    return FILES[name]


def mapped(system: str, user: str) -> bool:
    return system == f"{user}@there"


def parsed(text: str) -> Hba:
    return parse_hba(text, "hba", {"there": mapped}, read)


def method(
    text: str,
    user: str = "app",
    database: str = "shop",
    address: str | None = "10.1.2.3",
    *,
    tls: bool = False,
    replication: bool = False,
) -> str:
    rule = parsed(text).rule_of(Visitor(user, database, address, tls, replication))
    return rule.method.value if rule is not None else "none"


def test_the_first_line_that_fits_decides() -> None:
    text = (
        "# comment\n\nhost all bad 0.0.0.0/0 reject\n"
        "host shop,other all 10.0.0.0/8 md5 # behind\r\nhost all all all trust"
    )
    assert method(text) == "md5"
    assert method(text, "bad") == "reject"
    assert method(text, database="third") == "trust"
    assert method(text, address="11.0.0.1") == "trust"
    assert method(text, "bad", address="::1") == "trust"
    assert method(text, address=None) == "none"
    assert method("", "app") == "none"


@pytest.mark.parametrize(
    ("kind", "plain", "tls", "local"),
    [
        ("host", True, True, False),
        ("hostssl", False, True, False),
        ("hostnossl", True, False, False),
        ("hostnogssenc", True, True, False),
        ("local", False, False, True),
    ],
)
def test_kinds(kind: str, plain: bool, tls: bool, local: bool) -> None:
    text = f"{kind} all all {'' if kind == 'local' else 'all'} trust"
    assert (method(text) == "trust") == plain
    assert (method(text, tls=True) == "trust") == tls
    assert (method(text, address=None) == "trust") == local


@pytest.mark.parametrize(
    ("address", "inside", "outside"),
    [
        ("10.1.2.3/32", "10.1.2.3", "10.1.2.4"),
        ("10.1.2.3/8", "10.255.0.0", "11.0.0.0"),
        ("10.1.2.3 255.255.0.0", "10.1.9.9", "10.2.0.0"),
        ("0.0.0.0/0", "1.2.3.4", "::1"),
        ("::/0", "::1", "1.2.3.4"),
        ("fe80::/10", "fe80::1%eth0", "fd00::1"),
        ("fd00::1 ffff:ffff::", "fd00:0:1::", "fd00:1::"),
        ("::1/128", "::1", ""),
    ],
)
def test_addresses(address: str, inside: str, outside: str) -> None:
    assert method(f"host all all {address} trust", address=inside) == "trust"
    assert method(f"host all all {address} trust", address=outside) == "none"


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_mask_says_what_bits_say(address: ipaddress.IPv4Address, bits: int) -> None:
    mask = ipaddress.ip_network(f"0.0.0.0/{bits}").netmask
    visitor = Visitor("u", "d", str(address), False)
    for line in (f"host all all 10.0.0.0 {mask} trust", f"host all all 10.0.0.0/{bits} trust"):
        fits = parsed(line).rule_of(visitor) is not None
        assert fits == (address in ipaddress.ip_network(f"10.0.0.0/{bits}", strict=False))


def test_databases() -> None:
    text = 'local sameuser all trust\nlocal @dbs all md5\nlocal replication all password\nlocal "replication" all peer'
    assert method(text, "app", "app", None) == "trust"
    for name in ("one", "two", "all", "four"):
        assert method(text, database=name, address=None) == "md5"
    assert method(text, database="three", address=None) == "none"
    assert method(text, database="app", address=None, replication=True) == "password"
    assert method(text, database="replication", address=None) == "peer"
    assert method("local all all trust", address=None, replication=True) == "none"


def test_users_and_quotes() -> None:
    text = 'local all "all","a b","c""d", e trust\nlocal all @dbs md5\n'
    text += 'local all "@dbs" password\nlocal all "+x" scram-sha-256'
    for name in ("all", "a b", 'c"d', "e"):
        assert method(text, name, address=None) == "trust"
    assert method(text, "two", address=None) == "md5"
    assert method(text, "@dbs", address=None) == "password"
    assert method(text, "+x", address=None) == "scram-sha-256"
    assert method(text, "f", address=None) == "none"


def test_lines_go_on() -> None:
    text = "local all \\\nall \\\ntrust\nlocal all all nonsense"
    with pytest.raises(LineError, match="hba, line 4: nonsense"):
        parsed(text)
    assert method("local all all \\\n trust\\", address=None) == "trust"


def test_options() -> None:
    hba = parsed(
        "hostssl all a all cert map=there\n"
        "hostssl all b all md5 map=there clientcert=verify-full\n"
        "hostssl all c all trust clientcert=verify-ca\n"
        "hostssl all d all cert clientcert=verify-full\n"
        "local all e peer map=there"
    )
    rules = [entry.rule for entry in hba.entries]
    assert [rule.method for rule in rules] == [Method.CERT, Method.MD5, Method.TRUST, Method.CERT, Method.PEER]
    kinds = [Certificate.NONE, Certificate.OF_USER, Certificate.SIGNED, Certificate.OF_USER, Certificate.NONE]
    assert [rule.certificate for rule in rules] == kinds
    assert [rule.may_be("x@there", "x") for rule in rules] == [True, True, False, False, True]
    assert [rule.may_be("x", "x") for rule in rules] == [False, False, True, True, False]
    assert hba.certified == 1
    assert parsed("local all all peer").certified is None
    assert parsed("\nhostssl all all all md5 clientcert=verify-ca").certified == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("hosts all all all trust", "hosts: must be one of local, host"),
        ("hostgssenc all all all trust", "hostgssenc: must be one of"),
        ("host,local all all trust", "the connection's type must be one word"),
        ("host all", "ends before the database, the user, and the method"),
        ("local all all", "ends before the method"),
        ("host all all", "ends before the address"),
        ("host all all all", "ends before the method"),
        ("host all all 10.0.0.1", "10.0.0.1: needs /bits, or a mask behind it"),
        ("host all all 10.0.0.1 trust", "trust: is no mask for 10.0.0.1"),
        ("host all all 10.0.0.1 ffff:: trust", "ffff::: is no mask"),
        ("host all all 10.0.0.1 255.0.255.0 trust", "a mask is ones, then zeros"),
        ("host all all 10.0.0.1/33 trust", "is no address with a length"),
        ("host all all 10.0.0.1/255.0.0.0/8 trust", "is no address with a length"),
        ("host all all example.com trust", "example.com: must be all, or an address"),
        ("host all all .example.com trust", "must be all, or an address"),
        ("host all all samehost trust", "samehost: is not available"),
        ("host all all samenet trust", "samenet: is not available"),
        ("host all all 10.0.0.1/8,11.0.0.0/8 trust", "the address must be one word"),
        ("local samerole all trust", "samerole: who is a member"),
        ("local samegroup all trust", "samegroup: who is a member"),
        ("local all +admins trust", "+admins: who is a member"),
        ("local all /^a trust", "/^a: regular expressions"),
        ("local /^a all trust", "/^a: regular expressions"),
        ("local all @none trust", 'the file "none" cannot be read: No such file'),
        ("local all @self trust", "nested more than 10 deep"),
        ("local all @open trust", 'the file "open" is wrong in line 1: a quote is not closed'),
        ("local all @plus trust", "+role: who is a member"),
        ("local all @latin trust", 'the file "latin" is not UTF-8 text'),
        ('local all "a trust', "a quote is not closed"),
        ("local all all ldap", "ldap: no such method here; there are trust, password"),
        ("local all all pam", "pam: no such method"),
        ("host all all all ident", "ident: no such method"),
        ("host all all all gss", "gss: no such method"),
        ("host all all all TRUST", "TRUST: no such method"),
        ("host all all all cert", "cert: certificates come with TLS only"),
        ("host all all all peer", "peer: the other side is known through unix sockets only"),
        ("local all all trust map", "map: options look like name=value"),
        ("local all all trust map=there", "map: trust knows the user by no other name"),
        ("local all all peer map=nowhere", "map: nowhere is not in the ident file"),
        ("local all all peer x=y", "x: no such option here"),
        ("local all all trust clientcert=verify-ca", "clientcert: certificates come with TLS only"),
        ("hostssl all all all trust clientcert=1", "clientcert: must be verify-ca or verify-full"),
        ("hostssl all all all cert clientcert=verify-ca", "clientcert: cert is verify-full already"),
        ("include other.conf", "include: must be one of"),
    ],
)
def test_a_line_that_is_not_understood_is_named(line: str, told: str) -> None:
    with pytest.raises(LineError) as caught:
        parsed("local all all trust\n\n" + line)
    assert caught.value.line == 3
    assert str(caught.value).startswith("hba, line 3: ")
    assert told in str(caught.value)


@pytest.mark.parametrize("end", [",\\", " \\", "# as before \\", "\\"])
def test_a_last_line_that_would_go_on_and_says_nothing(end: str) -> None:
    assert parsed("local all all trust\n" + end) == parsed("local all all trust")


@given(st.text(st.sampled_from("local host all trust @dbs \"'\\\n\t,#/10.0.0.0=map x"), max_size=80))
def test_any_text_is_a_file_or_an_error_with_a_line(text: str) -> None:
    assert 1 <= outcome(text) <= text.count("\n") + 1


def outcome(text: str) -> int:
    """The line that is wrong, or 1."""
    try:
        parsed(text)
    except LineError as error:
        return error.line
    return 1
