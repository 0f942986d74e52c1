"""We get into servers, and hostile ones get nothing out of us."""

from __future__ import annotations

import struct
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import build, frontend, scram
from protocol.errors import ProtocolError, RemoteProtocolError
from protocol.login import CannotProve, Channel, Identity, Login, ServerRefused
from protocol.scram import ServerExchange
from protocol.secrets import Keyed, Md5, Plain, Scram, Secret, md5_hash, md5_response
from protocol.startup import StartupMessage, read_first

if TYPE_CHECKING:
    from collections.abc import Mapping

SALT = b"0123456789abcdef"
ENDPOINT = b"h" * 32
OK = build.authentication_ok()
GREETING = (
    build.parameter_status("server_version", "18.0")
    + build.parameter_status("TimeZone", "Europe/Zürich")
    + build.backend_key_data(4711, b"key!")
    + build.ready_for_query(b"I")
)


def fixed(size: int) -> bytes:
    return b"\x07" * size


def login(
    secret: Secret | None = Plain("secret"),  # noqa: B008  # a frozen value
    channel: Channel = Channel(),  # noqa: B008  # a frozen value
    *,
    minor: int = 2,
    parameters: Mapping[str, str] | None = None,
) -> Login:
    return Login(Identity("app", "shop", secret, parameters or {}), channel, fixed, minor=minor)


def error(**fields: str) -> bytes:
    body = b"".join(code.encode() + value.encode() + b"\0" for code, value in fields.items()) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


def test_the_startup_message() -> None:
    first = read_first(login(parameters={"application_name": "x", "user": "evil"}).start())
    assert first == StartupMessage(3, 2, {"application_name": "x", "user": "app", "database": "shop"})


def test_trust_and_what_the_server_tells() -> None:
    machine = login(None)
    assert machine.receive(OK + GREETING + b"S\0") == b""
    assert machine.ready
    assert machine.parameters == {"server_version": "18.0", "TimeZone": "Europe/Zürich"}
    assert (machine.pid, machine.key, machine.minor, machine.leftover) == (4711, b"key!", 2, b"S\0")


@given(st.integers(1, 7))
def test_any_slicing_gives_the_same(size: int) -> None:
    machine = login(None)
    data = build.negotiate_protocol_version(0, []) + OK + GREETING
    for at in range(0, len(data), size):
        assert not machine.ready
        machine.receive(data[at : at + size])
    assert machine.ready
    assert machine.minor == 0


def test_clear_text() -> None:
    machine = login()
    assert machine.receive(build.authentication_cleartext()) == build.password("secret")
    machine.receive(OK + GREETING)
    assert machine.ready


@pytest.mark.parametrize("secret", [Plain("secret"), Md5(md5_hash("secret", "app"))])
def test_md5(secret: Secret) -> None:
    machine = login(secret)
    expected = md5_response(md5_hash("secret", "app"), b"salt")
    assert machine.receive(build.authentication_md5(b"salt")) == build.password(expected)
    machine.receive(OK + GREETING)
    assert machine.ready


class ScriptedScram:
    """The server's side of an exchange."""

    def __init__(self, *, plus: bool = False, offered: bool = False, password: str = "secret") -> None:
        verifier = scram.derive(password, SALT, 4096).verifier(SALT, 4096)
        endpoint = ENDPOINT if offered else None
        self.exchange = ServerExchange(verifier, "sn", plus=plus, endpoint=endpoint)
        self.mechanism = ""

    def challenge(self, sent: bytes) -> bytes:
        initial = frontend.MESSAGES["SASLInitialResponse"].parse(sent[5:])
        self.mechanism = bytes(initial.mechanism).decode()
        return build.authentication_sasl_continue(self.exchange.first(bytes(initial.data)))

    def final(self, sent: bytes) -> bytes:
        return build.authentication_sasl_final(self.exchange.final(sent[5:]))


def derived(machine: Login) -> bytes:
    wanted = machine.derivation
    assert wanted is not None
    return machine.derived(scram.derive(wanted.password, wanted.salt, wanted.iterations))


