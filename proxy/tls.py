"""TLS with clients, by `[tls] mode`, in the words and with the meaning of PgBouncer's client_tls_sslmode.

disable                  clients that ask get N
allow, prefer            clients that ask get TLS
require                  clients without TLS are refused (not on unix sockets)
verify-ca, verify-full   they must also show a certificate that `client_ca` signed

With a `client_ca` the other modes ask for a certificate, too, and verify one that comes, as PostgreSQL does: an HBA
file or auth.method = "cert" may need it. Who shows none gets in without, as far as TLS is concerned.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from pool.tls import ALPN, SslMode, TlsError, load_chain, load_roots
from protocol.scram import endpoint_hash


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What clients are offered. ``endpoint``: our certificate's hash for channel binding, if it has one."""

    mode: SslMode = SslMode.DISABLE
    context: ssl.SSLContext | None = field(default=None, repr=False)
    endpoint: bytes | None = field(default=None, repr=False)


NO_TLS = ClientTls()


def client_tls(mode: str, cert: str | None, key: str | None, client_ca: str | None) -> ClientTls:
    """Make ready for a mode; reads the files now. Without a certificate, modes up to prefer mean disable.

    Raises TlsError, its setting under our name (tls.cert, tls.client_ca), for files that cannot be used.
    """
    wanted = SslMode(mode)
    if wanted is SslMode.DISABLE or (not cert and not wanted.insists):
        return NO_TLS
    if not cert:
        raise TlsError("tls.cert", f'is needed when tls.mode is "{mode}"')
    if wanted.verifies and not client_ca:
        raise TlsError("tls.client_ca", f'is needed when tls.mode is "{mode}"')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN])
    load_chain(context, cert, key or None, "tls.cert")
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED if wanted.verifies else ssl.CERT_OPTIONAL
        load_roots(context, client_ca, "tls.client_ca")
    return ClientTls(wanted, context, _endpoint(cert))


def _endpoint(cert: str) -> bytes | None:
    # The first certificate of the file is the one shown.
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = Path(cert).read_text("ascii", "replace")
    start, stop = text.find(begin), text.find(end)
    if not 0 <= start < stop:
        return None
    return endpoint_hash(ssl.PEM_cert_to_DER_cert(text[start : stop + len(end)]))
