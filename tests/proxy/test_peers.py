from __future__ import annotations

import os
import pwd
import socket
import ssl
from typing import TYPE_CHECKING, cast

import pytest

from proxy.peers import address_of, certified_name, system_user_of
from tests.support.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from pathlib import Path


def test_a_unix_socket_has_no_address_and_a_user() -> None:
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        assert address_of(left) is None
        assert system_user_of(left) == pwd.getpwuid(os.geteuid()).pw_name


def test_a_tcp_socket_has_an_address_and_no_user() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert address_of(accepted) == "127.0.0.1"
            assert system_user_of(accepted) is None
    with socket.socket() as unconnected:
        assert address_of(unconnected) == ""


def shaken(made: Certificates, *, shows: bool) -> ssl.SSLObject:
    """The server's side of a handshake in memory."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.certificate, made.key)
    server.load_verify_locations(made.authority)
    server.verify_mode = ssl.CERT_OPTIONAL
    client = ssl.create_default_context(cafile=str(made.authority))
    if shows:
        client.load_cert_chain(made.client_certificate, made.client_key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(down, up, server_hostname="localhost")
    ours = server.wrap_bio(up, down, server_side=True)
    for _ in range(5):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours


@pytest.mark.parametrize(("name", "shows", "found"), [("app", True, "app"), ("app", False, None)])
def test_the_name_in_a_certificate(tmp_path: Path, name: str, shows: bool, found: str | None) -> None:
    assert certified_name(shaken(make_certificates(tmp_path, client=name), shows=shows)) == found


class Several:
    """A certificate that was verified, with more than one name, or none."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def getpeercert(self) -> dict[str, object]:
        return {"subject": (*tuple((("commonName", name),) for name in self._names), (("organizationName", "x"),))}


@pytest.mark.parametrize("names", [(), ("app", "eve")])
def test_a_name_that_is_not_one_is_none(names: tuple[str, ...]) -> None:
    assert certified_name(cast("ssl.SSLObject", Several(*names))) == ""
