"""What is known of statements: parsed once per shape, judged once per shape and view.

`Known` is what the text alone says (facts and counters), shared by all texts with one template. A `View` is who looks:
one user, one search_path, one set of settings, one catalog snapshot. A `Judgement` is a statement seen from a view:
whether its answer may be kept, what it writes, and whether executing it is *quiet*, which is the fast case: nothing to
record, nothing to mark.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cache.key import scope
from cache.tags import read_tags
from proxy.unpin import loosens
from sql.facts import Bypass, Isolation, Kind, Pin
from sql.named import named
from sql.reach import reach

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cache.tags import Tag
    from pool.settings import Profile
    from sql.catalog import Catalog
    from sql.facts import Facts
    from sql.named import Named
    from stats.digests import DigestStats

PINS = frozenset(Pin) - {Pin.LISTEN, Pin.SEQUENCE, Pin.SETTING_IN_TRANSACTION, Pin.SEED}
"""What pins a session. Sequences do not unless asked to: nextval is safe anywhere; currval is another matter.

LISTEN does only where proxy/notify cannot stand in for the connection.
"""

MAX_PARSE = 128 * 1024
"""Bytes; a longer text is not parsed on the event loop and counts as unknown."""

_PLACES = frozenset(
    ("*", "client_encoding", "role", "search_path", "session_authorization", "standard_conforming_strings")
)
"""Settings that decide what a name or a text means; "*" is all of them."""

_READS = frozenset((Kind.SELECT, Kind.EMPTY, Kind.SHOW, Kind.EXPLAIN, Kind.FETCH, Kind.CLOSE, Kind.COPY_TO))


_NOISY = frozenset(
    (
        Kind.UNKNOWN,
        Kind.DISCARD,
        Kind.DEALLOCATE,
        Kind.SAVEPOINT,
        Kind.RELEASE,
        Kind.ROLLBACK_TO,
        Kind.SET_TRANSACTION,
        Kind.SET_CONSTRAINTS,
        Kind.LOCK,
        Kind.UNLISTEN,
        Kind.NOTIFY,
    )
)
"""Kinds that somebody wants to hear of."""

_LISTS = frozenset(("pg_prepared_statements", "pg_prepared_statement"))

_EACH_STATEMENT_ANEW = frozenset((None, Isolation.READ_UNCOMMITTED, Isolation.READ_COMMITTED))
"""Isolation levels at which a statement sees what was committed when it began; None is the default (``_blocked``)."""

_COPIES = frozenset((Kind.COPY_FROM, Kind.UNKNOWN, Kind.DO))
"""What may be answered by CopyInResponse; DO stands for texts that are too long to be parsed, too."""


class Known:
    """A statement shape. Compared by identity."""

    __slots__ = (
        "_looked",
        "_named",
        "arguments",
        "begins_reading",
        "blind",
        "copies",
        "digest",
        "facts",
        "forgets",
        "listens",
        "loosens",
        "means",
        "moves",
        "names",
        "noisy",
        "plain_read",
        "shows",
        "unwatched",
    )

    def __init__(self, facts: Facts, digest: DigestStats) -> None:
        self.facts = facts
        self.digest = digest
        self.loosens = any(loosens(part) for part in facts.statements or (facts,))
        self.shows = shows_prepared(facts)
        self.noisy = bool(
            facts.pins
            or facts.unpins
            or facts.settings
            or facts.taints
            or facts.kind in _NOISY
            or facts.kind in _COPIES
            or facts.bypass is Bypass.LOCKING
            or any(call.function.name == "pg_notify" or "advisory" in call.function.name for call in facts.functions)
            or facts.statements
            or facts.prepared
            or self.loosens
            or self.shows
        )
        self.begins_reading = facts.kind is Kind.BEGIN and facts.isolation in _EACH_STATEMENT_ANEW
        self.forgets = any(_forgets(part) for part in facts.statements or (facts,))
        # May it mean prepared statements? Or must it be looked at for what the server remembers, too: see draws.py.
        self.means = bool(facts.prepared) or self.forgets or facts.kind is Kind.UNKNOWN or self.shows
        self.names = self.means or Pin.SEQUENCE_READ in facts.pins
        self.copies = any(part.kind in _COPIES for part in facts.statements or (facts,))
        self.moves = any(change.name.lower() in _PLACES for change in facts.settings)
        self.listens = any(part.kind is Kind.LISTEN for part in facts.statements or (facts,))
        self.plain_read = is_plain_read(facts)
        self.blind = _blind(facts, noisy=self.noisy)
        self.unwatched = _unwatched(facts, noisy=self.noisy)
        self.arguments: Known | None = None  # of an EXECUTE: what its arguments do, if they can do anything
        if facts.kind is Kind.EXECUTE and (facts.functions or facts.operators or facts.casts):
            plain = replace(facts, kind=Kind.SELECT, opaque=False, prepared=frozenset())
            self.arguments = Known(plain, digest)
        self._named: Named | None = None
        self._looked = False

    def named(self, text: bytes) -> Named | None:
        """Where this text, which this is known of, says the one name of a prepared statement; see sql/named.py."""
        if not self._looked:
            self._looked = True
            self._named = named(text) if len(text) <= MAX_PARSE else None
        return self._named


def shows_prepared(facts: Facts) -> bool:
    """Does it look at the list of prepared statements?"""
    names = (*facts.reads, *(call.function for call in facts.functions))
    return any(name.name in _LISTS and name.schema in (None, "pg_catalog") for name in names)


def _forgets(facts: Facts) -> bool:
    """Are all prepared statements gone afterwards?"""
    return (facts.kind, facts.name) in ((Kind.DISCARD, "all"), (Kind.DEALLOCATE, None))


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """A statement as seen from a view. ``writes`` None = the whole database; ``bypass`` None = may be kept."""

    quiet: bool
    bypass: str | None
    tags: frozenset[Tag]
    writes: frozenset[int] | None
    ddl: bool
    taints: bool
    ttl: float | None = None


ANYTHING = Judgement(quiet=False, bypass="unclear", tags=frozenset(), writes=None, ddl=True, taints=True)
"""A statement that may mean anything."""

ANYWHERE = Judgement(quiet=False, bypass="unclear", tags=frozenset(), writes=None, ddl=False, taints=False)
"""One that does no more than write, but nobody knows where."""


class Doubt(enum.Enum):
    """How far a session's names mean what its view says they mean."""

    NONE = enum.auto()
    PLACE = enum.auto()  # search_path, role or the rules of quoting may have changed, and nobody has told us yet
    TEMPORARY = enum.auto()  # it has temporary relations, of which the catalog knows nothing


