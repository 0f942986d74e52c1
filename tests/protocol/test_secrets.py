from __future__ import annotations

from unittest.mock import Mock

import pytest

from protocol import scram, secrets
from protocol.secrets import Md5, Plain, Scram, Verifiers, md5_hash, md5_response, parse_secret

SCRAM_TEXT = (
    "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$"
    "NzEU4Ag0x2A+Rhd2XH0L3GOzYcF0cOsrP5yYJr8lRZ0=:NzEU4Ag0x2A+Rhd2XH0L3GOzYcF0cOsrP5yYJr8lRZ0="
)


def test_the_three_forms() -> None:
    assert parse_secret("md5" + "0a" * 16) == Md5("md5" + "0a" * 16)
    stored = parse_secret(SCRAM_TEXT)
    assert isinstance(stored, Scram)
    assert (stored.verifier.iterations, stored.verifier.salt) == (4096, b"0123456789abcdef")


@pytest.mark.parametrize(
    "text", ["", "secret", "md5", "md5" + "0" * 31, "md5" + "G" * 32, "SCRAM-SHA-256$4096:AAAA$x:y", SCRAM_TEXT + "x"]
)
def test_everything_else_is_a_password(text: str) -> None:
    assert parse_secret(text) == Plain(text)


def test_md5_is_postgresqls() -> None:
    assert md5_hash("secret", "app") == "md56a422f785c9e20873908ce25d1736ae2"
    # printf '%sabcd' 6a422f785c9e20873908ce25d1736ae2 | md5sum
    assert md5_response(md5_hash("secret", "app"), b"abcd") == "md5883f61cc18cc4ae54ca301892bb10c29"


def test_secrets_do_not_show() -> None:
    for secret in (Plain("hidden"), Md5("md5" + "0" * 32), parse_secret(SCRAM_TEXT)):
        assert "hidden" not in repr(secret)
        assert "0000" not in repr(secret)
        assert "NzEU" not in repr(secret)


def test_a_verifier_is_derived_once_for_a_user_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    derive = Mock(wraps=scram.derive)
    monkeypatch.setattr(scram, "derive", derive)
    known = Verifiers(b"k")
    first = known.verifier("app", Plain("secret"))
    assert known.verifier("app", Plain("secret")) is first
    assert derive.call_count == 1
    assert known.verifier("app", Plain("changed")).stored_key != first.stored_key
    assert derive.call_count == 2


def test_what_is_kept_is_bounded() -> None:
    known = Verifiers(b"k", kept=1)
    first = known.verifier("a", Plain("secret"))
    known.verifier("b", Plain("secret"))
    assert known.verifier("a", Plain("secret")) is not first


@pytest.mark.parametrize("secret", [None, Md5("md5" + "0" * 32), Plain("")])
def test_who_cannot_prove_anything_looks_like_a_known_user(secret: secrets.Secret | None) -> None:
    known = Verifiers(b"k")
    real, fake = known.verifier("app", Plain("secret")), known.verifier("app", secret)
    assert (fake.salt, fake.iterations, len(fake.stored_key)) == (real.salt, real.iterations, 32)
    assert fake == known.verifier("app", None)
    assert fake.salt != known.verifier("other", None).salt
    assert fake.salt != Verifiers(b"another process").verifier("app", None).salt


def test_passwords_in_clear_text() -> None:
    known = Verifiers(b"k")
    salt = b"0123456789abcdef"
    stored = Scram(scram.derive("secret", salt, 4096).verifier(salt, 4096))
    for secret in (Plain("secret"), Md5(md5_hash("secret", "app")), stored):
        assert known.is_password("app", secret, "secret")
        assert not known.is_password("app", secret, "Secret")
        assert not known.is_password("app", secret, "")
    for nobody in (None, Plain("")):
        assert not known.is_password("app", nobody, "")
        assert not known.is_password("app", nobody, "secret")


def test_a_password_that_fitted_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    salt = b"0123456789abcdef"
    stored = Scram(scram.derive("secret", salt, 4096).verifier(salt, 4096))
    known = Verifiers(b"k")
    assert known.is_password("app", stored, "secret")
    monkeypatch.setattr(scram, "derive", lambda *_: pytest.fail("derived again"))
    assert known.is_password("app", stored, "secret")
