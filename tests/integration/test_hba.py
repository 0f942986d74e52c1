"""An HBA file decides by socket, address, TLS, user; certificates and the kernel vouch for names; SIGHUP reads it."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest

from tests.support.certificates import make_certificates
from tests.support.forebay import Forebay, forebay_before

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.certificates import Certificates
    from tests.support.postgres import Cluster

ME = pwd.getpwuid(os.geteuid()).pw_name
HBA = """
local    all              mapped             peer map=here
local    all              all                peer
hostssl  all              app                127.0.0.1/32   cert
hostssl  all              mapped             all            cert map=here
hostssl  all              both               all            scram-sha-256 clientcert=verify-full map=here
host     all              banned             all            reject
hostssl  all              @tls_users         all            scram-sha-256
host     sameuser         open               all            trust
host     postgres         hashed             127.0.0.0 255.255.255.0  md5
"""
IDENT = f"here {ME} mapped\nhere app mapped\nhere /^(ap)p$ \\1\nhere app both\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), client="app")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hba")
    (path / "hba.conf").write_text(HBA)
    (path / "ident.conf").write_text(IDENT)
    (path / "tls_users").write_text("secure\n")
    names = ("app", "mapped", "both", "banned", "secure", "open", "hashed", "stranger")
    (path / "users.txt").write_text("".join(f'"{name}" "secret"\n' for name in names))
    return path


@pytest.fixture(scope="module")
def proxy(postgres: Cluster, home: Path, certificates: Certificates) -> Iterator[Forebay]:
    auth = {
        "users_file": str(home / "users.txt"),
        "hba_file": str(home / "hba.conf"),
        "ident_file": str(home / "ident.conf"),
    }
    tls = {
        "cert": str(certificates.certificate),
        "key": str(certificates.key),
        "client_ca": str(certificates.authority),
    }
    with forebay_before(postgres, auth=auth, tls=tls) as started:
        started.stop()
        started.configure({"listen": f"{started.host}:{started.port}, unix:{home}:{started.port}"})
        started.start()
        started.wait_ready()
        yield started


def ask(proxy: Forebay, user: str, password: str = "secret", database: str = "postgres", **options: str) -> Any:
    with psycopg.connect(proxy.dsn(database, user, password, **options)) as connection:
        row = connection.execute("SELECT 1").fetchone()
    return row[0] if row is not None else None


def refusal(proxy: Forebay, user: str, password: str = "secret", database: str = "postgres", **options: str) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        ask(proxy, user, password, database, **options)
    return str(caught.value).rpartition("FATAL:")[2].strip()


def shown(certificates: Certificates) -> dict[str, str]:
    return {
        "sslmode": "require",
        "sslcert": str(certificates.client_certificate),
        "sslkey": str(certificates.client_key),
    }


def test_a_certificate_is_enough_and_needed(proxy: Forebay, certificates: Certificates) -> None:
    mine = shown(certificates)
    assert ask(proxy, "app", "no matter", **mine) == 1
    assert ask(proxy, "mapped", "no matter", **mine) == 1
    none = {"sslmode": "require", "sslcert": "/nonexistent"}
    assert refusal(proxy, "app", **none) == "connection requires a valid client certificate"
    assert refusal(proxy, "app") == 'no HBA entry for host "127.0.0.1", user "app", database "postgres", no encryption'


def test_a_certificate_beside_a_password(proxy: Forebay, certificates: Certificates) -> None:
    mine = shown(certificates)
    assert ask(proxy, "both", **mine) == 1
    assert refusal(proxy, "both", "guess", **mine) == 'password authentication failed for user "both"'
    assert (
        refusal(proxy, "both", sslmode="require", sslcert="/none") == "connection requires a valid client certificate"
    )


def test_a_certificate_of_strangers_ends_the_handshake(
    proxy: Forebay, certificates: Certificates, tmp_path: Path
) -> None:
    forged = make_certificates(tmp_path, client="app")
    with pytest.raises(psycopg.OperationalError):
        ask(proxy, "app", **shown(forged))


def test_encryption_users_databases_addresses(proxy: Forebay) -> None:
    assert ask(proxy, "secure", sslmode="require") == 1
    assert refusal(proxy, "secure").startswith("no HBA entry for")
    assert refusal(proxy, "secure", "guess", sslmode="require").startswith("password authentication failed")
    assert refusal(proxy, "banned").startswith("an HBA entry rejects")
    assert refusal(proxy, "open").startswith("no HBA entry for")
    assert ask(proxy, "hashed") == 1
    assert refusal(proxy, "hashed", database="template1").startswith("no HBA entry for")
    assert refusal(proxy, "nobody", sslmode="require").startswith("no HBA entry for")


def test_a_user_may_come_to_his_own_database(proxy: Forebay, postgres: Cluster) -> None:
    postgres.create_database("open")
    try:
        assert ask(proxy, "open", "", database="open") == 1
    finally:
        proxy.stop()
        postgres.drop_database("open")
        proxy.start()
        proxy.wait_ready()


async def test_asyncpg(proxy: Forebay, certificates: Certificates) -> None:
    dsn = proxy.dsn("postgres", "app", "x", **shown(certificates))
    connection = await asyncpg.connect(dsn, timeout=30)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(proxy.dsn("postgres", "banned", "secret"), timeout=30)


def test_the_kernel_vouches_for_who_is_at_a_unix_socket(proxy: Forebay, home: Path) -> None:
    def local(user: str) -> str:
        return f"host={home} port={proxy.port} user={user} dbname=postgres"

    with psycopg.connect(local("mapped")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match='peer authentication failed for user "app"'):
        psycopg.connect(local("app"))


def test_channel_binding_to_clients(proxy: Forebay) -> None:
    assert ask(proxy, "secure", sslmode="require", channel_binding="require") == 1


@pytest.mark.parametrize("mode", ["verify-full", "prefer"])
def test_certificates_for_everybody(postgres: Cluster, home: Path, certificates: Certificates, mode: str) -> None:
    tls = {
        "cert": str(certificates.certificate),
        "key": str(certificates.key),
        "client_ca": str(certificates.authority),
        "mode": mode,
    }
    auth = {"method": "cert"}
    if mode == "verify-full":
        auth |= {"ident_file": str(home / "ident.conf"), "ident_map": "here"}
    with forebay_before(postgres, auth=auth, tls=tls) as proxy:
        mine = shown(certificates)
        # Nobody is listed here: who has a certificate comes in, and the url says who logs in to the server.
        right, *wrong = ("mapped", "app", "postgres") if "ident_map" in auth else ("app", "mapped", "postgres")
        assert ask(proxy, right, "", **mine) == 1
        for user in wrong:
            assert refusal(proxy, user, **mine) == f'certificate authentication failed for user "{user}"'
        with pytest.raises(psycopg.OperationalError):
            ask(proxy, "app")
        with pytest.raises(psycopg.OperationalError):
            ask(proxy, "app", sslmode="require", sslcert="/nonexistent")
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            ask(proxy, right, database="forebay", **mine)


def test_a_reload_takes_a_new_file_and_leaves_a_bad_one(proxy: Forebay, home: Path) -> None:
    file = home / "hba.conf"
    file.write_text(HBA + "host all stranger all scram-sha-256\n")
    assert refusal(proxy, "stranger").startswith("no HBA entry for")
    proxy.reload()
    assert ask(proxy, "stranger") == 1
    file.write_text(HBA + "host all stranger all ldap\n")
    proxy.reload("failed")
    assert ask(proxy, "stranger") == 1
    line = HBA.count("\n") + 1
    assert f"the old configuration stays: auth.hba_file, line {line}: ldap: no such method here" in proxy.log()
    file.write_text(HBA)
    proxy.reload()
    assert refusal(proxy, "stranger").startswith("no HBA entry for")
