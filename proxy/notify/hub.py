"""The connection that listens for all sessions of one pool.

One command is under way at a time: LISTEN for what is wanted and not listened to, UNLISTEN for what nobody wants any
more, nothing at all when only a fence is asked for. What is asked meanwhile goes into the next command, so that every
answer comes from a command that began after the question. A connection that nobody needs is closed after a while.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from pool.connect import ServerUnavailable, open_server
from pool.plan import retry_delay
from proxy.notify.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pool.connect import Address, Opened, Target
    from pool.plan import PoolLimits

logger = logging.getLogger("forebay.notify")

Told = Callable[[str | None], None]
"""Called once, with None when it is so, else with the reason why not."""

_APPLICATION = "forebay listener"
_UNNEEDED = 60.0  # seconds
_PATIENCE = 10.0  # seconds for a command: somebody waits for its answer
_FIRST = (
    "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings"
    " WHERE name IN ('idle_session_timeout', 'statement_timeout', 'transaction_timeout')"
)


class Subscriber(Protocol):
    """A session that wants notifications."""

    def hear(self, channel: str, message: bytes) -> None:
        """A NotificationResponse on a channel that it has asked for."""

    def interrupted(self) -> None:
        """The hub was away and is back: notifications may have been lost."""


class Hub:
    """One pool's. ``target`` and ``limits`` are read anew at each attempt to connect."""

    def __init__(self, target: Callable[[], Target], limits: Callable[[], PoolLimits]) -> None:
        self._target = target
        self._limits = limits
        self._wanted: dict[str, set[Subscriber]] = {}
        self._there: set[str] = set()  # what the connection listens to, once its command is answered
        self._asked: list[Told] = []
        self._running: list[Told] | None = None  # None: no command is under way
        self._wire: Wire | None = None
        self._place: tuple[Target, Address] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # for the next attempt, or for the end of what is not needed
        self._deadline: asyncio.TimerHandle | None = None  # of the command under way
        self._failures = 0
        self._reason = ""
        self._missing: set[Subscriber] = set()  # those who were listening when the connection was lost

    # -- what sessions ask --------------------------------------------------------------------------------------------

    def listen(self, subscriber: Subscriber, channels: Iterable[str], told: Told) -> None:
        """Hear these from now on; ``told`` when what is committed from then on is sure to be heard."""
        for channel in channels:
            self._wanted.setdefault(channel, set()).add(subscriber)
        if self._wire is None and self._failures and self._timer is not None:
            told(self._reason)
            return
        self._asked.append(told)
        self._go_on()

    def fence(self, told: Told) -> None:
        """``told`` when everything has been heard that was committed and acknowledged before this question."""
        if self._wire is None:
            told(self._reason)
            return
        self._asked.append(told)
        self._go_on()

    def forget(self, subscriber: Subscriber, channels: Iterable[str]) -> None:
        """Hear these no more."""
        for channel in channels:
            subscribers = self._wanted.get(channel)
            if subscribers is not None:
                subscribers.discard(subscriber)
                if not subscribers:
                    del self._wanted[channel]
        self._go_on()

    @property
    def where(self) -> tuple[Target, Address] | None:
        """The host that its connection stands to."""
        return self._place if self._wire is not None else None

    def reconnect(self) -> None:
        """The target is another one: go there."""
        if self._wire is not None:
            self._give_up("the configuration has changed")

    def close(self) -> None:
        """The pool ends."""
        self._wanted.clear()
        if self._opening is not None:
            self._opening.cancel()
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        for timer in (self._timer, self._deadline):
            if timer is not None:
                timer.cancel()
        self._fail("the proxy is shutting down")

    # -- commands -----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._running is not None:
            return
        if self._wire is None:
            if (self._asked or self._wanted) and self._opening is None and not (self._failures and self._timer):
                self._stop_timer()
                self._opening = asyncio.get_running_loop().create_task(self._open(), name="listener")
            return
        new = [channel for channel in self._wanted if channel not in self._there]
        old = [channel for channel in self._there if channel not in self._wanted]
        if not (new or old or self._asked):
            self._rest()
            return
        self._stop_timer()
        self._running, self._asked = self._asked, []
        self._there.update(new)
        self._there.difference_update(old)
        self._say(";".join([*(f"LISTEN {_quoted(c)}" for c in new), *(f"UNLISTEN {_quoted(c)}" for c in old)]))

    def _say(self, text: str) -> None:
        if self._wire is not None:
            self._wire.send(text)
            self._deadline = asyncio.get_running_loop().call_later(_PATIENCE, self._give_up, "it does not answer")

    def _give_up(self, reason: str) -> None:
        if self._wire is not None:
            self._wire.close()
        self.lost(reason)

    def _rest(self) -> None:
        if not self._wanted and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_UNNEEDED, self._unneeded)

    def _unneeded(self) -> None:
        self._timer = None
        if self._wire is not None and not self._wanted and self._running is None:
            self._wire.close()
            self._wire = None
            self._there.clear()

    def answered(self, error: str | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if error is not None:  # it is in nobody's interest to guess which of the channels it hears
            self._give_up(error)
            return
        told, self._running = self._running or [], None
        self._failures = 0
        if self._missing and self._there:
            logger.info("listening again on %d channels", len(self._there))
            missing, self._missing = self._missing, set()
            for subscriber in missing & set().union(*self._wanted.values()):
                subscriber.interrupted()
        for one in told:
            one(None)
        self._go_on()

    def notified(self, channel: bytes, message: bytes) -> None:
        name = channel.decode("utf-8", "replace")
        for subscriber in list(self._wanted.get(name, ())):
            subscriber.hear(name, message)

    # -- the connection -----------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        target = self._target()
        parameters = {**target.parameters, "application_name": _APPLICATION, "client_encoding": "UTF8"}
        opened: Opened | None = None
        reason = ""
        try:
            opened = await open_server(replace(target, parameters=parameters))
        except ServerUnavailable as error:
            reason = error.message
        finally:
            self._opening = None
        if opened is None:
            self.lost(reason)
            return
        self._running = []
        self._place = opened.target, opened.address
        wire = self._wire = Wire(opened, self)
        wire.start()
        if self._wire is wire:
            self._say(_FIRST)

    def lost(self, reason: str) -> None:
        self._wire = None
        if self._deadline is not None:
            self._deadline.cancel()
        if self._there:
            self._missing.update(*self._wanted.values())
            logger.warning("the connection that listens was lost: %s", reason)
        self._there.clear()
        self._failures += 1
        self._reason = reason
        self._stop_timer()
        delay = retry_delay(self._failures, self._limits(), random.random())
        self._timer = asyncio.get_running_loop().call_later(delay, self._retry)
        self._fail(reason)

    def _retry(self) -> None:
        self._timer = None
        self._go_on()

    def _fail(self, reason: str) -> None:
        told = [*(self._running or ()), *self._asked]
        self._running = None
        self._asked = []
        for one in told:
            one(reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _quoted(channel: str) -> str:
    return '"' + channel.replace('"', '""') + '"'
