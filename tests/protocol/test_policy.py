"""Which rule holds for whom; secrets that are found out later; clients for whom others vouch."""

from __future__ import annotations

import pytest

from protocol import build
from protocol.accept import Accept, Terms, Verdict
from protocol.policy import LATER, Certificate, Later, Method, Policy, Rule, Visitor
from protocol.secrets import Plain, Scram, Secret, Verifiers
from tests.protocol.test_accept import KEYS, SALT, error, fixed, log_in, messages, startup

VERIFIER = Scram(KEYS.verifier(SALT, 4096))


def known(user: str, database: str) -> Secret | Later | None:
    if user == "asked":
        return LATER
    return Plain("secret") if user == "app" else None


def machine(
    rule: Rule | None = None,
    *,
    method: Method = Method.SCRAM,
    listed: bool = True,
    seen: list[Visitor] | None = None,
    terms: Terms = Terms(),  # noqa: B008  # a frozen value
) -> Accept:
    def choose(visitor: Visitor) -> Rule | None:
        if seen is not None:
            seen.append(visitor)
        return rule

    policy = Policy(method, known, Verifiers(b"key"), listed=listed, rule=choose)
    return Accept(policy, terms, fixed)


# Secrets that are found out later


def asking(method: Method, *, unknown_as_scram: bool = False) -> Accept:
    return Accept(Policy(method, known, Verifiers(b"key"), unknown_as_scram), Terms(), fixed)


@pytest.mark.parametrize("method", [Method.SCRAM, Method.MD5, Method.PASSWORD])
@pytest.mark.parametrize("secret", [VERIFIER, Plain("secret"), Plain(""), None])
def test_a_secret_found_later_is_as_good_as_one_known(method: Method, secret: Secret | None) -> None:
    def directly(user: str, database: str) -> Secret | None:
        return secret

    def later(user: str, database: str) -> Later:
        return LATER

    at_once = Accept(Policy(method, directly, Verifiers(b"key")), Terms(), fixed)
    waiting = Accept(Policy(method, later, Verifiers(b"key")), Terms(), fixed)
    assert waiting.receive(startup("u")) == (b"", Verdict.ASK)
    assert waiting.found(secret) == at_once.receive(startup("u"))


def test_what_came_meanwhile_is_read_when_the_secret_is_there() -> None:
    accept = asking(Method.PASSWORD)
    _, verdict = accept.receive(startup("asked") + build.password("secret") + b"more")
    assert verdict is Verdict.ASK
    answer, verdict = accept.found(Plain("secret"))
    assert verdict is Verdict.ADMITTED
    assert [tag for tag, _ in messages(answer)] == [ord("R"), ord("R")]
    assert accept.leftover == b"more"


def test_a_version_is_negotiated_before_the_secret_is_there() -> None:
    accept = asking(Method.SCRAM)
    answer, verdict = accept.receive(build.startup((3, 9), {"user": "asked"}))
    assert ([tag for tag, _ in messages(answer)], verdict) == ([ord("v")], Verdict.ASK)


def test_nothing_can_be_found_that_was_not_asked_for() -> None:
    accept = asking(Method.SCRAM)
    accept.receive(startup("app"))
    with pytest.raises(ValueError, match="nothing was asked"):
        accept.found(Plain("secret"))


def test_under_md5_who_has_no_password_looks_like_nobody() -> None:
    asked = []
    for secret in (None, Plain("")):
        accept = asking(Method.MD5, unknown_as_scram=True)
        accept.receive(startup("asked"))
        asked.append(accept.found(secret))
    assert asked[0] == asked[1]


# Rules


def test_a_rule_is_chosen_by_who_comes_from_where() -> None:
    seen: list[Visitor] = []
    accept = machine(Rule(Method.TRUST), seen=seen, terms=Terms(address="10.0.0.1"))
    accept.encrypted()
    assert accept.receive(startup("app", "shop", replication="database"))[1] is Verdict.ADMITTED
    machine(Rule(Method.TRUST), seen=seen).receive(startup("app", "shop", replication="true"))
    assert seen == [Visitor("app", "shop", "10.0.0.1", True), Visitor("app", "shop", None, False, True)]


