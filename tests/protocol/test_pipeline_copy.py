"""COPY FROM STDIN in the queue of outstanding requests, in every order of events."""

from __future__ import annotations

from itertools import product

import pytest

from protocol.errors import RemoteProtocolError
from protocol.pipeline import Pipeline
from protocol.replies import COPY_END, EXECUTE, QUERY, SYNC
from tests.protocol.backend_model import Backend, ready
from tests.support.frames import error_response

COPIES = list(product((QUERY, EXECUTE), range(3), (False, True), ("done", "fail", "broken"), (False, True)))


@pytest.mark.parametrize(("kind", "early", "hasty", "end", "fresh"), COPIES)
def test_copies_leave_nothing_behind(kind: int, early: int, hasty: bool, end: str, fresh: bool) -> None:
    """Syncs before CopyInResponse; CopyDone before CopyInResponse (hasty); ends of three kinds."""
    if (hasty and end == "broken") or (early and end != "done"):
        return
    backend = Backend()
    pipeline = Pipeline()
    arriving = b""

    def sync(note: str) -> bytes:
        pipeline.add(SYNC, note)
        return backend.answer(SYNC)

    pipeline.add(kind, "copy")
    arriving += backend.answer(kind, copies=True)
    for _ in range(early):
        arriving += sync("early")
    if not hasty:
        pipeline.receive(arriving)
        arriving = b""
        assert pipeline.copy_in
        assert pipeline.dropped == ["early"] * early
    if end == "broken":
        pipeline.receive(backend.fail_copy())
    else:
        assert pipeline.copy_ended()
        arriving += backend.answer(COPY_END, fails=end == "fail")
    if not fresh:
        pipeline.receive(arriving)
        arriving = b""
    arriving += sync("last")
    pipeline.receive(arriving)
    assert pipeline.copy_began
    assert not pipeline.queue
    assert pipeline.at_rest
    assert pipeline.finished[-1].note == "last"
    assert not pipeline.copy_in
    assert backend.copying < 0
    assert not backend.skipping


@pytest.mark.parametrize("kind", [QUERY, EXECUTE])
@pytest.mark.parametrize("read", [0, 1, 2])
def test_nobody_knows_who_answers_a_sync_ahead_of_a_copy_that_fails(kind: int, read: int) -> None:
    """The server answers those that it had not read when the copy failed, which cannot be seen from here."""
    backend = Backend()
    pipeline = Pipeline()
    pipeline.add(kind, "copy")
    pipeline.add(SYNC, "early")
    pipeline.add(SYNC, "early")
    arriving = backend.answer(kind, copies=True)
    arriving += b"".join(backend.answer(SYNC) for _ in range(read))
    arriving += backend.fail_copy()
    arriving += b"".join(backend.answer(SYNC) for _ in range(2 - read))
    with pytest.raises(RemoteProtocolError, match="nobody knows"):
        pipeline.receive(arriving)


def test_a_copy_that_is_over_needs_no_end() -> None:
    pipeline = Pipeline()
    assert not pipeline.copy_ended()
    pipeline.add(QUERY, "turn")
    assert pipeline.copy_ended(), "perhaps it will be a copy"
    pipeline.receive(error_response("42P01", "no such table") + ready())
    assert pipeline.take_fakes() == b""
    assert pipeline.at_rest
