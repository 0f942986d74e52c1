"""The live page in the terminal: drawn from counters alone, so that a test can draw it too.

Rates and quantiles cover the last few ticks, counts everything since the workload began. Statements are shown
as plain text, never as rich's markup: they may contain brackets.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from proxy.demo.meter import Digest, Reading
    from proxy.demo.tally import Tally

_WINDOW: Final = 5  # ticks that "now" covers
_HISTORY: Final = 40  # ticks in the curve of the throughput
_DIGESTS: Final = 6
_REASONS: Final = 3
_STATES: Final = 2
_TILE: Final = 9  # lines of each of the three tiles, with their borders
_BARS: Final = "▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = "_.-=+*%#"


@dataclass(frozen=True, slots=True)
class Tick:
    """The counters at one moment; `at` in seconds since the workload began."""

    at: float
    queries: int
    reading: Reading


class Page:
    """The page of one run. `tick` takes the counters, rich draws it whenever it likes."""

    def __init__(self, tally: Tally, start: Reading, next_lines: Sequence[tuple[str, str]]) -> None:
        self._tally = tally
        self._start = start
        self._next = next_lines
        self._ticks: deque[Tick] = deque([Tick(0.0, tally.queries, start)], maxlen=_WINDOW + 1)
        self._rates: deque[float] = deque(maxlen=_HISTORY)

    def tick(self, at: float, reading: Reading) -> None:
        """Take the counters; a Forebay that did not answer keeps the last reading on the page."""
        last = self._ticks[-1]
        self._rates.append((self._tally.queries - last.queries) / max(at - last.at, 1e-9))
        self._tally.latencies.tick()
        self._ticks.append(Tick(at, self._tally.queries, reading if reading.reached else last.reading))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the page as wide as the terminal is."""
        tiles = Table.grid(expand=True)
        for _ in range(3):
            tiles.add_column(ratio=1)
        tiles.add_row(self._latency(), self._cache(), self._pool())
        yield Group(self._head(options.ascii_only), tiles, self._slowest(), self._what_next())

    @property
    def _now(self) -> Reading:
        return self._ticks[-1].reading

    def _head(self, ascii_only: bool) -> RenderableType:
        first, last = self._ticks[0], self._ticks[-1]
        rate = (last.queries - first.queries) / max(last.at - first.at, 1e-9)
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column()
        grid.add_column(justify="right")
        title = Text.assemble(("Forebay demo", "bold cyan"), f"  {_clock(last.at)}  {self._tally.queries:,} queries")
        if self._tally.errors or self._tally.stale:
            title.append(f"  {self._tally.errors} errors, {self._tally.stale} stale", style="bold red")
        curve = _curve(self._rates, _ASCII_BARS if ascii_only else _BARS)
        grid.add_row(title, Text.assemble((curve, "cyan"), (f" {rate:,.0f} queries/s", "bold")))
        if self._tally.first_error:
            grid.add_row(Text(self._tally.first_error, style="red", no_wrap=True, overflow="crop"), "")
        return grid

    def _latency(self) -> RenderableType:
        table = _table(("ms", "left"), ("p50", "right"), ("p95", "right"))
        seen = self._tally.latencies
        table.add_row("the shop waits", _ms(seen.recent_quantile(0.5)), _ms(seen.recent_quantile(0.95)))
        earlier = self._ticks[0].reading
        for name, buckets in (
            ("in the queue", self._now.queue.since(earlier.queue)),
            ("in the server", self._now.server.since(earlier.server)),
            ("from the cache", self._now.hit.since(earlier.hit)),
        ):
            table.add_row(name, _ms(buckets.quantile(0.5)), _ms(buckets.quantile(0.95)))
        return Panel(table, title="latency", box=box.ROUNDED, height=_TILE)

    def _cache(self) -> RenderableType:
        table = _table(("", "left"), ("", "right"), headers=False)
        table.add_row("hit rate now", _percent(self._now.hit_rate(self._ticks[0].reading)))
        for name, result in (("hits", "hit"), ("misses", "miss"), ("bypasses", "bypass")):
            table.add_row(name, f"{self._now.answers(result, self._start):,.0f}")
        reasons = sorted(self._now.bypasses.items(), key=lambda item: -item[1])
        for reason, count in reasons[:_REASONS]:
            if count:
                table.add_row(Text(f"  {reason}", style="dim"), Text(f"{count:,.0f}", style="dim"))
        return Panel(table, title="cache", box=box.ROUNDED, height=_TILE)

    def _pool(self) -> RenderableType:
        table = _table(("", "left"), ("", "right"), headers=False)
        for title, states in (("clients", self._now.clients), ("servers", self._now.servers)):
            table.add_row(title, f"{sum(states.values()):,.0f}")
            for state, count in _busy(states):
                table.add_row(Text(f"  {state}", style="dim"), Text(f"{count:,.0f}", style="dim"))
        table.add_row("orders placed", f"{self._tally.orders:,}")
        return Panel(table, title="pool", box=box.ROUNDED, height=_TILE)

    def _slowest(self) -> RenderableType:
        table = _table(("mean ms", "right"), ("calls", "right"), ("hits", "right"))
        table.add_column("slowest statements", ratio=1, no_wrap=True, overflow="crop")
        for digest in slowest(self._now.digests, _DIGESTS):
            table.add_row(
                _ms(digest.mean),
                f"{digest.calls:,.0f}",
                f"{digest.hits:,.0f}",
                Text(digest.text, no_wrap=True, overflow="crop"),
            )
        return Panel(table, box=box.ROUNDED)

    def _what_next(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        for name, line in self._next:
            grid.add_row(Text(name, style="dim"), Text(line, overflow="fold"))
        return grid


def slowest(digests: Sequence[Digest], count: int) -> list[Digest]:
    """Those that keep the server longest, per call."""
    return sorted((digest for digest in digests if digest.server > 0), key=lambda each: -each.mean)[:count]


def _table(*columns: tuple[str, str], headers: bool = True) -> Table:
    table = Table(box=None, expand=True, show_header=headers, padding=(0, 1, 0, 0), header_style="dim")
    for name, side in columns:
        right = side == "right"
        table.add_column(name, justify="right" if right else "left", no_wrap=True, overflow="crop", min_width=len(name))
    return table


def _busy(states: Mapping[str, float]) -> list[tuple[str, float]]:
    """The states that most are in."""
    return sorted(((state, count) for state, count in states.items() if count), key=lambda each: -each[1])[:_STATES]


def _curve(rates: Sequence[float], bars: str) -> str:
    top = max(rates, default=0.0)
    return "".join(bars[int(rate / top * (len(bars) - 1))] if top else bars[0] for rate in rates)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
