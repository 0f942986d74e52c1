"""TCP ports for servers that are stopped and started again.

Ports of the kernel's ephemeral range will not do: while a server is down, any outgoing connection of this
machine may be given its port. These are taken below that range, and not from `random`, which test runners
seed alike.
"""

from __future__ import annotations

import secrets
import socket
from typing import Final

_LOWEST: Final = 15_000
_HIGHEST: Final = 32_000
_ATTEMPTS: Final = 200


def free_port() -> int:
    """A loopback port below the ephemeral range that nobody listened on a moment ago."""
    for _ in range(_ATTEMPTS):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port on the loopback interface")
