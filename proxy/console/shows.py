"""Every SHOW by its name: columns, which are known before anything runs, and where the rows come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.console import own, pgbouncer, settings, traffic
from proxy.console.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.console.command import Command
    from proxy.console.table import Column, Row
    from proxy.console.view import View


@dataclass(frozen=True, slots=True)
class Show:
    """One table."""

    columns: tuple[Column, ...]
    rows: Callable[[View], Iterable[Row]]


SHOWS: Final = {
    "clients": Show(pgbouncer.SOCKETS, pgbouncer.clients),
    "config": Show(settings.CONFIG, settings.config),
    "databases": Show(pgbouncer.DATABASES, pgbouncer.databases),
    "dns_hosts": Show(pgbouncer.DNS_HOSTS, pgbouncer.nothing),
    "dns_zones": Show(pgbouncer.DNS_ZONES, pgbouncer.nothing),
    "lists": Show(pgbouncer.LISTS, pgbouncer.lists),
    "mem": Show(pgbouncer.MEM, pgbouncer.mem),
    "pools": Show(pgbouncer.POOLS, pgbouncer.pools),
    "servers": Show(pgbouncer.SOCKETS, pgbouncer.servers),
    "state": Show(pgbouncer.STATE, pgbouncer.state),
    "stats": Show(traffic.STATS, traffic.stats),
    "stats_averages": Show(traffic.STATS_AVERAGES, traffic.stats_averages),
    "stats_totals": Show(traffic.STATS_TOTALS, traffic.stats_totals),
    "totals": Show(traffic.TOTALS, traffic.totals),
    "users": Show(pgbouncer.USERS, pgbouncer.users),
    "version": Show(pgbouncer.VERSION, pgbouncer.version),
    "cache": Show(own.CACHE, own.cache),
    "pins": Show(own.PINS, own.pins),
}

LIMITED: Final = {
    "digests": (own.DIGESTS, own.digests),
    "slow": (own.SLOW, own.slow),
}

HELP: Final = """
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION|STATE
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS|LISTS|MEM|DNS_HOSTS|DNS_ZONES
\tSHOW PINS|CACHE
\tSHOW DIGESTS [<rows>]
\tSHOW SLOW [<rows>]
\tRELOAD
\tPAUSE [<db>]
\tRESUME [<db>]
\tRECONNECT [<db>]
\tKILL <db>
\tKILL_CLIENT <id>
\tFOREBAY PURGE
\tSHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]"""


def columns_of(command: Command) -> tuple[Column, ...] | None:
    """The columns of a SHOW's answer; None for SHOW HELP, which is a notice."""
    name = command.argument or ""
    if name in LIMITED:
        return LIMITED[name][0]
    return SHOWS[name].columns if name in SHOWS else None


def table(command: Command, view: View) -> Table | None:
    """A SHOW's answer, read while its rows are taken; None for SHOW HELP."""
    name = command.argument or ""
    if name in LIMITED:
        columns, rows = LIMITED[name]
        return Table(columns, rows(view, own.TOP if command.limit is None else command.limit))
    return Table(SHOWS[name].columns, SHOWS[name].rows(view)) if name in SHOWS else None
