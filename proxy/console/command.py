"""A text that came from a client as commands of the console.

PgBouncer's commands are words without a grammar: a verb and at most one argument, in any case, a name quoted or not
and never folded. Besides them come statements that drivers send without being asked (a transaction around everything,
settings of the session, cleaning up before a connection goes back to its pool). Those that mean nothing here are
accepted and do nothing; whatever else is no command is an error with a hint.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

HINT: Final = "SHOW HELP lists the commands."
LIMITED: Final = ("digests", "slow")
"""Tables that take a number of rows."""

_TOKEN: Final = re.compile(
    r"""\s+|--[^\n]*|/\*.*?\*/ | (?P<end>;) | (?P<sign>[=,]) | "(?P<name>(?:[^"]|"")*)" | '(?P<string>(?:[^']|'')*)'
    | (?P<word>[^\s;='",]+)""",
    re.DOTALL | re.VERBOSE,
)

_HARMLESS: Final = frozenset(
    (
        *("application_name", "bytea_output", "client_encoding", "client_min_messages", "datestyle"),
        *(
            "default_transaction_isolation",
            "default_transaction_read_only",
            "extra_float_digits",
            "idle_session_timeout",
        ),
        *("intervalstyle", "lock_timeout", "names", "search_path", "standard_conforming_strings"),
        *("statement_timeout", "timezone", "transaction", "jit"),
    )
)
"""Settings that drivers make for their own sake: no answer of the console depends on them."""

_NOTHING: Final = {
    ("discard", "all"): "DISCARD ALL",
    ("reset", "all"): "RESET",
    ("close", "all"): "CLOSE CURSOR ALL",
    ("unlisten", "*"): "UNLISTEN",
    ("deallocate", "all"): "DEALLOCATE ALL",
}
_ENDS: Final = {"commit": "COMMIT", "end": "COMMIT", "rollback": "ROLLBACK", "abort": "ROLLBACK"}
_ABSENT: Final = ("disable", "enable", "suspend", "wait_close")


class Verb(enum.Enum):
    """What a command does."""

    SHOW = "SHOW"
    RELOAD = "RELOAD"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    RECONNECT = "RECONNECT"
    KILL = "KILL"
    KILL_CLIENT = "KILL_CLIENT"
    SHUTDOWN = "SHUTDOWN"
    PURGE = "PURGE"
    BEGIN = "BEGIN"
    END = "END"
    NOTHING = "NOTHING"


@dataclass(frozen=True, slots=True)
class Command:
    """One command; ``argument`` is a table's name in lower case, a database, a number or a mode."""

    verb: Verb
    argument: str | None = None
    tag: str = ""  # of CommandComplete
    limit: int | None = None  # rows of a table, when the client asked for so many

    @property
    def complete(self) -> str:
        """The tag that tells the client that it was done."""
        return self.tag or self.verb.value


class CommandError(Exception):
    """A command that is wrong, not allowed, or failed; the console goes on."""

    def __init__(self, sqlstate: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message = message
        self.hint = hint


Words = tuple[str, ...]


def split(text: str) -> list[Words]:
    """The words of each statement of a text; statements without a word are left out. CommandError 42601."""
    statements: list[Words] = []
    words: list[str] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise CommandError("42601", "a quoted name or string does not end", HINT)
        position = found.end()
        if found.lastgroup == "end":
            statements.append(tuple(words))
            words = []
        elif found.lastgroup is not None:
            word = found[found.lastgroup]
            quote = {"name": '"', "string": "'"}.get(found.lastgroup)
            words.append(word.replace(quote * 2, quote) if quote else word)
    statements.append(tuple(words))
    return [statement for statement in statements if statement]


def parse(words: Words) -> Command:
    """The command that these words are. CommandError: 42601 for none, 0A000 for one that is not there yet."""
    verb, rest = words[0].lower(), words[1:]
    if verb == "show" and len(rest) in (1, 2):
        return _show(rest)
    if verb == "reload" and not rest:
        return Command(Verb.RELOAD)
    if verb in ("pause", "resume", "reconnect") and len(rest) <= 1:
        return Command(Verb(verb.upper()), rest[0] if rest else None)
    if verb == "kill" and len(rest) == 1:
        return Command(Verb.KILL, rest[0])
    if verb == "kill_client" and len(rest) == 1:
        return Command(Verb.KILL_CLIENT, rest[0])
    if verb == "shutdown" and len(rest) <= 1:
        return _shutdown(rest)
    if verb == "forebay" and len(rest) == 1 and rest[0].lower() == "purge":
        return Command(Verb.PURGE, tag="FOREBAY PURGE")
    if verb in _ABSENT:
        raise CommandError("0A000", f"{verb.upper()} is not available in this version", HINT)
    found = _unasked(verb, tuple(word.lower() for word in rest))
    if found is None:
        raise unknown(" ".join(words))
    return found


def unknown(text: str) -> CommandError:
    """The error for what is no command."""
    return CommandError("42601", f'invalid command "{_short(text)}"', HINT)


def _show(rest: Words) -> Command:
    name = rest[0].lower()
    if len(rest) == 1:
        return Command(Verb.SHOW, name)
    if name not in LIMITED or not (rest[1].isascii() and rest[1].isdigit()):
        raise unknown("SHOW " + " ".join(rest))
    return Command(Verb.SHOW, name, limit=int(rest[1][:9]))


def _shutdown(rest: Words) -> Command:
    mode = rest[0].lower() if rest else None
    if mode not in (None, "wait_for_clients", "wait_for_servers"):
        raise CommandError("42601", f'"{_short(rest[0])}" is no way to shut down', HINT)
    return Command(Verb.SHUTDOWN, mode)


def _unasked(verb: str, rest: Words) -> Command | None:
    """What drivers and their pools send by themselves."""
    if verb == "begin" or (verb, rest[:1]) == ("start", ("transaction",)):
        return Command(Verb.BEGIN, tag="BEGIN")
    if verb in _ENDS and rest in ((), ("transaction",), ("work",)):
        return Command(Verb.END, tag=_ENDS[verb])
    if len(rest) == 1 and (verb, rest[0]) in _NOTHING:
        return Command(Verb.NOTHING, tag=_NOTHING[verb, rest[0]])
    if verb != "set" or not rest:
        return None
    if rest[0] in ("session", "local") and len(rest) > 1:
        rest = rest[1:]
    if rest[0] in _HARMLESS or rest[:2] == ("time", "zone") or rest[0] == "characteristics":
        return Command(Verb.NOTHING, tag="SET")
    raise CommandError(
        "0A000",
        f'"{_short(rest[0])}" cannot be set on the console',
        "Settings live in the configuration: change it there, then RELOAD. SHOW CONFIG lists them.",
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
