"""The vocabulary of the room: everything that a statement's text alone can tell.

Facts hold names as they were written; which relation or function a name means is decided in `reach`.
Facts of two texts with one template are equal unless `literals_matter`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class Kind(enum.Enum):
    """What a statement is; UNKNOWN could be anything, MULTI holds several in `Facts.statements`."""

    EMPTY = "empty"
    UNKNOWN = "unknown"
    MULTI = "multi"
    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    MERGE = "merge"
    COPY_FROM = "copy_from"
    COPY_TO = "copy_to"
    TRUNCATE = "truncate"
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    RELEASE = "release"
    ROLLBACK_TO = "rollback_to"
    PREPARE_TRANSACTION = "prepare_transaction"
    COMMIT_PREPARED = "commit_prepared"
    ROLLBACK_PREPARED = "rollback_prepared"
    SET = "set"
    RESET = "reset"
    SET_TRANSACTION = "set_transaction"
    SHOW = "show"
    DISCARD = "discard"
    SET_CONSTRAINTS = "set_constraints"
    PREPARE = "prepare"
    EXECUTE = "execute"
    DEALLOCATE = "deallocate"
    DECLARE = "declare"
    FETCH = "fetch"
    CLOSE = "close"
    LISTEN = "listen"
    UNLISTEN = "unlisten"
    NOTIFY = "notify"
    LOCK = "lock"
    EXPLAIN = "explain"
    CALL = "call"
    DO = "do"
    LOAD = "load"
    MAINTENANCE = "maintenance"  # VACUUM, ANALYZE, CHECKPOINT
    DDL = "ddl"  # everything else: it may change definitions


class Bypass(enum.Enum):
    """Why an answer is never kept; the values are metric labels."""

    NOT_SELECT = "not_select"
    MULTI = "multi"
    UNPARSED = "unparsed"
    UNSUPPORTED = "unsupported"
    HINT = "hint"
    LOCKING = "locking"
    INTO = "into"
    TABLESAMPLE = "tablesample"
    CTE_WRITE = "cte_write"
    DATE_WORD = "date_word"
    VOLATILE_FUNCTION = "volatile_function"
    VOLATILE_CAST = "volatile_cast"
    UNKNOWN_FUNCTION = "unknown_function"
    UNKNOWN_OPERATOR = "unknown_operator"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_RELATION = "unknown_relation"
    NO_RELATION = "no_relation"
    SYSTEM_CATALOG = "system_catalog"
    SYSTEM_COLUMN = "system_column"
    VIEW = "view"
    ROW_SECURITY = "row_security"
    UNLOGGED = "unlogged"
    FOREIGN = "foreign"
    NOT_A_TABLE = "not_a_table"
    TEMP = "temp"
    COLLATION = "collation"


class Pin(enum.Enum):
    """Why a session must keep its server connection; the values are metric labels."""

    TEMP_TABLE = "temp_table"
    ADVISORY_LOCK = "advisory_lock"
    HOLD_CURSOR = "hold_cursor"
    LISTEN = "listen"
    PREPARE = "prepare"
    LOAD = "load"
    SET_ROLE = "set_role"
    SETTING_IN_TRANSACTION = "setting_in_transaction"  # never set here: only the session knows
    SEQUENCE = "sequence"  # nextval, setval: a later currval or lastval reads what this session did
    SEQUENCE_READ = "sequence_read"  # currval, lastval
    SEED = "seed"  # setseed
    UNKNOWN = "unknown"


class Isolation(enum.Enum):
    """Isolation levels, by the words of transaction_isolation."""

    READ_UNCOMMITTED = "read uncommitted"
    READ_COMMITTED = "read committed"
    REPEATABLE_READ = "repeatable read"
    SERIALIZABLE = "serializable"


class Event(enum.Enum):
    """What is done to a written table."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"
    TRUNCATE_CASCADE = "truncate_cascade"


class Source(enum.Enum):
    """What a cast is applied to."""

    LITERAL = "literal"
    PARAMETER = "parameter"
    COLUMN = "column"
    OTHER = "other"


class Name(NamedTuple):
    """A name as written (folded as PostgreSQL folds it); schema None = through the search path."""

    schema: str | None
    name: str


class Write(NamedTuple):
    """A table that the text names as a target."""

    target: Name
    events: frozenset[Event]


class Call(NamedTuple):
    """A function call; `arity` counts the written arguments, `f(*)` counts none.

    With one argument, `source` and `column` say what that is, because such a call may be a cast.
    """

    function: Name
    arity: int
    source: Source = Source.OTHER
    column: str = ""


class Cast(NamedTuple):
    """A type named in a statement; `column` is the column's name when source is COLUMN."""

    type: Name
    source: Source
    column: str = ""


class SettingChange(NamedTuple):
    """SET or RESET of one setting: value None = back to the default, name "*" = RESET ALL."""

    name: str
    value: str | None
    local: bool = False


class Hint(NamedTuple):
    """`/* forebay: cache ttl=30s */` (cache True; ttl in seconds or None) or `/* forebay: nocache */`."""

    cache: bool
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What one text is. MULTI unites its statements: sets are united, flags or-ed, tuples joined."""

    kind: Kind
    digest: str = ""
    normalized: str = ""
    statements: tuple[Facts, ...] = ()
    inner: Facts | None = None  # of EXPLAIN, PREPARE, DECLARE, COPY (query) TO
    name: str | None = None  # savepoint, gid, prepared statement, cursor, channel; None = ALL
    prepared: frozenset[str] = frozenset()  # names of prepared statements, whatever is done with them
    analyze: bool = False  # EXPLAIN that executes

    reads: frozenset[Name] = frozenset()
    writes: frozenset[Write] = frozenset()
    functions: frozenset[Call] = frozenset()
    operators: frozenset[str] = frozenset()
    casts: frozenset[Cast] = frozenset()
    ctes: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()  # b of `a.b`: a column, or a function called as b(a)
    derived: bool = False  # columns may come from sub-selects, CTEs or functions, not from relations only
    opaque: bool = False  # may do what the text does not show: CALL, DO, DDL, EXECUTE, unparsed

    begins: bool = False
    ends: bool = False
    chain: bool = False
    can_commit: bool = False
    isolation: Isolation | None = None
    read_only: bool | None = None
    deferrable: bool | None = None

    settings: tuple[SettingChange, ...] = ()
    pins: tuple[Pin, ...] = ()
    unpins: tuple[Pin, ...] = ()
    vacates: tuple[str, ...] = ()  # databases that nobody may be connected to meanwhile
    taints: bool = False  # may change the session's settings or state in a way that is not listed
    bypass: Bypass | None = None
    hint: Hint | None = None
    literals_matter: bool = True
    backslash: bool = False  # means something else when standard_conforming_strings is off
