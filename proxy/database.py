"""One database as clients name it: its pools, what is known of its statements, its catalog, and its writers.

Tags of the cache belong to the real database behind the name (cluster identifier and OID, learnt with the catalog), so
that two names for one database share their invalidations. A write through a name whose catalog is not known yet touches
every database that anything is kept of.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cache.tags import write_tags
from proxy.knowledge import ANYTHING, PINS, Doubt, Judgement, Known, View
from proxy.notify.hub import Hub
from proxy.statements import Statements
from sql.facts import Pin

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.cache import Cache
    from cache.coherence import Mark
    from pool.pool import Pool
    from pool.server import Server
    from pool.settings import Profile
    from proxy.ledger import Ledger
    from proxy.turn import Turn, Unjudged
    from sql.catalog import Catalog
    from stats.counters import DatabaseStats
    from stats.stats import Stats

logger = logging.getLogger("forebay.database")

Identity = tuple[str, int]
_READING = ("client_encoding", "standard_conforming_strings")
_MANY = 10_000  # reads without a catalog; with more it is cheaper to forget all answers


class Identities:
    """The real databases that anything may be kept of."""

    def __init__(self) -> None:
        self.known: set[Identity] = set()
        self._numbers: dict[tuple[Identity, str], int] = {}
        self.databases: list[Database] = []

    def add(self, identity: Identity) -> None:
        """A catalog has been loaded. Writers that did not know of this database touch it too."""
        if identity not in self.known:
            self.known.add(identity)
            for database in self.databases:
                database.widen()

    def number(self, identity: Identity, epoch: str) -> int:
        """A small number for one state of one database's catalog: the epoch in cache keys."""
        return self._numbers.setdefault((identity, epoch), len(self._numbers) + 1)


