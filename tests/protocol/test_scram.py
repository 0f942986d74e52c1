"""Our exchanges against each other and against scramp's, which is another's reading of the same RFCs."""

from __future__ import annotations

import contextlib
import os
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramMechanism

from protocol import scram
from protocol.errors import RemoteProtocolError
from protocol.scram import ClientExchange, ServerExchange, Verifier, WrongPassword

SALT = b"0123456789abcdef"
HASH = b"h" * 32


def verifier(password: str = "secret") -> Verifier:
    return scram.derive(password, SALT, 4096).verifier(SALT, 4096)


def run(client: ClientExchange, server: ServerExchange, password: str = "secret") -> None:
    challenge = client.challenge(server.first(client.first()))
    client.verify(server.final(client.final(scram.derive(password, challenge.salt, challenge.iterations))))


def test_the_example_of_rfc_7677() -> None:
    """The RFC's own exchange; its user name is not empty, so the client's messages are given."""
    salt = b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81"
    nonce = "rOprNGfwEbeRWgbNEkqO"
    keys = scram.derive("pencil", salt, 4096)
    server = ServerExchange(keys.verifier(salt, 4096), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", plus=False, endpoint=None)
    assert server.first(f"n,,n=user,r={nonce}".encode()) == (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    proof = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    final = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=" + proof
    assert server.final(final) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("endpoint", [None, HASH])
def test_ours_against_ours(endpoint: bytes | None) -> None:
    client = ClientExchange("cn", endpoint=endpoint, unoffered=False)
    run(client, ServerExchange(verifier(), "sn", plus=endpoint is not None, endpoint=endpoint))


def test_a_wrong_password_is_no_protocol_error() -> None:
    client = ClientExchange("cn", endpoint=None, unoffered=False)
    server = ServerExchange(verifier(), "sn", plus=False, endpoint=None)
    challenge = client.challenge(server.first(client.first()))
    proof = client.final(scram.derive("guess", challenge.salt, challenge.iterations))
    with pytest.raises(WrongPassword):
        server.final(proof)


@pytest.mark.parametrize("plus", [False, True])
def test_our_server_against_scramps_client(plus: bool) -> None:
    mechanism, binding = (scram.SCRAM_PLUS, ("tls-server-end-point", HASH)) if plus else (scram.SCRAM, None)
    client = ScramClient([mechanism], "app", "secret", channel_binding=binding)
    server = ServerExchange(verifier(), "sn", plus=plus, endpoint=HASH if plus else None)
    client.set_server_first(server.first(client.get_client_first().encode()).decode())
    client.set_server_final(server.final(client.get_client_final().encode()).decode())


@pytest.mark.parametrize("plus", [False, True])
def test_our_client_against_scramps_server(plus: bool) -> None:
    mechanism = ScramMechanism(scram.SCRAM_PLUS if plus else scram.SCRAM)
    info = mechanism.make_auth_info("secret", salt=SALT)
    binding = ("tls-server-end-point", HASH) if plus else None
    server = mechanism.make_server(lambda _user: info, channel_binding=binding)
    client = ClientExchange("cn", endpoint=HASH if plus else None, unoffered=False)
    # scramp insists on a user name where libpq and we send none.
    first = client.first().decode()
    object.__setattr__(client, "_bare", "n=x,r=cn")
    server.set_client_first(first.replace("n=,", "n=x,"))
    challenge = client.challenge(server.get_server_first().encode())
    server.set_client_final(client.final(scram.derive("secret", challenge.salt, 4096)).decode())
    client.verify(server.get_server_final().encode())


@pytest.mark.parametrize("password", ["pässword", "I\u00adX", "\u2168", "a\u00a0b", "tab\tand\x07bell", "\u0627\u0031"])
def test_passwords_are_prepared_as_libpq_does(password: str) -> None:
    """psycopg's libpq is asked what it would store."""
    pq = pytest.importorskip("psycopg.pq")
    if not hasattr(pq.PGconn, "encrypt_password"):
        pytest.skip("this libpq cannot encrypt passwords")
    from protocol.secrets import Scram, parse_secret

    connection = pq.PGconn.connect_start(b"host=/nonexistent")
    text = connection.encrypt_password(password.encode(), b"app", b"scram-sha-256").decode()
    stored = parse_secret(text)
    assert isinstance(stored, Scram)
    known = stored.verifier
    assert scram.derive(password, known.salt, known.iterations).verifier(known.salt, known.iterations) == known


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=",
        b"n,,r=abc",
        b"n,,n=,r=",
        b"n,,n=,r=a\xffb",
        b"n,,n=,r=\x01",
        b"x,,n=,r=abc",
        b"p=tls-unique,,n=,r=abc",
        b"p=tls-server-end-point,,n=,r=abc",
        b"n,,n=,r=" + b"a" * 1025,
        b"n,,n=,r=a\0",
    ],
)
def test_malformed_first_messages(first: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ServerExchange(verifier(), "sn", plus=False, endpoint=None).first(first)
    assert caught.value.sqlstate == "08P01"


@pytest.mark.parametrize("first", [b"n,a=other,n=,r=abc", b"n,,m=ext,n=,r=abc"])
def test_extensions_are_not_supported(first: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ServerExchange(verifier(), "sn", plus=False, endpoint=None).first(first)
    assert caught.value.sqlstate == "0A000"


def test_a_removed_offer_of_channel_binding_is_noticed() -> None:
    server = ServerExchange(verifier(), "sn", plus=False, endpoint=HASH)
    with pytest.raises(RemoteProtocolError, match="negotiation"):
        server.first(ClientExchange("cn", endpoint=None, unoffered=True).first())


def test_another_certificate_is_noticed() -> None:
    client = ClientExchange("cn", endpoint=b"m" * 32, unoffered=False)
    with pytest.raises(RemoteProtocolError, match="channel binding"):
        run(client, ServerExchange(verifier(), "sn", plus=True, endpoint=HASH))


@pytest.mark.parametrize(
    "final",
    [
        b"",
        b"c=biws",
        b"c=biws,r=cnsn",
        b"c=biws,r=cnsn,p=",
        b"c=biws,r=cnsn,p=!!!!",
        b"c=biws,r=cnsn,p=" + b64encode(b"x" * 31),
        b"c=biws,r=cn,p=" + b64encode(b"x" * 32),
        b"c=eSws,r=cnsn,p=" + b64encode(b"x" * 32),
    ],
)
def test_malformed_final_messages(final: bytes) -> None:
    server = ServerExchange(verifier(), "sn", plus=False, endpoint=None)
    server.first(b"n,,n=,r=cn")
    with pytest.raises(RemoteProtocolError):
        server.final(final)


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=cnsn",
        b"r=cnsn,s=AAAA",
        b"r=cnsn,s=AAAA,i=x",
        b"r=cnsn,s=AAAA,i=0",
        b"r=cnsn,s=AAAA,i=-5",
        b"r=cnsn,s=AAAA,i=1000001",
        b"r=cnsn,s=AAAA,i=99999999999999999999",
        b"r=cnsn,s=,i=4096",
        b"r=cnsn,s=AAA,i=4096",
        b"r=cn,s=AAAA,i=4096",
        b"r=other,s=AAAA,i=4096",
        b"r=cn" + b"s" * 1024 + b",s=AAAA,i=4096",
        b"r=cnsn,s=" + b64encode(b"s" * 1025) + b",i=4096",
        b"m=x,r=cnsn,s=AAAA,i=4096",
    ],
)
def test_hostile_challenges(challenge: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ClientExchange("cn", endpoint=None, unoffered=False).challenge(challenge)


def test_few_iterations_are_the_servers_business() -> None:
    challenge = ClientExchange("cn", endpoint=None, unoffered=False).challenge(b"r=cnsn,s=AAAA,i=1")
    assert challenge.iterations == 1


def test_a_server_that_does_not_know_the_password() -> None:
    client = ClientExchange("cn", endpoint=None, unoffered=False)
    server = ServerExchange(verifier("other"), "sn", plus=False, endpoint=None)
    client.challenge(server.first(client.first()))
    client.final(scram.derive("secret", SALT, 4096))
    with pytest.raises(WrongPassword):
        client.verify(b"v=" + b64encode(b"x" * 32))
    for answer in (b"e=other-error", b"", b"v=?", b"x=1"):
        with pytest.raises(RemoteProtocolError):
            client.verify(answer)


@given(st.binary(max_size=80), st.binary(max_size=120))
def test_noise_never_gets_in(first: bytes, final: bytes) -> None:
    server = ServerExchange(Verifier(4096, SALT, b"s" * 32, b"k" * 32), "sn", plus=False, endpoint=None)
    with contextlib.suppress(RemoteProtocolError):
        server.first(first)
    with pytest.raises((RemoteProtocolError, WrongPassword)):
        server.final(final)


def test_nonces_are_printable() -> None:
    assert len(scram.nonce(os.urandom)) == 24
    assert "," not in scram.nonce(lambda size: b"\xfb" * size)