@pytest.mark.parametrize(
    ("channel", "offer", "mechanism"),
    [
        (Channel(), [scram.SCRAM], scram.SCRAM),
        (Channel(tls=True, endpoint=ENDPOINT), [scram.SCRAM_PLUS, scram.SCRAM], scram.SCRAM_PLUS),
        (Channel(tls=True, endpoint=ENDPOINT), [scram.SCRAM], scram.SCRAM),
        (Channel(tls=True), [scram.SCRAM_PLUS, scram.SCRAM, "OTHER"], scram.SCRAM),
    ],
)
def test_scram(channel: Channel, offer: list[str], mechanism: str) -> None:
    machine = login(Plain("secret"), channel)
    server = ScriptedScram(plus=mechanism == scram.SCRAM_PLUS, offered=mechanism == scram.SCRAM_PLUS)
    assert machine.receive(server.challenge(machine.receive(build.authentication_sasl(offer)))) == b""
    assert machine.receive(server.final(derived(machine)) + OK + GREETING) == b""
    assert machine.ready
    assert server.mechanism == mechanism


def test_a_removed_offer_of_channel_binding_shows_to_the_server() -> None:
    machine = login(Plain("secret"), Channel(tls=True, endpoint=ENDPOINT))
    sent = machine.receive(build.authentication_sasl([scram.SCRAM]))
    with pytest.raises(RemoteProtocolError, match="negotiation"):
        ScriptedScram(offered=True).challenge(sent)


def test_an_offer_to_bind_without_tls_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="without TLS"):
        login().receive(build.authentication_sasl([scram.SCRAM_PLUS, scram.SCRAM]))


def test_the_server_must_know_the_password_too() -> None:
    machine = login()
    server = ScriptedScram()
    machine.receive(server.challenge(machine.receive(build.authentication_sasl([scram.SCRAM]))))
    derived(machine)
    with pytest.raises(RemoteProtocolError, match="does not know"):
        machine.receive(build.authentication_sasl_final(b"v=" + b64encode(b"x" * 32)))


@pytest.mark.parametrize(
    "behind", [OK, build.authentication_sasl([scram.SCRAM]), build.authentication_cleartext(), GREETING]
)
@pytest.mark.parametrize("steps", [1, 2])
def test_a_scram_exchange_cannot_be_cut_short(behind: bytes, steps: int) -> None:
    machine = login()
    server = ScriptedScram()
    first = machine.receive(build.authentication_sasl([scram.SCRAM]))
    if steps > 1:
        machine.receive(server.challenge(first))
        derived(machine)
    with pytest.raises(RemoteProtocolError):
        machine.receive(behind)


@pytest.mark.parametrize(
    "request_bytes",
    [build.authentication_cleartext(), build.authentication_md5(b"salt"), build.authentication_sasl([scram.SCRAM])],
)
def test_one_proof_and_no_second(request_bytes: bytes) -> None:
    machine = login()
    machine.receive(build.authentication_cleartext())
    with pytest.raises(RemoteProtocolError, match="out of order"):
        machine.receive(request_bytes)


@pytest.mark.parametrize("plus", [False, True])
def test_keys_that_a_client_has_shown_log_in_without_its_password(plus: bool) -> None:
    keys = scram.derive("secret", SALT, 4096)
    channel = Channel(tls=True, endpoint=ENDPOINT) if plus else Channel()
    machine = login(Keyed(keys.verifier(SALT, 4096), keys.client_key), channel)
    server = ScriptedScram(plus=plus, offered=plus)
    offer = [scram.SCRAM_PLUS, scram.SCRAM] if plus else [scram.SCRAM]
    proof = machine.receive(server.challenge(machine.receive(build.authentication_sasl(offer))))
    assert machine.derivation is None
    machine.receive(server.final(proof) + OK + GREETING)
    assert machine.ready


@pytest.mark.parametrize(("salt", "iterations"), [(b"another salt", 4096), (SALT, 4097)])
def test_keys_of_another_verifier_are_not_tried(salt: bytes, iterations: int) -> None:
    keys = scram.derive("secret", salt, iterations)
    machine = login(Keyed(keys.verifier(salt, iterations), keys.client_key))
    first = machine.receive(build.authentication_sasl([scram.SCRAM]))
    with pytest.raises(CannotProve, match="salt and iterations differ"):
        machine.receive(ScriptedScram().challenge(first))


def test_keys_do_not_show_in_logs() -> None:
    keys = scram.derive("secret", SALT, 4096)
    keyed = Keyed(keys.verifier(SALT, 4096), keys.client_key)
    assert repr(keyed) == "Keyed()"


