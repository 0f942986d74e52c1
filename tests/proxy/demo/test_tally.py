"""What the visitors count."""

from __future__ import annotations

from proxy.demo.tally import Latencies, Revisions, Tally


def test_a_floor_only_rises() -> None:
    """The newest known revision of each row, apart by kind."""
    revisions = Revisions()
    assert revisions.floor("product", 1) == 0
    revisions.learn("product", 1, 5)
    revisions.learn("product", 1, 3)
    assert revisions.floor("product", 1) == 5
    assert revisions.floor("inventory", 1) == 0
    assert revisions.floor("product", 2) == 0


def test_recent_latencies_forget() -> None:
    """After five ticks only the total remembers."""
    latencies = Latencies()
    assert latencies.quantile(0.5) is None
    latencies.observe(0.020)
    for _ in range(4):
        latencies.tick()
    assert latencies.recent_quantile(0.5) is not None
    latencies.tick()
    assert latencies.recent_quantile(0.5) is None
    middle = latencies.quantile(0.5)
    assert middle is not None
    assert 0.018 <= middle <= 0.025


def test_the_first_error_is_kept() -> None:
    """In one line, because a summary has lines."""
    tally = Tally(reads=3, writes=2)
    tally.failed(OSError("gone\naway"))
    tally.failed(OSError("later"))
    tally.was_stale("x")
    assert (tally.errors, tally.stale, tally.queries) == (2, 1, 5)
    assert tally.first_error == "OSError: gone away"
