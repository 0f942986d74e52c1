"""Settings that contradict each other and files that cannot be used; and a PostgreSQL with TLS, where there is one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pool.connect import ServerUnavailable, Target, open_server, send_cancel
from pool.tls import NO_TLS, SslMode, TlsError, server_tls
from protocol.secrets import Plain, md5_hash, parse_secret
from proxy.demo.postgres import unprivileged, workspace
from tests.support.certificates import make_certificates
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_settings_that_do_not_go_together() -> None:
    for mode, more, setting in (
        ("prefer", {"negotiation": "direct"}, "sslnegotiation"),
        ("require", {"root": "system"}, "sslrootcert"),
        ("verify-ca", {}, "sslrootcert"),
        ("verify-full", {}, "sslrootcert"),
        ("require", {"root": "/nonexistent"}, "sslrootcert"),
        ("require", {"cert": "/nonexistent"}, "sslcert"),
    ):
        with pytest.raises(TlsError) as caught:
            server_tls(mode, **more)
        assert caught.value.setting == setting
    with pytest.raises(ValueError):
        server_tls("sometimes")


def test_files_that_are_none(tmp_path: Path) -> None:
    noise = tmp_path / "noise.pem"
    noise.write_text("noise")
    for more, setting in (({"root": str(noise)}, "sslrootcert"), ({"cert": str(noise)}, "sslcert")):
        with pytest.raises(TlsError) as caught:
            server_tls("require", **more)
        assert caught.value.setting == setting
        assert "noise.pem" in str(caught.value)


def test_equal_until_a_file_changes(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    root = str(certificates.authority)
    first = server_tls("verify-ca", root=root)
    assert first == server_tls("verify-ca", root=root) != server_tls("verify-full", root=root)
    (tmp_path / "new").mkdir()
    shutil.copy(make_certificates(tmp_path / "new").authority, root)
    assert server_tls("verify-ca", root=root) != first
    assert server_tls("disable", root=root) == NO_TLS


def test_modes_rise() -> None:
    assert [mode.value for mode in SslMode if mode.insists] == ["require", "verify-ca", "verify-full"]
    assert [mode.value for mode in SslMode if mode.verifies] == ["verify-ca", "verify-full"]


# A distribution's PostgreSQL has TLS; the embedded one has none.

_RULES = """
local    all  postgres                 trust
host     all  app        127.0.0.1/32  scram-sha-256
hostssl  all  encrypted  127.0.0.1/32  scram-sha-256
hostnossl all open       127.0.0.1/32  scram-sha-256
host     all  hashed     127.0.0.1/32  md5
hostssl  all  certified  127.0.0.1/32  cert
host     all  clear      127.0.0.1/32  password
"""
_ROLES = (
    "CREATE ROLE app LOGIN PASSWORD 'pw'; CREATE ROLE encrypted LOGIN PASSWORD 'pw';"
    "CREATE ROLE open LOGIN PASSWORD 'pw'; CREATE ROLE certified LOGIN; CREATE ROLE clear LOGIN PASSWORD 'pw';"
    "SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD 'pw'"
)


def _binaries() -> Path:
    places = [Path(found).resolve().parent for name in ("postgres", "initdb") if (found := shutil.which(name))]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    pytest.skip("no PostgreSQL of the system here")


class TlsPostgres:
    """A running cluster with TLS; `port`, `directory` of its unix socket, `certificates`."""

    def __init__(self, home: Path) -> None:
        self._bin = _binaries()
        account = unprivileged()
        self._user = account.uid if account is not None else None
        self._group = account.gid if account is not None else None
        self.port = free_port()
        self.directory = str(home)
        self.certificates = make_certificates(home, client="certified")
        self._data = home / "data"
        self._data.mkdir(mode=0o700)
        self._log = home / "log"
        if account is not None:
            for path in (home, self._data, self.certificates.key):
                os.chown(path, account.uid, account.gid)

    def start(self) -> subprocess.Popen[bytes]:
        arguments = [str(self._bin / "initdb"), "-D", str(self._data), "-U", "postgres", "--auth=trust", "--no-sync"]
        subprocess.run(
            arguments, check=True, capture_output=True, cwd=self.directory, user=self._user, group=self._group
        )
        (self._data / "pg_hba.conf").write_text(_RULES)
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": str(self.certificates.certificate),
            "ssl_key_file": str(self.certificates.key),
            "ssl_ca_file": str(self.certificates.authority),
        }
        os.chmod(self.certificates.certificate, 0o644)
        os.chmod(self.certificates.authority, 0o644)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("wb") as log:
            command = [str(self._bin / "postgres"), "-D", str(self._data), *options]
            server = subprocess.Popen(command, stderr=log, cwd=self.directory, user=self._user, group=self._group)
        psql = [str(self._bin / "psql"), "-qX", "-h", self.directory, "-p", str(self.port), "-U", "postgres"]
        deadline = time.monotonic() + 60
        while subprocess.run([*psql, "-c", _ROLES], capture_output=True, check=False).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                pytest.skip(f"no PostgreSQL with TLS here: {self._log.read_text()[-300:]}")
            time.sleep(0.05)
        return server


@pytest.fixture(scope="module")
def tls_postgres() -> Iterator[TlsPostgres]:
    with workspace(unprivileged()) as home:
        cluster = TlsPostgres(home)
        server = cluster.start()
        yield cluster
        server.send_signal(signal.SIGINT)
        server.wait()


@pytest.mark.every_loop
@pytest.mark.parametrize(
    ("user", "mode", "tls"),
    [
        ("app", "disable", False),
        ("app", "allow", False),
        ("app", "prefer", True),
        ("app", "require", True),
        ("app", "verify-ca", True),
        ("app", "verify-full", True),
        ("encrypted", "disable", None),
        ("encrypted", "allow", True),
        ("open", "prefer", False),
        ("open", "require", None),
        ("hashed", "prefer", True),
        ("clear", "prefer", True),
        ("certified", "require", True),
        ("certified", "disable", None),
    ],
)
async def test_a_postgresql_with_tls(tls_postgres: TlsPostgres, user: str, mode: str, tls: bool | None) -> None:
    files = tls_postgres.certificates
    root = str(files.authority) if mode.startswith("verify") else None
    certified = user == "certified"
    ready = server_tls(
        mode,
        root=root,
        cert=str(files.client_certificate) if certified else None,
        key=str(files.client_key) if certified else None,
    )
    target = Target("localhost", tls_postgres.port, user, "postgres", Plain("pw"), ready)
    if tls is None:
        with pytest.raises(ServerUnavailable) as caught:
            await open_server(target)
        assert caught.value.sqlstate == "28000"
        return
    opened = await open_server(target)
    assert opened.tls == tls
    await send_cancel(target, opened.pid, opened.key, 30)
    opened.transport.abort()


async def test_the_other_secrets_and_the_unix_socket(tls_postgres: TlsPostgres) -> None:
    port, prefer = tls_postgres.port, server_tls("prefer")
    for target in (
        Target("127.0.0.1", port, "hashed", "postgres", parse_secret(md5_hash("pw", "hashed")), prefer),
        Target(tls_postgres.directory, port, "postgres", "postgres", None, prefer),
    ):
        opened = await open_server(target)
        assert opened.tls == (not target.is_unix)
        await send_cancel(target, opened.pid, opened.key, 30)
        opened.transport.abort()


async def test_our_certificate_hash_is_postgresqls(tls_postgres: TlsPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another hash the server refuses: so it is really bound to the channel."""
    target = Target("localhost", tls_postgres.port, "app", "postgres", Plain("pw"), server_tls("require"))
    monkeypatch.setattr("pool.connect.binding", lambda _: b"x" * 32)
    with pytest.raises(ServerUnavailable, match="channel binding"):
        await open_server(target)
