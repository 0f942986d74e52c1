"""Clients get in, byte by byte if need be; what they may not do; and what they cannot find out."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import backend, build, scram
from protocol.accept import Accept, ClientLogin, Terms, Verdict
from protocol.policy import Method, Policy
from protocol.scram import ClientExchange
from protocol.secrets import Keyed, Md5, Plain, Scram, Secret, Verifiers, md5_hash, md5_response

if TYPE_CHECKING:
    from collections.abc import Callable

SALT = b"0123456789abcdef"
KEYS = scram.derive("secret", SALT, 4096)
SECRETS: dict[str, Secret] = {
    "app": Plain("secret"),
    "hashed": Md5(md5_hash("secret", "hashed")),
    "scrammed": Scram(KEYS.verifier(SALT, 4096)),
}
ENDPOINT = b"h" * 32


def fixed(size: int) -> bytes:
    return b"\x07" * size


def lookup(user: str, database: str) -> Secret | None:
    return SECRETS.get(user) if database != "nowhere" else None


def accept(method: Method = Method.SCRAM, **terms: object) -> Accept:
    return Accept(Policy(method, lookup, Verifiers(b"key")), Terms(**terms), fixed)  # type: ignore[arg-type]  # by name


def startup(user: str = "app", database: str = "shop", **more: str) -> bytes:
    return build.startup((3, 0), {"user": user, "database": database, **more})


def messages(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        (length,) = struct.unpack("!I", data[1:5])
        found.append((data[0], data[5 : length + 1]))
        data = data[length + 1 :]
    return found


def error(data: bytes) -> dict[str, str]:
    tag, body = messages(data)[-1]
    assert tag == ord("E")
    return {chr(code): bytes(value).decode() for code, value in backend.parse(tag, body).fields}


def authentication(data: bytes) -> object:
    tag, body = messages(data)[-1]
    assert tag == ord("R")
    return backend.parse(tag, body)


def log_in(machine: Accept, user: str, password: str, database: str = "shop") -> tuple[list[str], bytes, Verdict]:
    """Answer whatever is asked; the kinds of questions, the last answer, the last verdict."""
    answer, verdict = machine.receive(startup(user, database))
    asked = []
    while verdict is Verdict.READ:
        request: object = authentication(answer)
        code = getattr(request, "code")  # noqa: B009  # construct's containers have no types
        asked.append(f"{code}")
        if code == 3:
            reply = build.password(password)
        elif code == 5:
            reply = build.password(md5_response(md5_hash(password, user), getattr(request, "salt")))  # noqa: B009
        elif code == 10:
            client = ClientExchange("cn", endpoint=None, unoffered=False)
            reply = build.sasl_initial(scram.SCRAM, client.first())
        else:
            challenge = client.challenge(getattr(request, "data"))  # noqa: B009
            asked.append(f"{challenge.salt.hex()}:{challenge.iterations}")
            reply = build.sasl_response(client.final(scram.derive(password, challenge.salt, challenge.iterations)))
        answer, verdict = machine.receive(reply)
    return asked, answer, verdict


FITTING = [
    (Method.TRUST, "app"),
    (Method.PASSWORD, "app"),
    (Method.PASSWORD, "hashed"),
    (Method.PASSWORD, "scrammed"),
    (Method.MD5, "app"),
    (Method.MD5, "hashed"),
    (Method.MD5, "scrammed"),
    (Method.SCRAM, "app"),
    (Method.SCRAM, "scrammed"),
]


def shown(method: Method, user: str) -> Secret:
    """What a client of this kind lets us know that is of use to log in as it."""
    if method is Method.PASSWORD:
        return Plain("secret")
    return Keyed(KEYS.verifier(SALT, 4096), KEYS.client_key) if user == "scrammed" else SECRETS[user]


@pytest.mark.parametrize(("method", "user"), FITTING)
def test_the_right_password_gets_in(method: Method, user: str) -> None:
    machine = accept(method)
    asked, answer, verdict = log_in(machine, user, "secret")
    assert verdict is Verdict.ADMITTED
    assert messages(answer)[-1] == (ord("R"), b"\0\0\0\0")
    assert machine.login == ClientLogin(user, "shop", {}, 0, False, None, shown(method, user))
    assert bool(asked) == (method is not Method.TRUST)
    assert ("10" in asked) == (method is Method.SCRAM or (method, user) == (Method.MD5, "scrammed"))


@pytest.mark.parametrize(("method", "user"), [pair for pair in FITTING if pair[0] is not Method.TRUST])
def test_a_wrong_password_does_not(method: Method, user: str) -> None:
    machine = accept(method)
    _, answer, verdict = log_in(machine, user, "guess")
    assert verdict is Verdict.REFUSED
    assert machine.login is not None
    assert machine.login.secret is None
    assert error(answer)["C"] == "28P01"
    assert error(answer)["S"] == "FATAL"
    assert machine.refusal is not None
    assert ord("R") not in [tag for tag, _ in messages(answer)]


@pytest.mark.parametrize("method", [Method.PASSWORD, Method.MD5, Method.SCRAM])
def test_nobody_and_nowhere_look_like_a_wrong_password(method: Method) -> None:
    asked, answer, _ = log_in(accept(method), "app", "guess")
    assert log_in(accept(method), "app", "secret", "nowhere") == (asked, answer, Verdict.REFUSED)
    SECRETS.pop("nobody", None)
    unknown = log_in(accept(method), "nobody", "guess")
    SECRETS["nobody"] = Plain("secret")
    try:
        assert log_in(accept(method), "nobody", "guess") == unknown
    finally:
        del SECRETS["nobody"]
    assert unknown[2] is Verdict.REFUSED


def test_the_fake_salt_stays_the_same() -> None:
    assert log_in(accept(), "nobody", "a") == log_in(accept(), "nobody", "b")


def test_scram_with_an_md5_secret_is_refused_at_the_end() -> None:
    asked, answer, verdict = log_in(accept(Method.SCRAM), "hashed", "secret")
    assert (asked[0], verdict, error(answer)["C"]) == ("10", Verdict.REFUSED, "28P01")


def test_unknown_users_can_be_taken_for_scram_users_under_md5() -> None:
    policy = Policy(Method.MD5, lookup, Verifiers(b"key"), unknown_as_scram=True)
    assert log_in(Accept(policy, Terms(), fixed), "nobody", "x")[0][0] == "10"


def test_trust_needs_a_known_user() -> None:
    _, answer, verdict = log_in(accept(Method.TRUST), "nobody", "")
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "28P01")


# The opening


def test_ssl_request_without_tls_then_on() -> None:
    machine = accept(Method.TRUST)
    assert machine.receive(build.gssenc_request()) == (b"N", Verdict.READ)
    assert machine.receive(build.ssl_request()) == (b"N", Verdict.READ)
    assert machine.receive(startup())[1] is Verdict.ADMITTED


def test_ssl_request_with_tls() -> None:
    machine = accept(Method.TRUST, tls_offered=True, tls_required=True)
    assert machine.receive(build.ssl_request()) == (b"S", Verdict.START_TLS)
    machine.encrypted()
    assert machine.receive(startup())[1] is Verdict.ADMITTED
    assert machine.login is not None
    assert machine.login.tls


@pytest.mark.parametrize("offered", [False, True])
@pytest.mark.parametrize("request_bytes", [build.ssl_request(), build.gssenc_request()])
def test_bytes_stuffed_behind_a_request_are_refused(request_bytes: bytes, offered: bool) -> None:
    answer, verdict = accept(Method.TRUST, tls_offered=offered).receive(request_bytes + startup())
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "08P01")


@pytest.mark.parametrize("request_bytes", [build.ssl_request(), build.gssenc_request()])
def test_a_second_request_is_refused(request_bytes: bytes) -> None:
    machine = accept()
    machine.receive(request_bytes)
    answer, verdict = machine.receive(request_bytes)
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "08P01")


def test_requests_inside_tls_are_refused() -> None:
    for request in (build.ssl_request(), build.gssenc_request()):
        machine = accept(tls_offered=True)
        machine.encrypted()
        assert machine.receive(request)[1] is Verdict.REFUSED


def test_tls_required() -> None:
    answer, verdict = accept(Method.TRUST, tls_offered=True, tls_required=True).receive(startup())
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "28000")
    assert "no encryption" in error(answer)["M"]


def test_a_cancel_request() -> None:
    machine = accept()
    assert machine.receive(build.cancel_request(9, b"k" * 32)) == (b"", Verdict.CANCEL)
    assert machine.cancel is not None
    assert (machine.cancel.pid, machine.cancel.key) == (9, b"k" * 32)


def test_other_protocols_are_closed_in_silence() -> None:
    assert accept().receive(b"GET / HTTP/1.1\r\n") == (b"", Verdict.REFUSED)


def test_old_protocols_are_told() -> None:
    answer, verdict = accept().receive(struct.pack("!IHH", 8, 2, 0))
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "0A000")


def test_no_user() -> None:
    answer, verdict = accept().receive(build.startup((3, 0), {"database": "x"}))
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "28000")


def test_newer_versions_and_unknown_options_are_negotiated() -> None:
    machine = accept(Method.TRUST)
    answer, verdict = machine.receive(build.startup((3, 99), {"user": "app", "_pq_.x": "1", "a.b": "2"}))
    negotiated, ok = messages(answer)
    message = backend.parse(*negotiated)
    assert (message.major, message.minor, [bytes(o) for o in message.unknown_options]) == (3, 2, [b"_pq_.x"])
    assert (ok, verdict) == ((ord("R"), b"\0\0\0\0"), Verdict.ADMITTED)
    assert machine.login == ClientLogin("app", "app", {"a.b": "2"}, 2, False, None, Plain("secret"))


@pytest.mark.parametrize("minor", [0, 1, 2])
def test_known_versions_are_not_negotiated(minor: int) -> None:
    machine = accept(Method.TRUST)
    answer, _ = machine.receive(build.startup((3, minor), {"user": "app"}))
    assert [tag for tag, _ in messages(answer)] == [ord("R")]
    assert machine.login is not None
    assert machine.login.protocol_minor == minor


@pytest.mark.parametrize(
    ("value", "reported"),
    [("database", "database"), ("true", "true"), ("1", "1"), ("off", None), ("F", None), ("0", None), ("", None)],
)
def test_replication_is_reported(value: str, reported: str | None) -> None:
    machine = accept(Method.TRUST)
    machine.receive(startup(replication=value))
    assert machine.login is not None
    assert (machine.login.replication, machine.login.parameters) == (reported, {})


# The proof


def proving(method: Method = Method.SCRAM) -> Accept:
    machine = accept(method)
    assert machine.receive(startup())[1] is Verdict.READ
    return machine


@pytest.mark.parametrize("method", [Method.PASSWORD, Method.MD5, Method.SCRAM])
@pytest.mark.parametrize(
    "data",
    [
        build.query("SELECT 1"),
        b"Q",
        startup("other"),
        b"p\0\0\0\0",
        b"p\0\0\0\3",
        b"p\x40\0\0\0",
        b"p\xff\xff\xff\xff",
        b"p\0\1\0\1",
        b"p\0\0\0\4",
        b"p\0\0\0\6ab",
    ],
)
def test_only_fitting_messages_before_the_proof(method: Method, data: bytes) -> None:
    answer, verdict = proving(method).receive(data)
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "08P01")


def test_a_message_of_64_kib_is_let_through_to_the_check() -> None:
    answer, verdict = proving(Method.PASSWORD).receive(build.password("x" * 65_531))
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "28P01")


def test_startup_and_query_together_run_nothing() -> None:
    answer, verdict = accept(Method.SCRAM).receive(startup() + build.query("SELECT 1"))
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "08P01")


def test_what_comes_behind_the_login_is_left() -> None:
    machine = proving(Method.PASSWORD)
    answer, verdict = machine.receive(build.password("secret") + build.query("SELECT 1") + b"Q\0")
    assert (verdict, machine.leftover) == (Verdict.ADMITTED, build.query("SELECT 1") + b"Q\0")
    assert messages(answer) == [(ord("R"), b"\0\0\0\0")]


@pytest.mark.parametrize(
    "initial",
    [
        build.sasl_initial("SCRAM-SHA-1", b"n,,n=,r=abc"),
        build.sasl_initial(scram.SCRAM_PLUS, b"p=tls-server-end-point,,n=,r=abc"),
        build.sasl_initial(scram.SCRAM, b""),
        build.password(scram.SCRAM),
        b"p\0\0\0\x19SCRAM-SHA-256\0\x7f\xff\xff\xffabc",
        b"p\0\0\0\x11SCRAM-SHA-256",
    ],
)
def test_bad_sasl_choices(initial: bytes) -> None:
    answer, verdict = proving().receive(initial)
    assert (verdict, error(answer)["C"]) == (Verdict.REFUSED, "08P01")


def test_sasl_without_an_initial_response() -> None:
    machine = proving()
    answer, verdict = machine.receive(build.sasl_initial(scram.SCRAM, None))
    assert (messages(answer), verdict) == ([(ord("R"), b"\0\0\0\x0b")], Verdict.READ)
    assert machine.receive(build.sasl_response(b"n,,n=,r=abc"))[1] is Verdict.READ


@pytest.mark.parametrize(("tls", "endpoint"), [(False, ENDPOINT), (True, None), (True, ENDPOINT)])
def test_plus_is_offered_where_there_is_something_to_bind_to(tls: bool, endpoint: bytes | None) -> None:
    machine = accept(tls_offered=True, endpoint=endpoint)
    if tls:
        machine.encrypted()
    answer, _ = machine.receive(startup())
    assert (scram.SCRAM_PLUS.encode() in answer) == (tls and endpoint is not None)


def test_plus() -> None:
    machine = accept(tls_offered=True, endpoint=ENDPOINT)
    machine.encrypted()
    machine.receive(startup())
    client = ClientExchange("cn", endpoint=ENDPOINT, unoffered=False)
    answer, _ = machine.receive(build.sasl_initial(scram.SCRAM_PLUS, client.first()))
    challenge = client.challenge(messages(answer)[0][1][4:])
    keys = scram.derive("secret", challenge.salt, challenge.iterations)
    assert machine.receive(build.sasl_response(client.final(keys)))[1] is Verdict.ADMITTED


def conversation(machine: Accept, feed: Callable[[bytes], tuple[bytes, Verdict]]) -> tuple[bytes, Verdict]:
    out, verdict = feed(startup())
    client = ClientExchange("cn", endpoint=None, unoffered=False)
    answer, verdict = feed(build.sasl_initial(scram.SCRAM, client.first()))
    challenge = client.challenge(messages(answer)[0][1][4:])
    answer, verdict = feed(build.sasl_response(client.final(KEYS)))
    assert challenge.salt == SALT
    return out, verdict


@given(st.integers(1, 9))
def test_any_slicing_gives_the_same(size: int) -> None:
    policy = Policy(Method.SCRAM, lambda user, _: SECRETS["scrammed"], Verifiers(b"key"))
    machine = Accept(policy, Terms(), fixed)

    def feed(data: bytes) -> tuple[bytes, Verdict]:
        out, verdict = b"", Verdict.READ
        for at in range(0, len(data), size):
            assert verdict is Verdict.READ
            more, verdict = machine.receive(data[at : at + size])
            out += more
        return out, verdict

    assert conversation(machine, feed)[1] is Verdict.ADMITTED


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([startup(), build.password("x")])), max_size=5))
def test_noise_never_gets_in(parts: list[bytes]) -> None:
    machine = accept(Method.PASSWORD)
    for part in parts:
        _, verdict = machine.receive(part)
        assert verdict is not Verdict.ADMITTED
        if verdict is not Verdict.READ:
            break
