"""TLS to servers as libpq does it: what each sslmode asks for, the context that grants it, the certificate's
hash.

    disable                  never
    allow                    without first; with TLS when the server refuses the connection without
    prefer                   with TLS if the server has it, else without
    require                  with TLS; the certificate is checked only if there is a root certificate
    verify-ca, verify-full   with TLS, the certificate is checked; verify-full also the host's name

Unix sockets have no TLS. The root certificate "system" means the system's authorities, and goes with
verify-full only."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from protocol.scram import endpoint_hash

ALPN: Final = "postgresql"
SYSTEM_ROOTS: Final = "system"


class SslMode(Enum):
    """libpq's words, also for the side where clients connect; in rising order of what they ask for."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"

    @property
    def insists(self) -> bool:
        """Whether a connection without TLS is out of the question."""
        return self in (SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL)

    @property
    def verifies(self) -> bool:
        """Whether the peer must show a certificate that can be traced to an authority."""
        return self in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL)


class TlsError(Exception):
    """A setting or file that TLS cannot be had with; ``setting`` is its name as libpq or ours calls it."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(f"{setting}: {message}")
        self.setting = setting
        self.message = message


@dataclass(frozen=True, slots=True)
class ServerTls:
    """How to speak TLS to a server. ``direct``: begin with the handshake, do not ask first."""

    mode: SslMode = SslMode.DISABLE
    context: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    direct: bool = False
    files: bytes = field(default=b"", repr=False)  # a hash of all files read: equal if a reload changed nothing


NO_TLS: Final = ServerTls()


def server_tls(
    mode: str,
    *,
    root: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    negotiation: str = "postgres",
) -> ServerTls:
    """Make ready for an sslmode, with the files of sslrootcert, sslcert, sslkey; reads them now.

    Raises TlsError for settings that contradict each other and files that cannot be used.
    """
    wanted = SslMode(mode)
    direct = negotiation == "direct"
    if direct and not wanted.insists:
        raise TlsError("sslnegotiation", f'"direct" needs sslmode require or stronger, not "{mode}"')
    if root == SYSTEM_ROOTS and wanted is not SslMode.VERIFY_FULL:
        raise TlsError("sslrootcert", f'"system" needs sslmode verify-full, not "{mode}"')
    if wanted is SslMode.DISABLE:
        return NO_TLS
    if wanted.verifies and root is None:
        raise TlsError("sslrootcert", f"is needed for sslmode {mode}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    context.check_hostname = wanted is SslMode.VERIFY_FULL
    # libpq: with a root certificate at hand, require means verify-ca.
    checked = wanted.verifies or (wanted is SslMode.REQUIRE and root is not None)
    context.verify_mode = ssl.CERT_REQUIRED if checked else ssl.CERT_NONE
    if checked and root is not None:
        load_roots(context, root, "sslrootcert")
    if cert is not None:
        load_chain(context, cert, key, "sslcert")
    return ServerTls(wanted, context, direct, _hash(root, cert, key))


def load_roots(context: ssl.SSLContext, file: str, setting: str) -> None:
    """Trust the authorities of a PEM file, or the system's; TlsError names the setting."""
    try:
        if file == SYSTEM_ROOTS:
            context.load_default_certs()
        else:
            context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(setting, f"cannot use {file}: {_reason(error)}") from error


def load_chain(context: ssl.SSLContext, cert: str, key: str | None, setting: str) -> None:
    """Show the certificate of a PEM file; TlsError names the setting. An encrypted key is refused."""
    try:
        # The callback keeps OpenSSL from asking at the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise TlsError(setting, f"cannot use {cert}{f' with {key}' if key else ''}: {_reason(error)}") from error


def _hash(*files: str | None) -> bytes:
    digest = hashlib.sha256()
    for file in files:
        content = b"" if file is None or file == SYSTEM_ROOTS else Path(file).read_bytes()
        digest.update(repr((file, len(content))).encode() + content)
    return digest.digest()


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error) or "not a PEM file, or a key that does not fit").lower().replace("_", " ")
    return (error.strerror or str(error)).lower()


def binding(tls_object: ssl.SSLObject | ssl.SSLSocket | None) -> bytes | None:
    """The hash of the peer's certificate for channel binding; None without TLS or without a hash for it."""
    certificate = None if tls_object is None else tls_object.getpeercert(binary_form=True)
    return endpoint_hash(certificate) if certificate else None
