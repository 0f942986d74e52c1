from __future__ import annotations

from typing import TYPE_CHECKING

from stats.records import Outcome
from stats.slowlog import SlowLimits, SlowRecord
from stats.stats import Stats

if TYPE_CHECKING:
    from stats.digests import DigestStats


class Slow:
    """Stats with a clock that stands still, and what its sink was given."""

    def __init__(self, limits: SlowLimits | None = None, *, log_parameters: bool = False) -> None:
        self.now = 100.0
        self.lines: list[SlowRecord] = []
        self.stats = Stats(
            0.1,
            log_parameters=log_parameters,
            limits=limits,
            sink=self.lines.append,
            clock=lambda: self.now,
            wall=lambda: 1_700_000_000.0,
        )

    def turn(
        self,
        digest: DigestStats | None,
        total: float = 0.25,
        statement: bytes | None = None,
        app: str = "app",
    ) -> None:
        db = self.stats.database("shop")
        self.stats.finish(db, digest, "ann", app, 0.05, 0.15, total, Outcome.MISS, "57014", statement, b"\x00p\xff", 3)


def test_a_record_says_everything_and_nothing_secret() -> None:
    slow = Slow()
    slow.turn(slow.stats.digest("d1", "select $1, 'literal'"), statement=b"select 'literal'", app="a\nb")
    assert slow.lines == slow.stats.slowlog.records()
    assert slow.lines == [
        SlowRecord(
            time=1_700_000_000.0,
            database="shop",
            user="ann",
            application=r"a\nb",
            digest="d1",
            text="select $1, ?",
            queue_ms=50.0,
            server_ms=150.0,
            total_ms=250.0,
            outcome="miss",
            sqlstate="57014",
            rows=3,
            suppressed=0,
        )
    ]


def test_the_threshold_is_included_and_zero_is_off() -> None:
    slow = Slow()
    digest = slow.stats.digest("d1", "x")
    slow.turn(digest, 0.0999)
    assert not slow.lines
    slow.turn(digest, 0.1)
    assert len(slow.lines) == 1
    slow.stats.configure(0.0, log_parameters=False)
    slow.turn(digest, 1000.0)
    assert len(slow.lines) == 1
    assert slow.stats.database("shop").slow == digest.slow == 1


def test_parameters_only_when_asked_for() -> None:
    slow = Slow(log_parameters=True)
    digest = slow.stats.digest("d1", "select $1")
    slow.turn(digest, statement=b"select \x1b 'it'")
    assert slow.lines[0].statement == r"select \x1b 'it'"
    assert slow.lines[0].parameters == r"\x00p\xff"
    slow.stats.configure(0.1, log_parameters=False)
    slow.turn(digest, statement=b"select 'it'")
    assert slow.lines[1].statement is None
    assert slow.lines[1].parameters is None


def test_passwords_are_never_shown() -> None:
    slow = Slow(log_parameters=True)
    slow.turn(slow.stats.digest("d1", "x"), statement=b"alter role ann PassWord 'secret'")
    assert slow.lines[0].statement is None
    assert slow.lines[0].parameters is None


def test_long_statements_are_cut() -> None:
    slow = Slow(log_parameters=True)
    slow.turn(slow.stats.digest("d1", "x"), statement=b"x" * 1_000_000)
    assert slow.lines[0].statement is not None
    assert len(slow.lines[0].statement) == 2000


def test_the_ring_keeps_the_newest() -> None:
    slow = Slow(SlowLimits(keep=3))
    for number in range(10):
        slow.turn(slow.stats.digest(str(number), "x"))
    assert [record.digest for record in slow.stats.slowlog.records()] == ["9", "8", "7"]
    assert len(slow.lines) == 10


def test_a_digest_has_an_allowance_and_tells_what_it_left_out() -> None:
    slow = Slow(SlowLimits(digest_rate=1.0, digest_burst=2.0))
    loud, quiet = slow.stats.digest("loud", "x"), slow.stats.digest("quiet", "x")
    for _ in range(5):
        slow.turn(loud)
    slow.turn(quiet)
    assert [line.digest for line in slow.lines] == ["loud", "loud", "quiet"]
    assert slow.stats.slowlog.suppressed == 3
    slow.now += 1.0
    slow.turn(loud)
    slow.turn(loud)
    assert [line.suppressed for line in slow.lines] == [0, 0, 0, 3]
    assert slow.stats.slowlog.suppressed == 4
    assert loud.slow == 7
    slow.now += 1000.0
    for _ in range(5):
        slow.turn(loud)
    assert [line.suppressed for line in slow.lines[4:]] == [1, 0], "a long rest gives no more than a burst"


def test_all_digests_together_have_an_allowance() -> None:
    slow = Slow(SlowLimits(rate=1.0, burst=4.0))
    for number in range(10):
        slow.turn(slow.stats.digest(str(number), "x"))
    assert len(slow.lines) == 4
    slow.now += 2.0
    for number in range(10):
        slow.turn(slow.stats.digest(str(number), "x"))
    assert len(slow.lines) == 6


def test_turns_without_a_statement_have_an_allowance_too() -> None:
    slow = Slow(SlowLimits(rate=0.0, burst=1.0))
    slow.turn(None)
    slow.turn(None)
    assert len(slow.lines) == 1
    assert slow.lines[0].digest == ""
