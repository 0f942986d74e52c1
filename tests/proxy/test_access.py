from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol import scram
from protocol.hbalines import LineError
from protocol.policy import LATER, Method, Visitor
from protocol.secrets import Keyed, Md5, Plain, Scram
from proxy.access import UNUSABLE, Access
from proxy.config import load_text
from proxy.keyring import Keyring
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from pathlib import Path

SALT = b"0123456789abcdef"
KEYS = scram.derive("secret", SALT, 4096)
VERIFIER = Scram(KEYS.verifier(SALT, 4096))
KEYED = Keyed(KEYS.verifier(SALT, 4096), KEYS.client_key)

USERS = '"asker" "asking"\n"app" "secret"\n"hashed" "md5' + "0" * 32 + '"\n'
TWO = '[databases.one]\nurl = "postgresql://h1"\n[databases.two]\nurl = "postgresql://h2/real"\n'
AUTH = '[auth]\nusers_file = "users.txt"\n'


def access(path: Path, text: str) -> Access:
    (path / "users.txt").write_text(USERS)
    return Access(load_text(text, path / "x.toml"))


def test_who_is_listed_is_not_asked_for(tmp_path: Path) -> None:
    found = access(tmp_path, TWO + AUTH + 'query_user = "asker"')
    assert found.secret("app", "one") == Plain("secret")
    assert found.secret("else", "one") is LATER
    assert found.secret("else", "nowhere") is LATER  # asked in the first database, so that it makes no difference
    assert found.secret("else", "forebay") is LATER
    assert access(tmp_path, TWO + AUTH).secret("else", "one") is None


def test_where_it_is_asked(tmp_path: Path) -> None:
    found = access(tmp_path, TWO + AUTH + 'query_user = "asker"')
    one, two, none = (found.question(name) for name in ("one", "two", "nowhere"))
    assert one is not None
    assert two is not None
    assert none == one == found.question("pgbouncer")
    assert (one.url.host, one.database, one.user, one.password) == ("h1", "one", "asker", "asking")
    assert (two.url.host, two.database) == ("h2", "real")
    assert "asking" not in repr(one)
    central = access(tmp_path, TWO + AUTH + 'query_user = "asker"\nquery_database = "two"')
    assert {central.question(name) for name in ("one", "two", "nowhere")} == {two}


def test_a_database_of_its_own_mind(tmp_path: Path) -> None:
    own = '[databases.own]\nurl = "postgresql://asker:other@h3"\nquery_user = "asker"\n'
    own += 'query = "q"\nquery_database = "own"\n'
    found = access(tmp_path, own + TWO + '[auth]\nmethod = "trust"')
    question = found.question("own")
    assert question is not None
    assert (question.query, question.password) == ("q", "other")
    assert found.question("one") is None
    assert found.question("nowhere") is None


def test_any_database_is_asked_in_itself(tmp_path: Path) -> None:
    found = access(tmp_path, '[databases."*"]\nurl = "postgresql://h"\n' + AUTH + 'query_user = "asker"')
    question = found.question("whatever")
    assert question is not None
    assert question.database == "whatever"
    assert found.question("forebay") is None  # which one would it be?


def test_pools_log_in_with_the_best_that_is_known(tmp_path: Path) -> None:
    found = access(tmp_path, TWO + AUTH + 'query_user = "asker"')
    assert found.target("one", "app").secret == Plain("secret")
    assert found.target("one", "else").secret is None
    found.keyring.keep("one", "else", KEYED)
    assert found.target("one", "else").secret == KEYED
    assert found.target("two", "else").secret is None
    assert Access(found.config, found).target("one", "else").secret == KEYED


def test_our_own_questions_need_a_password(tmp_path: Path) -> None:
    found = access(tmp_path, TWO + AUTH + 'query_user = "asker"')
    found.keyring.keep("one", "else", KEYED)
    assert found.own_login("one", "app") == ("app", "secret")
    assert found.own_login("one", "else") == ("asker", "asking")
    assert found.own_login("one", "nobody") == ("nobody", None)


def test_a_map_for_certificates(tmp_path: Path) -> None:
    (tmp_path / "ident").write_text("staff bob robert\n")
    made = make_certificates(tmp_path)
    tls = f'[tls]\ncert = "{made.certificate}"\nkey = "{made.key}"\nclient_ca = "{made.authority}"\n'
    text = TWO + AUTH + 'method = "cert"\nident_file = "ident"\nident_map = "{}"\n' + tls
    policy = access(tmp_path, text.format("staff")).edge().policy
    rule = policy.rule_of(Visitor("robert", "one", "::1", True))
    assert rule is not None
    assert (rule.method, rule.may_be("bob", "robert"), rule.may_be("robert", "robert")) == (Method.CERT, True, False)
    assert policy.listed
    with pytest.raises(LineError, match='no map "other"'):
        access(tmp_path, text.format("other"))


@pytest.mark.parametrize(
    ("hba", "told"),
    [
        ("host all all all ldap", "auth.hba_file, line 1: ldap: no such method here"),
        ("\nhostssl all all all cert", "auth.hba_file, line 2: certificates need tls.client_ca, and TLS that is on"),
        ("local all @nobody md5", 'auth.hba_file, line 1: the file "nobody" cannot be read'),
        ("local all @users.txt md5\n\u00e4", "auth.hba_file: is not UTF-8 text"),
    ],
)
def test_hba_files_that_cannot_be_used(tmp_path: Path, hba: str, told: str) -> None:
    (tmp_path / "hba").write_bytes(hba.encode("latin-1"))
    with pytest.raises(UNUSABLE) as caught:
        access(tmp_path, TWO + AUTH + 'hba_file = "hba"\n')
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("useless", [None, VERIFIER, Plain("")])
def test_the_keyring_keeps_what_is_of_use(useless: Scram | Plain | None) -> None:
    ring = Keyring()
    ring.keep("d", "u", useless)
    assert ring.best("d", "u", VERIFIER) == VERIFIER
    ring.keep("d", "u", KEYED)
    ring.keep("d", "u", useless)
    assert ring.best("d", "u", VERIFIER) == KEYED
    assert ring.best("d", "u", Plain("listed")) == Plain("listed")
    assert ring.best("d", "u", None) == KEYED
    assert ring.best("e", "u", Md5("x")) == Md5("x")


def test_the_keyring_is_bounded() -> None:
    ring = Keyring()
    for number in range(10_001):
        ring.keep("d", str(number), KEYED)
    assert ring.best("d", "0", None) is None
    assert ring.best("d", "10000", None) == KEYED
