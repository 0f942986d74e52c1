"""The admin console's users, their connections, and how they read it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.forebay import Forebay

USERS: Final = {"boss": "boss's secret", "watcher": "look", "clerk": "work"}


def connect(forebay: Forebay, user: str, database: str = "forebay", **options: str) -> psycopg.Connection[Any]:
    """A connection in autocommit mode."""
    return psycopg.connect(forebay.dsn(database, user, USERS[user], **options), autocommit=True)


def until(condition: Callable[[], object]) -> None:
    """Look again until it holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def worker(forebay: Forebay, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
    """A client of a database."""
    with connect(forebay, "clerk", database) as connection:
        yield connection


def table(console: psycopg.Connection[Any], command: str) -> list[dict[str, Any]]:
    """An answer's rows by column."""
    cursor = console.execute(command.encode())
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]
