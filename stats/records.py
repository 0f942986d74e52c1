"""How a turn was answered."""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """How a turn was answered, as the cache sees it; the value is an index into `DatabaseStats.outcomes`.

    Whether it failed is no outcome: that is said by its SQLSTATE.
    """

    HIT = 0
    """Answered from the cache."""
    MISS = 1
    """Cacheable, not in the cache, so asked of a server."""
    BYPASS = 2
    """A read that the cache may not answer; `Stats.finish` is told why."""
    WRITE = 3
    """Not a question to the cache: it writes, defines, or controls a transaction."""
    LOCAL = 4
    """Answered by Forebay itself, with neither cache nor server."""

    @property
    def label(self) -> str:
        """Return the name as metrics and records show it."""
        return self.name.lower()


CACHE_RESULTS = (Outcome.HIT, Outcome.MISS, Outcome.BYPASS)
"""The outcomes that were questions to the cache."""
