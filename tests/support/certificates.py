"""Certificates for tests: an authority, a certificate for this machine, and one for a client."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM form; keys are readable by their owner only."""

    authority: Path
    certificate: Path
    key: Path
    client_certificate: Path
    client_key: Path


def _write(path: Path, data: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _sign(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    authority: bool = False,
) -> bytes:
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def make_certificates(directory: Path, *, client: str = "postgres") -> Certificates:
    """A fresh authority and what it signed: one for localhost and 127.0.0.1, one for the user `client`."""
    root, server, user = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    return Certificates(
        authority=_write(directory / "ca.crt", _sign("test CA", root, "test CA", root, authority=True)),
        certificate=_write(directory / "server.crt", _sign("localhost", server, "test CA", root)),
        key=_write(directory / "server.key", _pem(server)),
        client_certificate=_write(directory / "client.crt", _sign(client, user, "test CA", root)),
        client_key=_write(directory / "client.key", _pem(user)),
    )
