"""One session's notifications: what it listens to, what it has heard, and when it is told. See the package's header.

Made by a session's first LISTEN, whose server connection is mute from then on. What goes up is kept back while the hub
is not ready for a commit, what comes down while a fence is awaited, and notifications while a transaction is open.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pool.server import IDLE_IN_BLOCK
from protocol import build
from proxy.notify.encoding import is_unicode, recoded
from proxy.notify.follow import Follow
from sql.facts import Pin

if TYPE_CHECKING:
    from proxy.notify.hub import Hub
    from proxy.session import Session
    from proxy.turn import Turn

_READY = build.ready_for_query(b"I")
_LOST = build.notice_response(
    "01000",
    "notifications may have been lost",
    severity="WARNING",
    detail="The server connection that listens for this database was interrupted; it is listening again.",
)


def attend(session: Session) -> Ears:
    """A LISTEN is about to be sent."""
    ears = session.ears or Ears(session, session.database.hub(session.pool))
    ears.judged()
    return ears


class Ears:
    """A hub's subscriber; everything is synchronous."""

    def __init__(self, session: Session, hub: Hub) -> None:
        self._session = session
        self._hub = hub
        self._follow = Follow()
        self._asked: set[str] = set()  # wanted from the hub beyond what is in effect
        self._heard: deque[tuple[str | None, bytes]] = deque()  # (channel, message); None: for everybody
        self._size = 0
        self._preparing = 0  # questions to the hub without which nothing may go up
        self._up: list[bytes] = []
        self._down: list[bytes] | None = None  # answers that wait for a fence
        self._echo = False
        self._alone = False  # without a hub: the next LISTEN that commits pins
        self._closed = False

    # -- up -----------------------------------------------------------------------------------------------------------

    def judged(self) -> None:
        """See ``attend``: the server must not speak to the client itself, unless it is pinned for it."""
        session = self._session
        server = session.down.server
        if server is None:
            return
        values = session.profile.values
        encoding = values.get("client_encoding") or session.pool.base.get("client_encoding", "UTF8")
        if not (is_unicode(encoding) or self._follow.channels):
            self._alone = True  # what the hub hears would have to be recoded
        server.pipeline.mute = not (self._alone or Pin.LISTEN in session.ledger.pins)

    def before_commit(self, turn: Turn) -> None:
        """Something is about to be sent that can commit: what it may put into effect must be heard first."""
        if self._alone or Pin.LISTEN in self._session.ledger.pins:
            return
        flying = [s for t in (turn, *self._session.down.turns) if t.effects is not None for s in t.effects.heeds]
        coming = self._follow.coming(flying)
        if coming and not (self._preparing and coming <= self._asked):
            self._asked |= coming
            self._preparing += 1
            self._hub.listen(self, coming, self._prepared)

    def write(self, data: bytes) -> None:
        """To the session's server, or behind what waits already."""
        server = self._session.down.server
        if self._preparing or self._up:
            self._up.append(data)
            self._session.brake(True)
        elif server is not None:
            server.transport.write(data)

    @property
    def unsent(self) -> bool:
        """What the server is believed to have been sent is still here."""
        return bool(self._up)

    def _prepared(self, reason: str | None) -> None:
        self._preparing -= 1
        if self._closed:
            return
        session = self._session
        server = session.down.server
        if reason is not None and server is not None:
            if self._follow.channels:
                session.refuse("08006", f"cannot listen: {reason}")
                return
            self._alone = True
            server.pipeline.mute = False
        if self._preparing:
            return
        channels = self._follow.channels
        self._heard = deque(heard for heard in self._heard if heard[0] is None or heard[0] in channels)
        self._size = sum(len(message) for _, message in self._heard)
        up, self._up = self._up, []
        if up and server is not None and not server.closed:
            server.transport.write(b"".join(up))
            session.brake(False)

    # -- down ---------------------------------------------------------------------------------------------------------

    def finished(self, turn: Turn, status: int) -> None:
        """A turn has been answered."""
        effects = turn.effects
        follow = self._follow
        before = bool(follow.channels)
        follow.answered(
            effects.heeds if effects is not None else (),
            effects.statements if effects is not None else 0,
            failed=turn.sqlstate is not None,
            status=status,
        )
        if status != IDLE_IN_BLOCK:
            return
        ledger = self._session.ledger
        if self._alone or Pin.LISTEN in ledger.pins:
            if follow.channels:
                ledger.pin(Pin.LISTEN)
            else:
                ledger.pins.discard(Pin.LISTEN)
                self._alone = False
        else:
            self._echo = before or bool(follow.channels)
            self._settle()

    def _settle(self) -> None:
        """No transaction is open or, with more turns under way, one of them will settle it."""
        if self._session.down.turns or self._preparing:
            return
        self._hub.forget(self, self._asked - self._follow.channels)
        self._asked = set(self._follow.channels)

    def passing(self, out: bytes, *, over: bool) -> bytes:
        """What may go down to the client now, of an answer that has come; ``over`` if a turn ends with it."""
        if self._down is not None:
            self._down.append(out)
            return b""
        if over and self._echo and not self._session.closing:
            self._echo = False
            self._down = [out]
            self._hub.fence(self._fenced)
            return b""
        return self._with(out) if over else out

    @property
    def waiting(self) -> bool:
        """An answer waits: the lease cannot end."""
        return self._down is not None

    def _fenced(self, reason: str | None) -> None:
        down, self._down = self._down, None
        session = self._session
        if down is None or self._closed:
            return
        if self._echo and reason is None and session.down.server is not None:  # another turn is over by now
            self._echo = False
            self._down = down
            self._hub.fence(self._fenced)
            return
        session.transport.write(self._with(b"".join(down)))
        if session.down.server is not None:
            session.down.rest(session.down.server)

    def give_up(self) -> None:
        """The server is lost: what it has answered is still true."""
        if self._down is not None:
            self._fenced(None)

    def _with(self, out: bytes) -> bytes:
        """An answer, with what has been heard before its last ReadyForQuery if no transaction is open then."""
        server = self._session.down.server
        if not self._heard or server is None or not server.pipeline.at_rest or not out.endswith(_READY):
            return out
        return b"".join((out[: -len(_READY)], *self._take(), _READY))

    def _take(self) -> list[bytes]:
        channels = self._follow.channels
        taken = [message for channel, message in self._heard if channel is None or channel in channels]
        self._heard.clear()
        self._size = 0
        encoding = self._session.profile.values.get("client_encoding", "UTF8")
        return taken if is_unicode(encoding) else [recoded(message, encoding) for message in taken]

    # -- from the hub -------------------------------------------------------------------------------------------------

    def hear(self, channel: str, message: bytes) -> None:
        self._put(channel, message)

    def interrupted(self) -> None:
        if self._follow.channels:
            self._put(None, _LOST)

    def _put(self, channel: str | None, message: bytes) -> None:
        if self._closed:
            return
        session = self._session
        self._heard.append((channel, message))
        self._size += len(message)
        self.flush()
        if self._size > session.clients.limits.notifications:
            session.refuse(
                "54000",
                "too many notifications are waiting for this client",
                "It does not read them, or has a transaction open (limits.notifications).",
            )

    def flush(self) -> None:
        """Tell the client, if it reads and no transaction of its own is open."""
        session = self._session
        server = session.down.server
        idle = self._down is None and (
            server is None
            or (
                server.pipeline.at_rest
                and server.pipeline.status == IDLE_IN_BLOCK
                and not (session.down.turns or session.uplink.open or session.uplink.left)
            )
        )
        idle = idle and session.ledger.deferred is None
        if self._heard and idle and not (session.full or session.closing):
            session.transport.write(b"".join(self._take()))

    def close(self) -> None:
        """The session has ended."""
        self._closed = True
        self._heard.clear()
        self._up.clear()
        self._hub.forget(self, self._asked | self._follow.channels)
