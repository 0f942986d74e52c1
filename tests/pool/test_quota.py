"""Limits and connections that belong to no pool; tests/integration/test_quota.py has those that do."""

from __future__ import annotations

from pool.quota import Quotas


def test_connections_apart_count_in_both_limits() -> None:
    quotas = Quotas()
    assert quotas.take("shop", "app", 2, 2, 0.0)
    assert quotas.take("shop", "other", 2, 2, 0.0)
    assert not quotas.take("shop", "third", 2, 2, 0.0)
    assert quotas.take("else", "app", 2, 2, 0.0)
    assert not quotas.take("third", "app", 2, 2, 0.0)
    quotas.release("shop", "other", 0.0)
    assert quotas.take("shop", "third", 2, 2, 0.0)


def test_those_that_came_before_there_was_a_limit_count_too() -> None:
    quotas = Quotas()
    assert quotas.take("shop", "app", 0, 0, 0.0)
    assert not quotas.take("shop", "other", 1, 0, 0.0)
    assert quotas.take("shop", "other", 2, 0, 0.0)
    for user in ("app", "other"):
        quotas.release("shop", user, 0.0)
    assert quotas.take("shop", "app", 1, 0, 0.0)
