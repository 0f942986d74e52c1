"""What can go wrong in the pool, and what to tell the client."""

from __future__ import annotations


class PoolError(Exception):
    """No server connection could be had. ``sqlstate`` and ``message`` are meant for the client; it may try again."""

    def __init__(self, sqlstate: str, message: str, detail: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message = message
        self.detail = detail


class QueueTimeout(PoolError):
    """The client waited longer than ``queue_timeout``."""


class PoolClosed(PoolError):
    """The pool is shutting down, or its database was removed from the configuration."""