@pytest.mark.parametrize(
    ("secret", "request_bytes"),
    [
        (None, build.authentication_cleartext()),
        (None, build.authentication_md5(b"salt")),
        (None, build.authentication_sasl([scram.SCRAM])),
        (Plain(""), build.authentication_cleartext()),
        (Md5("md5" + "0" * 32), build.authentication_cleartext()),
        (Md5("md5" + "0" * 32), build.authentication_sasl([scram.SCRAM])),
        (Scram(scram.derive("x", SALT, 1).verifier(SALT, 1)), build.authentication_sasl([scram.SCRAM])),
        (Scram(scram.derive("x", SALT, 1).verifier(SALT, 1)), build.authentication_md5(b"salt")),
        (Keyed(scram.derive("x", SALT, 1).verifier(SALT, 1), b"k" * 32), build.authentication_md5(b"salt")),
        (Keyed(scram.derive("x", SALT, 1).verifier(SALT, 1), b"k" * 32), build.authentication_cleartext()),
        (Plain("x"), build.authentication_sasl(["OAUTHBEARER"])),
        (Plain("x"), b"R\0\0\0\x08\0\0\0\7"),
    ],
)
def test_what_cannot_be_proved(secret: Secret | None, request_bytes: bytes) -> None:
    with pytest.raises(CannotProve) as caught:
        login(secret).receive(request_bytes)
    assert caught.value.sqlstate == "28000"


@pytest.mark.parametrize(
    "data",
    [
        b"R\0\0\0\x08\0\0\0\x63",
        b"R\0\0\0\4",
        b"S\0\0\0\x08a\0b\0",
        b"Z\0\0\0\5I",
        b"D\0\0\0\4",
        b"\0\0\0\0\4",
        b"R\0\0\0\3",
        b"R\xff\xff\xff\xff",
        b"N\x00\x01\x00\x01",
        build.negotiate_protocol_version(0, []) * 2,
        build.negotiate_protocol_version(3, []),
        build.negotiate_protocol_version(2, ["_pq_.x"]),
        OK + OK,
        OK + b"Z\0\0\0\5T",
        OK + b"Z\0\0\0\5?",
        OK + b"D\0\0\0\6\0\0",
        OK + b"K\0\0\0\x0a\0\0\0\1ab",
        OK + b"S\0\0\0\x07a\0b",
        OK + build.negotiate_protocol_version(0, []),
    ],
)
def test_hostile_servers(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        login().receive(data)


def test_long_keys_only_since_3_2() -> None:
    long = OK + build.backend_key_data(1, b"k" * 256) + build.ready_for_query(b"I")
    machine = login(None)
    machine.receive(long)
    assert len(machine.key) == 256
    with pytest.raises(RemoteProtocolError):
        login(None).receive(build.negotiate_protocol_version(0, []) + long)


def test_a_login_cannot_be_endless() -> None:
    machine = login(None)
    machine.receive(OK)
    flood = b"".join(build.parameter_status(f"p{number}", "x" * 60_000) for number in range(20))
    with pytest.raises(RemoteProtocolError, match="too much"):
        machine.receive(flood)


def test_notices_are_passed_over() -> None:
    machine = login(None)
    notice = build.notice_response("00000", "hello")
    machine.receive(notice + OK + notice + GREETING)
    assert machine.ready


def test_errors_keep_what_the_server_said() -> None:
    with pytest.raises(ServerRefused) as caught:
        login().receive(build.error_response("57P03", "starting up", severity="FATAL", detail="d", hint="h"))
    refused = caught.value
    assert (refused.sqlstate, refused.message, refused.detail, refused.hint) == ("57P03", "starting up", "d", "h")
    assert not refused.authenticated
    with pytest.raises(ServerRefused) as caught:
        login(None).receive(OK + build.error_response("3D000", "no such database"))
    assert caught.value.authenticated


@pytest.mark.parametrize(
    "data", [error(), error(S="FATAL"), error(C=""), error(C="toolong"), error(C="a\tb'c"), b"E\0\0\0\4", b"E\0\0\0\5x"]
)
def test_errors_may_lack_everything(data: bytes) -> None:
    with pytest.raises(ServerRefused) as caught:
        login().receive(data)
    assert caught.value.sqlstate == "08P01"
    assert caught.value.message


def test_passwords_do_not_show() -> None:
    machine = login(Plain("hidden"))
    machine.receive(build.authentication_sasl([scram.SCRAM]))
    nonce = scram.nonce(fixed)
    machine.receive(build.authentication_sasl_continue(f"r={nonce}x,s=AAAA,i=1".encode()))
    assert machine.derivation is not None
    assert "hidden" not in repr(machine.derivation) + repr(Identity("a", "b", Plain("hidden")))


@given(st.binary(max_size=60))
def test_noise_never_gets_us_in(data: bytes) -> None:
    machine = login(None)
    try:
        machine.receive(data)
    except ProtocolError:
        return
    assert not machine.ready