@pytest.mark.parametrize(
    ("rule", "terms", "told"),
    [
        (None, Terms(address="::1"), 'no HBA entry for host "::1", user "app", database "shop", no encryption'),
        (None, Terms(), 'no HBA entry for host "[local]", user "app", database "shop"'),
        (Rule(Method.REJECT), Terms(address="::1"), 'an HBA entry rejects host "::1", user "app", database "shop", no'),
        (Rule(Method.CERT), Terms(), "connection requires a valid client certificate"),
        (Rule(Method.TRUST, Certificate.SIGNED), Terms(), "connection requires a valid client certificate"),
        (Rule(Method.PEER), Terms(), 'peer authentication failed for user "app"'),
        (Rule(Method.PEER), Terms(system_user=lambda: "root"), 'peer authentication failed for user "app"'),
    ],
)
def test_who_may_not_come_in(rule: Rule | None, terms: Terms, told: str) -> None:
    answer, verdict = machine(rule, terms=terms).receive(startup("app"))
    assert verdict is Verdict.REFUSED
    assert error(answer)["C"] == "28000"
    assert error(answer)["M"].startswith(told)


def test_the_rule_comes_before_the_method_of_the_policy() -> None:
    asked, _, verdict = log_in(machine(Rule(Method.PASSWORD), method=Method.SCRAM), "app", "secret")
    assert (asked, verdict) == (["3"], Verdict.ADMITTED)


@pytest.mark.parametrize(
    ("certificate", "user", "rule", "gets_in"),
    [
        ("app", "app", Rule(Method.CERT), True),
        ("app", "other", Rule(Method.CERT), False),
        ("eve", "app", Rule(Method.CERT), False),
        ("", "app", Rule(Method.CERT), False),
        ("app", "app", Rule(Method.TRUST, Certificate.OF_USER), True),
        ("eve", "app", Rule(Method.TRUST, Certificate.OF_USER), False),
        ("", "app", Rule(Method.CERT, may_be=lambda name, user: True), False),
        ("eve", "app", Rule(Method.TRUST, Certificate.SIGNED), True),
        ("", "app", Rule(Method.TRUST, Certificate.SIGNED), True),
        ("CN of app", "app", Rule(Method.CERT, may_be=lambda name, user: name == f"CN of {user}"), True),
        ("CN of eve", "app", Rule(Method.CERT, may_be=lambda name, user: name == f"CN of {user}"), False),
    ],
)
def test_certificates(certificate: str, user: str, rule: Rule, gets_in: bool) -> None:
    accept = machine(rule)
    accept.encrypted(certificate)
    answer, verdict = accept.receive(startup(user))
    assert verdict is (Verdict.ADMITTED if gets_in else Verdict.REFUSED)
    if not gets_in:
        assert error(answer)["M"] == f'certificate authentication failed for user "{user}"'


@pytest.mark.parametrize("name", [None, ""])
def test_a_map_does_not_help_who_has_no_name(name: str | None) -> None:
    anybody = Rule(Method.PEER, may_be=lambda name, user: True)
    assert machine(anybody, terms=Terms(system_user=lambda: name)).receive(startup("app"))[1] is Verdict.REFUSED


@pytest.mark.parametrize(("method", "how"), [(Method.CERT, "certificate"), (Method.PEER, "peer")])
def test_who_is_vouched_for_must_be_known_if_there_is_a_list(method: Method, how: str) -> None:
    for listed in (True, False):
        accept = machine(Rule(method), listed=listed, terms=Terms(system_user=lambda: "nobody"))
        accept.encrypted("nobody")
        answer, verdict = accept.receive(startup("nobody"))
        assert verdict is (Verdict.REFUSED if listed else Verdict.ADMITTED)
        if listed:
            assert error(answer)["M"] == f'{how} authentication failed for user "nobody"'
