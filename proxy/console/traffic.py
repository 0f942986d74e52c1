"""SHOW STATS and its kin: what went through each database, since the start and on average.

Counters come from stats/ and the pools. A *transaction* is a lease of a server, or an answer that needed none (a hit).
Its time is the time that servers worked for clients; time idle inside a transaction is not measured, nor are bytes and
messages of the extended protocol counted: those columns are 0. Averages are of the last complete period, counts per
second, times per transaction, query and assignment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.console.table import columns
from proxy.console.view import Period, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from proxy.console.table import Row, Value
    from proxy.console.view import View

PERIOD: Final = 60.0
"""Seconds over which averages are taken, PgBouncer's default ``stats_period``."""

_TOTAL: Final = (
    "server_assignment_count xact_count query_count {in} {out} xact_time query_time wait_time"
    " {ps}client_parse_count {ps}server_parse_count {ps}bind_count"
)


def _names(received: str, sent: str, statements: str = "") -> list[str]:
    return _TOTAL.format(**{"in": received, "out": sent, "ps": statements}).split()


def _prefixed(prefix: str, names: list[str]) -> list[str]:
    return [prefix + name for name in names]


_NAMES_TOTAL: Final = _prefixed("total_", _names("received", "sent"))
_NAMES_AVERAGE: Final = _prefixed("avg_", _names("recv", "sent"))
_SHORT: Final = _names("bytes_received", "bytes_sent")
_SHORT_AVERAGE: Final = [*_SHORT[:8], *_prefixed("avg_", _SHORT[8:])]
_LISTED: Final = _names("client_bytes", "server_bytes", "ps_")

STATS = columns("database " + " ".join(f"{name}:n" for name in (*_NAMES_TOTAL, *_NAMES_AVERAGE)))
STATS_TOTALS = columns("database " + " ".join(f"{name}:n" for name in _SHORT))
STATS_AVERAGES = columns("database " + " ".join(f"{name}:n" for name in _SHORT_AVERAGE))
TOTALS = columns("name value:n")


def stats(view: View) -> Iterator[Row]:
    """SHOW STATS."""
    period = view.period()
    for name, traffic in view.totals().items():
        yield (name, *_totals(traffic), *_averages(period, name))


def stats_totals(view: View) -> Iterator[Row]:
    """SHOW STATS_TOTALS."""
    for name, traffic in view.totals().items():
        yield (name, *_totals(traffic))


def stats_averages(view: View) -> Iterator[Row]:
    """SHOW STATS_AVERAGES."""
    period = view.period()
    for name in view.totals():
        yield (name, *_averages(period, name))


def totals(view: View) -> Iterator[Row]:
    """SHOW TOTALS: the sums over all databases, one to a row."""
    period = view.period()
    everything = Period(period.seconds, {"": _sum(period.traffic)})
    yield from zip(_prefixed("total_", _LISTED), _totals(_sum(view.totals())), strict=True)
    yield from zip(_prefixed("avg_", _LISTED), _averages(everything, ""), strict=True)


def _sum(traffic: Mapping[str, Traffic]) -> Traffic:
    return sum(traffic.values(), Traffic())


def _totals(of: Traffic) -> tuple[Value, ...]:
    times = (of.transaction_time, of.query_time, of.wait_time)
    return (of.assignments, of.transactions, of.queries, 0, 0, *times, 0, 0, 0)


def _averages(period: Period, name: str) -> tuple[Value, ...]:
    of = period.traffic.get(name, Traffic())
    counts = (int(count / period.seconds) if period.seconds else 0 for count in _counts(of))
    times = (
        _each(of.transaction_time, of.transactions),
        _each(of.query_time, of.queries),
        _each(of.wait_time, of.assignments),
    )
    return (*counts, 0, 0, *times, 0, 0, 0)


def _counts(of: Traffic) -> tuple[int, int, int]:
    return of.assignments, of.transactions, of.queries


def _each(total: int, count: int) -> int:
    return total // count if count else 0


class Averages:
    """Remembers what averages are taken of. ``now`` is monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._totals: Mapping[str, Traffic] = {}
        self._period: Period | None = None

    def roll(self, totals: Mapping[str, Traffic], now: float) -> None:
        """A period has ended."""
        self._period = self._between(totals, now)
        self._at, self._totals = now, dict(totals)

    def period(self, totals: Mapping[str, Traffic], now: float) -> Period:
        """The last complete period; until there is one, the time since the start."""
        return self._period or self._between(totals, now)

    def _between(self, totals: Mapping[str, Traffic], now: float) -> Period:
        empty = Traffic()
        grown = {name: traffic.since(self._totals.get(name, empty)) for name, traffic in totals.items()}
        return Period(max(0.0, now - self._at), grown)
