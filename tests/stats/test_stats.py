from __future__ import annotations

import pytest

from stats.counters import OTHER
from stats.records import Outcome
from stats.stats import BATCH, MAX_DATABASES, MAX_SQLSTATES, Stats


@pytest.fixture
def stats() -> Stats:
    return Stats(10.0)


def test_a_miss_is_counted_everywhere(stats: Stats) -> None:
    db, digest = stats.database("shop"), stats.digest("d1", "select $1")
    stats.finish(db, digest, "ann", "web", 0.002, 0.02, 0.03, Outcome.MISS, rows=7)
    stats.settle()
    assert db.outcomes == [0, 1, 0, 0, 0]
    assert (db.calls, db.rows, db.errors, db.slow) == (1, 7, 0, 0)
    assert (db.total.sum, db.server.sum, db.queue.sum) == (0.03, 0.02, 0.002)
    assert (db.total.count, db.server.count, db.queue.count) == (1, 1, 1)
    assert (digest.calls, digest.served, digest.rows, digest.hits, digest.errors) == (1, 1, 7, 0, 0)
    assert (digest.total, digest.server, digest.queue, digest.maximum) == (0.03, 0.02, 0.002, 0.03)
    assert sum(digest.counts) == 1
    app = db.applications["web"]
    assert (app.calls, app.errors, app.total, app.server) == (1, 0, 0.03, 0.02)


def test_a_hit_asked_no_server_and_saved_its_time(stats: Stats) -> None:
    db, digest = stats.database("shop"), stats.digest("d1", "select $1")
    stats.finish(db, digest, "ann", "web", 0.0, 0.0, 0.001, Outcome.HIT)
    stats.settle()
    assert db.saved == 0.0
    stats.finish(db, digest, "ann", "web", 0.0, 0.25, 0.25, Outcome.MISS)
    stats.finish(db, digest, "ann", "web", 0.0, 0.75, 0.75, Outcome.MISS)
    stats.finish(db, digest, "ann", "web", 0.0, 0.0, 0.125, Outcome.HIT)
    stats.finish(db, digest, "ann", "web", 0.0, 0.0, 2.0, Outcome.HIT)
    stats.settle()
    assert db.saved == digest.saved == 0.375
    assert db.outcomes[Outcome.HIT] == digest.hits == 3
    assert (db.total.count, db.server.count, db.queue.count) == (5, 2, 2)
    assert db.queue.counts[0] == 2


def test_whoever_reads_sees_every_turn(stats: Stats) -> None:
    db, digest = stats.database("shop"), stats.digest("d1", "select $1")
    for turn in range(1, 2 * BATCH + 2):
        stats.finish(db, digest, "ann", "web", 0.0, 0.1, 0.2, Outcome.MISS)
        assert db.calls == turn - turn % BATCH
    assert stats.databases["shop"].calls == 2 * BATCH + 1
    stats.finish(db, digest, "ann", "web", 0.0, 0.1, 0.2, Outcome.MISS)
    found = stats.digests.find("d1")
    assert found is not None
    assert found.calls == 2 * BATCH + 2


def test_who_gave_up_waiting_counts_in_the_queue_only(stats: Stats) -> None:
    db, digest = stats.database("shop"), stats.digest("d1", "select $1")
    stats.finish(db, digest, "ann", "web", 5.0, 0.0, 5.0, Outcome.BYPASS, "08006")
    assert (db.server.count, db.queue.count, db.queue.sum, digest.queue) == (0, 1, 5.0, 5.0)
    assert (db.errors, digest.errors, db.applications["web"].errors) == (1, 1, 1)
    assert stats.errors == {"08006": 1}


def test_times_that_are_none_never_take_anything_back(stats: Stats) -> None:
    db, digest = stats.database("shop"), stats.digest("d1", "select $1")
    for wrong in (-1.0, float("nan")):
        stats.finish(db, digest, "ann", "web", wrong, wrong, wrong, Outcome.MISS)
    stats.settle()
    assert (db.calls, db.total.sum, db.server.sum, db.queue.sum, digest.total) == (2, 0.0, 0.0, 0.0, 0.0)


def test_turns_without_a_statement_count_but_are_no_digest(stats: Stats) -> None:
    db = stats.database("shop")
    stats.finish(db, None, "ann", "web", 0.0, 0.1, 0.2, Outcome.WRITE, "08P01")
    assert db.calls == 1
    assert len(stats.digests) == 0


def test_a_kept_digest_that_was_evicted_counts_on() -> None:
    stats = Stats(10.0, max_digests=1)
    db, kept = stats.database("shop"), stats.digest("kept", "select 1")
    stats.digest("new", "select 2")
    stats.finish(db, kept, "ann", "web", 0.0, 0.1, 0.2, Outcome.MISS)
    again = stats.digests.find("kept")
    assert again is not None
    assert again is not kept
    assert (again.calls, again.text, kept.calls) == (1, "select ?", 0)


def test_reasons_are_counted_by_database(stats: Stats) -> None:
    shop, crm = stats.database("shop"), stats.database("crm")
    for db, reason in ((shop, "locking"), (shop, "locking"), (crm, "temp"), (crm, None)):
        stats.finish(db, None, "ann", "web", 0.0, 0.1, 0.2, Outcome.BYPASS, reason=reason)
    stats.finish(crm, None, "ann", "web", 0.0, 0.1, 0.2, Outcome.MISS, reason="in_doubt")
    stats.invalidation(shop, "write")
    stats.pin("temp_table")
    stats.pin("temp_table")
    stats.settle()
    assert shop.bypasses == {"locking": 2}
    assert crm.bypasses == {"temp": 1}
    assert shop.invalidations == {"write": 1}
    assert stats.pins == {"temp_table": 2}


def test_names_from_outside_are_bounded(stats: Stats) -> None:
    for number in range(2 * MAX_DATABASES):
        stats.database(f"db{number}")
    assert len(stats.databases) == MAX_DATABASES + 1
    assert stats.database("one more") is stats.database(OTHER)
    for number in range(2 * MAX_SQLSTATES):
        stats.error(f"{number:05}")
    assert len(stats.errors) == MAX_SQLSTATES + 1
    assert stats.errors[OTHER] == MAX_SQLSTATES


def test_what_is_no_sqlstate_is_other(stats: Stats) -> None:
    for wrong in ("", "2350", "235050", "2350\n", "é0000"):
        stats.error(wrong)
    assert stats.errors == {OTHER: 5}