class View:
    """Who looks at statements. Immutable in what it stands for; keeps the judgements it has made."""

    __slots__ = (
        "_hinted_only",
        "_identity",
        "_judgements",
        "_unplaced",
        "blocked",
        "catalog",
        "epoch",
        "foreign",
        "misread",
        "path",
        "profile",
        "role",
        "scope",
        "tame",
    )

    def __init__(
        self,
        catalog: Catalog,
        user: str,
        path: tuple[str, ...],
        profile: Profile,
        base: Mapping[str, str],
        *,
        epoch: int,
        hinted_only: bool,
        identity: tuple[str, int],
    ) -> None:
        """``base`` holds settings in effect of which the profile need not say anything."""
        values = {**base, **profile.values}
        self.catalog = catalog
        self.epoch = epoch
        self.path = path
        self.profile = profile
        self.role = _role(values, user)
        self.foreign = values.get("client_encoding", "UTF8").upper().replace("-", "") not in ("UTF8", "UNICODE")
        self.misread = values.get("standard_conforming_strings", "on") != "on"
        self.tame = all(f.oid in catalog.quiet for functions in catalog.functions.values() for f in functions)
        self.blocked = "lexing" if self.misread else _blocked(values)
        self.scope = scope(identity[0], identity[1], user, self.role, path, _relevant(values))
        self._identity = identity
        self._hinted_only = hinted_only
        self._judgements: dict[Known, Judgement] = {}
        self._unplaced: dict[Known, Judgement] = {}

    def reads(self, text: bytes) -> bool:
        """Does the server read these bytes as we do? Else facts and judgements mean nothing."""
        return not self.foreign or text.isascii()

    def judge(self, known: Known) -> Judgement:
        """The statement as seen from here."""
        found = self._judgements.get(known)
        if found is None:
            if len(self._judgements) > 20_000:
                self._judgements.clear()
            if self.misread and known.facts.backslash:
                found = ANYTHING
            elif known.facts.statements and (known.moves or known.facts.taints or Pin.TEMP_TABLE in known.facts.pins):
                temporary = Pin.TEMP_TABLE in known.facts.pins
                found = self.judge_doubtful(known, Doubt.TEMPORARY if temporary else Doubt.PLACE)
            else:
                found = self._make(known, self.path)
            self._judgements[known] = found
        return found

    def judge_doubtful(self, known: Known, doubt: Doubt) -> Judgement:
        """The same where names may be looked up anywhere: a superset, from all schemas at once."""
        if known.facts.backslash:
            return ANYTHING
        found = self._unplaced.get(known)
        if found is None:
            if len(self._unplaced) > 20_000:
                self._unplaced.clear()
            schemas = dict.fromkeys(schema for schema, _ in self.catalog.relations)
            found = self._unplaced[known] = self._make(known, tuple(schemas))
        if doubt is Doubt.TEMPORARY and (found.writes != frozenset() or known.facts.reads) and not self.tame:
            return ANYTHING  # a temporary view or trigger may call a function
        if doubt is Doubt.TEMPORARY and found.writes != frozenset():
            return ANYWHERE  # a temporary view leads to any table
        return found

    def _make(self, known: Known, path: tuple[str, ...]) -> Judgement:
        facts = known.facts
        reached = reach(facts, self.catalog, path, self.role)
        bypass = reached.bypass.value if reached.bypass is not None else self.blocked
        hint = facts.hint
        hinted = hint is not None and hint.cache
        if bypass is None and self._hinted_only and not hinted:
            bypass = "not_hinted"
        quiet = not known.noisy and reached.writes == frozenset() and not reached.ddl and not reached.taints
        quiet = quiet and not (facts.begins or facts.ends or facts.can_commit)
        return Judgement(
            quiet=quiet,
            bypass=bypass,
            tags=read_tags(self._identity, reached.reads) if bypass is None else frozenset(),
            writes=reached.writes,
            ddl=reached.ddl,
            taints=reached.taints or facts.taints,
            ttl=hint.ttl if hint is not None else None,
        )


