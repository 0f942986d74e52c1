"""Who may do what on the console. What is not listed here nobody may."""

from __future__ import annotations

import enum
from typing import Final

from proxy.console.command import Command, CommandError, Verb, unknown


class Role(enum.Enum):
    """What a user of the console is, by ``auth.admin_users`` and ``auth.stats_users``."""

    ADMIN = "admin"
    STATS = "stats"


_EVERYBODY: Final = frozenset(Role)
_ADMINS: Final = frozenset((Role.ADMIN,))

MAY: Final = {
    Verb.SHOW: _EVERYBODY,
    Verb.BEGIN: _EVERYBODY,
    Verb.END: _EVERYBODY,
    Verb.NOTHING: _EVERYBODY,
    Verb.RELOAD: _ADMINS,
    Verb.PAUSE: _ADMINS,
    Verb.RESUME: _ADMINS,
    Verb.RECONNECT: _ADMINS,
    Verb.KILL: _ADMINS,
    Verb.KILL_CLIENT: _ADMINS,
    Verb.SHUTDOWN: _ADMINS,
    Verb.PURGE: _ADMINS,
}

TABLES: Final = dict.fromkeys(
    (
        *("cache", "clients", "config", "databases", "digests", "dns_hosts", "dns_zones", "help", "lists", "mem"),
        *("pins", "pools", "servers", "slow", "state", "stats", "stats_averages", "stats_totals", "totals", "users"),
        "version",
    ),
    _EVERYBODY,
)


def check(command: Command, role: Role | None) -> None:
    """CommandError unless this role may do that: 42501, and 42601 for a table that is not listed."""
    allowed = MAY.get(command.verb)
    if command.verb is Verb.SHOW and role is not None:
        allowed = TABLES.get(command.argument or "")
        if allowed is None:
            raise unknown(f"SHOW {command.argument}")
    if role is None or allowed is None or role not in allowed:
        raise CommandError("42501", "admin access needed")