class Database:
    """Synchronous throughout; the catalog is kept up by CatalogKeeper."""

    def __init__(
        self,
        name: str,
        stats: Stats,
        cache: Cache,
        identities: Identities,
        *,
        mode: str,
        session_pooling: str,
        sequences: str = "share",
        defers: bool = False,
        options: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.counters: DatabaseStats = stats.database(name)
        self.stats = stats
        self.cache = cache
        self.mode = mode  # auto, hinted or off
        self.caching = mode != "off"  # are answers kept at all?
        self.pool_mode = session_pooling
        self.defers = defers and session_pooling == "transaction"  # does a BEGIN alone wait for what follows?
        self.options = options or {}  # settings that the url asks for
        self.statements = Statements(stats.digest, drawing=sequences == "pin")
        self.pools: dict[str, Pool] = {}
        self.hubs: dict[Pool, Hub] = {}  # of pools whose sessions listen
        self.writing: set[Turn] = set()
        self.unjudged: set[Unjudged] = set()  # committed while the catalog was not known
        self.pinning = PINS | {Pin.SEQUENCE} if sequences == "pin" else PINS
        self.orphans: dict[Mark, int | str] = {}  # marks without a known outcome -> see CatalogKeeper
        self.catalog: Catalog | None = None  # None while it is not known, or in doubt
        self.identity: Identity | None = None
        self.unfit = False  # a standby, or sessions may begin above READ COMMITTED or as another role: nothing is kept
        self.blocks: set[Ledger] = set()  # sessions that have written in a transaction that is still open
        self.on_suspect: Callable[[], None] | None = None
        self.on_moved: Callable[[], None] | None = None  # the name of its host leads elsewhere
        self.on_vacate: Callable[[str], None] | None = None  # somebody wants the database of that name without us
        self.paths: dict[str, tuple[str, ...]] = {}  # user -> search_path by default, learnt with the catalog
        self._newest: Catalog | None = None
        self._number = 0
        self._views: dict[tuple[Profile, str], View] = {}
        self._identities = identities
        identities.databases.append(self)

    # -- looking ----------------------------------------------------------------------------------------------------

    def view(self, profile: Profile, user: str) -> View | None:
        """How this user with these settings sees statements now; None while the catalog is not known."""
        catalog = self.catalog
        if catalog is None or self.unfit:
            return None
        view = self._views.get((profile, user))
        if view is None or view.catalog is not catalog:
            path = self._path(profile, user)
            if path is None or self.identity is None:
                return None
            if len(self._views) > 5_000:
                self._views.clear()
            view = View(
                catalog,
                user,
                path,
                profile,
                self._base(user),
                epoch=self._number,
                hinted_only=self.mode == "hinted",
                identity=self.identity,
            )
            self._views[(profile, user)] = view
        return view

    def _base(self, user: str) -> dict[str, str]:
        """What is in effect on a fresh connection and matters here: the options of its url, and how it reads texts."""
        pool = self.pools.get(user)
        reported = pool.base if pool is not None else {}
        return {**self.options, **{name: reported[name] for name in _READING if name in reported}}

    def _path(self, profile: Profile, user: str) -> tuple[str, ...] | None:
        text = profile.values.get("search_path")
        return self.paths.get(user) if text is None else split_path(text)

    def judge(self, known: Known, view: View | None, text: bytes, doubt: Doubt) -> Judgement:
        """A statement, seen as well as it can be now."""
        if not self.caching:
            return known.unwatched
        if view is None:
            return known.blind if doubt is Doubt.NONE else ANYTHING
        if not view.reads(text):
            return ANYTHING
        return view.judge(known) if doubt is Doubt.NONE else view.judge_doubtful(known, doubt)

    # -- writing ----------------------------------------------------------------------------------------------------

    def mark(self, turn: Turn, writes: set[int] | None) -> None:
        """Doubt what the turn may commit, instead of what it was marked with. ``writes`` None = the whole database."""
        old = turn.mark
        if self.identity is not None:
            tags = write_tags(self.identity, writes)
        else:
            tags = frozenset((identity, None) for identity in self._identities.known)
        turn.mark = self.cache.mark(tags, self)
        if old is not None:
            self.cache.unmark(old)

    def unmark(self, turn: Turn) -> None:
        """The outcome is known."""
        mark = turn.mark
        if mark is not None:
            turn.mark = None
            self.cache.unmark(mark)
            cause = "database" if write_tags(self.identity, None) <= mark.tags else "write"
            self.stats.invalidation(self.counters, cause)

    def widen(self) -> None:
        """What was judged by an outdated catalog, or by none, and is still running may write anything."""
        for turn in self.writing:
            blind = turn.effects is not None and bool(turn.effects.blind)
            if turn.effects is not None:
                turn.effects.writes = None
            if turn.mark is not None or blind:
                self.mark(turn, None)
        for ledger in self.blocks:
            ledger.widen()
        for orphan, who in list(self.orphans.items()):
            if self.identity is not None and (self.identity, None) not in orphan.tags:
                wide = self.cache.mark(write_tags(self.identity, None), self)
                self.cache.abandon(wide)
                self.orphans[wide] = who
                del self.orphans[orphan]
                self.cache.settle(orphan)

    def outdated(self) -> None:
        """Definitions have changed past us: the catalog says nothing any more, nor do judgements made by it."""
        self.widen()
        self.catalog = None

    def moved(self) -> None:
        """The name leads to another server, or to none: what was learnt of the old one holds no more."""
        self.widen()
        self.catalog = self._newest = self.identity = None
        self.on_suspect = self.on_moved = self.on_vacate = None
        self.paths.clear()
        self._views.clear()
        self.cache.purge()

    def defaults_changed(self) -> None:
        """New connections begin with other settings than those that are open, which must not be mixed."""
        self.paths.clear()
        for pool in self.pools.values():
            pool.reconnect()

    @property
    def newcomer(self) -> bool:
        """Others know their catalogs and this one does not: it may be a second name for one of theirs."""
        return self.identity is None and bool(self._identities.known)

    def judge_again(self, turn: Turn) -> None:
        """Reads of a turn that were sent while the catalog was not known, if it is known now."""
        effects = turn.effects
        if effects is None or self.catalog is None:
            return
        for unjudged in effects.blind:
            judgement = self._judge_late(unjudged)
            writes = judgement.writes
            effects.writes = None if writes is None or effects.writes is None else effects.writes | writes
            effects.ddl = effects.ddl or judgement.ddl
        effects.blind.clear()

    def _judge_late(self, unjudged: Unjudged) -> Judgement:
        known, profile, user = unjudged
        view = self.view(profile, user)
        return ANYTHING if view is None else view.judge(known)

    def _catch_up(self) -> None:
        """The catalog is known again: what was sent meanwhile is judged, before anybody is served."""
        touched: set[int] | None = set() if len(self.unjudged) < _MANY else None
        defined = touched is None
        for unjudged in self.unjudged if touched is not None else ():
            judgement = self._judge_late(unjudged)
            touched = None if touched is None or judgement.writes is None else touched | judgement.writes
            defined = defined or judgement.ddl
        self.unjudged.clear()
        if touched is None or touched:
            self.cache.unmark(self.cache.mark(write_tags(self.identity, touched), self))
        for turn in self.writing:
            if turn.effects is not None and turn.effects.blind:
                self.judge_again(turn)
                if turn.effects.writes is None or turn.effects.writes:
                    self.mark(turn, turn.effects.writes)
        if defined:  # by something that ran while this catalog was being proved
            self.suspect("ddl")

    def suspect(self, cause: str) -> None:
        """Definitions may have changed: no hits, and all writes touch everything, until the catalog is proved."""
        for database in self._identities.databases:
            if database is self or database.identity is None or database.identity == self.identity:
                database.doubt(cause)

    def doubt(self, cause: str) -> None:
        """Another name for the same database, or this one, has seen such a statement."""
        self.widen()
        if self.catalog is not None:
            logger.debug("the catalog of %s is in doubt: %s", self.name, cause)
        self.catalog = None
        if self.on_suspect is not None:
            self.on_suspect()

    def learnt(self, catalog: Catalog, identity: Identity) -> None:
        """The catalog is known again."""
        if self.identity is not None and identity != self.identity:
            logger.warning("%s is another database than before; its cached answers are forgotten", self.name)
            self.cache.purge()
        self.identity = identity
        self._identities.add(identity)
        if self._newest is not catalog:
            self._newest = catalog
            self._number = self._identities.number(identity, catalog.epoch)
            self.defined()
            self._views.clear()
        self.catalog = catalog
        self._catch_up()

    def defined(self) -> None:
        """Definitions have changed: what is prepared from now on need not be what is prepared on servers already."""
        for pool in self.pools.values():
            pool.registry.renew()

    def settled(self, turns: list[Turn], server: Server, *, known: bool) -> None:
        """The client of these turns left. ``known``: the server has answered them all and is outside a transaction."""
        if not known:
            self.orphaned(turns, server)
            return
        for turn in turns:
            self.writing.discard(turn)
            self.unmark(turn)
        self._defined(turns)

    def _defined(self, turns: list[Turn]) -> None:
        """Nobody was told, but what these turns have defined counts."""
        if any(turn.effects is not None and turn.effects.ddl for turn in turns):
            self.suspect("ddl")

    def orphaned(self, turns: list[Turn], server: Server) -> None:
        """The connection was lost before the outcome was known: the marks stay until that backend is surely gone."""
        for turn in turns:
            self.writing.discard(turn)
            mark, turn.mark = turn.mark, None
            if mark is not None:
                self.cache.abandon(mark)
                self.orphans[mark] = server.pid
        self._defined(turns)
        if self.orphans and self.on_suspect is not None:
            self.on_suspect()

    def settle(self, mark: Mark) -> None:
        """An orphan's transaction has ended, in whichever way; it may have defined something."""
        if self.orphans.pop(mark, None) is not None:  # else another has taken its place meanwhile, see widen
            self.suspect("lost")
            self.cache.settle(mark)

    # -- pools ------------------------------------------------------------------------------------------------------

    def server_opened(self, pool: Pool, server: Server) -> None:
        """A connection stands: what it reports is the base of all profiles of its pool."""
        reported = server.base.get("search_path")
        if reported is not None:
            self.paths[pool.user] = split_path(reported)

    def backends(self, identity: Identity | None) -> set[int]:
        """Server processes, at the server that writes this real database, whose transactions are marked as they end.

        Those of other names count if they are known to lead to the same database. One that may lead to a standby
        does not: it has the same identity, but its process ids are another server's.
        """
        names = [d for d in self._identities.databases if d is self or (d.identity == identity and not d.unfit)]
        return {server.pid for name in names for pool in name.pools.values() for server in pool.servers}

    def vacate(self, name: str) -> None:
        """A statement is about to be sent that fails while others are connected to that database.

        The server waits five seconds for them to leave: those of ours who do nothing there leave now.
        """
        for database in self._identities.databases:
            for pool in database.pools.values():
                if pool.target.database == name:
                    pool.reconnect()
            if database.on_vacate is not None:
                database.on_vacate(name)

    def hub(self, pool: Pool) -> Hub:
        """What listens for the sessions of a pool."""
        hub = self.hubs.get(pool)
        if hub is None:
            hub = self.hubs[pool] = Hub(lambda: pool.target, lambda: pool.limits)
        return hub

    def pinned(self, pin: Pin) -> None:
        """A session keeps its server."""
        self.stats.pin(pin.value)


def split_path(text: str) -> tuple[str, ...]:
    """The schemas of a search_path, as PostgreSQL reads the setting's value: folded unless quoted."""
    names: list[str] = []
    rest = text.strip()
    while rest:
        if rest[0] == '"':
            end = 1
            while True:
                end = rest.find('"', end)
                if end < 0:
                    return tuple(names)
                if rest[end : end + 2] != '""':
                    break
                end += 2
            names.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :].lstrip()
            rest = rest[1:].lstrip() if rest.startswith(",") else ""
        else:
            name, _, rest = rest.partition(",")
            names.append(name.strip().lower())
            rest = rest.strip()
    return tuple(name for name in names if name)
