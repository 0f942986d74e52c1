"""Plain counters of a database and of the applications that use it."""

from __future__ import annotations

from typing import Final

from stats.histogram import Histogram
from stats.records import Outcome
from stats.redact import MAX_NAME, escape

MAX_APPLICATIONS: Final = 50
"""Application names that a database counts apart; clients choose them, so there may be any number."""
OTHER: Final = "other"
"""Where everything goes that has no place of its own."""
UNNAMED: Final = "unknown"
"""What a client without an application name is called."""


class ApplicationStats:
    """What one application did in one database; seconds are sums."""

    __slots__ = ("calls", "errors", "name", "server", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.errors = 0
        self.total = 0.0
        self.server = 0.0


class DatabaseStats:
    """Everything counted about one database, as the clients name it.

    Attributes are only ever added to. `total` is the client's view of all turns, `server` holds the turns
    that reached a server, `queue` those that needed one, also when they waited for nothing.
    """

    __slots__ = (
        "_other",
        "applications",
        "bypasses",
        "errors",
        "hit",
        "invalidations",
        "name",
        "outcomes",
        "queue",
        "rows",
        "saved",
        "server",
        "slow",
        "total",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcomes = [0] * len(Outcome)
        self.total = Histogram()
        self.hit = Histogram()
        self.server = Histogram()
        self.queue = Histogram()
        self.errors = 0
        self.slow = 0
        self.rows = 0
        self.saved = 0.0
        self.bypasses: dict[str, int] = {}
        self.invalidations: dict[str, int] = {}
        self.applications: dict[str, ApplicationStats] = {}
        self._other: ApplicationStats | None = None

    @property
    def calls(self) -> int:
        """Return how many turns ended."""
        return sum(self.outcomes)

    def application(self, name: str) -> ApplicationStats:
        """Return the counters of an application; past `MAX_APPLICATIONS` names they share one."""
        found = self.applications.get(name)
        if found is not None:
            return found
        if len(self.applications) >= MAX_APPLICATIONS:
            if self._other is None:
                self._other = ApplicationStats(OTHER)
            return self._other
        label = escape(name, MAX_NAME) or UNNAMED
        if label == OTHER:
            # An application that is called so shares the place: two rows of one name could not be told apart.
            self._other = self._other or ApplicationStats(OTHER)
            made = self._other
        else:
            made = next((app for app in self.applications.values() if app.name == label), None) or ApplicationStats(
                label
            )
        self.applications[name] = made
        return made

    def by_application(self) -> list[ApplicationStats]:
        """Return the counters of all applications, each once."""
        found = {app.name: app for app in self.applications.values()}
        if self._other is not None:
            found[OTHER] = self._other
        return list(found.values())
