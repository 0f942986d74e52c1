"""The page as a terminal shows it."""

from __future__ import annotations

import io
import math

from rich.console import Console

from proxy.demo.meter import Buckets, Digest, Reading
from proxy.demo.tally import Tally
from proxy.demo.view import Page, slowest

_LINES = [("try it", "psql 'postgresql://app:secret@127.0.0.1:6432/shop'"), ("end", "Ctrl-C")]


def _reading(hits: float) -> Reading:
    return Reading(
        True,
        cache={"hit": hits, "miss": 10, "bypass": 4},
        bypasses={"volatile_function": 3, "locking": 1, "system_catalog": 0},
        servers={"active": 2, "idle": 6, "used": 0},
        clients={"active": 16},
        server=Buckets(((0.002, 10), (math.inf, 10))),
        digests=(
            Digest(f"SELECT * FROM t WHERE a[1] = $1 AND b = '[red]' AND {'c' * 200} = 1", 12345, 12340, 0.5),
            Digest("SELECT 'never asked a server'", 10, 10, 0.0),
        ),
    )


def _drawn(page: Page, width: int = 110, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding=encoding), width=width, force_terminal=False)
    console.print(page)
    console.file.flush()
    return raw.getvalue().decode(encoding)


def test_the_page_tells_what_happened() -> None:
    """Throughput, latencies, cache, pool, statements and what to type."""
    tally = Tally(reads=100)
    page = Page(tally, Reading(), _LINES)
    tally.reads, tally.orders = 1100, 3
    tally.latencies.observe(0.004)
    page.tick(2.0, _reading(hits=90))
    text = _drawn(page)
    for expected in (
        "500 queries/s",
        "00:02",
        "1,100 queries",
        "90.0%",
        "volatile_function",
        "orders placed",
    ):
        assert expected in text, expected
    for number in ("100.00", "12,345", "12,340"):  # half a second in five calls
        assert number in text, number
    assert "a[1] = $1 AND b = '[red]'" in text
    assert "never asked a server" not in text
    assert "system_catalog" not in text
    assert "errors" not in text
    assert _LINES[0][1] in text


def test_trouble_is_shown() -> None:
    """Errors and stale answers, and the first of them in words."""
    tally = Tally(stale=1)
    tally.failed(OSError("[Errno 111] refused"))
    page = Page(tally, Reading(), _LINES)
    page.tick(1.0, Reading())
    text = _drawn(page)
    assert "1 errors, 1 stale" in text
    assert "OSError: [Errno 111] refused" in text


def test_an_empty_page_can_be_drawn() -> None:
    """Before the first tick, and when Forebay says nothing."""
    assert "Forebay demo" in _drawn(Page(Tally(), Reading(), []))


def test_what_a_silent_forebay_said_last_stays() -> None:
    """One missed reading does not blank the page."""
    page = Page(Tally(), Reading(), _LINES)
    page.tick(1.0, _reading(hits=90))
    page.tick(2.0, Reading())
    assert "volatile_function" in _drawn(page)


def test_narrow_and_plain_terminals_get_a_page() -> None:
    """Eighty columns, and an encoding without block characters; the line to type is never cut."""
    page = Page(Tally(), Reading(), _LINES)
    for tick in range(60):
        page.tick(float(tick + 1), _reading(hits=tick))
    text = _drawn(page, width=80, encoding="ascii")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert _LINES[0][1] in text


def test_the_slowest_come_first() -> None:
    """By server time per call that reached one."""
    rows = [Digest(str(n), calls, 0, server) for n, (calls, server) in enumerate([(10, 1), (1, 1), (9, 0)])]
    assert [row.text for row in slowest(rows, 5)] == ["1", "0"]
    assert len(slowest(rows, 1)) == 1
