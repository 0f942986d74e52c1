"""Channels followed through transactions, against a model that keeps a copy at each savepoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from protocol import build
from proxy.notify.encoding import recoded
from proxy.notify.follow import FOLLOWED, Follow
from sql.analyse import analyse

IDLE, OPEN, FAILED = 0x49, 0x54, 0x45
TEXTS = (
    *("LISTEN a", "LISTEN b", "UNLISTEN a", "UNLISTEN *", "BEGIN", "COMMIT", "ROLLBACK", "SELECT 1/0"),
    *("SAVEPOINT s", "SAVEPOINT t", "ROLLBACK TO s", "ROLLBACK TO t", "RELEASE s", "RELEASE t"),
)


@dataclass
class Model:
    """One statement at a time, as a server does it: True if it fails."""

    channels: set[str] = field(default_factory=set)
    block: set[str] | None = None  # as it will be after COMMIT
    failed: bool = False
    points: list[tuple[str, set[str]]] = field(default_factory=list)

    def end(self, channels: set[str]) -> None:
        self.channels, self.block, self.failed = channels, None, False
        self.points.clear()

    def run(self, text: str) -> bool:
        words = text.split()
        if words[0] == "COMMIT":
            self.end(self.channels if self.failed or self.block is None else self.block)
            return False
        if words[0] == "ROLLBACK" and len(words) == 1:
            self.end(self.channels)
            return False
        known = [name for name, _ in self.points]
        if words[:2] == ["ROLLBACK", "TO"] and self.block is not None and words[-1] in known:
            at = len(known) - 1 - known[::-1].index(words[-1])
            self.block, self.failed = set(self.points[at][1]), False
            del self.points[at + 1 :]
            return False
        if self.failed or words[0] == "SELECT" or (words[-1] in "st" and self.block is None):
            self.failed = self.block is not None
            return True
        return self.succeed(words, known)

    def succeed(self, words: list[str], known: list[str]) -> bool:
        if words[0] == "BEGIN":
            self.block = self.block if self.block is not None else set(self.channels)
            return False
        where = self.channels if self.block is None else self.block
        if words[0] == "LISTEN":
            where.add(words[1])
        elif words[0] == "UNLISTEN":
            where.difference_update(set(where) if words[1] == "*" else {words[1]})
        elif words[0] == "SAVEPOINT":
            self.points.append((words[1], set(where)))
        elif words[1] not in known:
            self.failed = True
            return True
        else:
            del self.points[len(known) - 1 - known[::-1].index(words[1]) :]
        return False

    @property
    def status(self) -> int:
        return FAILED if self.failed else IDLE if self.block is None else OPEN


@given(st.lists(st.sampled_from(TEXTS), max_size=40))
def test_follows_every_single_statement(texts: list[str]) -> None:
    model, follow = Model(), Follow()
    for text in texts:
        failed = model.run(text)
        heeded = [facts for facts in (analyse(text),) if facts.kind in FOLLOWED]
        follow.answered(heeded, 1, failed=failed, status=model.status)
        assert follow.channels == model.channels, text


def test_a_turn_that_ended_a_transaction_and_failed_counts_every_listen() -> None:
    follow = Follow()
    follow.answered([analyse("LISTEN a")], 1, failed=False, status=IDLE)
    statements = [analyse(text) for text in ("LISTEN b", "UNLISTEN a", "COMMIT")]
    follow.answered(statements, 4, failed=True, status=IDLE)
    assert follow.channels == {"a", "b"}


def test_what_comes_holds_what_is_pending_and_what_flies() -> None:
    follow = Follow()
    follow.answered([analyse("LISTEN a")], 1, failed=False, status=IDLE)
    follow.answered([analyse("LISTEN b")], 1, failed=False, status=OPEN)
    assert follow.coming([analyse("LISTEN c"), analyse("LISTEN a"), analyse("COMMIT")]) == {"b", "c"}


def test_recoding() -> None:
    message = build.notification_response(7, "ö", "ü€")
    assert recoded(message, "LATIN1") == build.notification_response(7, b"\xf6", b"\xfc?")
    assert recoded(message, "WIN1252") == build.notification_response(7, b"\xf6", b"\xfc\x80")
    assert recoded(message, "MULE_INTERNAL") == build.notification_response(7, "?", "??")
    plain = build.notification_response(255, "a", "b")
    assert recoded(plain, "EUC_JP") == plain
