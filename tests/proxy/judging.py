"""A database of the proxy without any server: its catalog is made of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cache.cache import Cache
from cache.coherence import Coherence
from cache.memory import MemoryStore
from pool.settings import Profiles
from proxy.database import Database, Identities
from proxy.turn import Turn
from sql.catalog import Catalog
from sql.catalog_sql import QUERIES
from stats.stats import Stats

if TYPE_CHECKING:
    from proxy.knowledge import Known
    from proxy.ledger import Ledger

IDENTITY = ("cluster", 5)
T, LOG, IN_B = 20_001, 20_002, 20_003


def catalog(epoch: str = "1") -> Catalog:
    """Tables public.t, public.log and b.t; no functions."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in QUERIES}
    rows["database"] = [{"oid": IDENTITY[1], "name": "d"}]
    names = ((T, "public", "t"), (LOG, "public", "log"), (IN_B, "b", "t"))
    rows["relations"] = [
        {
            "oid": oid,
            "schema": schema,
            "name": name,
            "kind": "r",
            "persistence": "p",
            "rules": False,
            "row_security": False,
        }
        for oid, schema, name in names
    ]
    rows["types"] = [
        {"oid": 23, "schema": "pg_catalog", "name": "int4", "kind": "b", "element": 0, "base": 0, "relation": 0}
    ]
    rows["columns"] = [{"relation": oid, "name": "v", "type": 23} for oid, _, _ in names]
    return Catalog.from_rows(rows, epoch)


class World:
    """One cache, and databases in front of it."""

    def __init__(self) -> None:
        self.stats = Stats(1.0, 100)
        self.cache = Cache(Coherence(), MemoryStore(1 << 20, 1 << 16), 60.0)
        self.identities = Identities()
        self.profiles = Profiles()

    def database(self, name: str = "d", *, known: bool = True) -> Database:
        """A name for the one real database; ``known``: with its catalog."""
        made = Database(name, self.stats, self.cache, self.identities, mode="auto", session_pooling="transaction")
        made.paths["u"] = ("public",)
        if known:
            made.learnt(catalog(), IDENTITY)
        return made

    def doubted(self, *oids: int) -> set[int]:
        """Those of these tables of which nothing can be kept now."""
        return {oid for oid in oids if self.cache.capture([(IDENTITY, None), (IDENTITY, oid)]) is None}

    def known(self, database: Database, text: str) -> Known:
        """A statement."""
        return database.statements.get(text.encode())

    def send(self, ledger: Ledger, database: Database, text: str, *others: Turn, block: bool = False) -> Turn:
        """A turn with one statement leaves for the server, behind others that are not answered yet."""
        turn = Turn(0.0)
        known = self.known(database, text)
        view = database.view(self.profiles.empty, "u")
        judgement = database.judge(known, view, text.encode(), ledger.doubt)
        if not judgement.quiet:
            ledger.executes(turn, known, judgement, self.profiles.empty, "u")
        commits = turn.effects is not None and turn.effects.commits
        if turn.effects is not None or ledger.in_block:
            ledger.before_send(turn, others, may_commit=commits or not block or bool(others))
        return turn
