"""Who is at the other end of a socket, as far as the kernel and TLS know."""

from __future__ import annotations

import pwd
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl

_CREDENTIALS: Final = struct.Struct("3i")  # process, user, group


def address_of(sock: socket.socket) -> str | None:
    """The address, None for a unix socket; "" when the other end has gone already."""
    if sock.family == socket.AF_UNIX:
        return None
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""


def system_user_of(sock: socket.socket) -> str | None:
    """The name of the user whose process connected a unix socket; None when that is not known."""
    if sock.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        _, number, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return pwd.getpwuid(number).pw_name
    except (OSError, KeyError):
        return None


def certified_name(tls_object: ssl.SSLObject) -> str | None:
    """The common name in a certificate that was verified; "" if it has none, or several. None without one."""
    certificate = tls_object.getpeercert()
    if not certificate:
        return None
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate.get("subject", ())  # type: ignore[assignment]  # typeshed's union
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""
