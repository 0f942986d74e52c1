"""The shop in the database: its role, its schema, its rows."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from proxy.demo.postgres import Postgres

DATABASE: Final = "shop"
USERS: Final = 10_000
PRODUCTS: Final = 5_000
CATEGORIES: Final = range(9, 49)  # the leaves of the tree: only they hold products
ORDERS: Final = 20_000  # those that the shop starts with have the ids 1..ORDERS
_STEP: Final = "-- step: "


@dataclass(frozen=True, slots=True)
class Login:
    """Who the application is; a password of its own for each demo."""

    user: str = "app"
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    database: str = DATABASE


def steps() -> list[tuple[str, str]]:
    """Everything that fills an empty database, in order: (what it is called, its SQL)."""
    schema = _read("schema.sql")
    parts = _read("rows.sql").split(_STEP)[1:]  # before the first step there is only a comment
    return [("schema", schema), *((name, sql) for name, _, sql in (part.partition("\n") for part in parts))]


async def create_database(postgres: Postgres, login: Login) -> None:
    """Make the application's role and its empty database."""
    admin = await asyncpg.connect(postgres.url(postgres.superuser, postgres.password, "postgres"))
    try:
        # utility statements take no parameters; the password is hexadecimal digits
        await admin.execute(f"CREATE ROLE {login.user} LOGIN PASSWORD '{login.password}'")
        await admin.execute(f"CREATE DATABASE {login.database} OWNER {login.user}")
    finally:
        await admin.close()


async def load(dsn: str, step: Callable[[str], AbstractContextManager[None]]) -> None:
    """Fill the database that `dsn` names; each step runs inside `step(its name)`."""
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        for name, sql in steps():
            with step(name):
                await connection.execute(sql)
        with step("statistics"):
            await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


def _read(name: str) -> str:
    return (resources.files("proxy.demo") / name).read_text(encoding="utf-8")
