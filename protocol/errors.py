"""What goes wrong between the peers, told apart by who broke the rules."""

from __future__ import annotations

from typing import Final

PROTOCOL_VIOLATION: Final = "08P01"


class ProtocolError(Exception):
    """A breach of the protocol: `message` for people, `sqlstate` for the ErrorResponse that reports it."""

    def __init__(self, message: str, sqlstate: str = PROTOCOL_VIOLATION) -> None:
        super().__init__(message)
        self.message = message
        self.sqlstate = sqlstate


class LocalProtocolError(ProtocolError):
    """We were about to break the rules; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules."""