def _blind(facts: Facts, *, noisy: bool) -> Judgement:
    """A statement seen without a catalog: nothing may be kept, and what is not plainly a read writes everything.

    It is judged again when the catalog is known: a plain read may write after all, through a view with a function, and
    a write may define something, through a trigger. (To take every write for a definition would put the next catalog
    in doubt, too, and so on as long as somebody writes.)
    """
    plain_read = is_plain_read(facts)
    reads_only = plain_read or facts.begins or facts.ends or facts.kind in (Kind.SET, Kind.RESET)
    return Judgement(
        quiet=not noisy and plain_read and not facts.functions and not facts.reads,
        bypass="catalog",
        tags=frozenset(),
        writes=frozenset() if reads_only and not facts.functions else None,
        ddl=facts.opaque,
        taints=facts.taints or bool(facts.functions) or not reads_only,
    )


def _unwatched(facts: Facts, *, noisy: bool) -> Judgement:
    """A statement where nothing is ever kept: only what it does to its session matters."""
    return Judgement(
        quiet=not (noisy or facts.begins or facts.ends or facts.can_commit),
        bypass="off",
        tags=frozenset(),
        writes=frozenset(),
        ddl=False,
        taints=facts.taints,
    )


def is_plain_read(facts: Facts) -> bool:
    """By its kind it only reads; what its functions do is another question."""
    return facts.kind in _READS and not facts.opaque


HARMLESS = frozenset(("application_name", "statement_timeout", "lock_timeout"))
"""Settings that change no answer: not part of a cache key."""


def _relevant(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in HARMLESS}


def _role(values: Mapping[str, str], user: str) -> str:
    """Whose schema "$user" is."""
    role = values.get("role", "none")
    return values.get("session_authorization", user) if role == "none" else role


def _blocked(values: Mapping[str, str]) -> str | None:
    if values.get("forebay.cache", "on").lower() in ("off", "false", "no", "0"):
        return "off"
    level = values.get("default_transaction_isolation", "read committed").lower()
    return None if level in ("read committed", "read uncommitted") else "isolation"
